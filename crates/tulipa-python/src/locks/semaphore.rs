//! `Semaphore` and `BoundedSemaphore`: so many tasks at once.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::entering::{Enter, Exit, is_cancellation};
use super::{describe, is_exactly, is_exactly_any, is_of_class};
use crate::ffi::args::Given;
use crate::ffi::class::noargs;
use crate::ffi::make::{Exception, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::methods::boolean;
use crate::gc::VisitSlots;
use crate::operations::{self, LoopBound, Machine, Step, WaitList, Waiter, is_waiter};
use crate::stdlib::stdlib;

/// A Semaphore implementation.
///
/// A semaphore manages an internal counter which is decremented by each acquire() call and incremented by each
/// release() call. The counter can never go below zero; when acquire() finds that it is zero, it blocks, waiting until
/// some other task calls release(). `async with semaphore:` does both.
///
/// The optional argument gives the initial value for the internal counter; it defaults to 1. If the value given is less
/// than 0, ValueError is raised.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Semaphore {
    bound_to: LoopBound,
    waiters: WaitList,
    value: Cell<Count>,
}

/// A count: nearly always a whole number, but infinity is one that programs use.
#[derive(Clone, Copy, FromPyObject, IntoPyObject)]
enum Count {
    Whole(i128),
    Real(f64),
}

impl Count {
    const ONE: Self = Self::Whole(1);

    #[inline]
    fn is_zero(self) -> bool {
        matches!(self, Self::Whole(0)) || matches!(self, Self::Real(real) if real == 0.0)
    }

    #[inline]
    fn is_positive(self) -> bool {
        match self {
            Self::Whole(whole) => whole > 0,
            Self::Real(real) => real > 0.0,
        }
    }

    #[inline]
    fn plus(self, difference: i32) -> Self {
        match self {
            Self::Whole(whole) => Self::Whole(whole + i128::from(difference)),
            Self::Real(real) => Self::Real(real + f64::from(difference)),
        }
    }

    fn reaches(self, bound: Self) -> bool {
        match (self, bound) {
            (Self::Whole(whole), Self::Whole(bound)) => whole >= bound,
            (Self::Whole(whole), Self::Real(bound)) => whole as f64 >= bound,
            (Self::Real(real), Self::Whole(bound)) => real >= bound as f64,
            (Self::Real(real), Self::Real(bound)) => real >= bound,
        }
    }
}

// SAFETY: S1.
unsafe impl Send for Semaphore {}
// SAFETY: S1.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    const fn of_one() -> Self {
        Self { bound_to: LoopBound::new(), waiters: WaitList::new(), value: Cell::new(Count::ONE) }
    }

    /// Whether acquiring would have to wait, be it for others that were first.
    #[inline]
    fn is_locked(&self) -> Result<bool> {
        Ok(self.value.get().is_zero() || (!self.waiters.is_empty() && self.waiters.any_not_cancelled()?))
    }

    #[inline]
    fn add(&self, difference: i32) {
        self.value.set(self.value.get().plus(difference));
    }

    #[inline]
    fn give_back(&self) -> Result<()> {
        self.add(1);
        self.wake_next().map(drop)
    }

    /// Has the first that waits go on, with what it waited for taken already; `false` where nobody waits.
    #[inline]
    fn wake_next(&self) -> Result<bool> {
        let mut place = 0;
        while let Some((waiter, next)) = self.waiters.next(place) {
            if !operations::is_done(&waiter)? {
                self.add(-1);
                return operations::wake(&waiter, || boolean(true));
            }
            place = next;
        }
        Ok(false)
    }

    /// One that waited has gone on: others may have come meanwhile that may go on as well.
    #[inline]
    fn wake_more(&self) -> Result<()> {
        while self.value.get().is_positive() {
            let woken = self.wake_next()?;
            if !woken || !stdlib().behaviour.semaphore_wakes_all {
                break;
            }
        }
        Ok(())
    }
}

/// `release()` of an object that is exactly one of the two classes.
fn release_directly(object: &Object) -> Result<()> {
    if is_of_class::<BoundedSemaphore>(object) {
        // SAFETY: checked above.
        return unsafe { native::<BoundedSemaphore>(object.as_ptr()) }.give_back(object);
    }
    // SAFETY: called with semaphores.
    unsafe { native::<Semaphore>(object.as_ptr()) }.give_back()
}

/// `acquire()`.
struct Acquire {
    semaphore: Slot,
    /// Entering a block gives None instead of True.
    entering: bool,
}

impl Acquire {
    #[inline]
    fn done(&self) -> Step {
        Step::Done(if self.entering { Object::none() } else { boolean(true) })
    }
}

impl Machine for Acquire {
    fn qualified_name(&self) -> &'static str {
        if self.entering { "_ContextManagerMixin.__aenter__" } else { "Semaphore.acquire" }
    }

    fn waits_in(&self) -> &'static [&'static str] {
        if self.entering { &["_ContextManagerMixin.__aenter__", "Semaphore.acquire"] } else { &[] }
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let object = self.semaphore.or_none();
        // SAFETY: made for semaphores only, and not started once it is cleared.
        let semaphore: &Semaphore = unsafe { native(object.as_ptr()) };
        let locked = if is_exactly::<Semaphore>(&object) || is_exactly::<BoundedSemaphore>(&object) {
            semaphore.is_locked()?
        } else {
            call::truth(&call::method0(&object, &stdlib().names.locked)?)?
        };
        if !locked {
            semaphore.add(-1);
            return Ok(self.done());
        }
        let waiter = semaphore.bound_to.waiter(&object, this)?;
        semaphore.waiters.push(waiter.clone())?;
        Ok(Step::Park(waiter))
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        let object = self.semaphore.or_none();
        // SAFETY: made for semaphores only.
        let semaphore: &Semaphore = unsafe { native(object.as_ptr()) };
        semaphore.waiters.remove(&waiter);
        semaphore.wake_more()?;
        Ok(self.done())
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let object = self.semaphore.or_none();
        // SAFETY: made for semaphores only.
        let semaphore: &Semaphore = unsafe { native(object.as_ptr()) };
        let newer = stdlib().behaviour.semaphore_wakes_all;
        if let Some(waiter) = waiter.filter(|waiter| is_waiter(waiter)) {
            semaphore.waiters.remove(waiter);
            // SAFETY: a waiter.
            let state = unsafe { Waiter::of(waiter.as_ptr()) };
            // What it was given when it was woken goes to the next.
            if is_cancellation(&exception) && !state.is_cancelled() && !(newer && state.is_pending()) {
                semaphore.add(1);
                if !newer {
                    semaphore.wake_next()?;
                }
            }
        }
        if newer {
            semaphore.wake_more()?;
        }
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.semaphore);
    }
}

fn initial_value(value: &Bound<'_, PyAny>) -> PyResult<Count> {
    if value.lt(0)? {
        return Err(PyValueError::with_text("Semaphore initial value must be >= 0"));
    }
    value.extract()
}

pub(super) static mut METHODS: [ffi::PyMethodDef; 2] = [
    noargs(
        c"acquire",
        acquire,
        c"acquire($self)\n--\n\nAcquire a semaphore.\n\n\
        If the internal counter is larger than zero on entry, decrement it by one and return True immediately. If it is\n\
        zero on entry, block, waiting until some other task has called release() to make it larger than 0, and then\n\
        return True.",
    ),
    noargs(
        c"release",
        release,
        c"release($self)\n--\n\nRelease a semaphore, incrementing the internal counter by one.\n\n\
        When it was zero on entry and another task is waiting for it to become larger than zero again, wake up that\n\
        task.",
    ),
];

unsafe extern "C" fn acquire(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let semaphore = Slot::holding(unsafe { Object::borrow(object) });
        operations::new(Acquire { semaphore, entering: false })
    })
}

unsafe extern "C" fn release(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { native::<Semaphore>(object) }.give_back().map(|()| Object::none()))
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(value=1)")]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self::of_one()
    }

    #[pyo3(signature = (value=Given::NOT))]
    fn __init__(&self, value: Given<'_>) -> PyResult<()> {
        self.value.set(value.0.map_or(Ok(Count::ONE), |value| initial_value(&value))?);
        self.waiters.reset();
        Ok(())
    }

    /// Returns True if semaphore cannot be acquired immediately.
    fn locked(&self) -> PyResult<bool> {
        Ok(self.is_locked()?)
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let object = Object::from_bound(slf.as_any());
        if is_exactly_any(&object) {
            return operations::coroutine(
                slf.py(),
                Acquire { semaphore: Slot::holding(object), entering: true },
            );
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
        operations::coroutine(slf.py(), Exit::new(Object::from_bound(slf.as_any()), release_directly))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let this = slf.get();
        let extra = if slf.call_method0(Text("locked"))?.is_truthy()? {
            "locked".to_owned()
        } else {
            format!("unlocked, value:{}", this.value.get().into_pyobject(slf.py())?)
        };
        describe(slf.as_any(), &extra, this.waiters.len())
    }

    fn _get_loop(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let event_loop = slf.get().bound_to.bind(&Object::from_bound(slf.as_any()))?;
        Ok(event_loop.bound(slf.py()).unbind())
    }

    /// Wake up the first waiter that isn't done.
    fn _wake_up_next(&self) -> PyResult<bool> {
        Ok(self.wake_next()?)
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
    fn value_property(&self) -> Count {
        self.value.get()
    }

    #[setter(_value)]
    fn set_value(&self, value: Count) {
        self.value.set(value);
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

/// A bounded semaphore implementation.
///
/// This raises ValueError in release() if it would increase the value above the initial value.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, extends = Semaphore)]
pub(crate) struct BoundedSemaphore {
    bound: Cell<Count>,
}

// SAFETY: S1.
unsafe impl Send for BoundedSemaphore {}
// SAFETY: S1.
unsafe impl Sync for BoundedSemaphore {}

impl BoundedSemaphore {
    /// As a semaphore does it, but never above the initial value.
    #[inline]
    fn give_back(&self, this: &Object) -> Result<()> {
        // SAFETY: a bounded semaphore is a semaphore.
        let semaphore = unsafe { native::<Semaphore>(this.as_ptr()) };
        if semaphore.value.get().reaches(self.bound.get()) {
            return Err(PyValueError::with_text("BoundedSemaphore released too many times").into());
        }
        semaphore.give_back()
    }
}

pub(super) static mut BOUNDED_METHODS: [ffi::PyMethodDef; 1] = [noargs(
    c"release",
    release_bounded,
    c"release($self)\n--\n\nRelease a semaphore; ValueError where it would exceed its initial value.",
)];

unsafe extern "C" fn release_bounded(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let this = unsafe { Object::borrow(object) };
        // SAFETY: as above.
        unsafe { native::<BoundedSemaphore>(object) }.give_back(&this).map(|()| Object::none())
    })
}

#[pymethods]
impl BoundedSemaphore {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(value=1)")]
    fn new(
        _arguments: &Bound<'_, PyTuple>,
        _keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Semaphore::of_one()).add_subclass(Self { bound: Cell::new(Count::ONE) })
    }

    #[pyo3(signature = (value=Given::NOT))]
    fn __init__(slf: &Bound<'_, Self>, value: Given<'_>) -> PyResult<()> {
        slf.as_super().get().__init__(value)?;
        slf.get().bound.set(slf.as_super().get().value.get());
        Ok(())
    }

    #[getter(_bound_value)]
    fn bound_property(&self) -> Count {
        self.bound.get()
    }

    #[setter(_bound_value)]
    fn set_bound(&self, bound: Count) {
        self.bound.set(bound);
    }
}
