//! `TaskGroup`: tasks that are waited for together, and fail together.
//!
//! A task that ends well while others run only leaves the set; the last one, and one that failed, are dealt with in the
//! place where asyncio would run their done-callback. What differs between Pythons is asked of the running one's own
//! class (`Behaviour`), since its point releases differ too.

mod exit;

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::event_loop::core::Core;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::leaves_the_loop;
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::any;
use crate::futures::observers::observer_kind;
use crate::gc::VisitSlots;
use crate::operations::{self, Machine, Step, running_loop};
use crate::stdlib::stdlib;
use crate::tasks::{self, Arguments, current};
use exit::Exit;

/// Asynchronous context manager for managing groups of tasks.
///
/// Example use:
///
///     async with asyncio.TaskGroup() as group:
///         task1 = group.create_task(some_coroutine(...))
///         task2 = group.create_task(other_coroutine(...))
///     print("Both tasks have completed now.")
///
/// All tasks are awaited when the context manager exits. Any exceptions other than `asyncio.CancelledError` raised
/// within a task will cancel all remaining tasks and wait for them to exit. The exceptions are then combined and raised
/// as an `ExceptionGroup`.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct TaskGroup {
    entered: Cell<bool>,
    exiting: Cell<bool>,
    aborting: Cell<bool>,
    parent_cancel_requested: Cell<bool>,
    cancel_on_enter: Cell<bool>,
    /// Tasks that will leave the set by their own notification: those that are not native, and those that are done, but
    /// are still in it.
    queued: Cell<usize>,
    event_loop: Slot,
    parent: Slot,
    /// A set of the tasks that are not done, or whose end was not dealt with.
    tasks: Slot,
    /// A list of what the tasks raised; empty once that was raised.
    errors: Slot,
    base_error: Slot,
    /// What `__aexit__` is parked on.
    waiter: Slot,
}

// SAFETY: S1.
unsafe impl Send for TaskGroup {}
// SAFETY: S1.
unsafe impl Sync for TaskGroup {}

impl TaskGroup {
    fn slots(&self) -> [&Slot; 6] {
        [&self.event_loop, &self.parent, &self.tasks, &self.errors, &self.base_error, &self.waiter]
    }

    fn enter(&self, this: &Object) -> Result<()> {
        let named = |text: &str| -> Result<()> {
            Err(PyRuntimeError::with_text(format!("TaskGroup {} {text}", call::repr(this)?)).into())
        };
        if self.entered.get() {
            return named("has already been entered");
        }
        if self.event_loop.is_empty() {
            self.event_loop.put(running_loop()?);
        }
        self.parent.set(current::of(&self.event_loop.or_none())?);
        if self.parent.is_empty() {
            return named("cannot determine the parent task");
        }
        self.entered.set(true);
        if self.cancel_on_enter.get() { self.cancel_all() } else { Ok(()) }
    }

    /// How many tasks are in the set.
    fn len(&self) -> usize {
        let tasks = self.tasks.as_ptr();
        if tasks.is_null() {
            return 0;
        }
        // SAFETY: a live set.
        unsafe { ffi::PySet_Size(tasks) }.cast_unsigned()
    }

    fn discard(&self, task: &Object) -> Result<()> {
        let Some(tasks) = self.tasks.get() else { return Ok(()) };
        // SAFETY: a set and a live object.
        if unsafe { ffi::PySet_Discard(tasks.as_ptr(), task.as_ptr()) } < 0 {
            return Err(Raised);
        }
        Ok(())
    }

    /// Cancels every task that is not done.
    fn abort(&self) -> Result<()> {
        self.aborting.set(true);
        let Some(tasks) = self.tasks.get() else { return Ok(()) };
        // SAFETY: attached.
        let tasks = tasks.bound(unsafe { Python::assume_attached() });
        let tasks: Vec<Object> =
            tasks.try_iter()?.map(|task| task.map(Object::from)).collect::<PyResult<_>>()?;
        for task in tasks {
            if !any::done(&task)? {
                any::cancel(&task)?;
            }
        }
        Ok(())
    }

    /// `cancel()`, which Python has from 3.15 on.
    fn cancel_all(&self) -> Result<()> {
        if !self.entered.get() {
            self.cancel_on_enter.set(true);
            return Ok(());
        }
        if (self.exiting.get() && self.len() == 0) || self.aborting.get() {
            return Ok(());
        }
        self.abort()?;
        self.cancel_parent()
    }

    fn cancel_parent(&self) -> Result<()> {
        let Some(parent) = self.parent.get().filter(|_| !self.parent_cancel_requested.get()) else {
            return Ok(());
        };
        self.parent_cancel_requested.set(true);
        any::cancel(&parent).map(drop)
    }

    fn ensure_open(&self, this: &Object, coroutine: &Object) -> Result<()> {
        let reason = if !self.entered.get() {
            "has not been entered"
        } else if self.exiting.get() && self.len() == 0 {
            "is finished"
        } else if self.aborting.get() {
            "is shutting down"
        } else {
            return Ok(());
        };
        if stdlib().behaviour.group_closes_refused {
            call::method0(coroutine, &stdlib().names.close)?;
        }
        Err(PyRuntimeError::with_text(format!("TaskGroup {} {reason}", call::repr(this)?)).into())
    }

    /// The new task is one of the group's.
    fn adopt(&self, this: &Object, task: &Object) -> Result<()> {
        if let Some(parent) = self.parent.get() {
            current::add_awaited_by(task, &parent)?;
        }
        if stdlib().behaviour.group_deals_with_done_at_once && any::done(task)? {
            return self.deal_with(task);
        }
        // SAFETY: a set and a live object.
        if unsafe { ffi::PySet_Add(self.tasks.as_ptr(), task.as_ptr()) } < 0 {
            return Err(Raised);
        }
        if any::native(task).is_none() {
            self.queued.set(self.queued.get() + 1);
        }
        CHILD_DONE.observe(task, this)?;
        // An eager task can have cancelled the group before it was one of it.
        if cfg!(Py_3_15) && self.aborting.get() && !any::done(task)? {
            any::cancel(task)?;
        }
        Ok(())
    }

    /// A task is done: `_on_task_done`.
    fn deal_with(&self, task: &Object) -> Result<()> {
        self.discard(task)?;
        if let Some(parent) = self.parent.get() {
            current::discard_awaited_by(task, &parent)?;
        }
        if let Some(waiter) = self.waiter.get().filter(|_| self.len() == 0) {
            operations::wake(&waiter, || crate::futures::methods::boolean(true))?;
        }
        if any::cancelled(task)? {
            return Ok(());
        }
        let Some(exception) = any::exception(task)? else { return Ok(()) };
        self.add_error(&exception)?;
        if leaves_the_loop(&exception) && self.base_error.is_empty() {
            self.base_error.put(exception.clone());
        }
        if any::done(&self.parent.or_none())? {
            return self.report(task, &exception);
        }
        if !self.aborting.get() && !self.parent_cancel_requested.get() {
            // The parent is not being cancelled: it is, now, to leave whatever it does in the group's block. The
            // request is taken back when it does.
            self.abort()?;
            self.cancel_parent()?;
        }
        Ok(())
    }

    fn add_error(&self, exception: &Object) -> Result<()> {
        let errors = self.errors.or_none();
        // SAFETY: attached.
        let errors = errors.bound(unsafe { Python::assume_attached() });
        errors.call_method1(Text("append"), (exception.bound(errors.py()),))?;
        Ok(())
    }

    /// A task has failed after its parent was done.
    #[cold]
    fn report(&self, task: &Object, exception: &Object) -> Result<()> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let (shown, parent) = (call::repr(task)?, self.parent.or_none().bound(py).str()?);
        let context = make::dict(py)?;
        let text = format!("Task {shown} has errored out but its parent task {parent} is already completed");
        context.set_item(Text("message"), Text(text))?;
        context.set_item(Text("exception"), exception.bound(py))?;
        context.set_item(Text("task"), task.bound(py))?;
        let name = &stdlib().names.call_exception_handler;
        call::method1(&self.event_loop.or_none(), name, &context.into_any().into()).map(drop)
    }
}

observer_kind!(
    /// A task of a group is done.
    static CHILD_DONE, c"_on_task_done", note, child_done
);

/// Lets a task that ended well leave at once, where others stay and none is about to leave: nothing comes of it.
fn note(group: &Object, task: &Object) -> bool {
    // SAFETY: observers of this kind are groups.
    let group: &TaskGroup = unsafe { native(group.as_ptr()) };
    let Some(state) = any::native(task) else { return true };
    let leaves = group.queued.get() == 0
        && group.len() > 1
        && state.exception_or_none().is_none()
        && current::discard_awaited_by_quietly(task, &group.parent);
    if leaves {
        // The hash and the comparison of native tasks are object's own, so nobody is called, and nothing can fail.
        // SAFETY: a set and a live object, which the caller holds too.
        unsafe { ffi::PySet_Discard(group.tasks.as_ptr(), task.as_ptr()) };
        return false;
    }
    group.queued.set(group.queued.get() + 1);
    true
}

fn child_done(group: &Object, task: &Object) -> Result<()> {
    // SAFETY: observers of this kind are groups.
    let group: &TaskGroup = unsafe { native(group.as_ptr()) };
    group.queued.set(group.queued.get().saturating_sub(1));
    group.deal_with(task)
}

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

/// `create_task` where all keywords are the loop's.
#[cfg(Py_3_14)]
fn create(
    slf: &Bound<'_, TaskGroup>,
    coroutine: &Bound<'_, PyAny>,
    keywords: &Bound<'_, PyDict>,
) -> PyResult<Py<PyAny>> {
    let (py, group) = (slf.py(), slf.get());
    let (this, coroutine) = (Object::from_bound(slf.as_any()), Object::from_bound(coroutine));
    group.ensure_open(&this, &coroutine)?;
    let event_loop = group.event_loop.or_none();
    let native = Core::of(&event_loop).filter(|core| core.makes_tasks() && keywords.is_empty());
    let task = match native {
        Some(core) => make(py, &event_loop, core, coroutine, [None, None])?,
        None => event_loop
            .bound(py)
            .call_method(Text("create_task"), (coroutine.bound(py),), Some(keywords))?
            .into(),
    };
    group.adopt(&this, &task)?;
    Ok(task.bound(py).unbind())
}

#[cfg(not(Py_3_14))]
fn create(
    slf: &Bound<'_, TaskGroup>,
    coroutine: &Bound<'_, PyAny>,
    name: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let (py, group) = (slf.py(), slf.get());
    let (this, coroutine) = (Object::from_bound(slf.as_any()), Object::from_bound(coroutine));
    group.ensure_open(&this, &coroutine)?;
    let event_loop = group.event_loop.or_none();
    let task = match Core::of(&event_loop).filter(|core| core.makes_tasks()) {
        Some(core) => {
            let given = [name, context].map(|given| given.map(Object::from_bound));
            make(py, &event_loop, core, coroutine, given)?
        }
        None => ask(py, &event_loop, &coroutine, name, context)?,
    };
    group.adopt(&this, &task)?;
    Ok(task.bound(py).unbind())
}

fn make(
    py: Python<'_>,
    event_loop: &Object,
    core: &Core,
    coroutine: Object,
    [name, context]: [Option<Object>; 2],
) -> Result<Object> {
    core.ensure_open()?;
    let given = name.clone();
    let arguments = Arguments { coroutine, name, context, eager_start: false };
    let task = tasks::create(py, event_loop.clone(), core, arguments)?;
    tasks::count_named(given.as_ref(), stdlib().behaviour.group_names_later);
    Ok(task)
}

/// `loop.create_task(coro, name=name, context=context)`; where asyncio does so the name is set afterwards.
#[cfg(not(Py_3_14))]
fn ask(
    py: Python<'_>,
    event_loop: &Object,
    coroutine: &Object,
    name: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
) -> Result<Object> {
    let keywords = make::dict(py)?;
    let names_later = stdlib().behaviour.group_names_later;
    if !names_later {
        keywords.set_item(Text("name"), name)?;
    }
    if let Some(context) = context {
        keywords.set_item(Text("context"), context)?;
    }
    let task =
        event_loop.bound(py).call_method(Text("create_task"), (coroutine.bound(py),), Some(&keywords))?;
    if let Some(name) = name.filter(|_| names_later) {
        py.import(Text("asyncio.tasks"))?.call_method1(Text("_set_task_name"), (&task, name))?;
    }
    Ok(task.into())
}

/// `__aenter__`.
struct Enter(Slot);

impl Machine for Enter {
    fn qualified_name(&self) -> &'static str {
        "TaskGroup.__aenter__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let object = self.0.or_none();
        // SAFETY: made for groups only, and not started once it is cleared.
        let group: &TaskGroup = unsafe { native(object.as_ptr()) };
        group.enter(&object)?;
        Ok(Step::Done(object))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}
