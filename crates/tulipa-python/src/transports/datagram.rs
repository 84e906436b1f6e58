//! Datagrams: the kind of transport whose messages keep their edges.
//!
//! Its life, flow control and extra information are those of `stream`. What is its own: messages have addresses, an
//! error of the network is told and ends nothing, and the protocol is never told of an end that there is not.
//!
//! The first message of a turn is sent at once, as asyncio sends all of them; those that follow in the same turn go
//! out together. What comes in is taken and answered one by one while that empties the socket; where more comes in
//! than that, bursts are received with one call each, and the answers to them gathered too. Gathering is the cheaper
//! way under load. With few peers it would have them wait for each other's answers, and then the loop for them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use socket2::SockAddr;
use tulipa::{Readiness, sys};

use super::chunk::Chunk;
use super::life::{emptied, fatal_error};
use super::stream::Stream;
use super::{Event, writing};
use crate::errors::os_error;
use crate::event_loop::contexts::Context;
use crate::event_loop::core::{Core, current_thread};
use crate::event_loop::job::Job;
use crate::ffi::buffer::{Buffer, new_bytes};
use crate::ffi::make::{Exception, Text};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Raised, Result, Slot, audit, call, context};
use crate::stdlib::stdlib;

/// What a queued message counts beyond its bytes; in older Pythons nothing.
pub(super) const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };

/// Messages, and bytes, that may wait for the end of the turn: what one system call takes, and no more than is soon
/// sent.
const GATHERED: (usize, usize) = (16, 64 * 1024);

/// Bursts, or as many single messages, that are received for one event while there are more.
const BURSTS_PER_EVENT: usize = 4;

/// What a datagram transport holds beside what every transport does.
pub(crate) struct Datagram {
    /// The remote address that the endpoint was made for, or `None`.
    pub(super) address: Slot,
    peer: Peer,
    family: i32,
    /// Where the messages of the write queue go.
    destinations: RefCell<VecDeque<Destination>>,
    /// What was received and not told yet: by a burst, before the protocol paused or raised.
    inbox: RefCell<VecDeque<(Object, Object)>>,
    /// Messages come in faster than they are received one by one.
    crowded: Cell<bool>,
    /// A message that was received by itself is being told: what is sent next is the answer, which goes by itself too.
    answering: Cell<bool>,
}

/// What the socket itself knows of where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    None,
    /// A peer without an address, as the ends of a pair of Unix sockets have.
    Nameless,
    Known,
}

impl Peer {
    /// By what `getpeername()` answers, or `None`.
    pub(super) fn of(name: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(match (name.is_none(), name.is_truthy()?) {
            (true, _) => Self::None,
            (false, false) => Self::Nameless,
            (false, true) => Self::Known,
        })
    }
}

/// Where a message goes.
#[derive(Clone)]
enum Destination {
    /// Where the socket is connected to.
    Peer,
    Known(Rc<SockAddr>),
    /// An address that only the socket's own method can read, as it resolves names.
    Named(Object),
}

impl Datagram {
    pub(super) fn new(address: Option<Object>, peer: Peer, family: i32) -> Self {
        let address_slot = Slot::empty();
        address_slot.set(address);
        Self {
            address: address_slot,
            peer,
            family,
            destinations: RefCell::default(),
            inbox: RefCell::default(),
            crowded: Cell::new(false),
            answering: Cell::new(false),
        }
    }

    /// Every reference, for the garbage collector.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        visit(self.address.as_ptr());
        if let Ok(inbox) = self.inbox.try_borrow() {
            for (data, address) in inbox.iter() {
                visit(data.as_ptr());
                visit(address.as_ptr());
            }
        }
        if let Ok(destinations) = self.destinations.try_borrow() {
            for destination in destinations.iter() {
                if let Destination::Named(address) = destination {
                    visit(address.as_ptr());
                }
            }
        }
    }

    /// Lets go of what was not sent and not told.
    pub(super) fn discard(&self) {
        let left = (
            std::mem::take(&mut *self.destinations.borrow_mut()),
            std::mem::take(&mut *self.inbox.borrow_mut()),
        );
        drop(left);
    }

    fn is_inbox_empty(&self) -> bool {
        self.inbox.borrow().is_empty()
    }
}

// Sending.

/// `sendto(data, addr)`.
pub(super) fn send_to(
    transport: &Object,
    stream: &Stream,
    datagram: &Datagram,
    data: &Object,
    address: Option<Object>,
) -> Result<()> {
    check_data(data)?;
    if !cfg!(Py_3_13) && call::length(data)? == 0 {
        return Ok(());
    }
    let mut address = address.filter(|address| !address.is_none());
    if let Some(own) = datagram.address.get() {
        if let Some(other) = address.filter(|address| !address.is(own.as_ptr())) {
            check_address(&other, &own)?;
        }
        if stream.lost.get() > 0 {
            return writing::write_to_lost(stream);
        }
        address = Some(own);
    }
    // Of a transport that is closed for good: asyncio's stumbles here over the loop that it has let go of.
    let Some(core) = stream.core() else { return Ok(()) };
    let destination = destination(core, stream, datagram, address)?;
    let is_answer = datagram.answering.take();
    let gathers = !is_answer && core.thread() == Some(current_thread());
    let gathered = gathers && is_gathered(stream, &destination);
    if !gathered && !stream.blocked.get() {
        flush(transport, stream, datagram)?;
    }
    if !gathered && !stream.blocked.get() {
        if gathers && !stream.listed.replace(true) {
            core.flushing.add(transport.clone());
        }
        if send_now(transport, stream, data, &destination)? {
            return Ok(());
        }
        writing::block(stream)?;
    }
    queue(transport, stream, datagram, (data, destination))
}

/// Whether the message waits for the end of the turn, as one that follows another.
fn is_gathered(stream: &Stream, destination: &Destination) -> bool {
    let is_named = matches!(destination, Destination::Named(_));
    stream.listed.get() && !is_named && !stream.state.borrow().is_closing()
}

fn check_data(data: &Object) -> Result<()> {
    if writing::is_bytes_like(data) {
        return Ok(());
    }
    // SAFETY: attached.
    let name = data.bound(unsafe { Python::assume_attached() }).get_type().name()?.repr()?.to_string();
    let text = format!("data argument must be a bytes-like object, not {name}");
    Err(PyTypeError::with_text(text).into())
}

/// An endpoint with a remote address sends nowhere else.
fn check_address(given: &Object, own: &Object) -> Result<()> {
    if call::equal(given, own)? {
        return Ok(());
    }
    // SAFETY: attached.
    let own = own.bound(unsafe { Python::assume_attached() }).str()?.to_string();
    Err(PyValueError::with_text(format!("Invalid address: must be None or {own}")).into())
}

#[inline]
fn destination(
    core: &Core,
    stream: &Stream,
    datagram: &Datagram,
    address: Option<Object>,
) -> Result<Destination> {
    if datagram.peer == Peer::Known || datagram.peer == Peer::Nameless && address.is_none() {
        return Ok(Destination::Peer);
    }
    let address = address.unwrap_or_else(Object::none);
    let Some(known) = core.addresses.raw(datagram.family, &address) else {
        return Ok(Destination::Named(address));
    };
    // What the socket's own method tells the interpreter's audit hooks.
    audit::tell(c"socket.sendto", &stream.socket.or_none(), &address)?;
    Ok(Destination::Known(known))
}

/// Sends one message; `false` where the kernel has no room. An error of the network is told at once.
fn send_now(transport: &Object, stream: &Stream, data: &Object, destination: &Destination) -> Result<bool> {
    let fd = stream.fd.get();
    let sent = match destination {
        Destination::Peer => sys::send(fd, Buffer::readable(data)?.bytes()),
        Destination::Known(address) => sys::send_to(fd, Buffer::readable(data)?.bytes(), address),
        Destination::Named(address) => return send_named(transport, stream, data, address),
    };
    match sent {
        Ok(_) => Ok(true),
        Err(error) if is_busy(&error) => Ok(false),
        Err(error) => tell_error(stream, os_error(error)).map(|()| true),
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Has the socket's own method send to an address, whatever that is.
#[cold]
fn send_named(transport: &Object, stream: &Stream, data: &Object, address: &Object) -> Result<bool> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let socket = stream.socket.or_none();
    let Err(error) = socket.bound(py).call_method1(Text("sendto"), (data.bound(py), address.bound(py)))
    else {
        return Ok(true);
    };
    if error.is_instance_of::<pyo3::exceptions::PyBlockingIOError>(py)
        || error.is_instance_of::<pyo3::exceptions::PyInterruptedError>(py)
    {
        return Ok(false);
    }
    if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) {
        return tell_error(stream, error).map(|()| true);
    }
    fatal_error(transport, stream, error.into(), stream.kind.get().write_failure()).map(|()| true)
}

/// `error_received(exc)`.
#[cold]
fn tell_error(stream: &Stream, error: PyErr) -> Result<()> {
    let exception = Raised::from(error).take_object();
    call::method1(&stream.protocol.or_none(), &stdlib().names.error_received, &exception).map(drop)
}

/// Keeps a message for the end of the turn, or for when there is room.
fn queue(
    transport: &Object,
    stream: &Stream,
    datagram: &Datagram,
    (data, destination): (&Object, Destination),
) -> Result<()> {
    let bytes = writing::as_bytes(data)?;
    datagram.destinations.borrow_mut().push_back(destination);
    stream.queue.borrow_mut().append(Chunk(bytes));
    if stream.blocked.get() {
        return writing::maybe_pause(transport, stream);
    }
    let (count, size) = (stream.queue.borrow().count(), stream.queue.borrow().len());
    if count >= GATHERED.0 || size > GATHERED.1 {
        flush(transport, stream, datagram)?;
        return writing::maybe_pause(transport, stream);
    }
    Ok(())
}

/// Sends what is queued, as far as the kernel takes it. An error of the network costs the message that it met, and is
/// told in the next turn, since this may be called while the protocol is at work; what else is queued waits for that.
pub(super) fn flush(transport: &Object, stream: &Stream, datagram: &Datagram) -> Result<()> {
    if stream.queue.borrow().is_empty() { Ok(()) } else { go_on(transport, stream, datagram) }
}

/// The same, where the queue may have become empty with an error: of that the protocol is still to be told.
pub(super) fn go_on(transport: &Object, stream: &Stream, datagram: &Datagram) -> Result<()> {
    while !stream.queue.borrow().is_empty() && !stream.blocked.get() {
        match send_queued(transport, stream, datagram)? {
            Ok(count) => (0..count).for_each(|_| forget_first(stream, datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writing::block(stream)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                forget_first(stream, datagram);
                schedule_error(stream, os_error(error))?;
                writing::block(stream)?;
                return writing::maybe_pause(transport, stream);
            }
        }
    }
    let resumes = stream.protocol_paused.get() && !stream.queue.borrow().is_paused();
    let told = if resumes { writing::resume(transport, stream) } else { Ok(()) };
    let empty = stream.queue.borrow().is_empty();
    finally(told, || if empty { emptied(transport, stream) } else { writing::maybe_pause(transport, stream) })
}

/// Sends the first messages of the queue with one call. How many went.
fn send_queued(transport: &Object, stream: &Stream, datagram: &Datagram) -> Result<io::Result<usize>> {
    let named = match datagram.destinations.borrow().front() {
        Some(Destination::Named(address)) => Some(address.clone()),
        _ => None,
    };
    if let Some(address) = named {
        let data = stream.queue.borrow().iter().next().map(|chunk| chunk.0.clone());
        let sent = send_named(transport, stream, &data.unwrap_or_else(Object::none), &address)?;
        return Ok(if sent { Ok(1) } else { Err(io::ErrorKind::WouldBlock.into()) });
    }
    let (queue, destinations) = (stream.queue.borrow(), datagram.destinations.borrow());
    let mut messages = Vec::with_capacity(GATHERED.0);
    for (chunk, destination) in queue.iter().zip(destinations.iter()).take(GATHERED.0) {
        let address = match destination {
            Destination::Peer => None,
            Destination::Known(address) => Some(&**address),
            Destination::Named(_) => break,
        };
        messages.push((IoSlice::new(chunk.as_ref()), address));
    }
    let fd = stream.fd.get();
    Ok(match &messages[..] {
        [(bytes, None)] => sys::send(fd, bytes).map(|_| 1),
        [(bytes, Some(address))] => sys::send_to(fd, bytes, address).map(|_| 1),
        several => sys::send_each(fd, several),
    })
}

/// Takes the first message out.
fn forget_first(stream: &Stream, datagram: &Datagram) {
    let destination = datagram.destinations.borrow_mut().pop_front();
    let message = stream.queue.borrow_mut().pop();
    drop((destination, message));
}

#[cold]
fn schedule_error(stream: &Stream, error: PyErr) -> Result<()> {
    let (Some(core), Some(own)) = (stream.core(), stream.context.get()) else { return Ok(()) };
    let function = call::getattr(&stream.protocol.or_none(), &stdlib().names.error_received)?;
    let argument = Some(Raised::from(error).take_object());
    core.schedule(Job::Call { function, argument, context: Context::Own(context::copy(&own)?) });
    Ok(())
}

// Receiving.

/// The descriptor has something, or the inbox.
pub(super) fn receive(transport: &Object, stream: &Stream, datagram: &Datagram) -> Result<()> {
    tell_inbox(transport, stream, datagram)?;
    let Some(core) = stream.core() else { return Ok(()) };
    for _ in 0..BURSTS_PER_EVENT {
        let crowded = datagram.crowded.get();
        let count = if crowded {
            receive_burst(core, stream, datagram)?
        } else {
            receive_each(core, stream, datagram)?
        };
        tell_inbox(transport, stream, datagram)?;
        let full = count == sys::Burst::capacity();
        datagram.crowded.set(full && sys::Burst::suits(stream.max_size.get()));
        if !full {
            break;
        }
    }
    Ok(())
}

/// Receives and tells messages one by one, at most a burst of them; how many there were.
fn receive_each(core: &Core, stream: &Stream, datagram: &Datagram) -> Result<usize> {
    for count in 0..sys::Burst::capacity() {
        if !stream.wants_read() {
            return Ok(count);
        }
        let received = core.with_receive_buffer(stream.max_size.get(), |buffer| {
            let (length, sender) = sys::recv_from(stream.fd.get(), buffer)?;
            Ok((new_bytes(&buffer[..length]), sender))
        });
        let (data, sender) = match received {
            Ok(message) => message,
            Err(error) if is_busy(&error) => return Ok(count),
            Err(error) => return tell_error(stream, os_error(error)).map(|()| count),
        };
        datagram.answering.set(true);
        let told = data.and_then(|data| tell(stream, &data, &core.addresses.python(&sender)?));
        datagram.answering.set(false);
        told?;
    }
    Ok(sys::Burst::capacity())
}

/// Fills the inbox with one call; how many messages came.
fn receive_burst(core: &Core, stream: &Stream, datagram: &Datagram) -> Result<usize> {
    if !stream.wants_read() {
        return Ok(0);
    }
    let size = stream.max_size.get();
    let mut burst = core.burst.take();
    let received = burst.receive(stream.fd.get(), size);
    let kept = burst.iter().try_for_each(|(bytes, sender)| {
        let message = (new_bytes(bytes)?, core.addresses.python(sender)?);
        datagram.inbox.borrow_mut().push_back(message);
        Ok(())
    });
    core.burst.set(burst);
    match received {
        Ok(count) => kept.map(|()| count),
        Err(error) if is_busy(&error) => Ok(0),
        Err(error) => tell_error(stream, os_error(error)).map(|()| 0),
    }
}

/// Tells the protocol what is in the inbox, until it has had enough. What it raises concerns one message: the others
/// follow with a job of their own.
fn tell_inbox(transport: &Object, stream: &Stream, datagram: &Datagram) -> Result<()> {
    while stream.wants_read() {
        let message = datagram.inbox.borrow_mut().pop_front();
        let Some((data, sender)) = message else { break };
        if let Err(raised) = tell(stream, &data, &sender) {
            let exception = raised.take_object();
            tell_later(transport, stream, datagram);
            return Err(Raised::from_object(&exception));
        }
    }
    Ok(())
}

/// Has a job empty the inbox: reading has resumed, or was interrupted.
pub(super) fn tell_later(transport: &Object, stream: &Stream, datagram: &Datagram) {
    if let Some(core) = stream.core().filter(|_| !datagram.is_inbox_empty()) {
        let event = Event::Ready(Readiness::READABLE);
        core.schedule(Job::Io { target: transport.clone(), event, context: None });
    }
}

/// `datagram_received(data, addr)`.
#[inline]
fn tell(stream: &Stream, data: &Object, sender: &Object) -> Result<()> {
    let protocol = stream.protocol.or_none();
    let arguments = [protocol.as_ptr(), data.as_ptr(), sender.as_ptr()];
    call::vectorcall_method(&arguments, &stdlib().names.datagram_received, std::ptr::null_mut()).map(drop)
}
