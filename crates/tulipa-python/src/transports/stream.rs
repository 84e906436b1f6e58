//! One connection: its descriptor, its protocol, what waits to be written, and what is asked of the driver for it.
//!
//! `opening` makes one, `life` is what happens to it from then on. No borrow is held while Python code runs.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use pyo3::ffi;
use tulipa::stream::{StreamState, WriteQueue};
use tulipa::{Interest, Token, sys};

use super::address::Address;
use super::chunk::Chunk;
use super::class;
use super::datagram::Datagram;
use super::kind::Kind;
use crate::errors::os_error;
use crate::event_loop::core::Core;
use crate::event_loop::job::{Source, Unowned};
use crate::ffi::{Object, Result, Slot};
use crate::streams::Feeding;

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
    pub(super) waiter: Slot,
    /// The context of the protocol's callbacks.
    pub(super) context: Slot,
    /// Who waits for the write queue to drain, while a file is sent past it.
    pub(super) empty_waiter: Slot,
    /// The transfer of a file that waits for room.
    pub(super) sending: Slot,
    /// The StreamReader that what comes in goes to past the protocol, where somebody has asked for that.
    pub(super) reader: Slot,
    /// `(low, high)`, where the program has given the queue's limits as other numbers than the counts that it keeps.
    pub(super) limits: Slot,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(super) core: Cell<Option<&'static Core>>,
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
    pub(super) started: Cell<bool>,
    /// The kernel's buffer is full: writing goes on when the descriptor is writable.
    pub(super) blocked: Cell<bool>,
    /// A short read says that all has been read, as only TCP promises: elsewhere reads may end where a message does.
    pub(super) short_reads_tell: Cell<bool>,
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

    /// Enters the descriptor into the driver; nothing is wanted of it yet.
    pub(super) fn watch(&self, core: &Core, fd: RawFd) -> Result<()> {
        let shared = self.kind.get().is_pipe() && core.descriptors.borrow().contains_key(&fd);
        let duplicate = if shared { Some(sys::duplicate(fd).map_err(os_error)?) } else { None };
        let watched = duplicate.as_ref().map_or(fd, AsRawFd::as_raw_fd);
        self.token.set(Some(core.register(watched, Interest::NONE, self.idle())?));
        self.duplicate.set(duplicate);
        Ok(())
    }

    /// Takes the descriptor out of the driver.
    pub(super) fn unwatch(&self) {
        if let (Some(core), Some(token)) = (self.core(), self.token.take()) {
            let duplicate = self.duplicate.take();
            let watched = duplicate.as_ref().map_or(self.fd.get(), AsRawFd::as_raw_fd);
            core.descriptors.borrow_mut().remove(&watched);
            drop(core.engine.deregister(token));
        }
    }

    /// The descriptor is somebody else's to close, or closed already.
    pub(super) fn forget_descriptor(&self) {
        self.unwatch();
        self.fd.set(-1);
        self.socket.set(None);
    }

    /// Whether readability is of interest. To the writing end of a pipe it means that the reader is gone.
    #[inline]
    pub(super) fn watches_read(&self) -> bool {
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
