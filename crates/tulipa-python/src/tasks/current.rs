//! Which task runs: what `asyncio.current_task()` reads.
//!
//! A loop that runs one task step after another would set and clear this for each. Instead a step leaves its
//! task in place, marked idle, and the next step overwrites it; whatever else the loop runs clears it first
//! (`settle`). Python code therefore never sees a task that is not running.

#[cfg(not(Py_3_14))]
use pyo3::ffi;

use crate::event_loop::core::Core;
#[cfg(not(Py_3_14))]
use crate::ffi::Raised;
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;

/// Makes `task` the current one of `event_loop`, refusing where another is running, as asyncio does.
pub(crate) fn enter(event_loop: &Object, task: &Object) -> Result<()> {
    call::call2(&stdlib().enter_task, event_loop, task).map(drop)
}

/// Takes `task` back.
pub(crate) fn leave(event_loop: &Object, task: &Object) -> Result<()> {
    call::call2(&stdlib().leave_task, event_loop, task).map(drop)
}

/// As `enter`, for a step that a Tulipa loop runs itself.
#[inline]
pub(crate) fn enter_native(core: &Core, event_loop: &Object, task: &Object) -> Result<()> {
    match core.idle_task.take() {
        None => enter(event_loop, task),
        // The same task again, as in a loop of awaits: it is in place.
        Some(idle) if idle.is(task.as_ptr()) => Ok(()),
        Some(_idle) => replace(event_loop, task),
    }
}

/// The step is over; its task stays in place until another step or `settle`.
#[inline]
pub(crate) fn leave_native(core: &Core, task: &Object) {
    core.idle_task.put(task.clone());
}

/// Clears the idle task, if any: called before anything but a task step runs, and when a batch ends.
#[inline]
pub(crate) fn settle(core: &Core, event_loop: &Object) -> Result<()> {
    match core.idle_task.take() {
        None => Ok(()),
        Some(task) => leave(event_loop, &task),
    }
}

/// Overwrites the idle task by `task`.
#[cfg(not(Py_3_14))]
#[inline]
fn replace(event_loop: &Object, task: &Object) -> Result<()> {
    let tasks = stdlib().current_tasks.as_ptr();
    // SAFETY: asyncio's own dict of current tasks, and two live objects.
    if unsafe { ffi::PyDict_SetItem(tasks, event_loop.as_ptr(), task.as_ptr()) } < 0 {
        return Err(Raised);
    }
    Ok(())
}

/// Overwrites the idle task by `task`.
#[cfg(Py_3_14)]
#[inline]
fn replace(event_loop: &Object, task: &Object) -> Result<()> {
    call::call2(&stdlib().swap_current_task, event_loop, task).map(drop)
}

/// Swaps the current task for an eager start, and back: `None` stands for no task. Returns the one before.
#[cfg(Py_3_12)]
pub(crate) fn swap(event_loop: &Object, task: &Object) -> Result<Object> {
    call::call2(&stdlib().swap_current_task, event_loop, task)
}
