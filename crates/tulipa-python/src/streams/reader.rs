//! `StreamReader`: the bytes that have come in, and the one coroutine that may wait for more.
//!
//! The rules are those of asyncio's: above twice the limit the transport is told to pause, at the limit or below it
//! goes on. A transport of ours writes into the buffer without a call (`feed`); any other calls `feed_data`.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::ffi;

use super::Data;
use super::buffer::Buffer;
use super::instance::Layout;
use super::reader_class;
use crate::ffi::make::Exception;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::operations::{Waiter, is_waiter};
use crate::stdlib::stdlib;

/// asyncio's default limit, in bytes.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;

/// A stream's reading end.
#[repr(C)]
pub(super) struct Reader {
    header: ffi::PyObject,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(super) event_loop: Slot,
    pub(super) transport: Slot,
    /// What reading raises from now on.
    pub(super) exception: Slot,
    /// The future or `Waiter` of the coroutine that waits.
    pub(super) waiter: Slot,
    pub(super) source_traceback: Slot,
    /// The limit as it was given, where that was not a number that `limit` holds exactly.
    pub(super) given_limit: Slot,
    pub(super) buffer: Buffer,
    pub(super) limit: Cell<usize>,
    pub(super) eof: Cell<bool>,
    /// The transport was told to pause.
    pub(super) paused: Cell<bool>,
}

// SAFETY: such a struct; what `tp_new` zeroes is complete once `prepare` has run.
unsafe impl Layout for Reader {
    fn dict(&self) -> &Cell<*mut ffi::PyObject> {
        &self.dict
    }

    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [
            &self.event_loop,
            &self.transport,
            &self.exception,
            &self.waiter,
            &self.source_traceback,
            &self.given_limit,
            self.buffer.slot(),
        ]
    }
}

impl Reader {
    /// What a new instance holds behind its header.
    ///
    /// # Safety
    /// `object` is an instance whose memory behind the header is zeroed, and nobody has used it yet.
    pub(super) unsafe fn prepare(object: *mut ffi::PyObject) {
        let reader = object.cast::<Self>();
        // SAFETY: within the instance; zeroed bytes are valid for all fields but this one.
        unsafe { (&raw mut (*reader).buffer).write(Buffer::new()) };
        // SAFETY: as above.
        unsafe { (*reader).limit.set(DEFAULT_LIMIT) };
    }

    /// The reader that an object is.
    ///
    /// # Safety
    /// `object` is a native StreamReader (or of a subclass) and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the class's instances have this layout.
        unsafe { &*object.cast::<Self>() }
    }

    /// The reader where `object` is a native one.
    #[inline]
    pub(super) fn native(object: &Object) -> Option<&Self> {
        // SAFETY: checked; the reference keeps it alive.
        reader_class::is_reader(object).then(|| unsafe { Self::of(object.as_ptr()) })
    }

    /// Raises what `set_exception` was given.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        match self.exception.get() {
            Some(exception) => Err(Raised::from_object(&exception)),
            None => Ok(()),
        }
    }

    /// `feed_data(data)`, after the check that the end has not come.
    #[inline]
    pub(super) fn feed(&self, data: Data<'_>) -> Result<()> {
        match data {
            Data::Passing(data) => self.buffer.append(data)?,
            Data::Whole(bytes) => self.buffer.append_bytes(bytes)?,
        }
        self.fed()
    }

    #[inline]
    fn fed(&self) -> Result<()> {
        self.wake()?;
        if self.paused.get() || self.buffer.len() <= self.limit.get().saturating_mul(2) {
            return Ok(());
        }
        self.pause()
    }

    /// `assert not self._eof`.
    pub(super) fn ensure_open(&self, text: &'static str) -> Result<()> {
        if self.eof.get() { Err(PyAssertionError::with_text(text).into()) } else { Ok(()) }
    }

    /// Has the transport pause. One that cannot is forgotten, and everything it sends kept.
    #[cold]
    fn pause(&self) -> Result<()> {
        let Some(transport) = self.transport.get() else { return Ok(()) };
        match call::method0(&transport, &stdlib().names.pause_reading) {
            Ok(_) => self.paused.set(true),
            // SAFETY: the class lives as long as the interpreter.
            Err(raised) if raised.matches(unsafe { ffi::PyExc_NotImplementedError }) => {
                raised.clear();
                self.transport.set(None);
            }
            Err(raised) => return Err(raised),
        }
        Ok(())
    }

    /// `_maybe_resume_transport()`.
    #[inline]
    pub(super) fn maybe_resume(&self) -> Result<()> {
        if self.paused.get() && self.buffer.len() <= self.limit.get() { self.resume() } else { Ok(()) }
    }

    #[cold]
    fn resume(&self) -> Result<()> {
        self.paused.set(false);
        call::method0(&self.transport.or_none(), &stdlib().names.resume_reading).map(drop)
    }

    pub(super) fn feed_eof(&self) -> Result<()> {
        self.eof.set(true);
        self.wake()
    }

    /// `_wakeup_waiter()`.
    #[inline]
    pub(super) fn wake(&self) -> Result<()> {
        let Some(waiter) = self.waiter.take() else { return Ok(()) };
        if is_waiter(&waiter) {
            // SAFETY: a waiter, kept alive by the reference.
            return unsafe { Waiter::of(waiter.as_ptr()) }.wake(&waiter);
        }
        settle(&waiter, &stdlib().names.set_result, &Object::none())
    }

    pub(super) fn set_exception(&self, exception: &Object) -> Result<()> {
        self.exception.set(Some(exception.clone()).filter(|exception| !exception.is_none()));
        match self.waiter.take() {
            Some(waiter) => settle(&waiter, &stdlib().names.set_exception, exception),
            None => Ok(()),
        }
    }

    /// What a coroutine that found too little parks on. A transport that was told to pause goes on: else the
    /// coroutine would wait for ever.
    #[inline]
    pub(super) fn wait(&self, function: &str) -> Result<Object> {
        if !self.waiter.is_empty() {
            let text =
                format!("{function}() called while another coroutine is already waiting for incoming data");
            return Err(PyRuntimeError::with_text(text).into());
        }
        self.ensure_open("_wait_for_data after EOF")?;
        if self.paused.get() {
            self.resume()?;
        }
        let waiter = Waiter::pending(self.event_loop.or_none())?;
        self.waiter.put(waiter.clone());
        Ok(waiter)
    }
}

/// Ends the wait on a future of any make, unless it was cancelled.
pub(super) fn settle(waiter: &Object, method: &Object, argument: &Object) -> Result<()> {
    if call::truth(&call::method0(waiter, &stdlib().names.cancelled)?)? {
        return Ok(());
    }
    call::method1(waiter, method, argument).map(drop)
}
