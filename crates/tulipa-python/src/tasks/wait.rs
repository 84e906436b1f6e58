//! `wait()`: until the first of several futures is done, or fails, or all of them are.
//!
//! Of all the futures' ends only the one that is decisive becomes a job, in the place where asyncio would run its
//! done-callback.

use std::cell::Cell;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PySet, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::{current, ensure_future, is_coroutine};
use crate::ffi::args::Args;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::observers::observer_kind;
use crate::futures::{Bit, FutureState, any};
use crate::gc::VisitSlots;
use crate::operations::{self, Machine, Step, Waiter, running_loop};
use crate::stdlib::stdlib;
use crate::timeouts::{Alarm, RELEASE};

/// `wait(fs, *, timeout=None, return_when=ALL_COMPLETED)`.
pub(crate) fn wait(args: &Args<'_>) -> Result<Option<Object>> {
    make(args, false)
}

/// The same, which makes tasks of coroutines, as asyncio did before Python 3.11.
pub(crate) fn wait_leniently(args: &Args<'_>) -> Result<Option<Object>> {
    make(args, true)
}

fn make(args: &Args<'_>, takes_coroutines: bool) -> Result<Option<Object>> {
    let names = &stdlib().names;
    let Some([futures, timeout, return_when]) =
        args.bind(1, 1, [&names.fs, &names.timeout, &names.return_when])
    else {
        return Ok(None);
    };
    let wait = Wait {
        takes_coroutines,
        futures: Slot::holding(futures.expect("it is required")),
        timeout: Slot::holding(timeout.unwrap_or_else(Object::none)),
        return_when: Slot::holding(return_when.unwrap_or_else(|| names.all_completed.clone())),
        event_loop: Slot::empty(),
        completion: Slot::empty(),
        caller: Slot::empty(),
        alarm: Alarm::new(),
    };
    operations::new(Boxed(Box::new(wait))).map(Some)
}

struct Wait {
    takes_coroutines: bool,
    /// What was given; then a tuple of the different futures.
    futures: Slot,
    timeout: Slot,
    return_when: Slot,
    event_loop: Slot,
    completion: Slot,
    /// The task that waits, where futures show who awaits them.
    caller: Slot,
    alarm: Alarm,
}

/// The state is larger than an operation has room for.
struct Boxed(Box<Wait>);

impl Machine for Boxed {
    fn qualified_name(&self) -> &'static str {
        "wait"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        &["wait", "_wait"]
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let when = self.0.check()?;
        self.0.begin(when)
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        self.0.stop()?;
        self.0.outcome().map(Step::Done)
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        self.0.stop()?;
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        let this = &self.0;
        let slots = [&this.futures, &this.timeout, &this.return_when, &this.event_loop, &this.completion];
        slots.into_iter().chain([&this.caller, this.alarm.handle()]).for_each(each);
    }
}

/// What ends the wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    FirstCompleted,
    FirstException,
    AllCompleted,
}

impl When {
    fn parse(given: &Object) -> Result<Self> {
        let names = &stdlib().names;
        for (name, when) in [
            (&names.first_completed, Self::FirstCompleted),
            (&names.first_exception, Self::FirstException),
            (&names.all_completed, Self::AllCompleted),
        ] {
            if call::equal(given, name)? {
                return Ok(when);
            }
        }
        // SAFETY: attached.
        let shown = given.bound(unsafe { Python::assume_attached() }).str()?;
        Err(PyValueError::with_text(format!("Invalid return_when value: {shown}")).into())
    }
}

impl Wait {
    /// Looks at the arguments, and makes a tuple of the different futures given.
    fn check(&self) -> Result<When> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let given = self.futures.or_none();
        if any::is_future(&given)? || is_coroutine(&given)? {
            let class = given.bound(py).get_type();
            let text = format!("expect a list of futures, not {}", class.getattr(Text("__name__"))?);
            return Err(PyTypeError::with_text(text).into());
        }
        if !call::truth(&given)? {
            return Err(PyValueError::with_text("Set of Tasks/Futures is empty.").into());
        }
        let when = When::parse(&self.return_when.or_none())?;
        // SAFETY: a live object; the result is new or null.
        let different = unsafe { Object::steal(ffi::PySet_New(given.as_ptr())) }?;
        // SAFETY: the same.
        self.futures.put(unsafe { Object::steal(ffi::PySequence_Tuple(different.as_ptr())) }?);
        for given in self.members() {
            if is_coroutine(&given)? {
                self.make_tasks()?;
                break;
            }
        }
        Ok(when)
    }

    /// Puts tasks in the place of the coroutines.
    #[cold]
    fn make_tasks(&self) -> Result<()> {
        if !self.takes_coroutines {
            let text = "Passing coroutines is forbidden, use tasks explicitly.";
            return Err(PyTypeError::with_text(text).into());
        }
        let event_loop = running_loop()?;
        let mut futures = self.members();
        for future in &mut futures {
            if is_coroutine(future)? {
                *future = ensure_future::ensure_future(future, Some(&event_loop))?;
            }
        }
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let futures = make::tuple(py, futures.iter().map(|future| future.bound(py)))?;
        self.futures.put(futures.into_any().into());
        Ok(())
    }

    /// References to all futures, as what works on them may run Python code; to none once the collector has been here.
    fn members(&self) -> Vec<Object> {
        let futures = self.futures.or_none();
        // SAFETY: attached.
        let futures = futures.bound(unsafe { Python::assume_attached() });
        let futures = futures.cast::<PyTuple>().into_iter().flat_map(|futures| futures.iter_borrowed());
        futures.map(|future| Object::from_bound(&future)).collect()
    }

    fn begin(&self, when: When) -> Result<Step> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let event_loop = running_loop()?;
        let waiter = Waiter::pending(event_loop.clone())?;
        let timeout = self.timeout.or_none();
        if !timeout.is_none() {
            self.alarm.set_later(&event_loop, &timeout, (waiter.clone(), &RELEASE, Object::none()))?;
        }
        if cfg!(Py_3_14) {
            self.caller.set(current::of(&event_loop)?);
        }
        self.event_loop.put(event_loop);
        let futures = self.members();
        let completion = Completion {
            when,
            left: Cell::new(futures.len()),
            counts_at_once: futures.iter().all(|future| is_told_at_once(future, &self.event_loop)),
            waiter: Slot::holding(waiter.clone()),
            caller: Slot::empty(),
        };
        completion.caller.set(self.caller.get());
        let completion: Object = Bound::new(py, completion)?.into_any().into();
        self.completion.put(completion.clone());
        for future in &futures {
            if let Some(caller) = self.caller.get() {
                current::add_awaited_by(future, &caller)?;
            }
            COMPLETED.observe(future, &completion)?;
        }
        Ok(Step::Park(waiter))
    }

    fn stop(&self) -> Result<()> {
        self.alarm.cancel(&self.event_loop.or_none())?;
        let Some(completion) = self.completion.take() else { return Ok(()) };
        let caller = self.caller.take();
        for future in self.members() {
            COMPLETED.forget(&future, &completion)?;
            if let Some(caller) = &caller {
                current::discard_awaited_by(&future, caller)?;
            }
        }
        Ok(())
    }

    /// `(done, pending)`.
    fn outcome(&self) -> Result<Object> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
        for future in self.members() {
            let set = if any::done(&future)? { &done } else { &pending };
            set.add(future.bound(py))?;
        }
        Ok(make::tuple(py, [done, pending])?.into_any().into())
    }
}

/// What the futures tell of their ends: one `wait()`'s count.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct Completion {
    when: When,
    left: Cell<usize>,
    /// Whether a future is counted the moment it is done, and not by its notification. That is so if all of them can be:
    /// otherwise one that ended earlier might be counted later.
    counts_at_once: bool,
    waiter: Slot,
    caller: Slot,
}

// SAFETY: S1.
unsafe impl Send for Completion {}
// SAFETY: S1.
unsafe impl Sync for Completion {}

impl Completion {
    /// Counts a future whose end has come, and answers whether the wait is over, however the future ended.
    fn count(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.left.get() == 0 || self.when == When::FirstCompleted
    }
}

#[pymethods]
impl Completion {
    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.visit_slots([&self.waiter, &self.caller])
    }

    fn __clear__(&self) {
        self.waiter.set(None);
        self.caller.set(None);
    }
}

observer_kind!(
    /// One of the futures is done.
    static COMPLETED, c"_on_completion", note, completed
);

fn note(completion: &Object, future: &Object) -> bool {
    // SAFETY: observers of this kind are completions.
    let completion: &Completion = unsafe { native(completion.as_ptr()) };
    let Some(state) = any::native(future).filter(|_| completion.counts_at_once) else { return true };
    // Asking for the exception is looking at it, so it is asked for only where that decides.
    let mut is_over = completion.count();
    if !is_over && completion.when == When::FirstException && has_exception(state) {
        state.bits.set(Bit::LogTraceback, false);
        is_over = true;
    }
    !current::discard_awaited_by_quietly(future, &completion.caller) || is_over
}

/// Whether a future is a native one of that loop.
fn is_told_at_once(future: &Object, event_loop: &Slot) -> bool {
    any::native(future).is_some_and(|state| state.home().is_same(event_loop))
}

fn has_exception(state: &FutureState) -> bool {
    !state.exception_or_none().is_none()
}

fn completed(object: &Object, future: &Object) -> Result<()> {
    // SAFETY: observers of this kind are completions.
    let completion: &Completion = unsafe { native(object.as_ptr()) };
    if let Some(caller) = completion.caller.get() {
        current::discard_awaited_by(future, &caller)?;
    }
    let by_failure = completion.when == When::FirstException;
    let is_over = match any::native(future).filter(|_| completion.counts_at_once) {
        Some(state) => completion.is_over() || by_failure && has_exception(state),
        None => {
            completion.count() || by_failure && !any::cancelled(future)? && any::exception(future)?.is_some()
        }
    };
    match completion.waiter.get().filter(|_| is_over) {
        // SAFETY: made as a waiter.
        Some(waiter) => unsafe { Waiter::of(waiter.as_ptr()) }.wake(&waiter),
        None => Ok(()),
    }
}
