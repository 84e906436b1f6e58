//! One connection: its descriptor, its protocol, and its life from `connection_made` to `connection_lost`.
//!
//! The rules are those of asyncio's selector transports, kept by the engine's `StreamState`; here they meet the
//! descriptor and the protocol. No borrow is held while Python code runs.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::stream::{Close, Emptied, Fail, StreamState, WriteQueue};
use tulipa::{Interest, Readiness, Token, sys};

use super::address::Address;
use super::datagram::{self, Datagram};
use super::kind::Kind;
use super::{Event, class, extra, pipe, reading, sending, writing};
use crate::errors::os_error;
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::event_loop::job::{Job, Source, Unowned};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Raised, Result, Slot, call, context};
use crate::sslproto;
use crate::stdlib::stdlib;
use crate::streams::Feeding;

/// A chunk of the write queue: always exactly a `bytes` object, which nobody can change meanwhile.
pub(crate) struct Chunk(pub(crate) Object);

/// Chunks that have left a queue, let go of when nothing is borrowed any more. One of them, the usual, is kept without
/// allocating for it.
#[derive(Default)]
pub(crate) struct Released {
    first: Option<Chunk>,
    others: Vec<Chunk>,
}

impl Released {
    #[inline]
    pub(crate) fn push(&mut self, chunk: Chunk) {
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.others.push(chunk);
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        let object = self.0.as_ptr();
        // SAFETY: exactly a bytes object: its buffer lives and stays as long as it does.
        unsafe {
            std::slice::from_raw_parts(
                ffi::PyBytes_AsString(object).cast(),
                ffi::PyBytes_Size(object).cast_unsigned(),
            )
        }
    }
}

/// What a transport holds behind the bytes of asyncio's base class.
pub(crate) struct Stream {
    pub(super) event_loop: Slot,
    pub(super) protocol: Slot,
    pub(super) server: Slot,
    /// The Python socket, once there is one, or the program's pipe; it then owns the descriptor.
    pub(super) socket: Slot,
    /// What `get_extra_info` looks things up in; made when it is first asked for.
    pub(super) extra: Slot,
    /// Who waits for the transport to be ready for use.
    waiter: Slot,
    /// The context of the protocol's callbacks.
    pub(super) context: Slot,
    /// Who waits for the write queue to drain, while a file is sent past it.
    pub(super) empty_waiter: Slot,
    /// The transfer of a file that waits for room.
    sending: Slot,
    /// The StreamReader that what comes in goes to past the protocol, where somebody has asked for that.
    pub(super) reader: Slot,
    /// `(low, high)`, where the program has given the queue's limits as other numbers than the counts that it keeps.
    pub(super) limits: Slot,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    core: Cell<Option<&'static Core>>,
    pub(super) kind: Cell<Kind>,
    /// -1 once closed.
    pub(super) fd: Cell<RawFd>,
    /// The descriptor's number, which people are shown also when it is closed.
    pub(super) number: Cell<RawFd>,
    token: Cell<Option<Token>>,
    /// The loop keeps the transport alive.
    held: Cell<bool>,
    /// A duplicate to watch, where somebody else watches the descriptor already.
    duplicate: Cell<Option<OwnedFd>>,
    /// The peer's address, where accepting told it.
    pub(super) peer: Cell<Option<Address>>,
    /// Our own address, saved when the descriptor was closed before anybody asked.
    pub(super) local: Cell<Option<Address>>,
    pub(super) state: RefCell<StreamState<Object>>,
    pub(super) queue: RefCell<WriteQueue<Chunk>>,
    /// `connection_made` has been called: reading may begin.
    started: Cell<bool>,
    /// The kernel's buffer is full: writing goes on when the descriptor is writable.
    pub(super) blocked: Cell<bool>,
    /// A short read says that all has been read, as only TCP promises: elsewhere reads may end where a message does.
    short_reads_tell: Cell<bool>,
    /// The stream is in the loop's list of those to flush.
    pub(super) listed: Cell<bool>,
    /// The protocol was told `pause_writing()`.
    pub(super) protocol_paused: Cell<bool>,
    /// The protocol hands out its own buffers.
    pub(super) buffered: Cell<bool>,
    /// The protocol is the native TLS, which takes what the loop's buffer holds.
    pub(super) tls: Cell<bool>,
    /// How much one read asks for.
    pub(super) max_size: Cell<usize>,
    /// The last read brought much: the next one may go into an object of its own.
    pub(super) bulk: Cell<bool>,
    /// How what comes in reaches the protocol otherwise.
    pub(super) feeding: Cell<Feeding>,
    /// Losing the connection, and writes since.
    pub(super) lost: Cell<u32>,
    /// What only datagrams need.
    pub(super) datagram: OnceCell<Box<Datagram>>,
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
            sending: Slot::empty(),
            reader: Slot::empty(),
            limits: Slot::empty(),
            dict: Cell::new(std::ptr::null_mut()),
            weak_references: Cell::new(std::ptr::null_mut()),
            core: Cell::new(None),
            kind: Cell::new(Kind::Socket),
            fd: Cell::new(-1),
            number: Cell::new(-1),
            token: Cell::new(None),
            held: Cell::new(false),
            duplicate: Cell::new(None),
            peer: Cell::new(None),
            local: Cell::new(None),
            state: RefCell::new(StreamState::new()),
            queue: RefCell::new(WriteQueue::new()),
            started: Cell::new(false),
            blocked: Cell::new(false),
            short_reads_tell: Cell::new(false),
            listed: Cell::new(false),
            protocol_paused: Cell::new(false),
            buffered: Cell::new(false),
            tls: Cell::new(false),
            max_size: Cell::new(super::RECEIVE_SIZE),
            bulk: Cell::new(false),
            feeding: Cell::new(Feeding::Calls),
            lost: Cell::new(0),
            datagram: OnceCell::new(),
        }
    }

    pub(super) fn slots(&self) -> [&Slot; 11] {
        [
            &self.event_loop,
            &self.protocol,
            &self.server,
            &self.socket,
            &self.extra,
            &self.waiter,
            &self.context,
            &self.empty_waiter,
            &self.sending,
            &self.reader,
            &self.limits,
        ]
    }

    /// The core of the loop, until the connection is gone.
    #[inline]
    pub(super) fn core(&self) -> Option<&'static Core> {
        self.core.get()
    }

    pub(super) fn is_debug(&self) -> bool {
        self.core().is_some_and(Core::is_debug)
    }

    #[inline]
    pub(super) fn wants_read(&self) -> bool {
        self.started.get() && self.state.borrow().wants_read()
    }

    /// Whether readability is of interest. To the writing end of a pipe it means that the reader is gone.
    #[inline]
    fn watches_read(&self) -> bool {
        match self.kind.get() {
            Kind::Socket | Kind::ReadPipe | Kind::Datagram => self.wants_read(),
            Kind::WritePipe => self.started.get() && !self.state.borrow().is_lost(),
            Kind::WriteDevice => false,
        }
    }

    /// Tells the driver what is wanted now; costs nothing where that is no change. On a closed loop nothing is watched:
    /// who wants more than before asks for an open one first.
    pub(super) fn update_interest(&self) -> Result<()> {
        let (Some(core), Some(token)) = (self.core().filter(|core| !core.is_closed()), self.token.get())
        else {
            return Ok(());
        };
        let interest = match (self.watches_read(), self.writes()) {
            (false, false) => Interest::NONE,
            (false, true) => Interest::WRITABLE,
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) if self.short_reads_tell.get() => Interest::READABLE | Interest::EDGE,
            (true, false) => Interest::READABLE,
        };
        core.engine.set_interest(token, interest).map_err(os_error)?;
        self.hold(!interest.is_none());
        Ok(())
    }

    /// As in asyncio, the loop keeps a transport alive as long as something is wanted of the descriptor, and no longer.
    fn hold(&self, wanted: bool) {
        if self.held.replace(wanted) == wanted {
            return;
        }
        if let (Some(core), Some(token)) = (self.core(), self.token.get()) {
            let source = if wanted { self.watched() } else { self.idle() };
            let replaced = core.engine.with_source(token, |kept| std::mem::replace(kept, source));
            drop(replaced); // calls out
        }
    }

    /// Reading was paused. The driver is told only if data comes in before it resumes.
    pub(super) fn rest(&self) {
        self.hold(self.watches_read() || self.writes());
    }

    fn writes(&self) -> bool {
        self.blocked.get() || !self.sending.is_empty()
    }

    fn watched(&self) -> Source {
        // SAFETY: alive, as its extension is.
        Source::Native(unsafe { Object::borrow(class::transport_of(self).as_ptr()) })
    }

    fn idle(&self) -> Source {
        // SAFETY: the registration ends in `unwatch`, before the transport is freed.
        Source::Idle(unsafe { Unowned::new(class::transport_of(self)) })
    }

    /// The loop's error once it is closed, as of what asyncio starts to watch or schedules.
    pub(super) fn ensure_open_loop(&self) -> Result<()> {
        Ok(self.core().map_or(Ok(()), Core::ensure_open)?)
    }

    /// Reading has stopped early: the driver tells again of what is left, if it is still wanted.
    #[cold]
    pub(super) fn watch_again(&self) -> Result<()> {
        if !self.short_reads_tell.get() {
            return Ok(());
        }
        match (self.core(), self.token.get()) {
            (Some(core), Some(token)) if self.wants_read() => {
                Ok(core.engine.rewatch(token).map_err(os_error)?)
            }
            _ => self.update_interest(),
        }
    }

    /// Has a file's transfer told of room, instead of the write queue, which is empty meanwhile; or ends that.
    pub(super) fn set_sending(&self, sending: Option<Object>) -> Result<()> {
        if sending.is_some() {
            self.ensure_open_loop()?;
        }
        self.sending.set(sending);
        self.update_interest()
    }
}

/// What a new stream is made of.
pub(crate) struct Opening<'a> {
    pub(crate) kind: Kind,
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
    let transport = class::allocate(opening.kind)?;
    // SAFETY: just made of that class.
    let stream = unsafe { Stream::of(transport.as_ptr()) };
    // SAFETY: the core lies in the loop object, which the stream keeps alive until it clears both.
    stream.core.set(Some(unsafe { &*std::ptr::from_ref(core) }));
    stream.event_loop.put(opening.event_loop.clone());
    stream.context.put(copy_of(opening.context.as_ref())?);
    stream.waiter.set(opening.waiter.filter(|waiter| !waiter.is_none()));
    stream.kind.set(opening.kind);
    set_protocol(stream, opening.protocol.clone())?;
    let connection_made = call::getattr(&opening.protocol, &stdlib().names.connection_made)?;
    fill(stream)?;
    if opening.kind == Kind::Socket {
        stream.short_reads_tell.set(extra::set_no_delay(fd));
    }
    watch(core, stream, fd)?;
    stream.fd.set(fd);
    stream.number.set(fd);
    if let Err(raised) = attach(stream, &transport, opening.server) {
        forget_descriptor(stream);
        return Err(raised);
    }
    core.schedule(Job::Call {
        function: connection_made,
        argument: Some(transport.clone()),
        context: Context::Own(made),
    });
    core.schedule(Job::Io { target: transport.clone(), event: Event::Opened, context: None });
    Ok(transport)
}

/// Enters the descriptor into the driver; nothing is wanted of it yet.
fn watch(core: &Core, stream: &Stream, fd: RawFd) -> Result<()> {
    let shared = stream.kind.get().is_pipe() && core.descriptors.borrow().contains_key(&fd);
    let duplicate = if shared { Some(sys::duplicate(fd).map_err(os_error)?) } else { None };
    let watched = duplicate.as_ref().map_or(fd, AsRawFd::as_raw_fd);
    stream.token.set(Some(core.register(watched, Interest::NONE, stream.idle())?));
    stream.duplicate.set(duplicate);
    Ok(())
}

/// Takes the descriptor out of the driver.
pub(super) fn unwatch(stream: &Stream) {
    if let (Some(core), Some(token)) = (stream.core(), stream.token.take()) {
        let duplicate = stream.duplicate.take();
        let watched = duplicate.as_ref().map_or(stream.fd.get(), AsRawFd::as_raw_fd);
        core.descriptors.borrow_mut().remove(&watched);
        drop(core.engine.deregister(token));
    }
}

/// The descriptor is somebody else's to close, or closed already.
pub(super) fn forget_descriptor(stream: &Stream) {
    unwatch(stream);
    stream.fd.set(-1);
    stream.socket.set(None);
}

fn copy_of(context: Option<&Object>) -> Result<Object> {
    context.map_or_else(context::copy_current, |context| Ok(context.clone()))
}

pub(super) fn set_protocol(stream: &Stream, protocol: Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    // Pipes call `data_received` of any protocol.
    let buffered = stream.kind.get() == Kind::Socket && is_buffered(&protocol.bound(py))?;
    stream.buffered.set(buffered);
    stream.tls.set(buffered && sslproto::is_protocol(&protocol));
    stream.feeding.set(Feeding::of(&protocol));
    stream.reader.set(None);
    stream.protocol.put(protocol);
    Ok(())
}

/// Whether a protocol lends its own buffer. One that cannot be handed data in any other way does, whatever its class.
pub(crate) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(protocol.is_instance(&stdlib().buffered_protocol.bound(protocol.py()))?
        || !protocol.hasattr(Text("data_received"))? && protocol.hasattr(Text("get_buffer"))?)
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
    let stream = unsafe { Stream::of(transport.as_ptr()) };
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
    if readiness.is_readable() && stream.kind.get().only_writes() {
        if stream.watches_read() {
            return pipe::reader_gone(transport, stream);
        }
    } else if readiness.is_readable() {
        if stream.wants_read() {
            let context = stream.context.or_none();
            context::run_in(&context, || match stream.datagram.get() {
                None => reading::read(transport, stream, readiness),
                Some(datagram) => datagram::receive(transport, stream, datagram),
            })?;
        } else {
            // Paused without telling the driver, in the hope that reading resumes before the next event.
            stream.update_interest()?;
        }
    }
    if readiness.is_writable() {
        if let Some(sending) = stream.sending.get() {
            return sending::writable(&sending);
        }
        if stream.blocked.get() {
            return writing::flush_blocked(transport, stream);
        }
    }
    Ok(())
}

fn opened(stream: &Stream) -> Result<()> {
    stream.started.set(true);
    if let Some(waiter) = stream.waiter.take() {
        // SAFETY: attached.
        let waiter = waiter.bound(unsafe { Python::assume_attached() });
        if !waiter.call_method0(Text("cancelled"))?.is_truthy()? {
            waiter.call_method1(Text("set_result"), (waiter.py().None(),))?;
        }
    }
    // Last: a descriptor that cannot be watched is an error, and no more Python may be called then.
    stream.update_interest()
}

/// `close()`: what was written still goes out.
pub(super) fn close(transport: &Object, stream: &Stream) -> Result<()> {
    if stream.state.borrow().is_closing() {
        return Ok(());
    }
    writing::or_fatal(transport, stream, writing::flush(transport, stream))?;
    let empty = stream.queue.borrow().is_empty();
    let close = stream.state.borrow_mut().close(empty);
    match close {
        Close::Now => lose(transport, stream),
        Close::AfterFlush => stream.update_interest(),
        // The flush has failed, and the loss is under way.
        Close::Already => Ok(()),
    }
}

/// `abort()`: what the kernel has not taken is thrown away.
pub(super) fn abort(transport: &Object, stream: &Stream) -> Result<()> {
    // asyncio has sent by now what waits here for the end of the turn.
    if !stream.blocked.get() {
        writing::flush(transport, stream)?;
    }
    let changed = stream.state.borrow_mut().abort();
    if changed { lose(transport, stream) } else { Ok(()) }
}

/// The write queue has become empty.
pub(super) fn emptied(transport: &Object, stream: &Stream) -> Result<()> {
    if let Some(waiter) = stream.empty_waiter.get() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        waiter.bound(py).call_method1(Text("set_result"), (py.None(),))?;
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
    let exception = raised.caught()?;
    writing::send_last(stream);
    report(transport, stream, &exception, message)?;
    give_up(transport, stream, exception)
}

fn give_up(transport: &Object, stream: &Stream, exception: Object) -> Result<()> {
    writing::send_last(stream);
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
    if stream.kind.get().is_usual(exception) {
        if stream.is_debug() {
            let keywords = make::dict(py)?;
            keywords.set_item(Text("exc_info"), exception.bound(py))?;
            let logger = stdlib().logger.bound(py);
            logger.call_method(
                Text("debug"),
                (Text("%r: %s"), transport.bound(py), Text(message)),
                Some(&keywords),
            )?;
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
    let context = make::dict(py)?;
    context.set_item(Text("message"), Text(message))?;
    context.set_item(Text("exception"), exception.bound(py))?;
    context.set_item(Text("transport"), transport.bound(py))?;
    context.set_item(Text("protocol"), stream.protocol.or_none().bound(py))?;
    let handler = &stdlib().names.call_exception_handler;
    call::method1(&stream.event_loop.or_none(), handler, &context.into_any().into()).map(drop)
}

/// Neither half works any more: the queue goes, watching stops, and telling the protocol is scheduled.
fn lose(transport: &Object, stream: &Stream) -> Result<()> {
    writing::drop_queue(stream);
    if let Some(datagram) = stream.datagram.get() {
        datagram.discard();
    }
    stream.blocked.set(false);
    if !stream.kind.get().is_pipe() {
        // Of a pipe only writes are counted.
        stream.lost.set(stream.lost.get() + 1);
    }
    let sending = stream.sending.take();
    if let Some(core) = stream.core() {
        stream.update_interest()?;
        ensure_schedulable(stream, core)?;
        let context = stream.context.get();
        core.schedule(Job::Io { target: transport.clone(), event: Event::Lost, context });
    }
    sending.map_or(Ok(()), |sending| sending::connection_lost(&sending))
}

/// What `call_soon()` asks first: an open loop, and in debug mode its own thread.
pub(super) fn ensure_schedulable(stream: &Stream, core: &Core) -> Result<()> {
    core.ensure_open()?;
    if core.is_debug() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        stream.event_loop.or_none().bound(py).call_method0(Text("_check_thread"))?;
    }
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
    let told = finally(told, || dispose(transport, stream));
    finally(told, || wake_empty_waiter(stream))
}

fn wake_empty_waiter(stream: &Stream) -> Result<()> {
    let Some(waiter) = stream.empty_waiter.get() else { return Ok(()) };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let waiter = waiter.bound(py);
    if !waiter.call_method0(Text("done"))?.is_truthy()? {
        let error = pyo3::exceptions::PyConnectionError::with_text("Connection is closed by peer");
        waiter.call_method1(Text("set_exception"), (error.into_value(py),))?;
    }
    Ok(())
}

/// Closes the descriptor and lets go of protocol, server and loop.
pub(super) fn dispose(transport: &Object, stream: &Stream) -> Result<()> {
    let closed = close_descriptor(stream);
    stream.protocol.set(None);
    stream.reader.set(None);
    stream.context.set(None);
    stream.core.set(None);
    stream.event_loop.set(None);
    let Some(server) = stream.server.take() else { return closed };
    finally(closed, || tell_server(&server, &stdlib().names.detach, transport))
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
