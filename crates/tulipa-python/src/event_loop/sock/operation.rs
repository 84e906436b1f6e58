//! The machine of a socket operation: it tries, and while the socket is not ready it parks.
//!
//! It does nothing until it is stepped, and performs the operation within a step of its task's.

use std::cell::Cell;
use std::os::fd::RawFd;

use pyo3::exceptions::PyRuntimeError;
use socket2::SockAddr;
use tulipa::Token;

use super::super::core::Core;
use super::super::descriptors::{self, Side};
use super::super::job::Source;
use super::{attempt, holding, waiting};
use crate::ffi::make::Exception;
use crate::ffi::raised::{finally, unraisable};
use crate::ffi::{Object, Raised, Result, Slot};
use crate::futures::class::preserving_exception;
use crate::operations::{self, Machine, Step, Waiter};
use crate::stdlib::stdlib;

/// Which of the eight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Receive,
    ReceiveInto,
    ReceiveFrom,
    ReceiveFromInto,
    SendAll,
    SendTo,
    Connect,
    Accept,
}

impl Kind {
    /// The loop's method.
    pub(super) fn name(self) -> &'static Object {
        let names = &stdlib().names;
        match self {
            Self::Receive => &names.sock_recv,
            Self::ReceiveInto => &names.sock_recv_into,
            Self::ReceiveFrom => &names.sock_recvfrom,
            Self::ReceiveFromInto => &names.sock_recvfrom_into,
            Self::SendAll => &names.sock_sendall,
            Self::SendTo => &names.sock_sendto,
            Self::Connect => &names.sock_connect,
            Self::Accept => &names.sock_accept,
        }
    }

    /// As asyncio's own coroutine is called.
    fn qualified_name(self) -> &'static str {
        match self {
            Self::Receive => "BaseSelectorEventLoop.sock_recv",
            Self::ReceiveInto => "BaseSelectorEventLoop.sock_recv_into",
            Self::ReceiveFrom => "BaseSelectorEventLoop.sock_recvfrom",
            Self::ReceiveFromInto => "BaseSelectorEventLoop.sock_recvfrom_into",
            Self::SendAll => "BaseSelectorEventLoop.sock_sendall",
            Self::SendTo => "BaseSelectorEventLoop.sock_sendto",
            Self::Connect => "BaseSelectorEventLoop.sock_connect",
            Self::Accept => "BaseSelectorEventLoop.sock_accept",
        }
    }

    /// The socket's method that asyncio calls for it.
    pub(super) fn socket_method(self) -> &'static str {
        match self {
            Self::Receive => "recv",
            Self::ReceiveInto => "recv_into",
            Self::ReceiveFrom => "recvfrom",
            Self::ReceiveFromInto => "recvfrom_into",
            Self::SendAll => "send",
            Self::SendTo => "sendto",
            Self::Connect => "connect",
            Self::Accept => "accept",
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Self::SendAll | Self::SendTo | Self::Connect => Side::Writer,
            _ => Side::Reader,
        }
    }
}

/// What an operation is made of, beside its socket.
#[derive(Default)]
pub(super) struct Parts {
    /// What is received into, or sent.
    pub(super) buffer: Option<Object>,
    /// Where to, as the program said it and as the kernel wants it.
    pub(super) address: Option<Object>,
    pub(super) target: Option<SockAddr>,
    /// How much to receive.
    pub(super) size: usize,
}

/// One operation.
pub(super) struct SocketOperation {
    event_loop: Slot,
    pub(super) socket: Slot,
    pub(super) buffer: Slot,
    pub(super) address: Slot,
    pub(super) target: Cell<Option<SockAddr>>,
    pub(super) kind: Kind,
    /// How much to receive; what was sent already.
    pub(super) size: Cell<usize>,
    /// Where it waits.
    token: Cell<Option<Token>>,
    /// The socket is kept open.
    holding: Cell<bool>,
    /// A connection attempt is under way.
    pub(super) connecting: Cell<bool>,
}

/// Makes an operation that has not begun.
#[inline]
pub(super) fn new(event_loop: &Object, kind: Kind, socket: Object, parts: Parts) -> Result<Object> {
    let machine = SocketOperation {
        event_loop: Slot::empty(),
        socket: Slot::empty(),
        buffer: Slot::empty(),
        address: Slot::empty(),
        target: Cell::new(parts.target),
        kind,
        size: Cell::new(parts.size),
        token: Cell::new(None),
        holding: Cell::new(false),
        connecting: Cell::new(false),
    };
    machine.event_loop.put(event_loop.clone());
    machine.socket.put(socket);
    machine.buffer.set(parts.buffer);
    machine.address.set(parts.address);
    operations::new(Box::new(machine))
}

impl Machine for Box<SocketOperation> {
    fn qualified_name(&self) -> &'static str {
        self.kind.qualified_name()
    }

    #[inline]
    fn start(&self, _this: &Object) -> Result<Step> {
        let event_loop = self.event_loop.or_none();
        let Some(core) = Core::of(&event_loop) else {
            return Err(PyRuntimeError::with_text("Event loop is closed").into());
        };
        match attempt::perform(core, self) {
            Ok(attempt::Performed::Done(value)) => self.release().map(|()| Step::Done(value)),
            Ok(attempt::Performed::NotReady(fd)) => self.wait(core, &event_loop, fd),
            // Never `Ok`.
            Err(raised) => finally(Err(raised), || self.release()).map(|()| Step::Done(Object::none())),
        }
    }

    /// The socket was found ready.
    #[inline]
    fn resume(&self, value: Object) -> Result<Step> {
        self.start(&value)
    }

    /// Nothing will wait for the socket any more.
    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let event_loop = self.event_loop.or_none();
        if let (Some(core), Some(token), Some(waiter)) = (Core::of(&event_loop), self.token.take(), waiter) {
            waiting::leave(core, token, waiter)?;
        }
        self.release()?;
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        [&self.event_loop, &self.socket, &self.buffer, &self.address].into_iter().for_each(each);
    }
}

impl SocketOperation {
    fn wait(&self, core: &Core, event_loop: &Object, fd: RawFd) -> Result<Step> {
        descriptors::ensure_no_transport(core, event_loop, fd, || fd.to_string())?;
        let (socket, waiter) = (self.socket.or_none(), Waiter::pending(event_loop.clone())?);
        let token = waiting::wait(core, self.kind.side(), fd, &socket, &waiter)?;
        self.token.set(Some(token));
        if !self.holding.get() {
            holding::hold(&socket)?;
            self.holding.set(true);
        }
        Ok(Step::Park(waiter))
    }

    /// Lets the program close the socket, unless the loop has done so when it was closed.
    #[inline]
    fn release(&self) -> Result<()> {
        if !self.holding.replace(false) || Core::of(&self.event_loop.or_none()).is_none_or(Core::is_closed) {
            return Ok(());
        }
        holding::release(&self.socket.or_none())
    }
}

impl Drop for SocketOperation {
    /// Forgotten while it waited.
    fn drop(&mut self) {
        if self.holding.get() {
            preserving_exception(|| {
                if let Err(raised) = self.release() {
                    unraisable(raised, &self.socket.or_none());
                }
            });
        }
    }
}

/// The loop is being closed: nobody will perform the operations that wait with `source`, and nothing is kept open for
/// them.
pub(crate) fn abandon(source: &Source) {
    let Source::Handles { file, reader, writer } = source else { return };
    if !file.is_instance_of(stdlib().socket.as_ptr().cast()) {
        return;
    }
    for _ in reader.iter().chain(writer).filter(|place| operations::is_waiter(place)) {
        if let Err(raised) = holding::release(file) {
            unraisable(raised, file);
        }
    }
}
