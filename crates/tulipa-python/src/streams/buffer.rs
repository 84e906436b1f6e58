//! What a reader has and nobody has read: the engine's buffer, or a `bytearray` once Python code has got hold of it.
//!
//! asyncio keeps a `bytearray` in `_buffer`, which libraries measure, search and even change. Few readers ever meet such
//! a library. So the bytes lie in a buffer that is cheaper to take from, until somebody asks for `_buffer`: from then on
//! the `bytearray` that he was given is the buffer.

use std::cell::RefCell;

use pyo3::ffi;
use tulipa::stream::ReadBuffer;

use super::bytearray;
use crate::ffi::{Object, Raised, Result, Slot};

/// A reader's bytes. No borrow of them is held while Python code may run.
pub(super) struct Buffer {
    own: RefCell<ReadBuffer>,
    /// The `bytearray` that took the place of `own`.
    shown: Slot,
}

impl Buffer {
    pub(super) const fn new() -> Self {
        Self { own: RefCell::new(ReadBuffer::new()), shown: Slot::empty() }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.shown
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.shown.peek() {
            None => self.own.borrow().len(),
            Some(array) => bytearray::len(array),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows the bytes to `look`, which calls nobody.
    #[inline]
    pub(super) fn look<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        match self.shown.peek() {
            None => look(self.own.borrow().as_slice()),
            // SAFETY: `look` calls nobody, so the array stays as it is.
            Some(array) => look(unsafe { bytearray::as_slice(array) }),
        }
    }

    #[inline]
    pub(super) fn append(&self, data: &[u8]) -> Result<()> {
        let Some(array) = self.shown.get() else {
            self.own.borrow_mut().append(data);
            return Ok(());
        };
        bytearray::append(&array, data)
    }

    /// Puts bytes back that were taken and not used.
    pub(super) fn prepend(&self, data: &[u8]) -> Result<()> {
        let Some(array) = self.shown.get() else {
            self.own.borrow_mut().prepend(data);
            return Ok(());
        };
        let rest = self.look(<[u8]>::to_vec);
        bytearray::truncate(&array)?;
        bytearray::append(&array, data)?;
        bytearray::append(&array, &rest)
    }

    /// Takes the first `count` bytes, of which there are as many.
    #[inline]
    pub(super) fn take(&self, count: usize) -> Result<Object> {
        let taken = self.look(|bytes| {
            // SAFETY: readable memory of that length; the result is new or null.
            unsafe {
                Object::steal(ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), count.cast_signed()))
            }
        })?;
        self.consume(count)?;
        Ok(taken)
    }

    /// Throws the first `count` bytes away.
    #[inline]
    pub(super) fn consume(&self, count: usize) -> Result<()> {
        let Some(array) = self.shown.get() else {
            self.own.borrow_mut().consume(count);
            return Ok(());
        };
        // SAFETY: a bytearray; its front is deleted by moving its beginning.
        if unsafe { ffi::PySequence_DelSlice(array.as_ptr(), 0, count.cast_signed()) } < 0 {
            return Err(Raised);
        }
        Ok(())
    }

    pub(super) fn clear(&self) -> Result<()> {
        let Some(array) = self.shown.get() else {
            self.own.borrow_mut().clear();
            return Ok(());
        };
        bytearray::truncate(&array)
    }

    /// The `bytearray` that Python code may look at and change, which is the buffer from now on.
    pub(super) fn show(&self) -> Result<Object> {
        if let Some(array) = self.shown.get() {
            return Ok(array);
        }
        let array = self.look(|bytes| {
            // SAFETY: readable memory of that length; the result is new or null.
            unsafe {
                let size = bytes.len().cast_signed();
                Object::steal(ffi::PyByteArray_FromStringAndSize(bytes.as_ptr().cast(), size))
            }
        })?;
        self.replace(array.clone());
        Ok(array)
    }

    /// Makes `array`, a `bytearray`, the buffer.
    pub(super) fn replace(&self, array: Object) {
        self.own.borrow_mut().clear();
        self.shown.put(array);
    }
}
