//! The only conversion of the engine's errors into Python's exceptions.

use crate::ffi::make::{self, Exception, Int, Text};
use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// The exception that the socket module raises for the same failure: `OSError(errno, text)` picks the subclass.
pub(crate) fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return error.into() };
    // SAFETY: exceptions are made on attached threads only.
    let py = unsafe { Python::assume_attached() };
    let text = py.import(Text("os")).and_then(|os| os.call_method1(Text("strerror"), (Int(number),)));
    match text {
        Ok(text) => os_error_of(py, number, &text).unwrap_or_else(|error| error),
        Err(error) => error,
    }
}

/// `OSError(number, text)`.
pub(crate) fn os_error_of(py: Python<'_>, number: i32, text: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let number = make::object(py, Int(number))?;
    Ok(PyOSError::with(py, make::tuple(py, [&number, text])?.as_any()))
}
