//! `Condition`: waiting, with a lock given up meanwhile, for somebody to say that something has changed.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::entering::{Enter, Exit, is_cancellation};
use super::lock::{self, Lock};
use super::{describe, is_exactly, plain_count};
use crate::ffi::args::Given;
use crate::ffi::make::{self, Exception, Int, Text};
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::methods::boolean;
use crate::gc::VisitSlots;
use crate::operations::{self, LoopBound, Machine, Step, WaitList};
use crate::stdlib::stdlib;

/// Asynchronous equivalent to threading.Condition.
///
/// This class implements condition variable objects. A condition variable allows one or more tasks to wait until they
/// are notified by another task. Without a lock given a new one is made.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Condition {
    bound_to: LoopBound,
    waiters: WaitList,
    lock: Slot,
    /// The lock's methods, which asyncio keeps as attributes: those of a lock that is not native, and what a program has
    /// put in their place.
    replaced: [Slot; 3],
}

// SAFETY: S1.
unsafe impl Send for Condition {}
// SAFETY: S1.
unsafe impl Sync for Condition {}

/// The lock's methods that a condition shows as its own.
#[derive(Clone, Copy)]
enum Method {
    Acquire,
    Release,
    Locked,
}

impl Method {
    fn name(self) -> &'static Object {
        let names = &stdlib().names;
        match self {
            Self::Acquire => &names.acquire,
            Self::Release => &names.release,
            Self::Locked => &names.locked,
        }
    }
}

impl Condition {
    pub(super) const fn without_lock() -> Self {
        Self {
            bound_to: LoopBound::new(),
            waiters: WaitList::new(),
            lock: Slot::empty(),
            replaced: [const { Slot::empty() }; 3],
        }
    }

    /// The lock itself, where it is native and `method` nobody else's.
    #[inline]
    fn own(&self, method: Method) -> Option<Object> {
        let lock = self.lock.get().filter(is_exactly::<Lock>)?;
        self.replaced[method as usize].is_empty().then_some(lock)
    }

    fn method(&self, method: Method) -> Result<Object> {
        match self.replaced[method as usize].get() {
            Some(replaced) => Ok(replaced),
            None => call::getattr(&self.lock.or_none(), method.name()),
        }
    }

    #[inline]
    fn is_locked(&self) -> Result<bool> {
        match self.own(Method::Locked) {
            // SAFETY: `own` gives native locks.
            Some(lock) => Ok(unsafe { native::<Lock>(lock.as_ptr()) }.is_locked()),
            None => call::truth(&call::call0(&self.method(Method::Locked)?)?),
        }
    }

    #[inline]
    fn unlock(&self) -> Result<()> {
        match self.own(Method::Release) {
            // SAFETY: `own` gives native locks.
            Some(lock) => unsafe { native::<Lock>(lock.as_ptr()) }.unlock(),
            None => call::call0(&self.method(Method::Release)?).map(drop),
        }
    }

    /// `await self.acquire()`; nothing where the lock was free.
    #[inline]
    fn begin_locking(&self) -> Result<Option<Step>> {
        let Some(lock) = self.own(Method::Acquire) else {
            let awaitable = call::call0(&self.method(Method::Acquire)?)?;
            return operations::awaiting(&awaitable).map(Some);
        };
        // SAFETY: `own` gives native locks.
        if unsafe { native::<Lock>(lock.as_ptr()) }.try_acquire()? {
            return Ok(None);
        }
        Ok(Some(Step::Await(operations::new(lock::Acquire::new(lock, false))?)))
    }

    /// Wakes `count` of those that wait.
    pub(super) fn wake(&self, count: i64) -> Result<()> {
        let (mut place, mut left) = (0, count);
        while left > 0
            && let Some((waiter, next)) = self.waiters.next(place)
        {
            if operations::wake(&waiter, || boolean(false))? {
                left -= 1;
            }
            place = next;
        }
        Ok(())
    }

    pub(super) fn wake_all(&self) -> Result<()> {
        self.wake(i64::MAX)
    }

    /// As `wake`, for a count of any kind, of which only a comparison tells whether it is reached.
    #[cold]
    fn wake_until(&self, count: &Bound<'_, PyAny>) -> PyResult<()> {
        let (mut place, mut woken) = (0, 0_u64);
        while let Some((waiter, next)) = self.waiters.next(place)
            && !make::int(count.py(), woken)?.ge(count)?
        {
            woken += u64::from(operations::wake(&waiter, || boolean(false))?);
            place = next;
        }
        Ok(())
    }

    fn ensure_locked(&self) -> PyResult<()> {
        if self.is_locked()? {
            return Ok(());
        }
        Err(PyRuntimeError::with_text("cannot notify on un-acquired lock"))
    }
}

/// `wait()`.
pub(super) struct Wait {
    condition: Slot,
    /// What is raised once the lock is held again.
    error: Slot,
    /// Whether the wait is over, and the lock waited for.
    locking: Cell<bool>,
}

impl Wait {
    pub(super) fn new(condition: Object) -> Self {
        Self { condition: Slot::holding(condition), error: Slot::empty(), locking: Cell::new(false) }
    }

    /// The condition, kept alive by the reference next to it.
    fn condition(&self) -> (Object, &Condition) {
        let object = self.condition.or_none();
        // SAFETY: made for conditions only, which the slot keeps while the machine runs.
        let condition = unsafe { native(object.as_ptr()) };
        (object, condition)
    }

    /// The lock must be held again, whatever ended the wait.
    fn lock_again(&self) -> Result<Step> {
        self.locking.set(true);
        let (_object, condition) = self.condition();
        match condition.begin_locking() {
            Ok(Some(step)) => Ok(step),
            Ok(None) => self.locked_again(),
            Err(raised) => self.fail(&raised.take_object()),
        }
    }

    fn locked_again(&self) -> Result<Step> {
        match self.error.take() {
            None => Ok(Step::Done(boolean(true))),
            Some(error) => self.fail(&error),
        }
    }

    /// The wait ends by an exception. It may have been woken before that: from 3.13 on another one is instead.
    fn fail(&self, error: &Object) -> Result<Step> {
        if stdlib().behaviour.condition_passes_on {
            self.condition().1.wake(1)?;
        }
        Err(Raised::from_object(error))
    }
}

impl Machine for Wait {
    fn qualified_name(&self) -> &'static str {
        "Condition.wait"
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let (object, condition) = self.condition();
        if !condition.is_locked()? {
            return Err(PyRuntimeError::with_text("cannot wait on un-acquired lock").into());
        }
        let waiter = if stdlib().behaviour.condition_passes_on {
            let waiter = condition.bound_to.waiter(&object, this)?;
            condition.unlock()?;
            waiter
        } else {
            condition.unlock()?;
            match condition.bound_to.waiter(&object, this) {
                Ok(waiter) => waiter,
                Err(raised) => {
                    self.error.put(raised.take_object());
                    return self.lock_again();
                }
            }
        };
        condition.waiters.push(waiter.clone())?;
        Ok(Step::Park(waiter))
    }

    fn resume(&self, value: Object) -> Result<Step> {
        if self.locking.get() {
            return self.locked_again();
        }
        self.condition().1.waiters.remove(&value);
        self.lock_again()
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        if !self.locking.get() {
            if let Some(waiter) = waiter {
                self.condition().1.waiters.remove(waiter);
            }
            self.error.put(exception);
            return self.lock_again();
        }
        if !is_cancellation(&exception) {
            return self.fail(&exception);
        }
        // The latest cancellation is what is raised; before 3.13 a new one in its place.
        let newer = stdlib().behaviour.condition_passes_on;
        self.error.put(if newer { exception } else { call::call0(&stdlib().cancelled_error)? });
        self.lock_again()
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.condition);
        each(&self.error);
    }
}

/// `wait_for(predicate)`.
struct WaitFor {
    condition: Slot,
    predicate: Slot,
}

impl WaitFor {
    fn ask(&self) -> Result<Step> {
        let result = call::call0(&self.predicate.or_none())?;
        if call::truth(&result)? {
            return Ok(Step::Done(result));
        }
        let condition = self.condition.or_none();
        if is_exactly::<Condition>(&condition) {
            return Ok(Step::Await(operations::new(Wait::new(condition))?));
        }
        operations::awaiting(&call::method0(&condition, &stdlib().names.wait)?)
    }
}

impl Machine for WaitFor {
    fn qualified_name(&self) -> &'static str {
        "Condition.wait_for"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        self.ask()
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        self.ask()
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.condition);
        each(&self.predicate);
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(lock=None)")]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self::without_lock()
    }

    #[pyo3(signature = (lock=None))]
    fn __init__(&self, py: Python<'_>, lock: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let lock = match lock {
            Some(lock) => Object::from_bound(lock),
            None => Bound::new(py, Lock::unlocked())?.into_any().into(),
        };
        let is_native = is_exactly::<Lock>(&lock);
        for method in [Method::Locked, Method::Acquire, Method::Release] {
            // Kept, as asyncio keeps it: the lock may be a condition, whose lock is one, and so on.
            let found = call::getattr(&lock, method.name())?;
            self.replaced[method as usize].set((!is_native).then_some(found));
        }
        self.lock.put(lock);
        self.waiters.reset();
        Ok(())
    }

    /// Wait until notified.
    ///
    /// If the calling task has not acquired the lock when this method is called, a RuntimeError is raised.
    ///
    /// This method releases the underlying lock, and then blocks until it is awakened by a notify() or notify_all()
    /// call for the same condition variable in another task. Once awakened, it re-acquires the lock and returns True.
    /// It may return spuriously, which is why the caller should always re-check the state.
    fn wait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        operations::coroutine(slf.py(), Wait::new(Object::from_bound(slf.as_any())))
    }

    /// Wait until a predicate becomes true.
    ///
    /// The predicate should be a callable whose result will be interpreted as a boolean value. The final predicate
    /// value is the return value.
    fn wait_for(slf: &Bound<'_, Self>, predicate: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let condition = Slot::holding(Object::from_bound(slf.as_any()));
        let predicate = Slot::holding(Object::from_bound(predicate));
        operations::coroutine(slf.py(), WaitFor { condition, predicate })
    }

    /// Wake up n of the tasks waiting on this condition, one by default; all if fewer are waiting.
    ///
    /// If the calling task has not acquired the lock when this method is called, a RuntimeError is raised.
    #[pyo3(signature = (n=Given::NOT), text_signature = "($self, n=1)")]
    fn notify(&self, n: Given<'_>) -> PyResult<()> {
        self.ensure_locked()?;
        let Some(n) = n.0 else { return Ok(self.wake(1)?) };
        match plain_count(&n) {
            Some(count) => Ok(self.wake(count)?),
            None => self.wake_until(&n),
        }
    }

    /// Wake up all tasks waiting on this condition. This method acts like notify(), but wakes up all waiting tasks
    /// instead of one.
    fn notify_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let count = this.waiters.len() as i64;
        if is_exactly::<Self>(&Object::from_bound(slf.as_any())) {
            this.ensure_locked()?;
            return Ok(this.wake(count)?);
        }
        slf.call_method1(Text("notify"), (Int(count),)).map(drop)
    }

    #[getter]
    fn acquire(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.method(Method::Acquire)?.bound(py).unbind())
    }

    #[setter]
    fn set_acquire(&self, method: &Bound<'_, PyAny>) {
        self.replaced[Method::Acquire as usize].put(Object::from_bound(method));
    }

    #[getter]
    fn release(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.method(Method::Release)?.bound(py).unbind())
    }

    #[setter]
    fn set_release(&self, method: &Bound<'_, PyAny>) {
        self.replaced[Method::Release as usize].put(Object::from_bound(method));
    }

    #[getter]
    fn locked(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.method(Method::Locked)?.bound(py).unbind())
    }

    #[setter]
    fn set_locked(&self, method: &Bound<'_, PyAny>) {
        self.replaced[Method::Locked as usize].put(Object::from_bound(method));
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let object = Object::from_bound(slf.as_any());
        match slf.get().own(Method::Acquire).filter(|_| is_exactly::<Self>(&object)) {
            Some(lock) => operations::coroutine(slf.py(), lock::Acquire::new(lock, true)),
            None => operations::coroutine(slf.py(), Enter::new(object)),
        }
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let _ = (exc_type, exc, tb);
        let release = |condition: &Object| {
            // SAFETY: called with a condition.
            unsafe { native::<Self>(condition.as_ptr()) }.unlock()
        };
        operations::coroutine(slf.py(), Exit::new(Object::from_bound(slf.as_any()), release))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let this = slf.get();
        let extra = if this.is_locked()? { "locked" } else { "unlocked" };
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

    #[getter(_lock)]
    fn lock_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.lock.or_none().bound(py).unbind()
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
        let [first, second, third] = &self.replaced;
        visit.visit_slots([self.bound_to.slot(), self.waiters.slot(), &self.lock, first, second, third])
    }

    fn __clear__(&self) {
        let [first, second, third] = &self.replaced;
        for slot in [self.bound_to.slot(), self.waiters.slot(), &self.lock, first, second, third] {
            slot.set(None);
        }
    }
}
