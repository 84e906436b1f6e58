//! The one interpreter of the process that may use the module.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::make::Exception;

/// No interpreter's number.
const NOBODY: i64 = -1;

static OWNER: AtomicI64 = AtomicI64::new(NOBODY);

/// Called first when the module is imported: what it keeps belongs to the process, classes and memory to an interpreter,
/// so no second one gets it, whether it has a GIL of its own or shares the first one's.
///
/// # Errors
///
/// `ImportError` in any interpreter but the first that asked, in the words in which CPython refuses.
pub(crate) fn claim() -> PyResult<()> {
    // SAFETY: attached (O1).
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match OWNER.compare_exchange(NOBODY, interpreter, Ordering::Relaxed, Ordering::Relaxed) {
        Err(owner) if owner != interpreter => {
            Err(PyImportError::with_text("module tulipa._tulipa does not support loading in subinterpreters"))
        }
        _ => Ok(()),
    }
}
