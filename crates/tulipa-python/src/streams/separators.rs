//! What `readuntil` looks for: one separator, or (from Python 3.13 on) the first of several.

use memchr::memmem;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::buffer::as_slice;
use crate::ffi::make::{self, Exception};
use crate::ffi::{Object, Raised, Result, call};

/// Where the shortest match lies.
#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// `None` stands for a newline; otherwise a `bytes` object, or a tuple of them, the shortest first.
pub(super) struct Separators<'a>(&'a Object);

/// Checks what `readuntil` was given, and brings it into the form that `Separators` reads.
pub(super) fn normalise(given: &Object) -> Result<Object> {
    // SAFETY: reads the object's class.
    let is_tuple = unsafe { ffi::PyTuple_Check(given.as_ptr()) } != 0;
    let separators = if is_tuple && cfg!(Py_3_13) { sorted(given)? } else { as_bytes(given)? };
    if Separators(&separators).shortest() == 0 {
        return Err(PyValueError::with_text("Separator should be at least one-byte string").into());
    }
    Ok(separators)
}

fn sorted(given: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let given = given.bound(py).cast_into::<PyTuple>().map_err(PyErr::from)?;
    let mut separators = Vec::with_capacity(given.len());
    for separator in given.iter() {
        separators.push(as_bytes(&Object::from(separator))?);
    }
    if separators.is_empty() {
        return Err(PyValueError::with_text("Separator should contain at least one element").into());
    }
    separators.sort_by_key(|separator| as_slice(separator).len());
    let tuple = make::tuple(py, separators.iter().map(|separator| separator.bound(py)))?;
    Ok(tuple.into_any().into())
}

/// The separator as `bytes`; what is none raises what measuring it, or searching for it, raises.
fn as_bytes(separator: &Object) -> Result<Object> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyBytes_CheckExact(separator.as_ptr()) } != 0 {
        return Ok(separator.clone());
    }
    // SAFETY: a live object.
    if unsafe { ffi::PyObject_Size(separator.as_ptr()) } < 0 {
        return Err(Raised);
    }
    // SAFETY: a live object.
    if unsafe { ffi::PyObject_CheckBuffer(separator.as_ptr()) } == 0 {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let nothing = Object::from(make::bytearray(py)?.into_any());
        let find = Object::from(make::interned(py, "find")?.into_any());
        return call::method1(&nothing, &find, separator);
    }
    // SAFETY: an object with a buffer; the result is new or null.
    unsafe { Object::steal(ffi::PyBytes_FromObject(separator.as_ptr())) }
}

impl<'a> Separators<'a> {
    pub(super) fn new(normalised: &'a Object) -> Self {
        Self(normalised)
    }

    fn is_tuple(&self) -> bool {
        // SAFETY: reads the object's class.
        unsafe { ffi::PyTuple_CheckExact(self.0.as_ptr()) != 0 }
    }

    fn item(&self, index: usize) -> Object {
        // SAFETY: a tuple, and an index within it, which the callers keep to.
        unsafe { Object::borrow(ffi::PyTuple_GET_ITEM(self.0.as_ptr(), index.cast_signed())) }
    }

    fn count(&self) -> usize {
        // SAFETY: a tuple.
        unsafe { ffi::PyTuple_GET_SIZE(self.0.as_ptr()) }.cast_unsigned()
    }

    pub(super) fn shortest(&self) -> usize {
        if self.0.is_none() {
            return 1;
        }
        if self.is_tuple() { as_slice(&self.item(0)).len() } else { as_slice(self.0).len() }
    }

    pub(super) fn longest(&self) -> usize {
        if self.0.is_none() {
            return 1;
        }
        if self.is_tuple() { as_slice(&self.item(self.count() - 1)).len() } else { as_slice(self.0).len() }
    }

    /// The match that ends first, at or behind `offset`.
    #[inline]
    pub(super) fn find(&self, haystack: &[u8], offset: usize) -> Option<Match> {
        let at = |start: usize, size: usize| Match { start: offset + start, end: offset + start + size };
        let rest = haystack.get(offset..)?;
        if self.0.is_none() {
            return memchr::memchr(b'\n', rest).map(|start| at(start, 1));
        }
        if !self.is_tuple() {
            let separator = as_slice(self.0);
            return memmem::find(rest, separator).map(|start| at(start, separator.len()));
        }
        let matches = (0..self.count()).filter_map(|index| {
            let separator = self.item(index);
            let separator = as_slice(&separator);
            memmem::find(rest, separator).map(|start| at(start, separator.len()))
        });
        // Of two that end together the shorter separator's counts, which comes first.
        matches.min_by_key(|found| found.end)
    }
}
