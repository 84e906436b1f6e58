//! What a reader has and nobody has read.
//!
//! Nearly always that is one piece, which came in after all before it was read. It is kept as the `bytes` object that
//! `read` returns, and lines are cut from it. More than one piece is put together in the engine's buffer.
//!
//! asyncio keeps a `bytearray` in `_buffer`, which libraries measure, search and even change. Few readers ever meet such
//! a library; once somebody asks for `_buffer`, the `bytearray` that he is given is the buffer.

use std::cell::RefCell;

use pyo3::ffi;
use tulipa::stream::ReadBuffer;

use super::bytearray;
use crate::ffi::{Object, Raised, Result, Slot};

/// The bytes, as long as nobody has looked at them through Python. Letting go of a `bytes` object calls nobody, so that
/// it may happen while this is borrowed.
enum Kept {
    /// Part of a `bytes` object: from `start` to its end, which is not empty.
    Piece { bytes: Object, start: usize },
    /// Anything else, also nothing.
    Together(ReadBuffer),
}

impl Kept {
    const NOTHING: Self = Self::Together(ReadBuffer::new());

    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Piece { bytes, start } => &as_slice(bytes)[*start..],
            Self::Together(buffer) => buffer.as_slice(),
        }
    }

    /// The engine's buffer, to add to.
    fn together(&mut self) -> &mut ReadBuffer {
        if matches!(self, Self::Piece { .. }) {
            let mut buffer = ReadBuffer::new();
            buffer.append(self.as_slice());
            *self = Self::Together(buffer);
        }
        match self {
            Self::Together(buffer) => buffer,
            Self::Piece { .. } => unreachable!("a piece has just been replaced"),
        }
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        match self {
            Self::Together(buffer) => buffer.consume(count),
            Self::Piece { start, .. } => {
                *start += count;
                if self.as_slice().is_empty() {
                    *self = Self::NOTHING;
                }
            }
        }
    }
}

/// The bytes of a `bytes` object.
#[inline]
pub(super) fn as_slice(bytes: &Object) -> &[u8] {
    // SAFETY: callers hold exactly a `bytes` object, whose memory lives and stays as long as it does.
    unsafe {
        let size = ffi::PyBytes_Size(bytes.as_ptr()).cast_unsigned();
        std::slice::from_raw_parts(ffi::PyBytes_AsString(bytes.as_ptr()).cast(), size)
    }
}

#[inline]
pub(super) fn new_bytes(data: &[u8]) -> Result<Object> {
    // SAFETY: readable memory of that length; the result is new or null.
    unsafe { Object::steal(ffi::PyBytes_FromStringAndSize(data.as_ptr().cast(), data.len().cast_signed())) }
}

/// A reader's bytes. No borrow of them is held while Python code may run.
pub(super) struct Buffer {
    kept: RefCell<Kept>,
    /// The `bytearray` that took the place of `kept`.
    shown: Slot,
}

impl Buffer {
    pub(super) const fn new() -> Self {
        Self { kept: RefCell::new(Kept::NOTHING), shown: Slot::empty() }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.shown
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.shown.peek() {
            None => self.kept.borrow().as_slice().len(),
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
            None => look(self.kept.borrow().as_slice()),
            // SAFETY: `look` calls nobody, so the array stays as it is.
            Some(array) => look(unsafe { bytearray::as_slice(array) }),
        }
    }

    /// Adds `data`, which is not empty.
    #[inline]
    pub(super) fn append(&self, data: &[u8]) -> Result<()> {
        if let Some(array) = self.shown.get() {
            return bytearray::append(&array, data);
        }
        if !self.is_empty() {
            self.kept.borrow_mut().together().append(data);
            return Ok(());
        }
        let bytes = new_bytes(data)?;
        *self.kept.borrow_mut() = Kept::Piece { bytes, start: 0 };
        Ok(())
    }

    /// As `append`, for exactly a `bytes` object, which is not copied where it is all there is.
    #[inline]
    pub(super) fn append_bytes(&self, bytes: &Object) -> Result<()> {
        if !self.shown.is_empty() || !self.is_empty() {
            return self.append(as_slice(bytes));
        }
        *self.kept.borrow_mut() = Kept::Piece { bytes: bytes.clone(), start: 0 };
        Ok(())
    }

    /// Puts bytes back that were taken and not used.
    pub(super) fn prepend(&self, data: &[u8]) -> Result<()> {
        let Some(array) = self.shown.get() else {
            self.kept.borrow_mut().together().prepend(data);
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
        if let Some(whole) = self.take_whole(count) {
            return Ok(whole);
        }
        let taken = self.look(|bytes| new_bytes(&bytes[..count]))?;
        self.consume(count)?;
        Ok(taken)
    }

    /// The piece itself, where `count` is all of it and of the buffer.
    #[inline]
    fn take_whole(&self, count: usize) -> Option<Object> {
        if !self.shown.is_empty() {
            return None;
        }
        let mut kept = self.kept.borrow_mut();
        match &*kept {
            Kept::Piece { bytes, start: 0 } if as_slice(bytes).len() == count => {}
            _ => return None,
        }
        match std::mem::replace(&mut *kept, Kept::NOTHING) {
            Kept::Piece { bytes, .. } => Some(bytes),
            Kept::Together(_) => None,
        }
    }

    /// Throws the first `count` bytes away.
    #[inline]
    pub(super) fn consume(&self, count: usize) -> Result<()> {
        let Some(array) = self.shown.get() else {
            self.kept.borrow_mut().consume(count);
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
            *self.kept.borrow_mut() = Kept::NOTHING;
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
        *self.kept.borrow_mut() = Kept::NOTHING;
        self.shown.put(array);
    }
}
