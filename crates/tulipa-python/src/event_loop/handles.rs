//! `Handle` and `TimerHandle`: a callback, its arguments and its context, and how to cancel it.
//!
//! They derive from asyncio's own classes and keep their state in the very slots those declare, so `_callback`,
//! `_run`, `__repr__` and the comparisons of TimerHandle are asyncio's. Only making, cancelling, collecting and
//! freeing them is native, because that is what happens for every callback. `class` is what Python sees of them, `layout`
//! where their parts lie; `making` makes and empties them, `running` calls back.

mod class;
mod layout;
mod making;
mod running;

use pyo3::ffi;
use pyo3::prelude::*;

pub(super) use layout::{SHARING_SIZE, at};
pub(crate) use layout::{initialise, layout};
pub(crate) use making::{
    Parts, new_handle, new_queued_handle, new_thread_safe_handle, new_timer_handle, set_timer, show,
};
pub(super) use making::{restore, take_parts};
pub(super) use running::{call_by_context, is_quiet};
pub(crate) use running::{failure_context, run};

use self::layout::{is_timer, key_of};
use super::core::Core;
use crate::ffi::{Object, Result};
use crate::futures::methods::boolean;

/// Whether `cancel()` was called.
#[inline]
pub(crate) fn is_cancelled(handle: &Object) -> bool {
    // SAFETY: a handle; the constant lives as long as the interpreter.
    unsafe { at(handle.as_ptr(), layout().cancelled).as_ptr() == ffi::Py_True() }
}

/// `cancel()`, but for the engine's timer.
pub(super) fn cancel_handle(py: Python<'_>, handle: &Object) -> Result<()> {
    if is_cancelled(handle) {
        return Ok(());
    }
    let (object, layout) = (handle.as_ptr(), layout());
    let put = |offset: usize, value: Object| {
        // SAFETY: a handle.
        unsafe { at(object, offset) }.put(value);
    };
    put(layout.cancelled, boolean(true));
    // SAFETY: a handle.
    let event_loop = unsafe { at(object, layout.event_loop) }.or_none();
    if Core::of(&event_loop).is_some_and(Core::is_debug) {
        // What it was is kept as text: a warning may still have to name it.
        put(layout.repr, handle.bound(py).repr()?.into_any().into());
    }
    put(layout.callback, Object::none());
    put(layout.arguments, Object::none());
    Ok(())
}

/// Takes the handle's timer out of the engine, if it has one: the handle is run in another way.
pub(super) fn unschedule(core: &Core, handle: &Object) {
    // SAFETY: a live object.
    if unsafe { is_timer(handle.as_ptr()) } {
        // SAFETY: a TimerHandle.
        if let Some(key) = unsafe { key_of(handle.as_ptr()) }.take() {
            drop(core.engine.cancel_timer(key));
        }
    }
}
