//! `TaskGroup`: tasks that are waited for together, and fail together.
//!
//! A task that ends well while others run only leaves the set; the last one, and one that failed, are dealt with in the
//! place where asyncio would run their done-callback. What differs between Pythons is asked of the running one's own
//! class (`Behaviour`), since its point releases differ too.
//!
//! Here is what a group knows and decides; `class` is what Python sees of it, `creating` makes the tasks, `enter` and
//! `exit` are its two operations.

mod class;
mod creating;
mod enter;
mod exit;

use std::cell::Cell;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::leaves_the_loop;
use crate::ffi::{Object, Raised, Result, Slot, attached, call, native};
use crate::futures::any;
use crate::futures::observers::observer_kind;
use crate::operations::{self, running_loop};
use crate::stdlib::stdlib;
use crate::tasks::current;

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

/// Lets a task that ended well leave at once, where others stay and none is about to leave: nothing comes of it. Classes
/// derived from this one look into the set, and see it leave when asyncio would have it leave.
fn note(group: &Object, task: &Object) -> bool {
    if group.class() != TaskGroup::type_object_raw(attached::py()) {
        return true;
    }
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
