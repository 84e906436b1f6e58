//! `shield()`: a future whose cancellation does not reach the one behind it.
//!
//! Two observers do it. The outer future waits for the inner one and takes its outcome over; the inner one waits for the
//! outer one and, should that end first, is listened to no more.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{current, ensure_future};
use crate::ffi::args::Args;
use crate::ffi::{Object, Result, call};
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
    if cfg!(Py_3_14)
        && let Some(caller) = current::of(&event_loop)?
    {
        current::add_awaited_by(&inner, &caller)?;
        CALLER_FREED.observe(&inner, &caller)?;
    }
    INNER_DONE.observe(&inner, &outer)?;
    OUTER_DONE.observe(&outer, &inner)?;
    Ok(Some(outer))
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
observer_kind!(
    /// The inner future, listened to no more, is done: an exception of its own has nowhere else to go.
    static LOG, c"_log_on_exception", always, log_on_exception
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

fn outer_done(inner: &Object, outer: &Object) -> Result<()> {
    if any::done(inner)? {
        return Ok(());
    }
    INNER_DONE.forget(inner, outer)?;
    if stdlib().behaviour.shield_logs {
        // Cancelled again and again, the inner future is to be logged once.
        LOG.forget(inner, inner)?;
        LOG.observe(inner, inner)?;
    }
    if cfg!(Py_3_14)
        && let Some(caller) = current::of(&any::loop_of(inner)?)?
    {
        CALLER_FREED.forget(inner, &caller)?;
        current::discard_awaited_by(inner, &caller)?;
    }
    Ok(())
}

fn forget_caller(caller: &Object, inner: &Object) -> Result<()> {
    current::discard_awaited_by(inner, caller)
}

fn log_on_exception(_same: &Object, inner: &Object) -> Result<()> {
    if any::cancelled(inner)? {
        return Ok(());
    }
    let Some(exception) = any::exception(inner)? else { return Ok(()) };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let context = PyDict::new(py);
    let class = exception.bound(py).get_type().getattr("__name__")?;
    context.set_item("message", format!("{class} exception in shielded future"))?;
    context.set_item("exception", exception.bound(py))?;
    context.set_item("future", inner.bound(py))?;
    let traceback = inner.bound(py).getattr("_source_traceback")?;
    if traceback.is_truthy()? {
        context.set_item("source_traceback", traceback)?;
    }
    let event_loop = call::getattr(inner, &stdlib().names.private_loop)?;
    call::method1(&event_loop, &stdlib().names.call_exception_handler, &context.into_any().into()).map(drop)
}
