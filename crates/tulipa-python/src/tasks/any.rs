//! Tasks of any make: ours without a call, others by asyncio's public protocol.

use pyo3::prelude::*;

use super::{is_plain, state_of};
use crate::ffi::{Object, Result, call};
use crate::futures::any;
use crate::stdlib::stdlib;

/// `task.cancelling()`.
#[inline]
pub(crate) fn cancelling(task: &Object) -> Result<i64> {
    if is_plain(task) {
        // SAFETY: exactly a native task.
        return Ok(unsafe { state_of(task.as_ptr()) }.future.cancels().into());
    }
    count(&call::method0(task, &stdlib().names.cancelling)?)
}

/// `task.uncancel()`.
#[inline]
pub(crate) fn uncancel(task: &Object) -> Result<i64> {
    if is_plain(task) {
        // SAFETY: exactly a native task.
        return unsafe { state_of(task.as_ptr()) }.uncancel().map(Into::into);
    }
    count(&call::method0(task, &stdlib().names.uncancel)?)
}

/// `task.cancel()`.
pub(crate) fn cancel(task: &Object) -> Result<bool> {
    any::cancel(task)
}

fn count(answer: &Object) -> Result<i64> {
    // SAFETY: attached.
    Ok(answer.bound(unsafe { Python::assume_attached() }).extract()?)
}
