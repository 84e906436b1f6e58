//! What Python sees of a group.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::TaskGroup;
use super::creating::create;
use super::enter::Enter;
use super::exit::Exit;
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Slot};
use crate::gc::VisitSlots;
use crate::operations;

#[pymethods]
impl TaskGroup {
    #[new]
    #[pyo3(signature = (*arguments, **keywords), text_signature = "()")]
    fn new(arguments: &Bound<'_, PyTuple>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        // Those of a subclass's `__init__`; this class's own takes none.
        let _ = keywords;
        let py = arguments.py();
        Ok(Self {
            entered: Cell::new(false),
            exiting: Cell::new(false),
            aborting: Cell::new(false),
            parent_cancel_requested: Cell::new(false),
            cancel_on_enter: Cell::new(false),
            queued: Cell::new(0),
            event_loop: Slot::empty(),
            parent: Slot::empty(),
            tasks: Slot::holding(PySet::empty(py)?.into_any().into()),
            errors: Slot::holding(make::list(py)?.into_any().into()),
            base_error: Slot::empty(),
            waiter: Slot::empty(),
        })
    }

    #[pyo3(signature = ())]
    #[allow(clippy::unused_self, reason = "Python's `__init__`, which subclasses call")]
    fn __init__(&self) {}

    fn __repr__(&self, py: Python<'_>) -> PyResult<Text<String>> {
        let mut info = vec!["<TaskGroup".to_owned()];
        if self.len() > 0 {
            info.push(format!("tasks={}", self.len()));
        }
        let errors = self.errors.or_none();
        if errors.bound(py).is_truthy()? {
            info.push(format!("errors={}", errors.bound(py).len()?));
        }
        if self.aborting.get() {
            info.push("cancelling".to_owned());
        } else if self.entered.get() {
            info.push("entered".to_owned());
        }
        Ok(Text(info.join(" ") + ">"))
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        operations::coroutine(slf.py(), Enter(Slot::holding(Object::from_bound(slf.as_any()))))
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        et: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let _ = (et, tb);
        operations::coroutine(slf.py(), Exit::new(Object::from_bound(slf.as_any()), Object::from_bound(exc)))
    }

    /// Create a new task in this group and return it.
    ///
    /// Similar to `asyncio.create_task`.
    #[cfg(Py_3_14)]
    #[pyo3(signature = (coro, **kwargs))]
    fn create_task(
        slf: &Bound<'_, Self>,
        coro: &Bound<'_, PyAny>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let keywords = kwargs.cloned().map_or_else(|| make::dict(slf.py()), Ok)?;
        create(slf, coro, &keywords)
    }

    /// Create a new task in this group and return it.
    ///
    /// Similar to `asyncio.create_task`.
    #[cfg(not(Py_3_14))]
    #[pyo3(signature = (coro, *, name=None, context=None))]
    fn create_task(
        slf: &Bound<'_, Self>,
        coro: &Bound<'_, PyAny>,
        name: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        create(slf, coro, name, context)
    }

    /// Cancel the task group.
    ///
    /// `cancel()` will be called on any tasks in the group that aren't yet done, as well as the parent (body) of the
    /// group: its block is left without `asyncio.CancelledError` being raised. Called before the group is entered, it
    /// has effect then. It may be called again and again, and after the group was left.
    #[cfg(Py_3_15)]
    fn cancel(&self) -> PyResult<()> {
        Ok(self.cancel_all()?)
    }

    fn _abort(&self) -> PyResult<()> {
        Ok(self.abort()?)
    }

    fn _on_task_done(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(self.deal_with(&Object::from_bound(task))?)
    }

    #[getter]
    fn _entered(&self) -> bool {
        self.entered.get()
    }

    #[getter]
    fn _exiting(&self) -> bool {
        self.exiting.get()
    }

    #[getter]
    fn _aborting(&self) -> bool {
        self.aborting.get()
    }

    #[getter]
    fn _parent_cancel_requested(&self) -> bool {
        self.parent_cancel_requested.get()
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.or_none().bound(py).unbind()
    }

    #[getter]
    fn _parent_task(&self, py: Python<'_>) -> Py<PyAny> {
        self.parent.or_none().bound(py).unbind()
    }

    #[getter]
    fn _tasks(&self, py: Python<'_>) -> Py<PyAny> {
        self.tasks.or_none().bound(py).unbind()
    }

    #[getter]
    fn _errors(&self, py: Python<'_>) -> Py<PyAny> {
        self.errors.or_none().bound(py).unbind()
    }

    #[getter]
    fn _base_error(&self, py: Python<'_>) -> Py<PyAny> {
        self.base_error.or_none().bound(py).unbind()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.visit_slots(self.slots())
    }

    fn __clear__(&self) {
        self.slots().iter().for_each(|slot| slot.set(None));
    }
}
