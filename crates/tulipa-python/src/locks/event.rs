//! `Event`: a flag that tasks wait for.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::describe;
use crate::ffi::class::noargs;
use crate::ffi::make::Text;
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot, native};
use crate::futures::methods::boolean;
use crate::gc::VisitSlots;
use crate::operations::{self, LoopBound, Machine, Step, WaitList};

/// Asynchronous equivalent to threading.Event.
///
/// An event manages a flag that can be set to true with the set() method and reset to false with the clear() method.
/// The wait() method blocks until the flag is true. The flag is initially false.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Event {
    bound_to: LoopBound,
    waiters: WaitList,
    value: Cell<bool>,
}

// SAFETY: S1.
unsafe impl Send for Event {}
// SAFETY: S1.
unsafe impl Sync for Event {}

impl Event {
    pub(crate) const fn unset() -> Self {
        Self { bound_to: LoopBound::new(), waiters: WaitList::new(), value: Cell::new(false) }
    }

    /// Sets the flag: everybody who waits goes on.
    pub(crate) fn raise(&self) -> Result<()> {
        if self.value.replace(true) {
            return Ok(());
        }
        let mut place = 0;
        while let Some((waiter, next)) = self.waiters.next(place) {
            operations::wake(&waiter, || boolean(true))?;
            place = next;
        }
        Ok(())
    }

    pub(crate) fn lower(&self) {
        self.value.set(false);
    }
}

/// `wait()`.
pub(crate) struct Wait(Slot);

impl Wait {
    pub(crate) fn new(event: Object) -> Self {
        Self(Slot::holding(event))
    }

    fn leave(&self, waiter: Option<&Object>) {
        let object = self.0.or_none();
        // SAFETY: made for events only.
        let event: &Event = unsafe { native(object.as_ptr()) };
        if let Some(waiter) = waiter {
            event.waiters.remove(waiter);
        }
    }
}

impl Machine for Wait {
    fn qualified_name(&self) -> &'static str {
        "Event.wait"
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let object = self.0.or_none();
        // SAFETY: made for events only, and not started once it is cleared.
        let event: &Event = unsafe { native(object.as_ptr()) };
        if event.value.get() {
            return Ok(Step::Done(boolean(true)));
        }
        let waiter = event.bound_to.waiter(&object, this)?;
        event.waiters.push(waiter.clone())?;
        Ok(Step::Park(waiter))
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        self.leave(Some(&waiter));
        Ok(Step::Done(boolean(true)))
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        self.leave(waiter);
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}

pub(super) static mut METHODS: [ffi::PyMethodDef; 3] = [
    noargs(
        c"set",
        set,
        c"set($self)\n--\n\nSet the internal flag to true. All tasks waiting for it to become true are awakened.",
    ),
    noargs(
        c"clear",
        clear,
        c"clear($self)\n--\n\n\
        Reset the internal flag to false. Tasks calling wait() will block until set() is called again.",
    ),
    noargs(c"wait", wait, c"wait($self)\n--\n\nBlock until the internal flag is true, then return True."),
];

unsafe extern "C" fn set(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { native::<Event>(object) }.raise().map(|()| Object::none()))
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        unsafe { native::<Event>(object) }.lower();
        Ok(Object::none())
    })
}

unsafe extern "C" fn wait(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| operations::new(Wait::new(unsafe { Object::borrow(object) })))
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "()")]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self::unset()
    }

    fn __init__(&self) {
        self.value.set(false);
        self.waiters.reset();
    }

    /// Return True if and only if the internal flag is true.
    fn is_set(&self) -> bool {
        self.value.get()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let this = slf.get();
        describe(slf.as_any(), if this.value.get() { "set" } else { "unset" }, this.waiters.len())
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

    #[getter(_value)]
    fn value_property(&self) -> bool {
        self.value.get()
    }

    #[setter(_value)]
    fn set_value(&self, value: bool) {
        self.value.set(value);
    }

    #[getter(_waiters)]
    fn waiters_property(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.waiters.visible(py)
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
