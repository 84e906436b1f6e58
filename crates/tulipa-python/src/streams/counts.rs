//! How many bytes to read, where that is given as something else than a count: asyncio takes what compares and slices,
//! and finds out when it is awaited.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::buffer::new_bytes;
use super::reader_class;
use super::reading::{Read, ReadAll, ReadExactly, ReadPieces, state};
use crate::ffi::make::Exception;
use crate::ffi::{Object, Raised, Result, Slot};
use crate::operations::{self, Machine, Step};

/// `read(n)`.
pub(super) fn read(reader: &Object, given: Option<Object>) -> Result<Object> {
    let Some(given) = given else { return read_all(reader) };
    match plain(&given).map(usize::try_from) {
        Some(Ok(most)) => operations::new(Read::new(reader, most)),
        Some(Err(_)) => read_all(reader),
        None => operations::new(ReadAny::new(reader, given, false)),
    }
}

/// `readexactly(n)`.
pub(super) fn read_exactly(reader: &Object, given: Object) -> Result<Object> {
    match plain(&given).map(usize::try_from) {
        Some(Ok(count)) => operations::new(ReadExactly::new(reader, count)),
        _ => operations::new(ReadAny::new(reader, given, true)),
    }
}

/// `read(n)` for a negative n: everything.
fn read_all(reader: &Object) -> Result<Object> {
    if reader_class::is_plain(reader, state(reader)) {
        operations::new(ReadAll::new(reader))
    } else {
        operations::new(ReadPieces::new(reader))
    }
}

/// The value of an exact integer that the machine has room for.
#[inline]
pub(super) fn plain(given: &Object) -> Option<isize> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyLong_CheckExact(given.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: an exact integer.
    let size = unsafe { ffi::PyLong_AsSsize_t(given.as_ptr()) };
    // SAFETY: reads the indicator.
    if size == -1 && unsafe { !ffi::PyErr_Occurred().is_null() } {
        Raised.clear(); // the number is too large
        return None;
    }
    Some(size)
}

/// `read(n)` or `readexactly(n)` for any other n.
pub(super) struct ReadAny {
    reader: Slot,
    given: Slot,
    exactly: bool,
}

impl ReadAny {
    pub(super) fn new(reader: &Object, given: Object, exactly: bool) -> Self {
        Self { reader: Slot::holding(reader.clone()), given: Slot::holding(given), exactly }
    }
}

impl Machine for ReadAny {
    fn qualified_name(&self) -> &'static str {
        if self.exactly { "StreamReader.readexactly" } else { "StreamReader.read" }
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let (reader, given) = (self.reader.or_none(), self.given.or_none());
        // SAFETY: attached.
        let number = given.bound(unsafe { Python::assume_attached() });
        if self.exactly && number.lt(0)? {
            return Err(PyValueError::with_text("readexactly size can not be less than zero").into());
        }
        state(&reader).check()?;
        if number.eq(0)? {
            return Ok(Step::Done(new_bytes(b"")?));
        }
        if !self.exactly && number.lt(0)? {
            return operations::awaiting(&read_all(&reader)?);
        }
        let count = index(&given)?;
        operations::awaiting(&if self.exactly {
            operations::new(ReadExactly::expecting(&reader, count, given))?
        } else {
            operations::new(Read::new(&reader, count))?
        })
    }

    fn resume(&self, value: Object) -> Result<Step> {
        Ok(Step::Done(value))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
        each(&self.given);
    }
}

/// A number as slices take it; one too large for the machine is as large as any can be.
fn index(given: &Object) -> Result<usize> {
    // SAFETY: a live object; null asks that what does not fit be cut off.
    let size = unsafe { ffi::PyNumber_AsSsize_t(given.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: the class lives as long as the interpreter; reads and clears the indicator.
    unsafe {
        if size == -1 && !ffi::PyErr_Occurred().is_null() {
            if !Raised.matches(ffi::PyExc_TypeError) {
                return Err(Raised);
            }
            Raised.clear();
            let text = if cfg!(Py_3_15) {
                "n must be an integer or None"
            } else {
                "slice indices must be integers or None or have an __index__ method"
            };
            return Err(PyTypeError::with_text(text).into());
        }
    }
    Ok(usize::try_from(size).unwrap_or(0))
}
