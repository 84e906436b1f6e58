//! `Draft`: a `bytes` object in the making, of which the size is known only in the end.

use std::ffi::{c_char, c_int};

use pyo3::ffi;

use super::{Object, Raised, Result};

unsafe extern "C" {
    // Of the stable interface, and not among PyO3's declarations.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// A `bytes` object in the making, which nobody else has seen yet.
pub(crate) struct Draft {
    /// Null, or exactly a bytes object of `room` bytes, of which `len` are written.
    bytes: *mut ffi::PyObject,
    room: usize,
    len: usize,
}

impl Draft {
    pub(crate) const fn new() -> Self {
        Self { bytes: std::ptr::null_mut(), room: 0, len: 0 }
    }

    /// Room for more, and how much: never written to before, and ours alone.
    pub(crate) fn room(&mut self) -> (*mut u8, usize) {
        if self.bytes.is_null() {
            return (std::ptr::null_mut(), 0);
        }
        // SAFETY: `len` is inside the object or at its end.
        let start: *mut c_char = unsafe { ffi::PyBytes_AsString(self.bytes).add(self.len) };
        (start.cast(), self.room - self.len)
    }

    /// Where all room is used up, makes room for `more` bytes.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<()> {
        if self.len < self.room {
            return Ok(());
        }
        let room = self.len + more;
        if !self.bytes.is_null() {
            return self.resize(room);
        }
        // SAFETY: null asks for an uninitialised object of that size; the result is new or null.
        let bytes =
            unsafe { Object::steal(ffi::PyBytes_FromStringAndSize(std::ptr::null(), room.cast_signed())) }?;
        (self.bytes, self.room) = (bytes.into_ptr(), room);
        Ok(())
    }

    /// `count` bytes were written into the room.
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.room - self.len, "no more is written than there is room");
        self.len += count;
    }

    /// The object, unless nothing was written.
    pub(crate) fn finish(mut self) -> Result<Option<Object>> {
        if self.len == 0 {
            return Ok(None);
        }
        if self.len < self.room {
            self.resize(self.len)?;
        }
        let bytes = std::mem::replace(&mut self.bytes, std::ptr::null_mut());
        // SAFETY: our reference.
        unsafe { Object::steal(bytes) }.map(Some)
    }

    fn resize(&mut self, room: usize) -> Result<()> {
        // SAFETY: a bytes object with this reference only; it may move, and is null after a failure.
        if unsafe { _PyBytes_Resize(&raw mut self.bytes, room.cast_signed()) } < 0 {
            (self.room, self.len) = (0, 0);
            return Err(Raised);
        }
        self.room = room;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: null or our reference.
        unsafe { ffi::Py_XDECREF(self.bytes) };
    }
}
