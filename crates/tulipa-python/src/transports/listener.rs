//! Accepting connections: a listening socket whose connections become native transports.
//!
//! No Python socket is made for a connection unless its program asks for one, and no task runs for it: the
//! protocol is made here, and `connection_made` is one entry of the ready queue.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use tulipa::{Interest, sys};

use super::address::Address;
use super::kind::Kind;
use super::{Opening, extra, open};
use crate::errors::os_error;
use crate::event_loop::EventLoop;
use crate::event_loop::core::Core;
use crate::event_loop::job::Source;
use crate::ffi::make::{self, Float, Text};
use crate::ffi::{Object, Result, call, context};
use crate::sslproto;
use crate::stdlib::stdlib;

/// Seconds until accepting is tried again after the system ran out of something; asyncio's figure.
const RETRY_DELAY: f64 = 1.0;

/// A listening socket in service.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct Listening {
    event_loop: Py<PyAny>,
    factory: Py<PyAny>,
    socket: Py<PyAny>,
    server: Py<PyAny>,
    /// The context of `start_serving`; each connection's protocol runs in copies of it.
    context: Py<PyAny>,
    /// The SSLContext and the two time limits, where the connections are TLS.
    tls: Option<(Py<PyAny>, Py<PyAny>, Py<PyAny>)>,
    /// From 3.15 on a server may be given a context, which connections then share a copy of, each its own.
    shared_context: bool,
    fd: RawFd,
    /// Connections accepted per readiness event.
    backlog: usize,
    /// The system ran out of something, which was said, and no connection was accepted since.
    starved: AtomicBool,
}

#[pymethods]
impl Listening {
    /// Accept again after a pause, unless the server was closed meanwhile.
    fn _resume(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let event_loop = object(py, &this.event_loop);
        let core = Core::of(&event_loop).expect("a Tulipa loop");
        if core.is_closed() || extra::number(this.socket.bind(py))? != this.fd {
            return Ok(());
        }
        watch(core, this.fd, slf.clone())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        let tls = self.tls.iter().flat_map(|(context, handshake, shutdown)| [context, handshake, shutdown]);
        [&self.event_loop, &self.factory, &self.socket, &self.server, &self.context]
            .into_iter()
            .chain(tls)
            .try_for_each(|object| visit.call(object))
    }
}

/// What is served, and by whom.
pub(crate) struct Serving<'a, 'py> {
    pub(crate) factory: &'a Bound<'py, PyAny>,
    pub(crate) socket: &'a Bound<'py, PyAny>,
    pub(crate) server: &'a Bound<'py, PyAny>,
    pub(crate) backlog: usize,
    pub(crate) context: Option<&'a Bound<'py, PyAny>>,
    /// The SSLContext and the two time limits, for TLS.
    pub(crate) tls: Option<(Py<PyAny>, Py<PyAny>, Py<PyAny>)>,
}

/// Watches a listening socket: its connections become native transports with protocols from the factory.
pub(crate) fn start_serving<'py>(
    event_loop: &Bound<'py, EventLoop>,
    serving: Serving<'_, 'py>,
) -> PyResult<()> {
    let Serving { factory, socket, server, backlog, context: given, tls } = serving;
    let py = event_loop.py();
    let core = &event_loop.get().core;
    core.ensure_open()?;
    let given = given.filter(|context| !context.is_none());
    let context = given.map_or_else(context::copy_current, |context| Ok(Object::from_bound(context)))?;
    let fd = extra::number(socket)?;
    let listening = Listening {
        event_loop: event_loop.clone().into_any().unbind(),
        factory: factory.clone().unbind(),
        socket: socket.clone().unbind(),
        server: server.clone().unbind(),
        context: context.bound(py).unbind(),
        tls,
        shared_context: given.is_some(),
        fd,
        backlog: backlog.max(1),
        starved: AtomicBool::new(false),
    };
    watch(core, fd, Bound::new(py, listening)?)
}

/// Enters the listening socket into the driver.
fn watch(core: &Core, fd: RawFd, listening: Bound<'_, Listening>) -> PyResult<()> {
    let listening: Object = listening.into_any().into();
    core.register(fd, Interest::READABLE, Source::Native(listening))?;
    Ok(())
}

/// Accepts what waits, up to the backlog.
pub(super) fn run(core: &Core, target: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let listening = target.bound(py).cast_into::<Listening>().map_err(PyErr::from)?;
    let this = listening.get();
    for _ in 0..this.backlog {
        // The program may have closed the server meanwhile.
        if !core.descriptors.borrow().contains_key(&this.fd) {
            return Ok(());
        }
        match sys::accept_from(this.fd) {
            Ok((connection, peer)) => {
                this.starved.store(false, Ordering::Relaxed);
                this.connected(py, connection, Address::new(&peer))?;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) if is_out_of_resources(&error) => return back_off(&listening, core, error),
            Err(error) => return Err(os_error(error).into()),
        }
    }
    Ok(())
}

/// Whether accepting must wait: the kernel goes on reporting the socket as ready.
fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

impl Listening {
    /// Makes protocol and transport; what goes wrong concerns this connection only.
    fn connected(&self, py: Python<'_>, connection: OwnedFd, peer: Option<Address>) -> Result<()> {
        let own = context::copy(&object(py, &self.context))?;
        let shared = self.shared_context.then(|| own.clone());
        let mut protocol = None;
        let made = context::run_in(&own, || {
            let made = protocol.insert(call::call0(&object(py, &self.factory))?);
            self.open(py, connection, made.clone(), peer, shared)
        });
        let Err(raised) = made else { return Ok(()) };
        let exception = raised.caught()?;
        self.report(py, &exception, protocol.as_ref())
    }

    fn open(
        &self,
        py: Python<'_>,
        connection: OwnedFd,
        protocol: Object,
        peer: Option<Address>,
        context: Option<Object>,
    ) -> Result<()> {
        let event_loop = object(py, &self.event_loop);
        let protocol = self.wrapped(py, &event_loop, protocol)?;
        let server = Some(object(py, &self.server));
        let opening =
            Opening { kind: Kind::Socket, event_loop: &event_loop, protocol, server, waiter: None, context };
        let fd = connection.as_raw_fd();
        open(opening, fd, |stream| {
            stream.peer.set(peer);
            Ok(())
        })?;
        // The transport owns it now.
        let _ = connection.into_raw_fd();
        Ok(())
    }

    /// The protocol behind TLS, where that is spoken here.
    fn wrapped(&self, py: Python<'_>, event_loop: &Object, protocol: Object) -> Result<Object> {
        let Some((context, handshake, shutdown)) = &self.tls else { return Ok(protocol) };
        sslproto::open(sslproto::Opening {
            event_loop,
            protocol,
            context: object(py, context),
            waiter: None,
            server_side: true,
            server_hostname: Object::none(),
            handshake_timeout: object(py, handshake),
            shutdown_timeout: object(py, shutdown),
            call_connection_made: true,
            accepted: true,
        })
    }

    /// As in asyncio, an error of the protocol's factory, or of making the transport, is shown in debug mode only.
    fn report(&self, py: Python<'_>, exception: &Object, protocol: Option<&Object>) -> Result<()> {
        let event_loop = object(py, &self.event_loop);
        if !Core::of(&event_loop).is_some_and(Core::is_debug) {
            return Ok(());
        }
        let context = make::dict(py)?;
        context.set_item(Text("message"), Text("Error on transport creation for incoming connection"))?;
        context.set_item(Text("exception"), exception.bound(py))?;
        if let Some(protocol) = protocol.filter(|protocol| !protocol.is_none()) {
            context.set_item(Text("protocol"), protocol.bound(py))?;
        }
        call::method1(&event_loop, &stdlib().names.call_exception_handler, &context.into_any().into())
            .map(drop)
    }
}

/// Stops accepting for a while; says so once, until accepting has worked again.
fn back_off(listening: &Bound<'_, Listening>, core: &Core, error: io::Error) -> Result<()> {
    let (py, this) = (listening.py(), listening.get());
    let event_loop = this.event_loop.bind(py);
    stop_serving(core, this.fd);
    event_loop.call_method1(Text("call_later"), (Float(RETRY_DELAY), listening.getattr(Text("_resume"))?))?;
    if this.starved.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let context = make::dict(py)?;
    context.set_item(Text("message"), Text("socket.accept() out of system resource"))?;
    context.set_item(Text("exception"), os_error(error).into_value(py))?;
    context.set_item(Text("socket"), stdlib().transport_socket.bound(py).call1((&this.socket,))?)?;
    event_loop.call_method1(Text("call_exception_handler"), (context,))?;
    Ok(())
}

/// Stops watching a listening socket.
pub(crate) fn stop_serving(core: &Core, fd: RawFd) {
    let token = core.descriptors.borrow_mut().remove(&fd);
    if let Some(token) = token {
        drop(core.engine.deregister(token));
    }
}

fn object(py: Python<'_>, object: &Py<PyAny>) -> Object {
    Object::from_bound(object.bind(py))
}
