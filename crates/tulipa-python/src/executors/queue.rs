//! `WorkQueue`: what the workers of a loop's own thread pool wait at.
//!
//! It stands where `ThreadPoolExecutor` has its queue and answers to the same methods, so `submit()`, `shutdown()` and
//! the interpreter's exit are the standard library's. Beside the work items that those put in, it holds calls that
//! `run_in_executor` left, which `serve` runs without any Python code but the program's.
//!
//! Workers wait without the interpreter. The lock is held for a push or a pop, never while attaching, detaching, or
//! dropping a reference. One of them may look out for the next item for some microseconds before it sleeps
//! ([`Patience`]): waking a thread on an idle processor takes longer than most calls that follow each other closely. The
//! loop does so too while answers are owed to it (`owed`).

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use tulipa::{Patience, Remote};

use super::owed::Promise;
use super::{Outcome, pending};
use crate::event_loop::EventLoop;
use crate::event_loop::job::Job;
use crate::ffi::make::{Int, Text};
use crate::ffi::{Object, Result, attached, call};
use crate::futures::state_of;
use crate::gc::VisitSlots;
use crate::names::Lookup;
use crate::stdlib::stdlib;

/// A call whose answer a native future waits for.
struct Call {
    future: Object,
    function: Object,
    /// A tuple.
    arguments: Object,
    promise: Promise,
}

/// The loop that an answer was left for, to be woken.
struct Waking {
    remote: Remote<Job>,
    _promise: Promise,
}

enum Item {
    Call(Call),
    /// A name to be resolved, which needs no interpreter.
    Lookup(Box<Errand>),
    /// An answer for a loop that is closed; to be dropped where that may be done.
    Refused(Job),
    /// What Python code put in: a work item, or None to make workers look whether they are to end.
    Given(Object),
}

impl Item {
    fn visit(&self, see: &mut dyn FnMut(&Object)) {
        match self {
            Self::Call(call) => [&call.future, &call.function, &call.arguments].into_iter().for_each(see),
            Self::Lookup(errand) => see(&errand.future),
            Self::Refused(_) => {}
            Self::Given(object) => see(object),
        }
    }
}

/// A look-up, the native future that waits for its answer, and the loop to which both belong.
struct Errand {
    lookup: Lookup,
    future: Object,
    remote: Remote<Job>,
    _promise: Promise,
}

impl Errand {
    /// Looks up, without the interpreter, and leaves the answer for the loop. A closed loop hands it back.
    fn run(self) -> std::result::Result<(), Job> {
        let Self { lookup, future, remote, _promise } = self;
        // Should the look-up panic, this is not the place to drop the future.
        let future = ManuallyDrop::new(future);
        let answer = Box::new(lookup.run());
        remote.schedule(Job::Resolved { future: ManuallyDrop::into_inner(future), answer })
    }
}

struct State {
    items: VecDeque<Item>,
    /// Workers that wait; those that were told of an item but have not taken it yet count as waiting.
    waiting: usize,
    /// One of these looks out instead of sleeping.
    looking_out: bool,
    patience: Patience,
    /// A None was put in: the pool is about to end, or the interpreter is. Then `submit()` decides what is still taken.
    ending: bool,
}

impl State {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            waiting: 0,
            looking_out: false,
            patience: Patience::new(),
            ending: false,
        }
    }

    /// Whether there is more to do than there are workers waiting.
    fn wants_worker(&self) -> bool {
        self.items.len() > self.waiting
    }

    /// Whether a new item needs a worker to be woken: one that looks out sees it by itself.
    fn must_wake(&self) -> bool {
        let awake = usize::from(self.looking_out);
        self.waiting > awake && self.items.len() > awake
    }
}

/// The queue of a thread pool, in the order of submission.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct WorkQueue {
    state: Mutex<State>,
    arrived: Condvar,
    /// How many items there are, for who looks out.
    len: AtomicUsize,
}

#[pymethods]
impl WorkQueue {
    #[new]
    fn new() -> Self {
        Self { state: Mutex::new(State::new()), arrived: Condvar::new(), len: AtomicUsize::new(0) }
    }

    /// Put in a work item, or None.
    fn put(&self, item: &Bound<'_, PyAny>) {
        self.push(Item::Given(Object::from_bound(item)), item.is_none());
    }

    /// Take out what was put in first; raise queue.Empty if there is nothing. A call of the loop's comes as a work
    /// item that can be cancelled.
    fn get_nowait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let item = self.pop(&mut self.lock());
        match item {
            Some(Item::Given(object)) => Ok(object.bound(py).unbind()),
            Some(Item::Call(call)) => Ok(withdrawn(py, call.future)?),
            Some(Item::Lookup(errand)) => Ok(withdrawn(py, errand.future)?),
            Some(Item::Refused(_)) => unreachable!("never queued"),
            None => Err(PyErr::from_value(py.import(Text("queue"))?.getattr(Text("Empty"))?.call0()?)),
        }
    }

    fn qsize(&self) -> Int<usize> {
        Int(self.lock().items.len())
    }

    /// Whether there is more to do than there are workers waiting.
    fn wants_worker(&self) -> bool {
        self.lock().wants_worker()
    }

    /// Run the loop's calls until Python code has put something in, and return that.
    fn serve(&self, py: Python<'_>) -> Py<PyAny> {
        let mut loop_to_wake = None;
        loop {
            match self.next(loop_to_wake.take()) {
                Item::Given(object) => return object.bound(py).unbind(),
                Item::Call(call) => loop_to_wake = call.run(),
                Item::Lookup(errand) => {
                    // SAFETY: attached, as PyO3 says; the errand moves its future, and a closed loop's refusal comes back.
                    drop(unsafe { attached::release(|| errand.run()) });
                }
                Item::Refused(job) => drop(job),
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        // What cannot be looked at counts as still referenced.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        visit.visit_shown(|see| state.items.iter().for_each(|item| item.visit(see)))
    }

    fn __clear__(&self) {
        let items = {
            let mut state = self.lock();
            self.len.store(0, Ordering::Relaxed);
            std::mem::take(&mut state.items)
        };
        drop(items);
    }
}

impl WorkQueue {
    /// The lock. Only moves happen under it, so poison is of no interest.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in. Whether a worker is missing.
    fn push(&self, item: Item, ends: bool) -> bool {
        let (must_wake, wants_worker) = {
            let mut state = self.lock();
            state.items.push_back(item);
            self.len.store(state.items.len(), Ordering::Relaxed);
            state.ending |= ends;
            (state.must_wake(), state.wants_worker())
        };
        if must_wake {
            self.arrived.notify_one();
        }
        wants_worker
    }

    fn pop(&self, state: &mut State) -> Option<Item> {
        let item = state.items.pop_front();
        self.len.store(state.items.len(), Ordering::Relaxed);
        item
    }

    /// The next item. The loop that the last call's answer was left for is woken before this thread goes on; if the
    /// thread must wait, only after it has let go of the interpreter, which the loop wants next.
    fn next(&self, loop_to_wake: Option<Waking>) -> Item {
        let wake = move || {
            if let Some(waking) = loop_to_wake {
                waking.remote.notify();
            }
        };
        {
            let mut state = self.lock();
            if let Some(item) = self.pop(&mut state) {
                drop(state);
                wake();
                return item;
            }
            state.waiting += 1;
        }
        let wait = || {
            wake();
            self.look_out();
            self.wait()
        };
        // SAFETY: attached, as the caller `serve` is; items are moved, and none is dropped before it is returned.
        unsafe { attached::release(wait) }
    }

    /// Does not sleep for a little while, if nobody else does so and that has paid lately.
    fn look_out(&self) {
        {
            let mut state = self.lock();
            if state.looking_out || !state.patience.is_worth_it() {
                return;
            }
            state.looking_out = true;
        }
        let came = Patience::look_out(|| self.len.load(Ordering::Relaxed) > 0, || false);
        let mut state = self.lock();
        state.looking_out = false;
        state.patience.learn(came);
    }

    /// Blocks until there is an item that needs the interpreter; looks up what does not meanwhile.
    fn wait(&self) -> Item {
        let mut state = self.lock();
        loop {
            let Some(item) = self.pop(&mut state) else {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.waiting -= 1;
            let Item::Lookup(errand) = item else { return item };
            drop(state);
            if let Err(job) = errand.run() {
                return Item::Refused(job);
            }
            state = self.lock();
            state.waiting += 1;
        }
    }
}

/// Leaves a call for the workers of `executor`, the loop's own pool. `None`: its `submit()` must decide.
pub(super) fn submit(
    slf: &Bound<'_, EventLoop>,
    executor: &Object,
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
) -> Result<Option<Object>> {
    let (function, arguments) = (Object::from_bound(function), Object::from_bound(arguments.as_any()));
    enqueue(slf, executor, |future, promise| Item::Call(Call { future, function, arguments, promise }))
}

/// Queues a look-up, as `submit` queues a call.
pub(crate) fn look_up(
    slf: &Bound<'_, EventLoop>,
    executor: &Object,
    lookup: Lookup,
) -> Result<Option<Object>> {
    let remote = slf.get().core.remote();
    enqueue(slf, executor, |future, promise| {
        Item::Lookup(Box::new(Errand { lookup, future, remote, _promise: promise }))
    })
}

fn enqueue(
    slf: &Bound<'_, EventLoop>,
    executor: &Object,
    item: impl FnOnce(Object, Promise) -> Item,
) -> Result<Option<Object>> {
    let Some(queue) = slf.get().core.work_queue.get() else { return Ok(None) };
    let queue = queue.bound(slf.py()).cast_into::<WorkQueue>().map_err(PyErr::from)?;
    if queue.get().lock().ending {
        return Ok(None);
    }
    let future = pending(slf)?;
    let promise = slf.get().core.owed.promise();
    if queue.get().push(item(future.clone(), promise), false) {
        call::method0(executor, &stdlib().names.add_worker)?;
    }
    Ok(Some(future))
}

impl Call {
    /// Calls, unless the future was cancelled, and leaves the answer for the loop, which is handed back to be woken.
    fn run(self) -> Option<Waking> {
        // SAFETY: `submit` made it a native future.
        if !unsafe { state_of(self.future.as_ptr()) }.is_pending() {
            return None;
        }
        let outcome = call::call_tuple(&self.function, self.arguments.as_ptr()).into();
        self.answer(outcome)
    }

    fn answer(self, outcome: Outcome) -> Option<Waking> {
        // SAFETY: as above.
        let core = unsafe { state_of(self.future.as_ptr()) }.core()?;
        let remote = core.schedule_silently(Job::Answer { future: self.future, outcome })?;
        Some(Waking { remote, _promise: self.promise })
    }
}

/// The future of something that was taken out unrun: what `shutdown(cancel_futures=True)` gets to see.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct Withdrawn {
    waiting: Object,
}

fn withdrawn(py: Python<'_>, waiting: Object) -> PyResult<Py<PyAny>> {
    Ok(Bound::new(py, Withdrawn { waiting })?.into_any().unbind())
}

#[pymethods]
impl Withdrawn {
    /// What can be cancelled, as a work item's future can.
    #[getter]
    fn future(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Cancel the loop's future.
    fn cancel(&self) -> bool {
        let job = Job::Answer { future: self.waiting.clone(), outcome: Outcome::Cancelled };
        // SAFETY: `enqueue` made it a native future.
        let remote =
            unsafe { state_of(self.waiting.as_ptr()) }.core().and_then(|core| core.schedule_silently(job));
        remote.is_some_and(|remote| {
            remote.notify();
            true
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.call(self.waiting.as_py())
    }
}
