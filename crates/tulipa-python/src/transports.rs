//! Transports: the engine's stream core with asyncio's face.
//!
//! `stream` holds a connection, `opening` makes it, and `life` is what happens to it from then on. `reading` and
//! `writing` move bytes, in `chunk`s where they have to wait. `class` and `methods` are what Python sees, `extra` makes
//! sockets and addresses when somebody asks for them, `listener` accepts connections. `kind` tells what is under a
//! stream: a socket, the end of a pipe, whose own rules are in `pipe`, or a socket of messages, for which there is
//! `datagram`. `sending` sends files past the write queue.

mod address;
mod batch;
mod chunk;
mod class;
mod datagram;
mod datagram_methods;
pub(crate) mod extra;
mod kind;
mod life;
pub(crate) mod listener;
mod methods;
mod opening;
pub(crate) mod pipe;
mod pipe_methods;
mod reading;
pub(crate) mod sending;
mod stream;
mod writing;

use std::cell::{Cell, RefCell};

use pyo3::ffi;
use tulipa::Readiness;
use tulipa::driver::MAX_SENDS;

pub(crate) use chunk::{Chunk, Released};
pub(crate) use class::initialise;
pub(crate) use extra::open_datagrams;
pub(crate) use kind::Kind;
pub(crate) use listener::{Serving, start_serving};
pub(crate) use opening::{Opening, is_buffered, open};
pub(crate) use reading::RECEIVE_SIZE;
use stream::Stream;
pub(crate) use writing::{copy_bytes, is_bytes_like};

use crate::event_loop::core::Core;
use crate::ffi::raised::finally;
use crate::ffi::{Object, Result};
use crate::sslproto;

/// What a job of a transport or listener is about.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// The descriptor is ready.
    Ready(Readiness),
    /// `connection_made` was scheduled before this: reading begins, and who waited for the transport goes on.
    Opened,
    /// The connection is lost, and the protocol is to be told.
    Lost,
}

/// Runs the job of a native transport or listener.
#[inline]
pub(crate) fn run(core: &Core, target: &Object, event: Event, context: Option<&Object>) -> Result<()> {
    if !class::is_stream(target) {
        return listener::run(core, target);
    }
    life::run(target, event, context)?;
    if is_due(core) { flush(core) } else { Ok(()) }
}

/// Jobs in a turn from which on its answers wait for each other. From some fifty on, answers that go out together are
/// the cheaper ones. With few, a peer on another core would be idle until the last and the loop would be idle after it:
/// ten connections of a Unix socket had a third of the messages per second.
const LONG_TURN: usize = 32;

/// Whether what was written goes out before the turn's end: in a short turn, and in a long one when as much waits as
/// goes into one call. Among more connections the first would be out of the processor's cache: an echo to a thousand
/// was a tenth slower.
#[inline]
fn is_due(core: &Core) -> bool {
    let written = core.flushing.len();
    written > 0 && (written >= MAX_SENDS || written + core.engine.ready_len() < LONG_TURN)
}

/// The stream of a native transport that behaves as its class was made.
#[inline]
fn plain(transport: &Object) -> Option<&Stream> {
    if !class::is_stream(transport) {
        return None;
    }
    // SAFETY: just checked; the reference keeps it alive.
    let stream = unsafe { Stream::of(transport.as_ptr()) };
    stream.dict.get().is_null().then_some(stream)
}

/// `transport.write(data)` without a call; `false` where it must be called.
#[inline]
pub(crate) fn write_to(transport: &Object, data: &Object) -> Result<bool> {
    let Some(stream) = plain(transport) else { return Ok(false) };
    match stream.kind.get() {
        Kind::Socket => writing::write(transport, stream, data)?,
        Kind::WritePipe | Kind::WriteDevice => pipe::write(transport, stream, data)?,
        Kind::ReadPipe | Kind::Datagram => return Ok(false),
    }
    Ok(true)
}

/// `transport.is_closing()` without a call, of a native transport.
#[inline]
pub(crate) fn is_closing(transport: &Object) -> Option<bool> {
    plain(transport).map(|stream| stream.state.borrow().is_closing())
}

/// Whether `transport` is a native one about which nothing has been asked or told: it knows its socket and no more.
pub(crate) fn is_bare(transport: &Object) -> bool {
    plain(transport).is_some_and(|stream| stream.kind.get() == Kind::Socket && stream.extra.is_empty())
}

/// Whether `transport` is a native stream socket of which no method was replaced.
#[inline]
pub(crate) fn is_plain_socket(transport: &Object) -> bool {
    plain(transport).is_some_and(|stream| stream.kind.get() == Kind::Socket)
}

/// The context in which a native transport calls its protocol.
pub(crate) fn context_of(transport: &Object) -> Option<Object> {
    if !class::is_stream(transport) {
        return None;
    }
    // SAFETY: just checked; the reference keeps it alive.
    unsafe { Stream::of(transport.as_ptr()) }.context.get()
}

/// Queues bytes on a native stream socket for a protocol that gathers by itself; they go out with `send`.
#[inline]
pub(crate) fn put(transport: &Object, bytes: Object) -> Result<()> {
    let stream = plain(transport).expect("a native stream");
    writing::put(stream, bytes)
}

/// Sends what is queued on a native stream, or has the turn's end send it where it is little.
#[inline]
pub(crate) fn send(transport: &Object) -> Result<()> {
    assert!(class::is_stream(transport), "a native stream");
    // SAFETY: just checked; the reference keeps it alive.
    writing::send_queued(transport, unsafe { Stream::of(transport.as_ptr()) })
}

/// The callable whose failure an exception is reported as, when the job of `target` raised.
pub(crate) fn callable(target: &Object, event: Event) -> Result<Object> {
    let definition = match event {
        Event::Ready(_) => &raw mut class::READ_READY,
        Event::Opened => &raw mut class::OPENED,
        Event::Lost => &raw mut class::CONNECTION_LOST,
    };
    // SAFETY: the definitions are static; the method owns a reference to its object.
    unsafe { Object::steal(ffi::PyCFunction_New(definition, target.as_ptr())) }
}

/// A list for more connections than this is not kept from turn to turn.
const MOST_SPARE: usize = 1024;

/// Connections that were written to in this turn, and whose data goes out at its end at the latest.
#[derive(Default)]
pub(crate) struct Flushing {
    streams: RefCell<Vec<Object>>,
    /// An empty list with the room that an earlier turn has needed.
    spare: Cell<Vec<Object>>,
    batch: batch::Batch,
}

impl Flushing {
    #[inline]
    pub(crate) fn add(&self, stream: Object) {
        self.streams.borrow_mut().push(stream);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.borrow().is_empty()
    }

    fn len(&self) -> usize {
        self.streams.borrow().len()
    }

    pub(crate) fn take(&self) -> Vec<Object> {
        self.streams.replace(self.spare.take())
    }

    /// Lets go of what was sent, and keeps the list for the next turn.
    fn keep(&self, mut streams: Vec<Object>) {
        streams.clear();
        if streams.capacity() <= MOST_SPARE {
            self.spare.set(streams);
        }
    }

    /// The loop is closed: what was not sent is handed back.
    pub(crate) fn close(&self) -> Vec<Object> {
        self.batch.close();
        self.take()
    }

    pub(crate) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        if let Ok(streams) = self.streams.try_borrow() {
            streams.iter().for_each(see);
        }
    }
}

/// Sends what was written during the turn so far, and what that leads to: `resume_writing()` and the exception handler can be
/// called from here. What they raise to leave the loop is handed back.
#[inline]
pub(crate) fn flush(core: &Core) -> Result<()> {
    let mut outcome = Ok(());
    while !core.flushing.is_empty() {
        let mut streams = core.flushing.take();
        // Sessions first: what they encrypt makes the streams below them, or sessions again, part of this.
        while streams.iter().any(sslproto::is_protocol) {
            for session in streams.extract_if(.., |each| sslproto::is_protocol(each)) {
                outcome = finally(outcome, || sslproto::flush_scheduled(&session));
            }
            streams.extend(core.flushing.take());
        }
        outcome = finally(outcome, || core.flushing.batch.send(&streams));
        for stream in &streams {
            outcome = finally(outcome, || writing::flush_scheduled(stream));
        }
        core.flushing.keep(streams);
    }
    outcome
}
