//! `shield()`: a future whose cancellation does not reach the one behind it.
//!
//! Two observers do it. The outer future waits for the inner one and takes its outcome over; the inner one waits for the
//! outer one and, should that end first, is listened to no more.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{current, ensure_future};
use crate::ffi::args::Args;
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Result};
use crate::futures::any;
use crate::futures::observers::{always, observer_kind};
use crate::stdlib::stdlib;

/// `shield(arg)`.
pub(crate) fn shield(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([awaitable]) = args.bind(1, 1, [&stdlib().names.arg]) else { return Ok(None) };
    let inner = ensure_future::ensure_future(&awaitable.expect("it is required"), None)?;
    if any::done(&inner)? {
        return Ok(Some(inner));
    }
    let event_loop = any::loop_of(&inner)?;
    let outer = any::create(&event_loop)?;
    let caller = if cfg!(Py_3_14) { current::of(&event_loop)? } else { None };
    if let Some(caller) = &caller {
        current::add_awaited_by(&inner, caller)?;
        CALLER_FREED.observe(&inner, caller)?;
    }
    INNER_DONE.observe(&inner, &outer)?;
    OUTER_DONE.observe(&outer, &with_caller(inner.clone(), caller)?)?;
    Ok(Some(outer))
}

/// The inner future, or a pair of it and the task that called `shield`, where there was one.
fn with_caller(inner: Object, caller: Option<Object>) -> Result<Object> {
    let Some(caller) = caller else { return Ok(inner) };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(Object::from_bound(make::tuple(py, [inner.bound(py), caller.bound(py)])?.as_any()))
}

/// What `with_caller` has put together.
fn take_apart(shielded: &Object) -> Result<(Object, Option<Object>)> {
    // SAFETY: attached.
    let bound = shielded.bound(unsafe { Python::assume_attached() });
    match bound.cast_exact::<PyTuple>() {
        Ok(pair) => Ok((pair.get_item(0)?.into(), Some(pair.get_item(1)?.into()))),
        Err(_) => Ok((shielded.clone(), None)),
    }
}

observer_kind!(
    /// The outer future is told of the inner one's end.
    static INNER_DONE, c"_inner_done_callback", always, inner_done
);
observer_kind!(
    /// The inner future is told of the outer one's end.
    static OUTER_DONE, c"_outer_done_callback", always, outer_done
);
observer_kind!(
    /// The task that called `shield` is told of the inner future's end.
    static CALLER_FREED, c"_clear_awaited_by_callback", always, forget_caller
);

fn inner_done(outer: &Object, inner: &Object) -> Result<()> {
    if any::cancelled(outer)? {
        if !stdlib().behaviour.shield_logs && !any::cancelled(inner)? {
            any::exception(inner)?;
        }
        return Ok(());
    }
    if any::cancelled(inner)? {
        return any::cancel(outer).map(drop);
    }
    match any::exception(inner)? {
        Some(exception) => any::set_exception(outer, &exception),
        None => any::set_result(outer, any::result(inner)?),
    }
}

fn outer_done(shielded: &Object, outer: &Object) -> Result<()> {
    let (inner, caller) = take_apart(shielded)?;
    if any::done(&inner)? {
        return Ok(());
    }
    INNER_DONE.forget(&inner, outer)?;
    if stdlib().behaviour.shield_logs {
        log_once(&inner)?;
    }
    if let Some(caller) = caller {
        CALLER_FREED.forget(&inner, &caller)?;
        current::discard_awaited_by(&inner, &caller)?;
    }
    Ok(())
}

/// The inner future is listened to no more: an exception of its own has nowhere else to go. Shielded and cancelled again
/// and again, it is to be logged once.
fn log_once(inner: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let log = py.import(Text("asyncio.tasks"))?.getattr(Text("_log_on_exception"))?;
    inner.bound(py).call_method1(Text("remove_done_callback"), (&log,))?;
    inner.bound(py).call_method1(Text("add_done_callback"), (&log,))?;
    Ok(())
}

fn forget_caller(caller: &Object, inner: &Object) -> Result<()> {
    current::discard_awaited_by(inner, caller)
}
