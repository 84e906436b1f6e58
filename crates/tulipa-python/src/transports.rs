//! Transports: the engine's stream core with asyncio's face.
//!
//! `stream` holds a connection and its life, `reading` and `writing` move bytes, `class` and `methods` are what
//! Python sees, `extra` makes sockets and addresses when somebody asks for them, `listener` accepts connections.

mod class;
pub(crate) mod extra;
mod listener;
mod methods;
mod reading;
mod stream;
mod writing;

use std::cell::RefCell;

use pyo3::ffi;
use tulipa::Readiness;

pub(crate) use class::initialise;
pub(crate) use listener::{Serving, start_serving};
pub(crate) use reading::Lent;
pub(crate) use stream::{Chunk, Opening, Receiver, open};
pub(crate) use writing::{copy_bytes, is_bytes_like};

use crate::event_loop::core::Core;
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
    if target.is_instance_of(class::stream_class()) {
        return stream::run(target, event, context);
    }
    listener::run(core, target)
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

/// Whether a transport is a native stream of which no method was replaced.
#[inline]
pub(crate) fn is_native(transport: &Object) -> bool {
    // SAFETY: checked by the first half.
    transport.class() == class::stream_class() && unsafe { class::stream(transport.as_ptr()) }.is_plain()
}

/// Queues bytes on a native stream for a protocol that gathers by itself; they go out with `send`.
#[inline]
pub(crate) fn put(transport: &Object, bytes: Object) -> Result<()> {
    assert!(is_native(transport), "a native stream");
    // SAFETY: checked.
    writing::put(unsafe { class::stream(transport.as_ptr()) }, bytes)
}

/// Sends what is queued on a native stream.
#[inline]
pub(crate) fn send(transport: &Object) -> Result<()> {
    assert!(transport.class() == class::stream_class(), "a native stream");
    // SAFETY: checked.
    writing::send_queued(transport, unsafe { class::stream(transport.as_ptr()) })
}

/// Connections that were written to in this turn and go out at its end.
#[derive(Default)]
pub(crate) struct Flushing(RefCell<Vec<Object>>);

impl Flushing {
    #[inline]
    pub(crate) fn add(&self, stream: Object) {
        self.0.borrow_mut().push(stream);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(crate) fn take(&self) -> Vec<Object> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    pub(crate) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        if let Ok(streams) = self.0.try_borrow() {
            streams.iter().for_each(see);
        }
    }
}

/// Sends what was written during the turn. Only `resume_writing()` and the exception handler can be called from
/// here; what they raise to leave the loop is handed back.
#[inline]
pub(crate) fn flush(core: &Core) -> Result<()> {
    let mut outcome = Ok(());
    for connection in core.flushing.take() {
        outcome = outcome.and(if sslproto::is_protocol(&connection) {
            sslproto::flush_scheduled(&connection)
        } else {
            writing::flush_scheduled(&connection)
        });
    }
    if !core.flushing.is_empty() {
        // Somebody wrote meanwhile: that goes out before the loop sleeps.
        core.wake();
    }
    outcome
}
