//! A `bytearray` as a stream's buffer: reading it in place and growing it at its end.

use pyo3::ffi;

use crate::ffi::{Object, Raised, Result};

/// Whether `object` is exactly a `bytearray`.
#[inline]
pub(super) fn is_exact(object: &Object) -> bool {
    // SAFETY: reads the object's class.
    unsafe { ffi::PyByteArray_CheckExact(object.as_ptr()) != 0 }
}

/// How many bytes there are.
#[inline]
pub(super) fn len(array: &Object) -> usize {
    // SAFETY: callers hold bytearrays.
    unsafe { ffi::PyByteArray_Size(array.as_ptr()) }.cast_unsigned()
}

/// Appends `data`. An array whose memory somebody else looks at refuses, with `BufferError`, and stays what it was.
#[inline]
pub(super) fn append(array: &Object, data: &[u8]) -> Result<()> {
    let old = len(array);
    // SAFETY: a bytearray; on failure it is unchanged.
    if unsafe { ffi::PyByteArray_Resize(array.as_ptr(), (old + data.len()).cast_signed()) } < 0 {
        return Err(Raised);
    }
    // SAFETY: the array's memory, which is `old + data.len()` bytes long now.
    let start = unsafe { ffi::PyByteArray_AsString(array.as_ptr()) };
    // SAFETY: within that memory; `data` is the caller's own and overlaps with nothing of Python's.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), start.cast::<u8>().add(old), data.len()) };
    Ok(())
}

/// Empties the array, on the same condition.
pub(super) fn truncate(array: &Object) -> Result<()> {
    // SAFETY: a bytearray; on failure it is unchanged.
    if unsafe { ffi::PyByteArray_Resize(array.as_ptr(), 0) } < 0 { Err(Raised) } else { Ok(()) }
}

/// The bytes.
///
/// # Safety
/// `array` is a bytearray, and no Python code runs while the result is used.
#[inline]
pub(super) unsafe fn as_slice(array: &Object) -> &[u8] {
    // SAFETY: the caller holds a bytearray.
    let start = unsafe { ffi::PyByteArray_AsString(array.as_ptr()) };
    // SAFETY: that many bytes begin there, until somebody changes the array.
    unsafe { std::slice::from_raw_parts(start.cast(), len(array)) }
}
