//! Accepting connections: a listening socket whose connections become native transports.
//!
//! No Python socket is made for a connection unless its program asks for one, and no task runs for it: the
//! protocol is made here, and `connection_made` is one entry of the ready queue.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};
use socket2::{SockAddr, SockAddrStorage, socklen_t};
use tulipa::Interest;

use super::{Opening, extra, open};
use crate::errors::os_error;
use crate::event_loop::EventLoop;
use crate::event_loop::core::Core;
use crate::event_loop::job::Source;
use crate::ffi::raised::leaves_the_loop;
use crate::ffi::{Object, Raised, Result, call, context};
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
}

#[pymethods]
impl Listening {
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
    };
    let listening: Object = Bound::new(py, listening)?.into_any().into();
    let token = core
        .engine
        .register(fd, Interest::READABLE, Source::Native(listening))
        .map_err(|(error, _)| os_error(error))?;
    core.descriptors.borrow_mut().insert(fd, token);
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
        match accept(this.fd) {
            Ok((connection, peer)) => this.connected(py, connection, peer)?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) if is_out_of_resources(&error) => return this.back_off(py, core, error),
            Err(error) => return Err(os_error(error).into()),
        }
    }
    Ok(())
}

/// One connection, non-blocking and closed on exec, and its peer's address.
fn accept(fd: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let accept_into = |storage: *mut SockAddrStorage, length: *mut socklen_t| {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: storage and length describe room for any address.
        match unsafe { libc::accept4(fd, storage.cast(), length, flags) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the kernel has just given us this descriptor.
            connection => Ok(unsafe { OwnedFd::from_raw_fd(connection) }),
        }
    };
    // SAFETY: accept4 writes an address and its length on success.
    let (connection, peer) = unsafe { SockAddr::try_init(accept_into) }?;
    Ok((connection, peer.as_socket()))
}

/// Whether accepting must wait: the kernel goes on reporting the socket as ready.
fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

impl Listening {
    /// Makes protocol and transport; what goes wrong concerns this connection only.
    fn connected(&self, py: Python<'_>, connection: OwnedFd, peer: Option<SocketAddr>) -> Result<()> {
        let own = context::copy(&object(py, &self.context))?;
        let shared = self.shared_context.then(|| own.clone());
        let made = context::run_in(&own, || self.open(py, connection, peer, shared));
        let Err(raised) = made else { return Ok(()) };
        let exception = raised.take_object();
        if leaves_the_loop(&exception) {
            return Err(Raised::from_object(&exception));
        }
        self.report(py, &exception)
    }

    fn open(
        &self,
        py: Python<'_>,
        connection: OwnedFd,
        peer: Option<SocketAddr>,
        context: Option<Object>,
    ) -> Result<()> {
        let protocol = call::call0(&object(py, &self.factory))?;
        let event_loop = object(py, &self.event_loop);
        let protocol = self.wrapped(py, &event_loop, protocol)?;
        let server = Some(object(py, &self.server));
        let opening = Opening { event_loop: &event_loop, protocol, server, waiter: None, context };
        let fd = connection.as_raw_fd();
        extra::set_no_delay(fd);
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

    /// As in asyncio, an error of the protocol's factory is shown in debug mode only.
    fn report(&self, py: Python<'_>, exception: &Object) -> Result<()> {
        let event_loop = object(py, &self.event_loop);
        if !Core::of(&event_loop).is_some_and(Core::is_debug) {
            return Ok(());
        }
        let context = PyDict::new(py);
        context.set_item("message", "Error on transport creation for incoming connection")?;
        context.set_item("exception", exception.bound(py))?;
        call::method1(&event_loop, &stdlib().names.call_exception_handler, &context.into_any().into())
            .map(drop)
    }

    /// Stops accepting for a while, and says so once.
    fn back_off(&self, py: Python<'_>, core: &Core, error: io::Error) -> Result<()> {
        let event_loop = self.event_loop.bind(py);
        let context = PyDict::new(py);
        context.set_item("message", "socket.accept() out of system resource")?;
        context.set_item("exception", os_error(error).into_value(py))?;
        context.set_item("socket", stdlib().transport_socket.bound(py).call1((&self.socket,))?)?;
        event_loop.call_method1("call_exception_handler", (context,))?;
        stop_serving(core, self.fd);
        let resume = event_loop.getattr("_resume_serving")?;
        let context = self.shared_context.then(|| self.context.clone_ref(py));
        let tls = self.tls.as_ref().map(|(a, b, c)| (a, b, c));
        let arguments =
            (RETRY_DELAY, resume, &self.factory, &self.socket, &self.server, self.backlog, context, tls);
        event_loop.call_method1("call_later", arguments)?;
        Ok(())
    }
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
