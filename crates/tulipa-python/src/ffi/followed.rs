//! Whether somebody follows the program step by step: a debugger, coverage, a profiler.
//!
//! Such code sees what the interpreter otherwise drops at once, the exception by which `await` learns a result, and
//! looks at its class. Asked where that is made, so it must cost next to nothing; no function of CPython's tells.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;

/// Where a thread's state has its interpreter, in words.
const INTERPRETER: usize = 2;

/// Where it has what tells: the function that traces; from 3.13 on the version of what is instrumented, which is zero as
/// long as nothing ever was, above the flags of the evaluation's breaker.
const WORD: usize = if cfg!(Py_3_13) { 3 } else { 9 };
const FLAGS: u32 = if cfg!(Py_3_13) { 8 } else { 0 };

/// Whether a thread's state is what it was in all releases so far. Until it is found to be, everybody seems to be
/// followed, which costs time alone.
static IS_KNOWN: AtomicBool = AtomicBool::new(false);

#[inline]
fn word(place: usize) -> usize {
    // SAFETY: C13: attached; so many words a thread's state has in every release.
    unsafe { ffi::PyThreadState_Get().cast::<usize>().add(place).read() }
}

/// Looks for what is known of a thread's state; called by the module's initialisation.
pub(crate) fn initialise() {
    // SAFETY: attached (O1).
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    IS_KNOWN.store(word(INTERPRETER) == interpreter as usize, Ordering::Relaxed);
}

/// Whether the thread is traced; from 3.13 on also of one that was traced before, or where anything else was watched.
#[inline]
pub(crate) fn is_followed() -> bool {
    word(WORD) >> FLAGS != 0 || !IS_KNOWN.load(Ordering::Relaxed)
}
