//! Being attached to the interpreter, and letting go of it for something that takes its time.

use pyo3::ffi;
use pyo3::prelude::*;

/// The interpreter, for code that it calls. Safe to call by the rule that makes `Object` safe to clone (O1): code of
/// this crate that has to do with Python runs attached.
#[inline]
pub(crate) fn py<'py>() -> Python<'py> {
    // SAFETY: attached (O1).
    unsafe { Python::assume_attached() }
}

/// Runs `body` while other threads have the interpreter. The thread is attached again whichever way `body` ends:
/// whoever catches a panic goes on with Python objects.
///
/// # Safety
/// The thread is attached. `body` touches nothing of Python's; references may be moved, and are not dropped, not even
/// when it panics.
#[inline]
pub(crate) unsafe fn release<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: passed on.
    let _detached = Detached(unsafe { ffi::PyEval_SaveThread() });
    body()
}

/// The state of a thread that is not attached.
struct Detached(*mut ffi::PyThreadState);

impl Drop for Detached {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the state that was saved by this thread, which a pointer does not leave.
        unsafe { ffi::PyEval_RestoreThread(self.0) };
    }
}
