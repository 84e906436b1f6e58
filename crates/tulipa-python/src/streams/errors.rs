//! The exceptions of reading: `IncompleteReadError`, `LimitOverrunError`, and the ValueError that `readline` makes of it.

use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::prelude::*;

use crate::ffi::make::{Exception, Int, Text};
use crate::ffi::raised::chain;
use crate::ffi::{Object, Raised};
use crate::stdlib::stdlib;

/// The stream has ended, and `partial` is all there was of what was expected.
#[cold]
pub(super) fn incomplete_read<'py>(partial: &Object, expected: impl IntoPyObject<'py>) -> Raised {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    raise(py, stdlib().incomplete_read_error.bound(py).call1((partial.bound(py), expected)))
}

/// A separator was not found within the limit, or only behind it.
#[cold]
pub(super) fn limit_overrun(text: &str, consumed: usize) -> Raised {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    raise(py, stdlib().limit_overrun_error.bound(py).call1((Text(text), Int(consumed))))
}

/// As `limit_overrun`, of a line.
#[cold]
pub(super) fn line_too_long(text: &'static str, consumed: usize) -> Raised {
    let cause = limit_overrun(text, consumed).take_object();
    chain(PyValueError::with_text(text).into(), &cause)
}

/// `async for` has come to the end.
#[cold]
pub(super) fn end_of_lines() -> Raised {
    PyStopAsyncIteration::new_err(()).into()
}

fn raise(_py: Python<'_>, made: PyResult<Bound<'_, PyAny>>) -> Raised {
    match made {
        Ok(exception) => PyErr::from_value(exception).into(),
        Err(error) => error.into(),
    }
}
