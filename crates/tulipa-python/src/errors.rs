//! The only conversion of the engine's errors into Python's exceptions.

use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// The exception that the socket module raises for the same failure: `OSError(errno, text)` picks the subclass.
pub(crate) fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return error.into() };
    // SAFETY: exceptions are made on attached threads only.
    let py = unsafe { Python::assume_attached() };
    let text = py.import("os").and_then(|os| os.call_method1("strerror", (number,)));
    match text {
        Ok(text) => PyOSError::new_err((number, text.unbind())),
        Err(error) => error,
    }
}
