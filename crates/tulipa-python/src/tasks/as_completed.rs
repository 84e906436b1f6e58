//! `as_completed()`: futures in the order of their ends.
//!
//! From 3.13 on what it returns is iterated by `for` and by `async for`; before, it was a generator, which looks at its
//! arguments when it is first asked.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;

use pyo3::exceptions::{PyStopAsyncIteration, PyTimeoutError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PySet;
use pyo3::{PyTraverseError, PyVisit};

use super::{current, ensure_future, is_coroutine};
use crate::ffi::args::Args;
use crate::ffi::make::{Exception, Text};
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::any;
use crate::futures::observers::{always, observer_kind};
use crate::gc::VisitSlots;
use crate::operations::{self, Machine, Step, WaitList, Waiter, running_loop};
use crate::stdlib::stdlib;
use crate::timeouts::Alarm;

/// `as_completed(fs, *, timeout=None)`.
pub(crate) fn as_completed(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([futures, timeout]) = args.bind(1, 1, [&stdlib().names.fs, &stdlib().names.timeout]) else {
        return Ok(None);
    };
    let iterator = AsCompletedIterator {
        given: Slot::holding(futures.expect("it is required")),
        timeout: Slot::holding(timeout.unwrap_or_else(Object::none)),
        event_loop: Slot::empty(),
        todo: Slot::empty(),
        left: Cell::new(0),
        done: UnsafeCell::new(VecDeque::new()),
        waiters: WaitList::new(),
        alarm: Alarm::new(),
        caller: Slot::empty(),
    };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let object: Object = Bound::new(py, iterator)?.into_any().into();
    if cfg!(Py_3_13) {
        // SAFETY: made above.
        unsafe { native::<AsCompletedIterator>(object.as_ptr()) }.begin(&object)?;
    }
    Ok(Some(object))
}

/// Iterator of awaitables representing tasks of asyncio.as_completed.
///
/// As an asynchronous iterator, iteration yields futures as they finish. As a plain iterator, new coroutines are yielded
/// that will return or raise the result of the next underlying future to complete.
#[pyclass(name = "_AsCompletedIterator", module = "tulipa._tulipa", frozen, weakref)]
pub(crate) struct AsCompletedIterator {
    /// What was given, until it is looked at.
    given: Slot,
    timeout: Slot,
    event_loop: Slot,
    /// The set of futures that are not done.
    todo: Slot,
    /// How many are still to be handed out.
    left: Cell<usize>,
    /// Those that are done and were not handed out; empty entries are for futures that time ran out on.
    done: UnsafeCell<VecDeque<Option<Object>>>,
    waiters: WaitList,
    alarm: Alarm,
    /// The task that waits, where futures show who awaits them.
    caller: Slot,
}

// SAFETY: S1.
unsafe impl Send for AsCompletedIterator {}
// SAFETY: S1.
unsafe impl Sync for AsCompletedIterator {}

impl AsCompletedIterator {
    fn begin(&self, this: &Object) -> Result<()> {
        let Some(given) = self.given.take() else { return Ok(()) };
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        refuse_single(&given)?;
        let event_loop = call::call0(&stdlib().event_loop)?;
        if cfg!(Py_3_14) {
            // A loop that is set will do no more: it has to run, as somebody's task is asked for.
            self.caller.set(current::of(&running_loop()?)?);
        }
        // SAFETY: a live object; the result is new or null.
        let different = unsafe { Object::steal(ffi::PySet_New(given.as_ptr())) }?;
        let todo = PySet::empty(py)?;
        for awaitable in different.bound(py).try_iter()? {
            let future = ensure_future::ensure_future(&awaitable?.into(), Some(&event_loop))?;
            todo.add(future.bound(py))?;
        }
        self.left.set(todo.len());
        self.todo.put(todo.clone().into_any().into());
        for future in snapshot(&todo)? {
            if let Some(caller) = self.caller.get() {
                current::add_awaited_by(&future, &caller)?;
            }
            COMPLETED.observe(&future, this)?;
        }
        let timeout = self.timeout.or_none();
        if !todo.is_empty() && !timeout.is_none() {
            self.alarm.set_later(&event_loop, &timeout, (this.clone(), &TIME_IS_UP, Object::none()))?;
        }
        self.event_loop.put(event_loop);
        Ok(())
    }

    fn todo(&self) -> Result<Option<Bound<'_, PySet>>> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let Some(todo) = self.todo.get() else { return Ok(None) };
        Ok(Some(todo.bound(py).cast_into::<PySet>().map_err(PyErr::from)?).filter(|todo| !todo.is_empty()))
    }

    fn put(&self, future: Option<Object>) -> Result<()> {
        // SAFETY: S1: pushing calls nobody.
        unsafe { (*self.done.get()).push_back(future) };
        self.wake_next()
    }

    fn is_empty(&self) -> bool {
        // SAFETY: S1: a length is read.
        unsafe { (*self.done.get()).is_empty() }
    }

    fn wake_next(&self) -> Result<()> {
        while let Some((waiter, _)) = self.waiters.next(0) {
            self.waiters.remove(&waiter);
            if operations::wake(&waiter, Object::none)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next of those that are done, if any; nothing in it where time has run out.
    #[allow(clippy::option_option, reason = "nothing there, and one that time ran out on")]
    fn take(&self) -> Option<Option<Object>> {
        // SAFETY: S1: moved out before anything is done with it.
        unsafe { (*self.done.get()).pop_front() }
    }

    fn wait_for_one(&self) -> Result<Step> {
        let waiter = Waiter::pending(running_loop()?)?;
        self.waiters.push(waiter.clone())?;
        Ok(Step::Park(waiter))
    }

    fn slots(&self) -> [&Slot; 7] {
        [
            &self.given,
            &self.timeout,
            &self.event_loop,
            &self.todo,
            self.waiters.slot(),
            self.alarm.handle(),
            &self.caller,
        ]
    }
}

/// One future is no list of futures.
fn refuse_single(given: &Object) -> Result<()> {
    if any::is_collection(given) {
        return Ok(());
    }
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let is_single = if cfg!(Py_3_13) {
        py.import(Text("inspect"))?.call_method1(Text("isawaitable"), (given.bound(py),))?.is_truthy()?
    } else {
        any::is_future(given)? || is_coroutine(given)?
    };
    if !is_single {
        return Ok(());
    }
    let name = given.bound(py).get_type().getattr(Text("__name__"))?;
    let text =
        if cfg!(Py_3_13) { "expects an iterable of awaitables" } else { "expect an iterable of futures" };
    Err(PyTypeError::with_text(format!("{text}, not {name}")).into())
}

fn snapshot(set: &Bound<'_, PySet>) -> PyResult<Vec<Object>> {
    set.try_iter()?.map(|item| item.map(Object::from)).collect()
}

observer_kind!(
    /// One of the futures is done.
    static COMPLETED, c"_handle_completion", always, handle_completion
);
observer_kind!(
    /// Time has run out on those that are not.
    static TIME_IS_UP, c"_handle_timeout", always, handle_timeout
);

fn handle_completion(object: &Object, future: &Object) -> Result<()> {
    // SAFETY: observers of this kind are such iterators.
    let iterator: &AsCompletedIterator = unsafe { native(object.as_ptr()) };
    let Some(todo) = iterator.todo()? else { return Ok(()) };
    if let Some(caller) = iterator.caller.get() {
        current::discard_awaited_by(future, &caller)?;
    }
    todo.discard(future.bound(todo.py()))?;
    iterator.put(Some(future.clone()))?;
    if todo.is_empty() {
        iterator.alarm.cancel(&iterator.event_loop.or_none())?;
    }
    Ok(())
}

fn handle_timeout(object: &Object, _nothing: &Object) -> Result<()> {
    // SAFETY: observers of this kind are such iterators.
    let iterator: &AsCompletedIterator = unsafe { native(object.as_ptr()) };
    iterator.alarm.forget();
    let Some(todo) = iterator.todo()? else { return Ok(()) };
    for future in snapshot(&todo)? {
        COMPLETED.forget(&future, object)?;
        if let Some(caller) = iterator.caller.get() {
            current::discard_awaited_by(&future, &caller)?;
        }
        iterator.put(None)?;
    }
    todo.clear();
    Ok(())
}

#[pymethods]
impl AsCompletedIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let this = slf.get();
        let object = Object::from_bound(slf.as_any());
        this.begin(&object)?;
        if this.left.get() == 0 {
            return Ok(None);
        }
        this.left.set(this.left.get() - 1);
        operations::coroutine(slf.py(), Next { iterator: Slot::holding(object), form: Form::Plain }).map(Some)
    }

    #[cfg(Py_3_13)]
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[cfg(Py_3_13)]
    fn __anext__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let iterator = Slot::holding(Object::from_bound(slf.as_any()));
        operations::coroutine(slf.py(), Next { iterator, form: Form::Asynchronous })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        // SAFETY: S1: the collector neither calls out nor changes the queue while it visits.
        let done = unsafe { &*self.done.get() };
        done.iter().flatten().try_for_each(|future| visit.call(future.as_py()))?;
        visit.visit_slots(self.slots())
    }

    fn __clear__(&self) {
        self.slots().iter().for_each(|slot| slot.set(None));
        // SAFETY: S1: moved out whole before anything is dropped.
        drop(unsafe { std::mem::take(&mut *self.done.get()) });
    }
}

/// How the iterator is iterated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By `for`: awaiting what it gives returns the result.
    Plain,
    /// By `async for`: it gives the future.
    #[cfg_attr(not(Py_3_13), allow(dead_code, reason = "a form that came with 3.13"))]
    Asynchronous,
}

/// `_wait_for_one()`.
struct Next {
    iterator: Slot,
    form: Form,
}

impl Machine for Next {
    fn qualified_name(&self) -> &'static str {
        match self.form {
            Form::Plain if cfg!(Py_3_13) => "_AsCompletedIterator._wait_for_one",
            Form::Plain => "as_completed.<locals>._wait_for_one",
            Form::Asynchronous => "_AsCompletedIterator.__anext__",
        }
    }

    fn waits_in(&self) -> &'static [&'static str] {
        match self.form {
            Form::Plain if cfg!(Py_3_13) => &["_AsCompletedIterator._wait_for_one", "Queue.get"],
            Form::Plain => &["as_completed.<locals>._wait_for_one", "Queue.get"],
            Form::Asynchronous => {
                &["_AsCompletedIterator.__anext__", "_AsCompletedIterator._wait_for_one", "Queue.get"]
            }
        }
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        self.with_iterator(|iterator| {
            if self.form == Form::Asynchronous {
                let left = iterator.left.get();
                if left == 0 {
                    return Err(PyStopAsyncIteration::new_err(()).into());
                }
                iterator.left.set(left - 1);
            }
            self.give(iterator)
        })
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        self.with_iterator(|iterator| self.give(iterator))
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        self.with_iterator(|iterator| {
            if let Some(waiter) = waiter {
                iterator.waiters.remove(waiter);
                // SAFETY: what it parked on.
                let was_woken = !unsafe { Waiter::of(waiter.as_ptr()) }.is_cancelled();
                if was_woken && !iterator.is_empty() {
                    iterator.wake_next()?;
                }
            }
            Err(Raised::from_object(&exception))
        })
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.iterator);
    }
}

impl Next {
    fn with_iterator(&self, body: impl FnOnce(&AsCompletedIterator) -> Result<Step>) -> Result<Step> {
        let object = self.iterator.or_none();
        // SAFETY: made for such iterators only, and not resumed once it is cleared.
        body(unsafe { native(object.as_ptr()) })
    }

    fn give(&self, iterator: &AsCompletedIterator) -> Result<Step> {
        match iterator.take() {
            None => iterator.wait_for_one(),
            Some(None) => Err(PyTimeoutError::new_err(()).into()),
            Some(Some(future)) if self.form == Form::Asynchronous => Ok(Step::Done(future)),
            Some(Some(future)) => any::result(&future).map(Step::Done),
        }
    }
}
