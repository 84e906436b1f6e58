//! The clock that a loop goes by: the engine's, or one that a program has put in its place.
//!
//! asyncio's `time()` calls what `time.monotonic` is at that moment, and tests put clocks there that they stop and set
//! forward. So the loop looks, too, whenever it is about to read its own.

use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::Instant;

use super::timers;
use crate::ffi::make::Text;
use crate::ffi::{Object, Result, attached, call};
use crate::stdlib::stdlib;

/// `time.monotonic` of the interpreter's own; none, which nothing is like, if it had been replaced before anybody asked.
pub(crate) fn own_monotonic(py: Python<'_>) -> PyResult<Option<Object>> {
    let found = py.import(Text("time"))?.getattr(Text("monotonic"))?;
    // SAFETY: a live object.
    let is_own = unsafe { ffi::PyCFunction_Check(found.as_ptr()) } != 0;
    Ok(is_own.then(|| Object::from(found)))
}

/// Whether a program has put another function there.
#[inline]
pub(crate) fn is_replaced() -> bool {
    let own = stdlib().monotonic.as_ref().map_or(std::ptr::null_mut(), Object::as_ptr);
    found() != own || own.is_null()
}

/// What is there, borrowed; null if nothing is.
#[inline]
fn found() -> *mut ffi::PyObject {
    let stdlib = stdlib();
    // SAFETY: a dict and a string whose hash is known, so that nothing is called and nothing fails.
    unsafe { ffi::PyDict_GetItemWithError(stdlib.time_namespace.as_ptr(), stdlib.names.monotonic.as_ptr()) }
}

/// `time()`.
pub(super) fn time() -> Result<Object> {
    if !is_replaced() {
        // SAFETY: a new reference or null.
        return unsafe { Object::steal(ffi::PyFloat_FromDouble(timers::seconds(Instant::now()))) };
    }
    call::call0(&Object::from(attached::py().import(Text("time"))?.getattr(Text("monotonic"))?))
}
