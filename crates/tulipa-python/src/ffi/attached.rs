//! Letting go of the interpreter for something that takes its time.

use pyo3::ffi;

/// Runs `body`, which touches nothing of Python's (references may be moved), while other threads have the interpreter.
#[inline]
pub(crate) fn release<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: the callers are attached (O1).
    let state = unsafe { ffi::PyEval_SaveThread() };
    let answer = body();
    // SAFETY: the state that was saved above, on the same thread.
    unsafe { ffi::PyEval_RestoreThread(state) };
    answer
}
