//! A window: memory of ours that the ssl module's C code reads or fills, without a copy in between.
//!
//! It is a Python object because that is what those functions take. It is shown to `_ssl`'s own functions only, which
//! are done with a buffer when they return; a class of the program's gets bytes objects instead.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::ffi::{Object, Raised, Result, Slot};

/// An object with the buffer protocol, whose memory is set for one call.
#[pyclass(frozen, name = "_Window", module = "tulipa._tulipa")]
struct Window {
    start: Cell<*mut u8>,
    len: Cell<usize>,
}

// SAFETY: S1: set and used by the attached thread that makes the call.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

#[pymethods]
impl Window {
    #[allow(clippy::needless_pass_by_value, reason = "the signature that PyO3 asks for")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (start, len) = (slf.get().start.get(), slf.get().len.get().cast_signed());
        // SAFETY: CPython's view to fill; `lend` keeps the memory alive for the call.
        if unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast(), len, 0, flags) } < 0 {
            return Err(Raised.into());
        }
        Ok(())
    }
}

/// The windows of a loop: nearly always one, and another where a callback of the ssl module's uses TLS itself.
pub(crate) struct Windows {
    window: Slot,
    /// Where small writes are put together.
    scratch: Cell<Vec<u8>>,
}

impl Windows {
    pub(crate) const fn new() -> Self {
        Self { window: Slot::empty(), scratch: Cell::new(Vec::new()) }
    }

    /// An empty vector, with the room that was needed last.
    pub(super) fn scratch(&self) -> Vec<u8> {
        let mut scratch = self.scratch.take();
        scratch.clear();
        scratch
    }

    pub(super) fn keep_scratch(&self, scratch: Vec<u8>) {
        self.scratch.set(scratch);
    }

    /// Calls `body` with a window on `len` bytes at `start`.
    ///
    /// # Safety
    /// The memory is valid for `body`, and writable if what `body` calls writes to it. `body` hands the window to
    /// functions of `_ssl` only.
    pub(super) unsafe fn lend<T>(
        &self,
        start: *mut u8,
        len: usize,
        body: impl FnOnce(&Object) -> Result<T>,
    ) -> Result<T> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let object = match self.window.take() {
            Some(object) => object,
            None => Bound::new(py, Window { start: Cell::default(), len: Cell::new(0) })?.into_any().into(),
        };
        let bound = object.bound(py);
        // SAFETY: only windows are kept here.
        let window = unsafe { bound.cast_unchecked::<Window>() };
        window.get().start.set(start);
        window.get().len.set(len);
        let answer = body(&object);
        window.get().start.set(std::ptr::null_mut());
        window.get().len.set(0);
        self.window.put(object);
        answer
    }
}
