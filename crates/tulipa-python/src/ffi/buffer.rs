//! `Buffer`: the memory of an object that lends it, for as long as it is used.

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
