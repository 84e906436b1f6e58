//! One connection: its descriptor, its protocol, and its life from `connection_made` to `connection_lost`.
//!
//! The rules are those of asyncio's selector transports, kept by the engine's `StreamState`; here they meet the
//! descriptor and the protocol. No borrow is held while Python code runs.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tulipa::stream::{Close, Emptied, Fail, StreamState, WriteQueue};
use tulipa::{Interest, Readiness, Token};

use super::{Event, class, extra, reading, writing};
use crate::errors::os_error;
use crate::event_loop::core::Core;
use crate::event_loop::job::{Job, Source};
use crate::ffi::raised::leaves_the_loop;
use crate::ffi::{Object, Raised, Result, Slot, bytes, call, context};
use crate::sslproto;
use crate::stdlib::stdlib;

/// A chunk of the write queue: always exactly a `bytes` object, which nobody can change meanwhile.
pub(crate) struct Chunk(pub(crate) Object);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        bytes::content(&self.0)
    }
}

/// How a protocol takes data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// By `data_received()`.
    Data,
    /// Into buffers that it hands out.
    Buffered,
    /// It is TLS, and takes what the loop's buffer holds.
    Tls,
}

impl Receiver {
    pub(crate) fn of(protocol: &Object) -> Result<Self> {
        if sslproto::is_protocol(protocol) {
            return Ok(Self::Tls);
        }
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let buffered = protocol.bound(py).is_instance(&stdlib().buffered_protocol.bound(py))?;
        Ok(if buffered { Self::Buffered } else { Self::Data })
    }
}

/// What a StreamTransport holds behind the bytes of `asyncio.Transport`.
pub(crate) struct Stream {
    pub(super) event_loop: Slot,
    pub(super) protocol: Slot,
    pub(super) server: Slot,
    /// The Python socket, once there is one; it then owns the descriptor.
    pub(super) socket: Slot,
    /// What `get_extra_info` looks things up in; made when it is first asked for.
    pub(super) extra: Slot,
    /// Who waits for the transport to be ready for use.
    waiter: Slot,
    /// The context of the protocol's reading callbacks.
    pub(super) context: Slot,
    /// Who waits for the write queue to drain, while a file is sent past it.
    pub(super) empty_waiter: Slot,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    core: Cell<Option<&'static Core>>,
    /// -1 once closed.
    pub(super) fd: Cell<RawFd>,
    /// The descriptor's number, which people are shown also when it is closed.
    pub(super) number: Cell<RawFd>,
    token: Cell<Option<Token>>,
    /// The peer's address, where accepting told it.
    pub(super) peer: Cell<Option<SocketAddr>>,
    /// Our own address, saved when the descriptor was closed before anybody asked.
    pub(super) local: Cell<Option<SocketAddr>>,
    pub(super) state: RefCell<StreamState<Object>>,
    pub(super) queue: RefCell<WriteQueue<Chunk>>,
    /// `connection_made` has been called: reading may begin.
    started: Cell<bool>,
    /// The kernel's buffer is full: writing goes on when the descriptor is writable.
    pub(super) blocked: Cell<bool>,
    /// The stream is in the loop's list of those to flush.
    pub(super) listed: Cell<bool>,
    /// The protocol was told `pause_writing()`.
    pub(super) protocol_paused: Cell<bool>,
    /// How the protocol takes data.
    pub(super) receiver: Cell<Receiver>,
    /// Losing the connection, and writes since.
    pub(super) lost: Cell<u32>,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            event_loop: Slot::empty(),
            protocol: Slot::empty(),
            server: Slot::empty(),
            socket: Slot::empty(),
            extra: Slot::empty(),
            waiter: Slot::empty(),
            context: Slot::empty(),
            empty_waiter: Slot::empty(),
            dict: Cell::new(std::ptr::null_mut()),
            weak_references: Cell::new(std::ptr::null_mut()),
            core: Cell::new(None),
            fd: Cell::new(-1),
            number: Cell::new(-1),
            token: Cell::new(None),
            peer: Cell::new(None),
            local: Cell::new(None),
            state: RefCell::new(StreamState::new()),
            queue: RefCell::new(WriteQueue::new()),
            started: Cell::new(false),
            blocked: Cell::new(false),
            listed: Cell::new(false),
            protocol_paused: Cell::new(false),
            receiver: Cell::new(Receiver::Data),
            lost: Cell::new(0),
        }
    }

    pub(super) fn slots(&self) -> [&Slot; 8] {
        [
            &self.event_loop,
            &self.protocol,
            &self.server,
            &self.socket,
            &self.extra,
            &self.waiter,
            &self.context,
            &self.empty_waiter,
        ]
    }

    /// The core of the loop, until the connection is gone.
    #[inline]
    pub(super) fn core(&self) -> Option<&'static Core> {
        self.core.get()
    }

    /// Whether no attribute of it was set, so that its methods are the native ones.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.dict.get().is_null()
    }

    pub(super) fn is_debug(&self) -> bool {
        self.core().is_some_and(Core::is_debug)
    }

    #[inline]
    pub(super) fn wants_read(&self) -> bool {
        self.started.get() && self.state.borrow().wants_read()
    }

    /// Tells the driver what is wanted now; costs nothing where that is no change.
    pub(super) fn update_interest(&self) -> Result<()> {
        let (Some(core), Some(token)) = (self.core(), self.token.get()) else { return Ok(()) };
        let mut interest = Interest::NONE;
        if self.wants_read() {
            interest = interest | Interest::READABLE;
        }
        if self.blocked.get() {
            interest = interest | Interest::WRITABLE;
        }
        Ok(core.engine.set_interest(token, interest).map_err(os_error)?)
    }
}

/// What a new stream is made of.
pub(crate) struct Opening<'a> {
    pub(crate) event_loop: &'a Object,
    pub(crate) protocol: Object,
    pub(crate) server: Option<Object>,
    pub(crate) waiter: Option<Object>,
    /// The context for everything the protocol is called with; without one, copies of the current context.
    pub(crate) context: Option<Object>,
}

/// Makes the transport of a connection and schedules `connection_made`. The descriptor belongs to the transport
/// when this succeeds.
pub(crate) fn open(
    opening: Opening<'_>,
    fd: RawFd,
    fill: impl FnOnce(&Stream) -> Result<()>,
) -> Result<Object> {
    let core = Core::of(opening.event_loop).expect("transports are made by Tulipa loops only");
    let made = copy_of(opening.context.as_ref())?;
    let transport = class::allocate()?;
    // SAFETY: just made of that class.
    let stream = unsafe { class::stream(transport.as_ptr()) };
    // SAFETY: the core lies in the loop object, which the stream keeps alive until it clears both.
    stream.core.set(Some(unsafe { &*std::ptr::from_ref(core) }));
    stream.event_loop.put(opening.event_loop.clone());
    stream.context.put(copy_of(opening.context.as_ref())?);
    stream.waiter.set(opening.waiter.filter(|waiter| !waiter.is_none()));
    set_protocol(stream, opening.protocol.clone())?;
    let connection_made = call::getattr(&opening.protocol, &stdlib().names.connection_made)?;
    fill(stream)?;
    watch(core, &transport, stream, fd)?;
    stream.fd.set(fd);
    stream.number.set(fd);
    attach(stream, &transport, opening.server)?;
    core.schedule(Job::Call { function: connection_made, argument: Some(transport.clone()), context: made });
    core.schedule(Job::Io { target: transport.clone(), event: Event::Opened, context: None });
    Ok(transport)
}

/// Enters the descriptor into the driver; nothing is wanted of it yet.
fn watch(core: &Core, transport: &Object, stream: &Stream, fd: RawFd) -> Result<()> {
    let source = Source::Native(transport.clone());
    let token =
        core.engine.register(fd, Interest::NONE, source).map_err(|(error, _source)| os_error(error))?;
    stream.token.set(Some(token));
    core.descriptors.borrow_mut().insert(fd, token);
    Ok(())
}

/// Takes the descriptor out of the driver.
fn unwatch(stream: &Stream) {
    if let (Some(core), Some(token)) = (stream.core(), stream.token.take()) {
        core.descriptors.borrow_mut().remove(&stream.fd.get());
        drop(core.engine.deregister(token));
    }
}

/// Leaves the descriptor to somebody else, who sends a file through it.
pub(super) fn lend_descriptor(stream: &Stream) {
    unwatch(stream);
}

/// Watches the descriptor again.
pub(super) fn take_descriptor(transport: &Object, stream: &Stream) -> Result<()> {
    let (Some(core), fd) = (stream.core(), stream.fd.get()) else { return Ok(()) };
    if fd < 0 || stream.token.get().is_some() {
        return Ok(());
    }
    watch(core, transport, stream, fd)?;
    stream.update_interest()
}

fn copy_of(context: Option<&Object>) -> Result<Object> {
    context.map_or_else(context::copy_current, |context| Ok(context.clone()))
}

pub(super) fn set_protocol(stream: &Stream, protocol: Object) -> Result<()> {
    stream.receiver.set(Receiver::of(&protocol)?);
    stream.protocol.put(protocol);
    Ok(())
}

fn attach(stream: &Stream, transport: &Object, server: Option<Object>) -> Result<()> {
    let Some(server) = server.filter(|server| !server.is_none()) else { return Ok(()) };
    tell_server(&server, &stdlib().names.attach, transport)?;
    stream.server.put(server);
    Ok(())
}

/// `server._attach(transport)` or `_detach`; before 3.13 they count and take no argument.
fn tell_server(server: &Object, method: &Object, transport: &Object) -> Result<()> {
    let told =
        if cfg!(Py_3_13) { call::method1(server, method, transport) } else { call::method0(server, method) };
    told.map(drop)
}

#[inline]
pub(super) fn run(transport: &Object, event: Event, context: Option<&Object>) -> Result<()> {
    // SAFETY: the caller checked the class.
    let stream = unsafe { class::stream(transport.as_ptr()) };
    match event {
        Event::Ready(readiness) => ready(transport, stream, readiness),
        Event::Opened => opened(stream),
        Event::Lost => match context {
            Some(context) => context::run_in(context, || connection_lost(transport, stream)),
            None => connection_lost(transport, stream),
        },
    }
}

#[inline]
fn ready(transport: &Object, stream: &Stream, readiness: Readiness) -> Result<()> {
    if readiness.is_readable() {
        if stream.wants_read() {
            let context = stream.context.or_none();
            context::run_in(&context, || reading::read(transport, stream))?;
        } else {
            // Paused without telling the driver, in the hope that reading resumes before the next event.
            stream.update_interest()?;
        }
    }
    if readiness.is_writable() && stream.blocked.get() {
        return writing::flush_blocked(transport, stream);
    }
    Ok(())
}

fn opened(stream: &Stream) -> Result<()> {
    stream.started.set(true);
    let outcome = stream.update_interest();
    if let Some(waiter) = stream.waiter.take() {
        // SAFETY: attached.
        let waiter = waiter.bound(unsafe { Python::assume_attached() });
        if !waiter.call_method0("cancelled")?.is_truthy()? {
            waiter.call_method1("set_result", (waiter.py().None(),))?;
        }
    }
    outcome
}

/// `close()`: what was written still goes out.
pub(super) fn close(transport: &Object, stream: &Stream) -> Result<()> {
    if stream.state.borrow().is_closing() {
        return Ok(());
    }
    writing::flush(transport, stream)?;
    let empty = stream.queue.borrow().is_empty();
    let close = stream.state.borrow_mut().close(empty);
    match close {
        Close::Now => lose(transport, stream),
        Close::AfterFlush => stream.update_interest(),
        // The flush has failed, and the loss is under way.
        Close::Already => Ok(()),
    }
}

/// `abort()`: what was written and not yet sent is thrown away.
pub(super) fn abort(transport: &Object, stream: &Stream) -> Result<()> {
    let changed = stream.state.borrow_mut().abort();
    if changed { lose(transport, stream) } else { Ok(()) }
}

/// The write queue has become empty.
pub(super) fn emptied(transport: &Object, stream: &Stream) -> Result<()> {
    if let Some(waiter) = stream.empty_waiter.get() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        waiter.bound(py).call_method1("set_result", (py.None(),))?;
    }
    let emptied = stream.state.borrow_mut().emptied();
    match emptied {
        Emptied::Nothing => Ok(()),
        Emptied::SendEof => writing::shut_down(transport, stream),
        Emptied::Lost => lose(transport, stream),
    }
}

/// An error from which the connection does not recover: it is reported, unless it is the network's, and the
/// connection is given up.
#[cold]
pub(super) fn fatal_error(transport: &Object, stream: &Stream, raised: Raised, message: &str) -> Result<()> {
    let exception = raised.take_object();
    if leaves_the_loop(&exception) {
        return Err(Raised::from_object(&exception));
    }
    report(transport, stream, &exception, message)?;
    give_up(transport, stream, exception)
}

fn give_up(transport: &Object, stream: &Stream, exception: Object) -> Result<()> {
    let failed = stream.state.borrow_mut().fail(exception);
    match failed {
        Fail::First => lose(transport, stream),
        Fail::Already(_) => Ok(()),
    }
}

/// `_force_close(exc)`.
pub(super) fn force_close(transport: &Object, stream: &Stream, exception: Object) -> Result<()> {
    if exception.is_none() { abort(transport, stream) } else { give_up(transport, stream, exception) }
}

fn report(transport: &Object, stream: &Stream, exception: &Object, message: &str) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the class lives as long as the interpreter.
    if exception.is_instance_of(unsafe { ffi::PyExc_OSError }.cast()) {
        if stream.is_debug() {
            let keywords = PyDict::new(py);
            keywords.set_item("exc_info", exception.bound(py))?;
            let logger = stdlib().logger.bound(py);
            logger.call_method("debug", ("%r: %s", transport.bound(py), message), Some(&keywords))?;
        }
        return Ok(());
    }
    protocol_failed(transport, stream, exception, message)
}

/// Tells the exception handler what a protocol's method raised.
pub(super) fn protocol_failed(
    transport: &Object,
    stream: &Stream,
    exception: &Object,
    message: &str,
) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let context = PyDict::new(py);
    context.set_item("message", message)?;
    context.set_item("exception", exception.bound(py))?;
    context.set_item("transport", transport.bound(py))?;
    context.set_item("protocol", stream.protocol.or_none().bound(py))?;
    let handler = &stdlib().names.call_exception_handler;
    call::method1(&stream.event_loop.or_none(), handler, &context.into_any().into()).map(drop)
}

/// Neither half works any more: the queue goes, watching stops, and telling the protocol is scheduled.
fn lose(transport: &Object, stream: &Stream) -> Result<()> {
    let chunks = stream.queue.borrow_mut().take_all();
    drop(chunks);
    stream.blocked.set(false);
    stream.lost.set(stream.lost.get() + 1);
    let Some(core) = stream.core() else { return Ok(()) };
    stream.update_interest()?;
    core.ensure_open()?;
    let context = Some(context::copy_current()?);
    core.schedule(Job::Io { target: transport.clone(), event: Event::Lost, context });
    Ok(())
}

/// Tells the protocol, whatever it does closes the descriptor, and lets go of everything.
pub(super) fn connection_lost(transport: &Object, stream: &Stream) -> Result<()> {
    let loss = stream.state.borrow_mut().take_loss();
    let Some(error) = loss else { return Ok(()) };
    let error = error.unwrap_or_else(Object::none);
    let protocol = stream.protocol.or_none();
    let told = if protocol.is_none() {
        Ok(())
    } else {
        call::method1(&protocol, &stdlib().names.connection_lost, &error).map(drop)
    };
    let closed = dispose(transport, stream);
    wake_empty_waiter(stream)?;
    told.and(closed)
}

fn wake_empty_waiter(stream: &Stream) -> Result<()> {
    let Some(waiter) = stream.empty_waiter.get() else { return Ok(()) };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let error = pyo3::exceptions::PyConnectionError::new_err("Connection is closed by peer");
    waiter.bound(py).call_method1("set_exception", (error.into_value(py),))?;
    Ok(())
}

/// Closes the descriptor and lets go of protocol, server and loop.
pub(super) fn dispose(transport: &Object, stream: &Stream) -> Result<()> {
    let closed = close_descriptor(stream);
    stream.protocol.set(None);
    stream.context.set(None);
    stream.core.set(None);
    stream.event_loop.set(None);
    let detached = match stream.server.take() {
        Some(server) => tell_server(&server, &stdlib().names.detach, transport),
        None => Ok(()),
    };
    closed.and(detached)
}

fn close_descriptor(stream: &Stream) -> Result<()> {
    let fd = stream.fd.get();
    if fd < 0 {
        return Ok(());
    }
    extra::remember_addresses(stream);
    unwatch(stream);
    stream.fd.set(-1);
    if let Some(socket) = stream.socket.get() {
        call::method0(&socket, &stdlib().names.close).map(drop)
    } else {
        extra::close(fd);
        Ok(())
    }
}
