//! Which task runs: what `asyncio.current_task()` reads.
//!
//! A loop that runs one task step after another would set and clear this for each. Instead a step leaves its
//! task in place, marked idle, and the next step overwrites it; whatever else the loop runs clears it first
//! (`settle`). Python code therefore never sees a task that is not running.

#[cfg(not(Py_3_14))]
use pyo3::ffi;

use crate::event_loop::core::Core;
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::stdlib;

/// Makes `task` the current one of `event_loop`, refusing where another is running, as asyncio does.
pub(crate) fn enter(event_loop: &Object, task: &Object) -> Result<()> {
    call::builtin(&stdlib().enter_task, [event_loop, task]).map(drop)
}

/// Takes `task` back.
pub(crate) fn leave(event_loop: &Object, task: &Object) -> Result<()> {
    call::builtin(&stdlib().leave_task, [event_loop, task]).map(drop)
}

/// As `enter`, for a step that a Tulipa loop runs itself.
#[inline]
pub(crate) fn enter_native(core: &Core, event_loop: &Object, task: &Object) -> Result<()> {
    match core.idle_task.take() {
        None => place(event_loop, task),
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

/// Clears the idle task, if any: called before anything but a task step runs, and when a batch ends. Fails, with the
/// task, where the program has put another in its place.
#[inline]
pub(crate) fn settle(core: &Core, event_loop: &Object) -> std::result::Result<(), (Raised, Object)> {
    match core.idle_task.take() {
        None => Ok(()),
        Some(task) => leave(event_loop, &task).map_err(|raised| (raised, task)),
    }
}

/// Makes `task` the current one where none is, as `enter` does, by asyncio's own dict.
#[cfg(not(Py_3_14))]
#[inline]
fn place(event_loop: &Object, task: &Object) -> Result<()> {
    // Not `PyDict_SetDefault`, of which 3.13 spoils the dict where there is no memory for one more entry.
    // SAFETY: asyncio's own dict of current tasks.
    let is_alone = unsafe { ffi::PyDict_Size(stdlib().current_tasks.as_ptr()) } == 0;
    if !is_alone && of(event_loop)?.is_some_and(|current| !task.is(current.as_ptr())) {
        return enter(event_loop, task);
    }
    replace(event_loop, task)
}

#[cfg(Py_3_14)]
#[inline]
fn place(event_loop: &Object, task: &Object) -> Result<()> {
    enter(event_loop, task)
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
    call::builtin(&stdlib().swap_current_task, [event_loop, task]).map(drop)
}

/// The loop that runs in this thread and its current task, if any.
pub(crate) fn running() -> Result<(Option<Object>, Option<Object>)> {
    let event_loop = call::call0(&stdlib().running_loop_or_none)?;
    if event_loop.is_none() {
        return Ok((None, None));
    }
    let task = of(&event_loop)?;
    Ok((Some(event_loop), task))
}

/// `current_task(loop=None)`.
#[cfg(not(Py_3_12))]
pub(crate) fn current_task(args: &crate::ffi::args::Args<'_>) -> Result<Option<Object>> {
    let Some([given]) = args.bind(1, 0, [&stdlib().names.loop_]) else { return Ok(None) };
    let event_loop = match given.filter(|given| !given.is_none()) {
        Some(given) => given,
        None => crate::operations::running_loop()?,
    };
    of(&event_loop).map(|task| Some(task.unwrap_or_else(Object::none)))
}

/// `current_task(event_loop)`.
#[cfg(not(Py_3_14))]
pub(crate) fn of(event_loop: &Object) -> Result<Option<Object>> {
    call::dict_item(&stdlib().current_tasks, event_loop)
}

/// `current_task(event_loop)`. Tasks written in Python are known to asyncio's function in Python only; where that has
/// been put in the place of the C one, it is asked.
#[cfg(Py_3_14)]
pub(crate) fn of(event_loop: &Object) -> Result<Option<Object>> {
    let usual = &stdlib().current_task;
    let task = match call::dict_item(&stdlib().tasks_namespace, &stdlib().names.current_task)? {
        Some(function) if !function.is(usual.as_ptr()) => call::call1(&function, event_loop)?,
        _ => call::builtin(usual, [event_loop])?,
    };
    Ok((!task.is_none()).then_some(task))
}

/// Swaps the current task for an eager start, and back: `None` stands for no task. Returns the one before.
#[cfg(Py_3_12)]
pub(crate) fn swap(event_loop: &Object, task: &Object) -> Result<Object> {
    call::builtin(&stdlib().swap_current_task, [event_loop, task])
}

/// `future_add_to_awaited_by(future, task)`, where futures show who awaits them.
#[cfg(Py_3_14)]
pub(crate) fn add_awaited_by(future: &Object, task: &Object) -> Result<()> {
    if crate::futures::is_exact(future) {
        return super::base_fields::add_awaited_by(future, task);
    }
    call::call2(&stdlib().add_to_awaited_by, future, task).map(drop)
}

/// `future_discard_from_awaited_by(future, task)`.
#[cfg(Py_3_14)]
pub(crate) fn discard_awaited_by(future: &Object, task: &Object) -> Result<()> {
    if crate::futures::is_exact(future) {
        return super::base_fields::discard_awaited_by(future, task);
    }
    call::call2(&stdlib().discard_from_awaited_by, future, task).map(drop)
}

/// As `discard_awaited_by` for a native future, where that calls no Python code; `false` where it must be done by call.
#[cfg(Py_3_14)]
pub(crate) fn discard_awaited_by_quietly(future: &Object, task: &crate::ffi::Slot) -> bool {
    task.is_empty() || super::base_fields::discard_sole_awaited_by(future, task)
}

#[cfg(not(Py_3_14))]
#[allow(clippy::unnecessary_wraps, reason = "the same signature as on the Pythons that can fail")]
pub(crate) fn add_awaited_by(_future: &Object, _task: &Object) -> Result<()> {
    Ok(())
}

#[cfg(not(Py_3_14))]
#[allow(clippy::unnecessary_wraps, reason = "the same signature as on the Pythons that can fail")]
pub(crate) fn discard_awaited_by(_future: &Object, _task: &Object) -> Result<()> {
    Ok(())
}

#[cfg(not(Py_3_14))]
pub(crate) fn discard_awaited_by_quietly(_future: &Object, _task: &crate::ffi::Slot) -> bool {
    true
}
