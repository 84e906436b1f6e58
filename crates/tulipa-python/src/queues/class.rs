//! The queues' classes as Python sees them.

use std::fmt::Write;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::hooks::{Hook, Order, Overridden};
use super::machines::{Get, Join, Put};
use super::state::State;
use crate::ffi::args::Given;
use crate::ffi::make::{self, Int, Text};
use crate::ffi::{Object, Slot};
use crate::operations;
use crate::stdlib::stdlib;

/// A queue, useful for coordinating producer and consumer coroutines.
///
/// If maxsize is less than or equal to zero, the queue size is infinite. If it is an integer greater than 0, then
/// "await put()" will block when the queue reaches maxsize, until an item is removed by get().
///
/// Unlike queue.Queue, you can reliably know this Queue's size with qsize(), since your single-threaded asyncio
/// application won't be interrupted between calling qsize() and doing an operation on the Queue.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Queue {
    pub(super) state: State,
}

// SAFETY: S1.
unsafe impl Send for Queue {}
// SAFETY: S1.
unsafe impl Sync for Queue {}

impl Queue {
    /// An instance of `class`, which is one of these or derives from one.
    fn of_class(class: &Bound<'_, PyType>) -> PyResult<Self> {
        let order = Order::of(class);
        Ok(Self { state: State::new(order, Overridden::in_class(class, order)?) })
    }
}

#[pymethods]
impl Queue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(maxsize=0)")]
    fn new(
        class: &Bound<'_, PyType>,
        _arguments: &Bound<'_, PyTuple>,
        _keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Self::of_class(class)
    }

    #[pyo3(signature = (maxsize=Given::NOT))]
    fn __init__(slf: &Bound<'_, Self>, maxsize: Given<'_>) -> PyResult<()> {
        let given = match maxsize.0 {
            Some(given) => &given.clone(),
            None => &make::int(slf.py(), 0)?.into_any(),
        };
        let state = &slf.get().state;
        state.begin(given)?;
        if state.overridden.has(Hook::Init) {
            return slf.call_method1(Text(Hook::Init.name()), (given,)).map(drop);
        }
        Ok(state.items.begin(state.order)?)
    }

    // These three are overridable in subclasses.

    fn _init(&self, maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = maxsize;
        Ok(self.state.items.begin(self.state.order)?)
    }

    fn _get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.state.items.pop(self.state.order)?.bound(py).unbind())
    }

    fn _put(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(self.state.items.push(self.state.order, Object::from_bound(item))?)
    }

    // End of the overridable methods.

    #[allow(clippy::unused_self, reason = "a method, as subclasses override it")]
    fn _wakeup_next(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        while waiters.is_truthy()? {
            let waiter = waiters.call_method0(Text("popleft"))?;
            if operations::wake(&waiter.into(), Object::none)? {
                break;
            }
        }
        Ok(())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let text = slf.call_method0(Text("_format"))?;
        Ok(Text(format!("<{} at {:p} {}>", slf.get_type().name()?, slf.as_ptr(), text.str()?)))
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<Text<String>> {
        let text = slf.call_method0(Text("_format"))?;
        Ok(Text(format!("<{} {}>", slf.get_type().name()?, text.str()?)))
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stdlib().generic_alias.bound(class.py()).call1((class, item))
    }

    fn _format(&self, py: Python<'_>) -> PyResult<Text<String>> {
        let state = &self.state;
        let mut text = format!("maxsize={}", state.max_size.or_none().bound(py).repr()?);
        if !state.items.is_empty()? {
            let _ = write!(text, " _queue={}", state.items.snapshot(py)?.repr()?);
        }
        for (name, waiters) in [("_getters", &state.getters), ("_putters", &state.putters)] {
            if !waiters.is_empty() {
                let _ = write!(text, " {name}[{}]", waiters.len());
            }
        }
        if state.unfinished.get() != 0 {
            let _ = write!(text, " tasks={}", state.unfinished.get());
        }
        if state.is_shut_down.get() {
            text += " shutdown";
        }
        Ok(Text(text))
    }

    /// Number of items in the queue.
    fn qsize(&self) -> PyResult<Int<usize>> {
        Ok(Int(self.state.items.len()?))
    }

    /// Number of items allowed in the queue.
    #[getter]
    fn maxsize(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.max_size.or_none().bound(py).unbind()
    }

    /// Return True if the queue is empty, False otherwise.
    fn empty(&self) -> PyResult<bool> {
        Ok(self.state.items.is_empty()?)
    }

    /// Return True if there are maxsize items in the queue.
    ///
    /// Note: if the Queue was initialized with maxsize=0 (the default), then full() is never True.
    fn full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(slf.get().state.has_reached_limit(&Object::from_bound(slf.as_any()))?)
    }

    /// Put an item into the queue.
    ///
    /// If the queue is full, wait until a free slot is available before adding item.
    ///
    /// Raises QueueShutDown if the queue has been shut down.
    fn put(slf: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let queue = Slot::holding(Object::from_bound(slf.as_any()));
        operations::coroutine(slf.py(), Put { queue, item: Slot::holding(Object::from_bound(item)) })
    }

    /// Put an item into the queue without blocking.
    ///
    /// If no free slot is immediately available, raise QueueFull.
    ///
    /// Raises QueueShutDown if the queue has been shut down.
    fn put_nowait(slf: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(slf.get().state.put_nowait(&Object::from_bound(slf.as_any()), Object::from_bound(item))?)
    }

    /// Remove and return an item from the queue.
    ///
    /// If queue is empty, wait until an item is available.
    ///
    /// Raises QueueShutDown if the queue has been shut down and is empty, or if the queue has been shut down
    /// immediately.
    fn get(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        operations::coroutine(slf.py(), Get(Slot::holding(Object::from_bound(slf.as_any()))))
    }

    /// Remove and return an item from the queue.
    ///
    /// Return an item if one is immediately available, else raise QueueEmpty.
    ///
    /// Raises QueueShutDown if the queue has been shut down and is empty, or if the queue has been shut down
    /// immediately.
    fn get_nowait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let item = slf.get().state.get_nowait(&Object::from_bound(slf.as_any()))?;
        Ok(item.bound(slf.py()).unbind())
    }

    /// Indicate that a formerly enqueued task is complete.
    ///
    /// Used by queue consumers. For each get() used to fetch a task, a subsequent call to task_done() tells the queue
    /// that the processing on the task is complete.
    ///
    /// If a join() is currently blocking, it will resume when all items have been processed.
    ///
    /// Raises ValueError if called more times than there were items placed in the queue.
    fn task_done(&self) -> PyResult<()> {
        Ok(self.state.task_done()?)
    }

    /// Block until all items in the queue have been gotten and processed.
    ///
    /// The count of unfinished tasks goes up whenever an item is added to the queue. The count goes down whenever a
    /// consumer calls task_done() to indicate that the item was retrieved and all work on it is complete. When the
    /// count of unfinished tasks drops to zero, join() unblocks.
    fn join(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        operations::coroutine(slf.py(), Join(Slot::holding(Object::from_bound(slf.as_any()))))
    }

    /// Shut-down the queue, making queue gets and puts raise QueueShutDown.
    ///
    /// By default, gets will only raise once the queue is empty. Set 'immediate' to True to make gets raise
    /// immediately instead.
    ///
    /// All blocked callers of put() and get() will be unblocked. If 'immediate', a task is marked as done for each item
    /// remaining in the queue, which may unblock callers of join().
    #[pyo3(signature = (immediate=None), text_signature = "($self, immediate=False)")]
    fn shutdown(slf: &Bound<'_, Self>, immediate: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let immediate = immediate.map_or(Ok(false), PyAnyMethods::is_truthy)?;
        Ok(slf.get().state.shut_down(&Object::from_bound(slf.as_any()), immediate)?)
    }

    fn _get_loop(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let event_loop = slf.get().state.bound_to.bind(&Object::from_bound(slf.as_any()))?;
        Ok(event_loop.bound(slf.py()).unbind())
    }

    #[getter(_loop)]
    fn loop_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.bound_to.visible(py)
    }

    #[setter(_loop)]
    fn set_loop(&self, event_loop: &Bound<'_, PyAny>) {
        self.state.bound_to.set(Object::from_bound(event_loop));
    }

    #[getter(_maxsize)]
    fn max_size_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.maxsize(py)
    }

    #[setter(_maxsize)]
    fn set_max_size(&self, max_size: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state.set_max_size(max_size)
    }

    #[getter(_queue)]
    fn queue_property(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.state.items.show(py)?.bound(py).unbind())
    }

    #[setter(_queue)]
    fn set_queue(&self, queue: &Bound<'_, PyAny>) {
        self.state.items.replace(Object::from_bound(queue));
    }

    #[getter(_getters)]
    fn getters_property(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.state.getters.visible(py)
    }

    #[setter(_getters)]
    fn set_getters(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state.getters.replace(waiters)
    }

    #[getter(_putters)]
    fn putters_property(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.state.putters.visible(py)
    }

    #[setter(_putters)]
    fn set_putters(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state.putters.replace(waiters)
    }

    #[getter(_unfinished_tasks)]
    fn unfinished_property(&self) -> Int<i64> {
        Int(self.state.unfinished.get())
    }

    #[setter(_unfinished_tasks)]
    fn set_unfinished(&self, unfinished: i64) {
        self.state.unfinished.set(unfinished);
    }

    #[getter(_finished)]
    fn finished_property(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.state.finished(py)?.bound(py).unbind())
    }

    #[getter(_is_shutdown)]
    fn shut_down_property(&self) -> bool {
        self.state.is_shut_down.get()
    }

    #[setter(_is_shutdown)]
    fn set_shut_down(&self, is_shut_down: bool) {
        self.state.is_shut_down.set(is_shut_down);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.items.visit(|item| visit.call(item.as_py()))?;
        for slot in self.state.slots() {
            slot.peek().map_or(Ok(()), |object| visit.call(object.as_py()))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.state.items.clear();
        for slot in self.state.slots() {
            slot.set(None);
        }
    }
}

/// A subclass of Queue; retrieves entries in priority order (lowest first).
///
/// Entries are typically tuples of the form: (priority number, data).
#[pyclass(module = "tulipa._tulipa", subclass, frozen, extends = Queue)]
pub(crate) struct PriorityQueue;

#[pymethods]
impl PriorityQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(maxsize=0)")]
    fn new(
        class: &Bound<'_, PyType>,
        _arguments: &Bound<'_, PyTuple>,
        _keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        Ok(PyClassInitializer::from(Queue::of_class(class)?).add_subclass(Self))
    }
}

/// A subclass of Queue that retrieves most recently added entries first.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, extends = Queue)]
pub(crate) struct LifoQueue;

#[pymethods]
impl LifoQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(maxsize=0)")]
    fn new(
        class: &Bound<'_, PyType>,
        _arguments: &Bound<'_, PyTuple>,
        _keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        Ok(PyClassInitializer::from(Queue::of_class(class)?).add_subclass(Self))
    }
}
