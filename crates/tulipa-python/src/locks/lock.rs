//! `Lock`: fair mutual exclusion between tasks.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::entering::{Enter, Exit, is_cancellation};
use super::{describe, is_exactly};
use crate::ffi::class::noargs;
use crate::ffi::make::{Exception, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot, native};
use crate::futures::methods::boolean;
use crate::gc::VisitSlots;
use crate::operations::{self, LoopBound, Machine, Step, WaitList};

/// Primitive lock objects.
///
/// A primitive lock is a synchronization primitive that is not owned by a particular task when locked. It is created
/// unlocked. acquire() waits until it is unlocked, and locks it; release() unlocks it, and lets the task proceed that
/// has waited longest. Releasing an unlocked lock raises RuntimeError. `async with lock:` does both.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Lock {
    bound_to: LoopBound,
    waiters: WaitList,
    locked: Cell<bool>,
}

// SAFETY: S1.
unsafe impl Send for Lock {}
// SAFETY: S1.
unsafe impl Sync for Lock {}

impl Lock {
    pub(super) const fn unlocked() -> Self {
        Self { bound_to: LoopBound::new(), waiters: WaitList::new(), locked: Cell::new(false) }
    }

    #[inline]
    pub(super) fn is_locked(&self) -> bool {
        self.locked.get()
    }

    /// Takes the lock if it may be had at once. Others that wait go first, unless all of them were cancelled.
    #[inline]
    pub(super) fn try_acquire(&self) -> Result<bool> {
        if self.locked.get() || (!self.waiters.is_empty() && self.waiters.any_not_cancelled()?) {
            return Ok(false);
        }
        self.locked.set(true);
        Ok(true)
    }

    #[inline]
    pub(super) fn unlock(&self) -> Result<()> {
        if !self.locked.replace(false) {
            return Err(PyRuntimeError::with_text("Lock is not acquired.").into());
        }
        self.wake_first()
    }

    /// Has the first that waits go on, if it is not about to.
    #[inline]
    fn wake_first(&self) -> Result<()> {
        match self.waiters.next(0) {
            Some((first, _)) => operations::wake(&first, || boolean(true)).map(drop),
            None => Ok(()),
        }
    }
}

/// `acquire()`.
pub(super) struct Acquire {
    lock: Slot,
    /// Entering a block gives None instead of True.
    entering: bool,
}

impl Acquire {
    pub(super) fn new(lock: Object, entering: bool) -> Self {
        Self { lock: Slot::holding(lock), entering }
    }

    #[inline]
    fn done(&self) -> Step {
        Step::Done(if self.entering { Object::none() } else { boolean(true) })
    }
}

impl Machine for Acquire {
    fn qualified_name(&self) -> &'static str {
        if self.entering { "_ContextManagerMixin.__aenter__" } else { "Lock.acquire" }
    }

    fn waits_in(&self) -> &'static [&'static str] {
        if self.entering { &["_ContextManagerMixin.__aenter__", "Lock.acquire"] } else { &[] }
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let object = self.lock.or_none();
        // SAFETY: made for locks only, and not started once it is cleared.
        let lock: &Lock = unsafe { native(object.as_ptr()) };
        if lock.try_acquire()? {
            return Ok(self.done());
        }
        let waiter = lock.bound_to.waiter(&object, this)?;
        lock.waiters.push(waiter.clone())?;
        Ok(Step::Park(waiter))
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        let object = self.lock.or_none();
        // SAFETY: made for locks only.
        let lock: &Lock = unsafe { native(object.as_ptr()) };
        lock.waiters.remove(&waiter);
        lock.locked.set(true);
        Ok(self.done())
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let object = self.lock.or_none();
        // SAFETY: made for locks only.
        let lock: &Lock = unsafe { native(object.as_ptr()) };
        if let Some(waiter) = waiter {
            lock.waiters.remove(waiter);
        }
        // Nobody may be left behind that was to go on, or could.
        if is_cancellation(&exception) && !lock.locked.get() {
            lock.wake_first()?;
        }
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.lock);
    }
}

pub(super) static mut METHODS: [ffi::PyMethodDef; 2] = [
    noargs(
        c"acquire",
        acquire,
        c"acquire($self)\n--\n\nAcquire a lock.\n\n\
        This method blocks until the lock is unlocked, then sets it to locked and returns True.",
    ),
    noargs(
        c"release",
        release,
        c"release($self)\n--\n\nRelease a lock: unlock it, and let the first of those that wait proceed.\n\n\
        When invoked on an unlocked lock, a RuntimeError is raised.",
    ),
];

unsafe extern "C" fn acquire(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| operations::new(Acquire::new(unsafe { Object::borrow(object) }, false)))
}

unsafe extern "C" fn release(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { native::<Lock>(object) }.unlock().map(|()| Object::none()))
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "()")]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self::unlocked()
    }

    fn __init__(&self) {
        self.locked.set(false);
        self.waiters.reset();
    }

    /// Return True if lock is acquired.
    #[pyo3(name = "locked")]
    fn locked_method(&self) -> bool {
        self.is_locked()
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let object = Object::from_bound(slf.as_any());
        if is_exactly::<Self>(&object) {
            return operations::coroutine(slf.py(), Acquire::new(object, true));
        }
        operations::coroutine(slf.py(), Enter::new(object))
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let _ = (exc_type, exc, tb);
        let release = |lock: &Object| {
            // SAFETY: called with a lock.
            unsafe { native::<Self>(lock.as_ptr()) }.unlock()
        };
        operations::coroutine(slf.py(), Exit::new(Object::from_bound(slf.as_any()), release))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let this = slf.get();
        let extra = if this.is_locked() { "locked" } else { "unlocked" };
        describe(slf.as_any(), extra, this.waiters.len())
    }

    fn _get_loop(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let event_loop = slf.get().bound_to.bind(&Object::from_bound(slf.as_any()))?;
        Ok(event_loop.bound(slf.py()).unbind())
    }

    #[getter(_loop)]
    fn loop_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.bound_to.visible(py)
    }

    #[setter(_loop)]
    fn set_loop(&self, event_loop: &Bound<'_, PyAny>) {
        self.bound_to.set(Object::from_bound(event_loop));
    }

    #[getter(_locked)]
    fn locked_property(&self) -> bool {
        self.is_locked()
    }

    #[setter(_locked)]
    fn set_locked(&self, locked: bool) {
        self.locked.set(locked);
    }

    /// None until somebody waits.
    #[getter(_waiters)]
    fn waiters_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.waiters.visible_if_made(py)
    }

    #[setter(_waiters)]
    fn set_waiters(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        self.waiters.replace(waiters)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.visit_slots([self.bound_to.slot(), self.waiters.slot()])
    }

    fn __clear__(&self) {
        self.bound_to.slot().set(None);
        self.waiters.slot().set(None);
    }
}
