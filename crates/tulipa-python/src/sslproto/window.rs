//! A window: memory of ours that the ssl module's C code reads or fills, without a copy in between.
//!
//! It is a Python object because that is what those functions take. It is shown to `_ssl`'s own functions only, which
//! are done with a buffer when they return; a class of the program's gets bytes objects instead.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::ffi::class::{new_class, slot};
use crate::ffi::make;
use crate::ffi::{Object, Result, Slot};

/// An object with the buffer protocol, whose memory is set for one call.
#[repr(C)]
struct Window {
    head: ffi::PyObject,
    start: Cell<*mut u8>,
    len: Cell<isize>,
}

impl Window {
    /// A new one, on nothing.
    fn create() -> Result<Object> {
        let class = class()?.as_ptr().cast();
        // SAFETY: a class whose instances are allocated like this; what is behind the head is zero.
        unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }
    }

    fn show(&self, start: *mut u8, len: usize) {
        self.start.set(start);
        self.len.set(len.cast_signed());
    }
}

fn class() -> Result<&'static Object> {
    static CLASS: OnceLock<Object> = OnceLock::new();
    if let Some(class) = CLASS.get() {
        return Ok(class);
    }
    let slots = vec![slot(ffi::Py_bf_getbuffer, fill as *mut c_void)];
    let flags = ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let name = c"tulipa._tulipa._Window";
    // SAFETY: a function of the slot's type, and the size of all that an instance holds.
    let class = unsafe { new_class(name, std::ptr::null_mut(), size_of::<Window>(), flags, slots) }?;
    Ok(CLASS.get_or_init(|| class))
}

/// The buffer protocol's one function: CPython's view is filled, and needs no release.
unsafe extern "C" fn fill(object: *mut ffi::PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> c_int {
    // SAFETY: called on an instance.
    let window = unsafe { &*object.cast::<Window>() };
    let (start, len) = (window.start.get().cast(), window.len.get());
    // SAFETY: CPython's view to fill; `lend` keeps the memory alive for the call.
    unsafe { ffi::PyBuffer_FillInfo(view, object, start, len, 0, flags) }
}

/// The windows of a loop: nearly always one, and another where a callback of the ssl module's uses TLS itself.
pub(crate) struct Windows {
    window: Slot,
    /// The arguments of a read: as many bytes as there is room for (which zero stands for), and the window.
    arguments: Slot,
    /// Where small writes are put together.
    scratch: Cell<Vec<u8>>,
}

impl Windows {
    pub(crate) const fn new() -> Self {
        Self { window: Slot::empty(), arguments: Slot::empty(), scratch: Cell::new(Vec::new()) }
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

    /// Calls `body` with a window on `len` bytes at `start`, and the arguments of a read into it.
    ///
    /// # Safety
    /// The memory is valid for `body`, and writable if what `body` calls writes to it. `body` hands the window to
    /// functions of `_ssl` only.
    pub(super) unsafe fn lend<T>(
        &self,
        start: *mut u8,
        len: usize,
        body: impl FnOnce(&Object, &Object) -> Result<T>,
    ) -> Result<T> {
        let (object, arguments) = match (self.window.take(), self.arguments.take()) {
            (Some(object), Some(arguments)) => (object, arguments),
            _ => new_window()?,
        };
        // SAFETY: only windows are kept here, and the reference outlives the call.
        let window = unsafe { &*object.as_ptr().cast::<Window>() };
        window.show(start, len);
        let answer = body(&object, &arguments);
        window.show(std::ptr::null_mut(), 0);
        self.window.put(object);
        self.arguments.put(arguments);
        answer
    }
}

#[cold]
fn new_window() -> Result<(Object, Object)> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let window = Window::create()?;
    let arguments =
        Object::from(make::tuple(py, [make::int(py, 0)?.into_any(), window.bound(py)])?.into_any());
    Ok((window, arguments))
}
