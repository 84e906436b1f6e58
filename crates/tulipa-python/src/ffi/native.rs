//! The Rust part of an instance of one of PyO3's frozen classes, found without a check.

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

/// The value inside an instance.
///
/// # Safety
/// `object` is an instance of `T`'s class (or of a subclass), and outlives the result.
#[inline]
pub(crate) unsafe fn native<'a, T: PyClass<Frozen = True> + Sync>(object: *mut ffi::PyObject) -> &'a T {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a live object, borrowed for this function.
    let object = unsafe { Borrowed::from_ptr(py, object) };
    // SAFETY: the caller vouches for the class.
    let value: *const T = unsafe { object.cast_unchecked::<T>() }.get();
    // SAFETY: the value lies in the object, which the caller keeps alive.
    unsafe { &*value }
}
