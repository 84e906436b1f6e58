//! Objects of Python's own classes, and exceptions, made so that memory that runs out is an error as any other.
//!
//! PyO3's constructors panic then, and so do its conversions of strings and numbers. An exception that it makes when it
//! is first looked at, as `new_err` has it, may do so where nothing catches a panic any more, which ends the process.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{BoundObject, PyTypeInfo};

use super::{Object, Raised, Result};

/// A string, for a place that takes anything that PyO3 makes objects of.
pub(crate) struct Text<T>(pub(crate) T);

impl<'py, T: AsRef<str>> IntoPyObject<'py> for Text<T> {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = PyErr;

    #[inline]
    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        text(py, self.0.as_ref())
    }
}

/// A whole number, likewise.
pub(crate) struct Int<T>(pub(crate) T);

impl<'py, T: TryInto<i64>> IntoPyObject<'py> for Int<T> {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = PyErr;

    #[inline]
    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        int(py, self.0)
    }
}

/// A number of seconds, likewise.
pub(crate) struct Float(pub(crate) f64);

impl<'py> IntoPyObject<'py> for Float {
    type Target = PyFloat;
    type Output = Bound<'py, PyFloat>;
    type Error = PyErr;

    #[inline]
    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        float(py, self.0)
    }
}

/// Takes over what a C function returned, which is of the class `T` or null.
///
/// # Safety
/// `pointer` is null with an exception set, or a reference to an instance of `T` that is owned by the caller.
#[inline]
unsafe fn made<T>(py: Python<'_>, pointer: *mut ffi::PyObject) -> PyResult<Bound<'_, T>> {
    // SAFETY: passed on.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, pointer) }?;
    // SAFETY: passed on.
    Ok(unsafe { object.cast_into_unchecked() })
}

pub(crate) fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: UTF-8 of that length; the result is a new string or null.
    unsafe { made(py, ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len().cast_signed())) }
}

/// The one string of that text that all share.
pub(crate) fn interned<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    let mut text = self::text(py, text)?.into_any().into_ptr();
    // SAFETY: an owned reference to a string, which is traded for one to the shared string.
    unsafe { ffi::PyUnicode_InternInPlace(&raw mut text) };
    // SAFETY: as above.
    unsafe { made(py, text) }
}

/// Several of them, as names of arguments.
pub(crate) fn names<const N: usize>(py: Python<'_>, texts: [&str; N]) -> Result<[Object; N]> {
    let mut names = [const { None }; N];
    for (name, text) in names.iter_mut().zip(texts) {
        *name = Some(Object::from(interned(py, text)?.into_any()));
    }
    Ok(names.map(|name| name.expect("there are as many texts")))
}

/// What is beyond the range is beyond any count of things in memory.
pub(crate) fn int<T: TryInto<i64>>(py: Python<'_>, value: T) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: takes any number; the result is a new one or null.
    unsafe { made(py, ffi::PyLong_FromLongLong(value.try_into().unwrap_or(i64::MAX))) }
}

pub(crate) fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: takes any number; the result is a new one or null.
    unsafe { made(py, ffi::PyFloat_FromDouble(value)) }
}

pub(crate) fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let length = bytes.len().cast_signed();
    // SAFETY: readable memory of that length; the result is new or null.
    unsafe { made(py, ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), length)) }
}

pub(crate) fn bytearray(py: Python<'_>) -> PyResult<Bound<'_, PyByteArray>> {
    // SAFETY: readable memory of no length; the result is new or null.
    unsafe { made(py, ffi::PyByteArray_FromStringAndSize(c"".as_ptr(), 0)) }
}

pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: the result is new or null.
    unsafe { made(py, ffi::PyDict_New()) }
}

pub(crate) fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: the result is new or null.
    unsafe { made(py, ffi::PyList_New(0)) }
}

pub(crate) fn list_of<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T>,
) -> PyResult<Bound<'py, PyList>> {
    let list = list(py)?;
    items.into_iter().try_for_each(|item| list.append(object(py, item)?))?;
    Ok(list)
}

pub(crate) fn tuple<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T>,
) -> PyResult<Bound<'py, PyTuple>> {
    let items = items.into_iter().map(|item| object(py, item)).collect::<PyResult<Vec<_>>>()?;
    // SAFETY: the result is new or null.
    let tuple: Bound<'_, PyTuple> = unsafe { made(py, ffi::PyTuple_New(items.len().cast_signed())) }?;
    for (index, item) in items.into_iter().enumerate() {
        // SAFETY: a new tuple of that many places, each of which is filled once; it takes over the reference.
        unsafe { ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index.cast_signed(), item.into_ptr()) };
    }
    Ok(tuple)
}

/// The object that a value stands for.
pub(crate) fn object<'py, T: IntoPyObject<'py>>(py: Python<'py>, item: T) -> PyResult<Bound<'py, PyAny>> {
    Ok(item.into_pyobject(py).map_err(Into::into)?.into_any().into_bound())
}

/// Exceptions that are made at once.
pub(crate) trait Exception: PyTypeInfo {
    /// An exception of this class with one string for its arguments.
    #[cold]
    fn with_text(text: impl AsRef<str>) -> PyErr {
        // SAFETY: exceptions are made on attached threads only.
        let py = unsafe { Python::assume_attached() };
        match self::text(py, text.as_ref()) {
            Ok(text) => Self::with(py, &text),
            Err(error) => error,
        }
    }

    /// An exception of this class: its only argument, or the tuple of them.
    #[cold]
    fn with(py: Python<'_>, arguments: &Bound<'_, PyAny>) -> PyErr {
        Self::raise(py, arguments).take(py)
    }

    /// The same, set in the indicator.
    #[cold]
    fn raise(py: Python<'_>, arguments: &Bound<'_, PyAny>) -> Raised {
        // SAFETY: a class of exceptions, and a live object.
        unsafe { ffi::PyErr_SetObject(Self::type_object_raw(py).cast(), arguments.as_ptr()) };
        Raised
    }
}

impl<T: PyTypeInfo> Exception for T {}
