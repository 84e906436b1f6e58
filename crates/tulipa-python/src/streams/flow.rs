//! `FlowControlMixin`: whether the transport wants to be written to, and the coroutines that wait until it does.
//!
//! The base of StreamReaderProtocol, and of the protocol of child processes, which is written in Python.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyConnectionResetError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::instance::Layout;
use super::reader::settle;
use super::reader_class::is_debug;
use crate::ffi::make::{Exception, Text};
use crate::ffi::{Object, Raised, Result, Slot};
use crate::operations::{self, Machine, Step, WaitList, Waiter};
use crate::stdlib::stdlib;

/// The part that all protocols of streams begin with.
#[repr(C)]
pub(super) struct Flow {
    header: ffi::PyObject,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(super) event_loop: Slot,
    pub(super) waiters: WaitList,
    /// Between `pause_writing` and `resume_writing`.
    pub(super) paused: Cell<bool>,
    pub(super) lost: Cell<bool>,
}

// SAFETY: such a struct; what `tp_new` zeroes is complete.
unsafe impl Layout for Flow {
    fn dict(&self) -> &Cell<*mut ffi::PyObject> {
        &self.dict
    }

    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.event_loop, self.waiters.slot()]
    }
}

impl Flow {
    /// The flow control that an object is.
    ///
    /// # Safety
    /// `object` is a native FlowControlMixin (or of a subclass) and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the class's instances begin with this layout.
        unsafe { &*object.cast::<Self>() }
    }

    pub(super) fn pause(&self, this: &Object) -> Result<()> {
        if self.paused.replace(true) {
            return Err(PyAssertionError::new_err(()).into());
        }
        self.log(this, "%r pauses writing")
    }

    pub(super) fn resume(&self, this: &Object) -> Result<()> {
        if !self.paused.replace(false) {
            return Err(PyAssertionError::new_err(()).into());
        }
        self.log(this, "%r resumes writing")?;
        self.wake_all(None)
    }

    /// `connection_lost(exc)`: who waits to write learns of it.
    pub(super) fn lose(&self, exception: &Object) -> Result<()> {
        self.lost.set(true);
        if !self.paused.get() {
            return Ok(());
        }
        self.wake_all(Some(exception).filter(|exception| !exception.is_none()))
    }

    fn wake_all(&self, exception: Option<&Object>) -> Result<()> {
        let mut place = 0;
        while let Some((waiter, next)) = self.waiters.next(place) {
            place = next;
            let Some(exception) = exception else {
                operations::wake(&waiter, Object::none)?;
                continue;
            };
            // SAFETY: only waiters are put into this list.
            if unsafe { Waiter::of(waiter.as_ptr()) }.is_pending() {
                settle(&waiter, &stdlib().names.set_exception, exception)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn log(&self, this: &Object, text: &str) -> Result<()> {
        if is_debug(&self.event_loop.or_none())? {
            // SAFETY: attached.
            let py = unsafe { Python::assume_attached() };
            stdlib().logger.bound(py).call_method1(Text("debug"), (Text(text), this.bound(py)))?;
        }
        Ok(())
    }

    /// What a coroutine that drains does next: it is done, or waits.
    #[inline]
    pub(super) fn drain(&self) -> Result<Step> {
        if self.lost.get() {
            return Err(PyConnectionResetError::with_text("Connection lost").into());
        }
        if !self.paused.get() {
            return Ok(Step::Done(Object::none()));
        }
        let waiter = Waiter::pending(self.event_loop.or_none())?;
        self.waiters.push(waiter.clone())?;
        Ok(Step::Park(waiter))
    }
}

/// `_drain_helper()`.
pub(super) struct DrainHelper(Slot);

impl DrainHelper {
    pub(super) fn new(flow: Object) -> Self {
        Self(Slot::holding(flow))
    }

    fn leave(&self, waiter: Option<&Object>) {
        let flow = self.0.or_none();
        if let Some(waiter) = waiter {
            // SAFETY: made for flow controls, and not stepped once the slot is cleared.
            unsafe { Flow::of(flow.as_ptr()) }.waiters.remove(waiter);
        }
    }
}

impl Machine for DrainHelper {
    fn qualified_name(&self) -> &'static str {
        "FlowControlMixin._drain_helper"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let flow = self.0.or_none();
        // SAFETY: as in `leave`.
        unsafe { Flow::of(flow.as_ptr()) }.drain()
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        self.leave(Some(&waiter));
        Ok(Step::Done(Object::none()))
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        self.leave(waiter);
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}
