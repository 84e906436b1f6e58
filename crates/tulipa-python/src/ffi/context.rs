//! `contextvars.Context`: copying the current one, entering and leaving one.

use pyo3::ffi;

use super::{Object, Raised, Result, call};
use crate::stdlib::stdlib;

/// A copy of the current context, as `contextvars.copy_context()` makes it.
#[inline]
pub(crate) fn copy_current() -> Result<Object> {
    // SAFETY: the function returns a new reference or null with an exception set.
    unsafe { Object::steal(ffi::PyContext_CopyCurrent()) }
}

/// A copy of `context`.
pub(crate) fn copy(context: &Object) -> Result<Object> {
    // SAFETY: a live object; anything but a context is refused with an exception.
    unsafe { Object::steal(ffi::PyContext_Copy(context.as_ptr())) }
}

/// Runs `body` inside `context`, as `Context.run` does.
#[inline]
pub(crate) fn run_in<T>(context: &Object, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: a live object; anything but a context is refused with an exception.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(Raised);
    }
    let result = body();
    leave(context, result)
}

/// The same in a copy of `context`, which itself may be entered already.
pub(crate) fn run_in_copy<T>(context: &Object, body: impl FnOnce() -> Result<T>) -> Result<T> {
    run_in(&copy(context)?, body)
}

#[inline]
fn leave<T>(context: &Object, result: Result<T>) -> Result<T> {
    // SAFETY: the context was entered just before; leaving works with an exception set.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(Raised);
    }
    result
}

/// What asyncio does with anything else in the place of the context that running in has failed with: it has the object's
/// own `run()` make the call.
#[cold]
pub(crate) fn or_by_its_run(
    (raised, context): (Raised, Object),
    call: impl FnOnce(&Object) -> Result<Object>,
) -> std::result::Result<(), (Raised, Object)> {
    if is_context(&context) {
        return Err((raised, context));
    }
    raised.clear();
    let called = call::getattr(&context, &stdlib().names.run).and_then(|run| call(&run));
    called.map(drop).map_err(|raised| (raised, context))
}

/// Whether `object` is a `contextvars.Context`.
pub(crate) fn is_context(object: &Object) -> bool {
    // SAFETY: reads the object's class.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}
