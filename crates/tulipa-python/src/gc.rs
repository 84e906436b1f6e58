//! Garbage collection of native classes: visiting references and freeing instances.

use std::ffi::{c_int, c_void};

use pyo3::ffi;

/// Calls the collector for the object's class and for every address that `each` hands out (null is skipped).
/// Returns what the collector said, and stops asking it once that is not zero.
///
/// # Safety
/// `object` is live; `visit` and `data` are the collector's.
#[inline]
pub(crate) unsafe fn visit_all(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
    each: impl FnOnce(&mut dyn FnMut(*mut ffi::PyObject)),
) -> c_int {
    // SAFETY: heap classes are visited by their instances.
    let mut answer = unsafe { visit(ffi::Py_TYPE(object).cast(), data) };
    each(&mut |pointer| {
        if answer == 0 && !pointer.is_null() {
            // SAFETY: the addresses are live objects owned by `object`.
            answer = unsafe { visit(pointer, data) };
        }
    });
    answer
}

/// Gives the memory of an instance of a heap class back, and the instance's reference to its class.
///
/// # Safety
/// The last step of `tp_dealloc`: nothing of the instance is used afterwards.
#[inline]
pub(crate) unsafe fn free(object: *mut ffi::PyObject) {
    // SAFETY: the instance is still allocated.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: heap classes have `tp_free`, inherited from `object` at the latest.
    if let Some(free) = unsafe { (*class).tp_free } {
        // SAFETY: freed once, here.
        unsafe { free(object.cast()) };
    }
    // SAFETY: every instance of a heap class owns a reference to it.
    unsafe { ffi::Py_DECREF(class.cast()) };
}
