//! `Barrier`: tasks that wait for one another.
//!
//! Built on a condition, as asyncio's is: a wait is a walk through its lock, its `wait()` and its lock again.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::condition::{self, Condition};
use super::lock::{self, Lock};
use super::{describe, is_exactly, plain_count};
use crate::ffi::make::{self, Exception, Int, Text};
use crate::ffi::raised::raise;
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::gc::VisitSlots;
use crate::operations::{self, LoopBound, Machine, Step};
use crate::stdlib::stdlib;

/// Where a barrier is in its cycle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Filling,
    Draining,
    Resetting,
    Broken,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Draining => "draining",
            Self::Resetting => "resetting",
            Self::Broken => "broken",
        }
    }
}

/// Asyncio equivalent to threading.Barrier
///
/// Implements a Barrier primitive. Useful for synchronizing a fixed number of tasks at known synchronization points.
/// Tasks block on 'wait()' and are simultaneously awoken once they have all made their call.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Barrier {
    bound_to: LoopBound,
    /// Tells all tasks when the state changes; its lock guards the rest.
    condition: Slot,
    lock: Slot,
    /// How many tasks open the barrier: whatever the program gave, and that as a number where it is a plain one.
    parties: Slot,
    whole: Cell<Option<i64>>,
    state: Cell<State>,
    /// How many tasks are inside.
    count: Cell<i64>,
    initialised: Cell<bool>,
}

// SAFETY: S1.
unsafe impl Send for Barrier {}
// SAFETY: S1.
unsafe impl Sync for Barrier {}

impl Barrier {
    /// Makes the condition and its lock.
    fn furnish(&self, py: Python<'_>) -> PyResult<()> {
        let condition = py.get_type::<Condition>().call0()?;
        self.lock.put(condition.getattr(Text("_lock"))?.into());
        self.condition.put(condition.into());
        Ok(())
    }

    fn lock(&self) -> &Lock {
        // SAFETY: `furnish` put a lock there, which stays.
        unsafe { native(self.lock.as_ptr()) }
    }

    fn tell_all(&self) -> Result<()> {
        // SAFETY: `furnish` put a condition there, which stays.
        unsafe { native::<Condition>(self.condition.as_ptr()) }.wake_all()
    }

    fn set_parties(&self, parties: &Bound<'_, PyAny>) {
        self.whole.set(plain_count(parties));
        self.parties.put(Object::from_bound(parties));
    }

    /// Whether the task that was counted last is the last one that it takes.
    #[inline]
    fn is_complete(&self) -> Result<bool> {
        match self.whole.get() {
            Some(parties) => Ok(self.count.get() == parties),
            None => self.equals_parties(),
        }
    }

    #[cold]
    fn equals_parties(&self) -> Result<bool> {
        let parties = self.parties.or_none();
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let count = make::int(py, self.count.get())?;
        Ok(count.into_any().eq(parties.bound(py))?)
    }

    /// A step that takes the lock; nothing where that is done.
    fn begin_locking(&self) -> Result<Option<Step>> {
        if self.lock().try_acquire()? {
            return Ok(None);
        }
        let acquire = lock::Acquire::new(self.lock.or_none(), false);
        Ok(Some(Step::Await(operations::new(acquire)?)))
    }

    fn wait_for_change(&self) -> Result<Step> {
        Ok(Step::Await(operations::new(condition::Wait::new(self.condition.or_none()))?))
    }

    /// A task leaves. The last one out opens the barrier again.
    fn leave(&self) -> Result<()> {
        self.count.set(self.count.get() - 1);
        if self.count.get() > 0 {
            return Ok(());
        }
        if matches!(self.state.get(), State::Resetting | State::Draining) {
            self.state.set(State::Filling);
        }
        self.tell_all()
    }
}

fn broken(text: &str) -> Raised {
    raise(&stdlib().broken_barrier_error, text.into())
}

/// How far a wait has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before it holds the lock.
    Entering,
    /// The barrier drains, or is being reset, from an earlier cycle.
    Blocked,
    /// Counted, until all parties are there.
    Inside,
}

/// `wait()`.
struct Wait {
    barrier: Slot,
    stage: Cell<Stage>,
    index: Cell<i64>,
    entering: bool,
}

impl Wait {
    fn barrier(&self) -> &Barrier {
        // SAFETY: made for barriers only; the slot keeps it while the machine runs.
        unsafe { native(self.barrier.as_ptr()) }
    }

    /// Holds the lock: looks at the state, and waits or goes in.
    fn enter(&self) -> Result<Step> {
        let barrier = self.barrier();
        self.stage.set(Stage::Blocked);
        match barrier.state.get() {
            State::Draining | State::Resetting => return barrier.wait_for_change(),
            State::Broken => return self.leave_with(broken("Barrier aborted")),
            State::Filling => {}
        }
        self.stage.set(Stage::Inside);
        self.index.set(barrier.count.get());
        barrier.count.set(barrier.count.get() + 1);
        match barrier.is_complete() {
            Ok(false) => return barrier.wait_for_change(),
            Ok(true) => {}
            Err(raised) => return self.leave(Err(raised)),
        }
        barrier.state.set(State::Draining);
        barrier.tell_all()?;
        self.leave(Ok(()))
    }

    /// Counted, and woken: the barrier opens, or was broken.
    fn look_again(&self) -> Result<Step> {
        match self.barrier().state.get() {
            State::Filling => self.barrier().wait_for_change(),
            State::Draining => self.leave(Ok(())),
            State::Broken | State::Resetting => self.leave(Err(broken("Abort or reset of barrier"))),
        }
    }

    /// The way out of those that were counted.
    fn leave(&self, outcome: Result<()>) -> Result<Step> {
        let error = outcome.err().map(Raised::take_object);
        self.barrier().leave()?;
        if let Some(error) = error {
            return self.leave_with(Raised::from_object(&error));
        }
        self.barrier().lock().unlock()?;
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        Ok(Step::Done(make::int(py, self.index.get())?.into_any().into()))
    }

    /// Gives the lock up and raises.
    fn leave_with(&self, raised: Raised) -> Result<Step> {
        let error = raised.take_object();
        self.barrier().lock().unlock()?;
        Err(Raised::from_object(&error))
    }
}

impl Machine for Wait {
    fn qualified_name(&self) -> &'static str {
        if self.entering { "Barrier.__aenter__" } else { "Barrier.wait" }
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        match self.barrier().begin_locking()? {
            Some(step) => Ok(step),
            None => self.enter(),
        }
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        match self.stage.get() {
            Stage::Entering | Stage::Blocked => self.enter(),
            Stage::Inside => self.look_again(),
        }
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let raised = Raised::from_object(&exception);
        match self.stage.get() {
            Stage::Entering => Err(raised),
            Stage::Blocked => self.leave_with(raised),
            Stage::Inside => self.leave(Err(raised)),
        }
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.barrier);
    }
}

/// `reset()` and `abort()`: with the lock held, one change.
struct Change {
    barrier: Slot,
    name: &'static str,
    apply: fn(&Barrier),
}

impl Change {
    fn perform(&self) -> Result<Step> {
        // SAFETY: made for barriers only; the slot keeps it while the machine runs.
        let barrier: &Barrier = unsafe { native(self.barrier.as_ptr()) };
        (self.apply)(barrier);
        barrier.tell_all()?;
        barrier.lock().unlock()?;
        Ok(Step::Done(Object::none()))
    }
}

impl Machine for Change {
    fn qualified_name(&self) -> &'static str {
        self.name
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        // SAFETY: as in `perform`.
        match unsafe { native::<Barrier>(self.barrier.as_ptr()) }.begin_locking()? {
            Some(step) => Ok(step),
            None => self.perform(),
        }
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        self.perform()
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.barrier);
    }
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (*arguments, **_keywords), text_signature = "(parties)")]
    fn new(arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let barrier = Self {
            bound_to: LoopBound::new(),
            condition: Slot::empty(),
            lock: Slot::empty(),
            parties: Slot::empty(),
            whole: Cell::new(None),
            state: Cell::new(State::Filling),
            count: Cell::new(0),
            initialised: Cell::new(false),
        };
        barrier.furnish(arguments.py())?;
        barrier.set_parties(make::int(arguments.py(), 1)?.as_any());
        Ok(barrier)
    }

    fn __init__(&self, py: Python<'_>, parties: &Bound<'_, PyAny>) -> PyResult<()> {
        if parties.lt(1)? {
            let least = if cfg!(Py_3_14) { ">= 1" } else { "> 0" };
            return Err(PyValueError::with_text(format!("parties must be {least}")));
        }
        self.set_parties(parties);
        if self.initialised.replace(true) {
            self.furnish(py)?;
        }
        self.state.set(State::Filling);
        self.count.set(0);
        Ok(())
    }

    /// Wait for the barrier.
    ///
    /// When the specified number of tasks have started waiting, they are all simultaneously awoken. Returns an unique
    /// and individual index number from 0 to 'parties-1'.
    fn wait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        start(slf, false)
    }

    /// Reset the barrier to the initial state.
    ///
    /// Any tasks currently waiting will get the BrokenBarrier exception raised.
    fn reset(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        change(slf, "Barrier.reset", |barrier| {
            barrier.state.set(if barrier.count.get() > 0 { State::Resetting } else { State::Filling });
        })
    }

    /// Place the barrier into a 'broken' state.
    ///
    /// Useful in case of error. Any currently waiting tasks and tasks attempting to 'wait()' will have
    /// BrokenBarrierError raised.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        change(slf, "Barrier.abort", |barrier| barrier.state.set(State::Broken))
    }

    /// Return the number of tasks required to trip the barrier.
    #[getter]
    fn parties(&self, py: Python<'_>) -> Py<PyAny> {
        self.parties.or_none().bound(py).unbind()
    }

    /// Return the number of tasks currently waiting at the barrier.
    #[getter]
    fn n_waiting(&self) -> Int<i64> {
        Int(if self.state.get() == State::Filling { self.count.get() } else { 0 })
    }

    /// Return True if the barrier is in a broken state.
    #[getter]
    fn broken(&self) -> bool {
        self.state.get() == State::Broken
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let object = Object::from_bound(slf.as_any());
        if is_exactly::<Self>(&object) {
            return start(slf, true);
        }
        operations::coroutine(slf.py(), Enter(Slot::holding(object)))
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let _ = (exc_type, exc, tb);
        operations::coroutine(slf.py(), Nothing)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let this = slf.get();
        let state = this.state.get();
        let extra = if state == State::Broken {
            state.name().to_owned()
        } else {
            let parties = this.parties.or_none().bound(slf.py()).str()?;
            format!("{}, waiters:{}/{parties}", state.name(), this.n_waiting().0)
        };
        describe(slf.as_any(), &extra, 0)
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

    #[getter(_cond)]
    fn condition_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.condition.or_none().bound(py).unbind()
    }

    #[getter(_count)]
    fn count_property(&self) -> Int<i64> {
        Int(self.count.get())
    }

    #[getter(_parties)]
    fn parties_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.parties(py)
    }

    #[getter(_state)]
    fn state_property<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        stdlib().barrier_state.bound(py).call1((Text(self.state.get().name()),))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.visit_slots([self.bound_to.slot(), &self.condition, &self.lock, &self.parties])
    }

    fn __clear__(&self) {
        // The lock and the condition stay: they are made with the barrier, and hold nothing of the program's.
        self.bound_to.slot().set(None);
        self.parties.set(None);
    }
}

fn start(slf: &Bound<'_, Barrier>, entering: bool) -> PyResult<Py<PyAny>> {
    let barrier = Slot::holding(Object::from_bound(slf.as_any()));
    let (stage, index) = (Cell::new(Stage::Entering), Cell::new(0));
    operations::coroutine(slf.py(), Wait { barrier, stage, index, entering })
}

fn change(slf: &Bound<'_, Barrier>, name: &'static str, apply: fn(&Barrier)) -> PyResult<Py<PyAny>> {
    let barrier = Slot::holding(Object::from_bound(slf.as_any()));
    operations::coroutine(slf.py(), Change { barrier, name, apply })
}

/// `__aenter__` of a barrier with methods of its own: `await self.wait()`.
struct Enter(Slot);

impl Machine for Enter {
    fn qualified_name(&self) -> &'static str {
        "Barrier.__aenter__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        operations::awaiting(&call::method0(&self.0.or_none(), &stdlib().names.wait)?)
    }

    fn resume(&self, index: Object) -> Result<Step> {
        Ok(Step::Done(index))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}

/// `__aexit__`, which has nothing to do.
struct Nothing;

impl Machine for Nothing {
    fn qualified_name(&self) -> &'static str {
        "Barrier.__aexit__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, _each: &mut dyn FnMut(&Slot)) {}
}
