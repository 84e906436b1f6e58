//! The interpreter's limit on how deep calls may go, for native code that reaches itself through a program's objects.
//!
//! What asyncio does there are calls of Python or C functions, which the interpreter counts; without them nobody would
//! notice that the stack ends.

use std::ffi::CStr;

use pyo3::ffi;

use super::{Raised, Result};

/// Runs `body` one level deeper, or raises RecursionError, whose message ends with `place`.
#[inline]
pub(crate) fn deeper<T>(place: &'static CStr, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: attached; a static string.
    if unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) } != 0 {
        return Err(Raised);
    }
    let outcome = body();
    // SAFETY: entered above.
    unsafe { ffi::Py_LeaveRecursiveCall() };
    outcome
}
