//! Whether somebody follows the program step by step: a debugger, coverage, a profiler.
//!
//! Such code sees what the interpreter otherwise drops at once, the exception by which `await` learns a result, and
//! looks at its class. Asked where that is made, so it must cost next to nothing; no function of CPython's tells.

use pyo3::ffi;

/// Where a thread's state has its interpreter, in words.
const INTERPRETER: usize = 2;

/// Where it has what tells: the function that traces; from 3.13 on the version of what is instrumented, which is zero as
/// long as nothing ever was, above the flags of the evaluation's breaker.
const WORD: usize = if cfg!(Py_3_13) { 3 } else { 9 };
const FLAGS: u32 = if cfg!(Py_3_13) { 8 } else { 0 };

/// Whether the thread is traced. From 3.13 on, and where a thread's state is not what it was in all releases so far, also
/// `true` for who is not, which costs time alone.
#[inline]
pub(crate) fn is_followed() -> bool {
    // SAFETY: attached (O1).
    let (thread, interpreter) = unsafe { (ffi::PyThreadState_Get(), ffi::PyInterpreterState_Get()) };
    let words = thread.cast::<usize>();
    // SAFETY: C13: so many words a thread's state has in every release.
    let (owner, word) = unsafe { (words.add(INTERPRETER).read(), words.add(WORD).read()) };
    owner != interpreter as usize || word >> FLAGS != 0
}
