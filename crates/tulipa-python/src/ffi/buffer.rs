//! Memory of Python objects: `Buffer`, which an object lends for as long as it is used, and `bytes`.

use pyo3::ffi;

use super::{Object, Raised, Result};

/// One contiguous stretch of bytes; given back when dropped. No Python code runs while it is read or written.
pub(crate) struct Buffer(ffi::Py_buffer);

impl Buffer {
    pub(crate) fn readable(object: &Object) -> Result<Self> {
        Self::new(object, ffi::PyBUF_SIMPLE)
    }

    pub(crate) fn writable(object: &Object) -> Result<Self> {
        Self::new(object, ffi::PyBUF_WRITABLE)
    }

    fn new(object: &Object, flags: std::ffi::c_int) -> Result<Self> {
        let mut view = ffi::Py_buffer::new();
        // SAFETY: a live object, and a place for the view.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut view, flags) } < 0 {
            return Err(Raised);
        }
        Ok(Self(view))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        if self.0.buf.is_null() {
            return &[];
        }
        // SAFETY: granted as contiguous memory of `len` bytes, until it is released.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len.cast_unsigned()) }
    }

    /// Of a buffer that was asked for as writable.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.0.buf.is_null() || self.0.readonly != 0 {
            return &mut [];
        }
        // SAFETY: granted as writable, contiguous memory of `len` bytes, until it is released.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len.cast_unsigned()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: granted once, released once.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) };
    }
}

/// A new `bytes` object.
#[inline]
pub(crate) fn new_bytes(bytes: &[u8]) -> Result<Object> {
    // SAFETY: readable memory of that length; the result is new or null.
    unsafe { Object::steal(ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len().cast_signed())) }
}

/// What is in a `bytes` object: it lives, and stays as it is, as long as the reference.
#[inline]
pub(crate) fn bytes_of(object: &Object) -> &[u8] {
    debug_assert!(is_bytes(object));
    // SAFETY: a bytes object.
    unsafe {
        let (start, size) = (ffi::PyBytes_AsString(object.as_ptr()), ffi::PyBytes_Size(object.as_ptr()));
        std::slice::from_raw_parts(start.cast(), size.cast_unsigned())
    }
}

/// Whether `object` is exactly a `bytes` object.
#[inline]
pub(crate) fn is_bytes(object: &Object) -> bool {
    // SAFETY: reads the object's class.
    unsafe { ffi::PyBytes_CheckExact(object.as_ptr()) != 0 }
}
