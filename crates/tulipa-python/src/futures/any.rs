//! Futures of any make: ours without a call, others by asyncio's public protocol.
//!
//! What works on the futures that a program hands over (`gather`, `wait`, task groups) asks them through here.

use pyo3::ffi;

use super::{Bit, FutureState, Phase, is_exact, is_plain, state_of};
use crate::event_loop::core::Core;
use crate::ffi::make::Text;
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;
use crate::tasks;

/// The state of a future that is exactly native.
#[inline]
pub(crate) fn native<'a>(future: &'a Object) -> Option<&'a FutureState> {
    // SAFETY: exactly a native future, which the argument keeps alive.
    is_exact(future).then(|| unsafe { state_of::<'a>(future.as_ptr()) })
}

/// `asyncio.isfuture(object)`.
#[inline]
pub(crate) fn is_future(object: &Object) -> Result<bool> {
    if is_exact(object) {
        return Ok(true);
    }
    if object.class() == &raw mut ffi::PyCoro_Type || is_collection(object) {
        // What is asked about most, next to futures; looking for the attribute would make an exception.
        return Ok(false);
    }
    let name = &stdlib().names.asyncio_future_blocking;
    // SAFETY: attached.
    let py = unsafe { pyo3::Python::assume_attached() };
    let class =
        Object::from_bound(&pyo3::types::PyAnyMethods::getattr(&object.bound(py), Text("__class__"))?);
    if call::getattr_opt(&class, name)?.is_none() {
        return Ok(false);
    }
    Ok(!call::getattr(object, name)?.is_none())
}

/// Exactly a list, a tuple or a set, which is nothing to wait for itself.
#[inline]
pub(crate) fn is_collection(object: &Object) -> bool {
    [&raw mut ffi::PyList_Type, &raw mut ffi::PyTuple_Type, &raw mut ffi::PySet_Type]
        .contains(&object.class())
}

#[inline]
pub(crate) fn done(future: &Object) -> Result<bool> {
    match native(future) {
        Some(state) => Ok(!state.is_pending()),
        None => call::truth(&call::method0(future, &stdlib().names.done)?),
    }
}

#[inline]
pub(crate) fn cancelled(future: &Object) -> Result<bool> {
    match native(future) {
        Some(state) => Ok(state.phase() == Phase::Cancelled),
        None => call::truth(&call::method0(future, &stdlib().names.cancelled)?),
    }
}

/// The exception of a future that is done and not cancelled; it counts as looked at.
#[inline]
pub(crate) fn exception(future: &Object) -> Result<Option<Object>> {
    let exception = match native(future) {
        Some(state) => {
            state.bits.set(Bit::LogTraceback, false);
            state.exception_or_none()
        }
        None => call::method0(future, &stdlib().names.exception)?,
    };
    Ok((!exception.is_none()).then_some(exception))
}

/// The result of a future that is done, or what it raises.
#[inline]
pub(crate) fn result(future: &Object) -> Result<Object> {
    match native(future) {
        Some(state) => state.outcome(),
        None => call::method0(future, &stdlib().names.result),
    }
}

pub(crate) fn set_result(future: &Object, result: Object) -> Result<()> {
    match native(future) {
        Some(state) if !tasks::is_native(future) => state.set_result(future, result),
        _ => call::method1(future, &stdlib().names.set_result, &result).map(drop),
    }
}

pub(crate) fn set_exception(future: &Object, exception: &Object) -> Result<()> {
    match native(future) {
        Some(state) if !tasks::is_native(future) => state.set_exception(future, exception),
        _ => call::method1(future, &stdlib().names.set_exception, exception).map(drop),
    }
}

/// `future.cancel()`.
pub(crate) fn cancel(future: &Object) -> Result<bool> {
    if is_plain(future) {
        return tasks::cancel_future(future, None);
    }
    call::truth(&call::method0(future, &stdlib().names.cancel)?)
}

/// `future._make_cancelled_error()`.
pub(crate) fn cancelled_error(future: &Object) -> Result<Object> {
    match native(future) {
        Some(state) => state.cancelled_error(),
        None => call::method0(future, &stdlib().names.make_cancelled_error),
    }
}

pub(super) fn remove_done_callback(future: &Object, callable: &Object) -> Result<()> {
    call::method1(future, &stdlib().names.remove_done_callback, callable).map(drop)
}

/// `future.get_loop()`, or the attribute of futures that have no such method.
#[inline]
pub(crate) fn loop_of(future: &Object) -> Result<Object> {
    if let Some(event_loop) = native(future).and_then(|state| state.home().get()) {
        return Ok(event_loop);
    }
    let names = &stdlib().names;
    match call::getattr_opt(future, &names.get_loop)? {
        Some(method) => call::call0(&method),
        None => call::getattr(future, &names.private_loop),
    }
}

/// `loop.create_future()`.
pub(crate) fn create(event_loop: &Object) -> Result<Object> {
    match Core::of(event_loop) {
        Some(core) if core.makes_futures() => super::create(event_loop.clone(), core),
        _ => call::method0(event_loop, &stdlib().names.create_future),
    }
}
