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

/// Whether no other thread can want the interpreter: none but this one has a state there.
#[inline]
pub(crate) fn is_alone() -> bool {
    if cfg!(Py_GIL_DISABLED) {
        return true; // nobody has to wait for it
    }
    // SAFETY: attached. A thread's state stays in the interpreter's list while the thread is attached, and its entry's
    // successor is removed by attached threads only; neither other state is looked into.
    unsafe {
        let state = ffi::PyThreadState_Get();
        let first = ffi::PyInterpreterState_ThreadHead(ffi::PyThreadState_GetInterpreter(state));
        first == state && ffi::PyThreadState_Next(state).is_null()
    }
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
    let _detached = unsafe { Detached::new() };
    body()
}

/// The state of a thread that is not attached, until this is dropped.
pub(super) struct Detached(*mut ffi::PyThreadState);

impl Detached {
    /// Lets go of the interpreter.
    ///
    /// # Safety
    /// As for `release`, of what runs until this is dropped, on the same thread.
    #[inline]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: attached.
        Self(unsafe { ffi::PyEval_SaveThread() })
    }
}

impl Drop for Detached {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the state that was saved by this thread, which a pointer does not leave.
        unsafe { ffi::PyEval_RestoreThread(self.0) };
    }
}
