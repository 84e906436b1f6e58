//! The fields of asyncio's C Task that are read in a native task's memory by others than its methods.
//!
//! From 3.14 on `python -m asyncio ps PID` walks CPython's list of tasks in another process and reads, of each, its
//! coroutine, its name and who awaits it; so does the code behind `capture_call_graph`. A native task is in that
//! list. Its coroutine and its name lie where the reader looks (`futures::places`); the other fields are here.
//!
//! Where they lie is found out once, by looking into the memory of stock objects. Where that fails nothing is written. Called by `class` and `step`, between calls into Python (S1).

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{TaskState, name};
use crate::ffi::{Object, Result, Slot, call};
use crate::futures::places::{HEADER, named, place_of, words};
use crate::stdlib::stdlib;

/// Offsets in a C Task; `awaited_by` in a C Future as well.
pub(crate) struct BaseFields {
    is_task: usize,
    awaited_by: usize,
    /// Without a GIL: the thread that made the task. Where it is another's, CPython stops the world to unlink it.
    #[cfg(Py_GIL_DISABLED)]
    thread: usize,
}

impl BaseFields {
    /// Looks into the stock objects that the probe's program has made.
    pub(crate) fn find(scope: &Bound<'_, PyDict>) -> PyResult<Option<Self>> {
        let (task, future) = (named(scope, "task")?, named(scope, "awaited")?);
        let found = (place_of(&future, &task), flag_in(words(&task), words(&future)));
        let (Some(awaited_by), Some(is_task)) = found else { return Ok(None) };
        #[cfg(Py_GIL_DISABLED)]
        let Some(thread) = thread_in(words(&task)) else { return Ok(None) };
        Ok(Some(Self {
            is_task,
            awaited_by,
            #[cfg(Py_GIL_DISABLED)]
            thread,
        }))
    }

    /// # Safety
    /// `object` is a native Future or Task, live for the use of the result.
    #[inline]
    unsafe fn slot<'a>(object: *mut ffi::PyObject, offset: usize) -> &'a Slot {
        // SAFETY: the base's field is one nullable owned pointer, which is what `Slot` is.
        unsafe { &*object.byte_add(offset).cast::<Slot>() }
    }
}

/// The byte that is one in a pending task and zero in a pending future, among small fields that are zero in both.
fn flag_in(task: &[usize], future: &[usize]) -> Option<usize> {
    let alone = |word: usize| {
        let bytes = word.to_ne_bytes();
        let place = bytes.iter().position(|&byte| byte == 1)?;
        (bytes.iter().filter(|&&byte| byte != 0).count() == 1).then_some(place)
    };
    let pairs = task.iter().zip(future).enumerate().skip(HEADER);
    let mut places = pairs
        .filter(|(_, (_, future))| **future == 0)
        .filter_map(|(index, (task, _))| alone(*task).map(|place| index * size_of::<usize>() + place));
    places.next().filter(|_| places.next().is_none())
}

/// The word that repeats the header's first one, the thread that made the object.
#[cfg(Py_GIL_DISABLED)]
fn thread_in(task: &[usize]) -> Option<usize> {
    let mut places = (HEADER..task.len()).filter(|&index| task[index] == task[0]);
    places.next().filter(|_| places.next().is_none()).map(|index| index * size_of::<usize>())
}

/// Shows a task that is about to be registered.
#[inline]
pub(super) fn show(task: &Object, state: &TaskState) -> Result<()> {
    let Some(fields) = &stdlib().behaviour.base_fields else { return Ok(()) };
    // SAFETY: a native task; the field is one byte.
    unsafe { task.as_ptr().byte_add(fields.is_task).cast::<u8>().write(1) };
    #[cfg(Py_GIL_DISABLED)]
    share(task, fields);
    name::show(state)
}

/// Lets other threads find the task in CPython's list while it may be about to go.
#[cfg(Py_GIL_DISABLED)]
fn share(task: &Object, fields: &BaseFields) {
    // SAFETY: a native task, just made by this thread, whose number its header holds.
    let thread = unsafe { task.as_ptr().cast::<usize>().read() };
    // SAFETY: a native task; the field is one word.
    unsafe { task.as_ptr().byte_add(fields.thread).cast::<usize>().write(thread) };
    // SAFETY: a live object.
    unsafe { PyUnstable_EnableTryIncRef(task.as_ptr()) };
}

#[cfg(Py_GIL_DISABLED)]
unsafe extern "C" {
    fn PyUnstable_EnableTryIncRef(object: *mut ffi::PyObject);
}

/// Empties the fields of a task that is being freed: with the base's part as it was when it was new, its memory goes to
/// the next task.
#[inline]
pub(super) fn hide(task: *mut ffi::PyObject) {
    let Some(fields) = &stdlib().behaviour.base_fields else { return };
    // SAFETY: a native task; its memory is still there.
    unsafe { BaseFields::slot(task, fields.awaited_by) }.set(None);
    // SAFETY: as above; the field is one byte.
    unsafe { task.byte_add(fields.is_task).cast::<u8>().write(0) };
}

/// `future_add_to_awaited_by(future, task)`, in place where `task` is the only one, as nearly always.
#[inline]
pub(super) fn add_awaited_by(future: &Object, task: &Object) -> Result<()> {
    let Some(fields) = &stdlib().behaviour.base_fields else { return Ok(()) };
    // SAFETY: a native future or task.
    let awaited_by = unsafe { BaseFields::slot(future.as_ptr(), fields.awaited_by) };
    if awaited_by.is_empty() {
        awaited_by.put(task.clone());
        return Ok(());
    }
    call::call2(&stdlib().add_to_awaited_by, future, task).map(drop)
}

/// `future_discard_from_awaited_by(future, task)`.
#[inline]
pub(super) fn discard_awaited_by(future: &Object, task: &Object) -> Result<()> {
    let Some(fields) = &stdlib().behaviour.base_fields else { return Ok(()) };
    // SAFETY: a native future or task.
    let awaited_by = unsafe { BaseFields::slot(future.as_ptr(), fields.awaited_by) };
    if awaited_by.as_ptr() == task.as_ptr() {
        awaited_by.set(None);
        return Ok(());
    }
    call::call2(&stdlib().discard_from_awaited_by, future, task).map(drop)
}

/// Takes `task` out where it is the only one, or where fields are not shown; `false` where there are others.
pub(super) fn discard_sole_awaited_by(future: &Object, task: &Slot) -> bool {
    let Some(fields) = &stdlib().behaviour.base_fields else { return true };
    // SAFETY: a native future or task.
    let awaited_by = unsafe { BaseFields::slot(future.as_ptr(), fields.awaited_by) };
    if awaited_by.is_same(task) {
        // Not the last reference: `task` holds one.
        awaited_by.set(None);
    }
    awaited_by.is_empty()
}
