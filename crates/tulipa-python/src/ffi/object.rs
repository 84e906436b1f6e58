//! `Object`: one owned reference, without the bookkeeping that a general-purpose wrapper needs.
//!
//! The ready queue moves millions of these a second, so a clone is one increment and a drop is one decrement.
//! The price is a rule: an `Object` is cloned and dropped only on a thread attached to the interpreter (O1).

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::make;
use super::{Raised, Result};

/// An owned, non-null reference to a Python object.
#[repr(transparent)]
pub(crate) struct Object(NonNull<ffi::PyObject>);

// SAFETY: O1: references travel between threads inside the inbox, and are cloned and dropped only on threads
// attached to the interpreter, where CPython itself makes reference counts safe.
unsafe impl Send for Object {}
// SAFETY: as above; a shared `Object` gives out nothing but the pointer and new references.
unsafe impl Sync for Object {}

impl Object {
    /// Takes over the reference that a C function returned; null means that it raised.
    ///
    /// # Safety
    /// `pointer` is null with an exception set, or a reference owned by the caller.
    #[inline]
    pub(crate) unsafe fn steal(pointer: *mut ffi::PyObject) -> Result<Self> {
        // SAFETY: passed on.
        unsafe { Self::owned_opt(pointer) }.ok_or(Raised)
    }

    /// Takes over a reference that `into_ptr` gave away.
    ///
    /// # Safety
    /// `pointer` is a reference owned by the caller.
    #[inline]
    pub(crate) unsafe fn owned(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: a live object has a non-null address.
        Self(unsafe { NonNull::new_unchecked(pointer) })
    }

    /// Takes over a reference, or `None` for null, which says nothing about exceptions.
    ///
    /// # Safety
    /// `pointer` is null or a reference owned by the caller.
    #[inline]
    pub(crate) unsafe fn owned_opt(pointer: *mut ffi::PyObject) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    /// A new reference to a borrowed object.
    ///
    /// # Safety
    /// `pointer` is a live object.
    #[inline]
    pub(crate) unsafe fn borrow(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller vouches for a live object.
        unsafe { ffi::Py_INCREF(pointer) };
        // SAFETY: a live object has a non-null address.
        Self(unsafe { NonNull::new_unchecked(pointer) })
    }

    /// A new reference to a borrowed object, or `None` for null.
    ///
    /// # Safety
    /// `pointer` is null or a live object.
    #[inline]
    pub(crate) unsafe fn borrow_opt(pointer: *mut ffi::PyObject) -> Option<Self> {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: checked for null; the caller vouches for the rest.
        Some(unsafe { Self::borrow(pointer) })
    }

    /// Borrowed objects, not counted.
    ///
    /// # Safety
    /// None of the pointers is null, and the objects live for the use of the result.
    #[inline]
    pub(crate) unsafe fn borrow_all(pointers: &[*mut ffi::PyObject]) -> &[Self] {
        // SAFETY: an `Object` is a transparent wrapper of one pointer that is not null.
        unsafe { &*(std::ptr::from_ref(pointers) as *const [Self]) }
    }

    /// Python's `None`.
    #[inline]
    pub(crate) fn none() -> Self {
        // SAFETY: `None` lives as long as the interpreter.
        unsafe { Self::borrow(ffi::Py_None()) }
    }

    /// A Python string.
    pub(crate) fn text(py: Python<'_>, text: &str) -> Result<Self> {
        Ok(make::text(py, text)?.into_any().into())
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away, for a C function that steals it or returns it.
    #[inline]
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        let pointer = self.0.as_ptr();
        std::mem::forget(self);
        pointer
    }

    #[inline]
    pub(crate) fn is(&self, other: *mut ffi::PyObject) -> bool {
        self.as_ptr() == other
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: reading the address of a constant.
        self.is(unsafe { ffi::Py_None() })
    }

    #[inline]
    pub(crate) fn class(&self) -> *mut ffi::PyTypeObject {
        // SAFETY: `self` is a live object.
        unsafe { ffi::Py_TYPE(self.as_ptr()) }
    }

    /// Whether the object's class is `class` or derives from it in C's sense (`__class__` plays no part).
    #[inline]
    pub(crate) fn is_instance_of(&self, class: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: both are live.
        unsafe { ffi::PyObject_TypeCheck(self.as_ptr(), class) != 0 }
    }

    /// The same object as PyO3 sees it, for code where speed does not matter.
    #[inline]
    pub(crate) fn bound<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        // SAFETY: a live object; the new `Bound` owns a reference of its own.
        unsafe { Bound::from_borrowed_ptr(py, self.as_ptr()) }
    }

    /// The same reference as PyO3's collector interface wants it.
    pub(crate) fn as_py(&self) -> &Py<PyAny> {
        // SAFETY: both are transparent wrappers of one non-null object pointer.
        unsafe { &*std::ptr::from_ref(self).cast::<Py<PyAny>>() }
    }

    #[inline]
    pub(crate) fn from_bound(object: &Bound<'_, PyAny>) -> Self {
        // SAFETY: a `Bound` is a live object.
        unsafe { Self::borrow(object.as_ptr()) }
    }
}

impl Clone for Object {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: O1, and `self` is live.
        unsafe { Self::borrow(self.as_ptr()) }
    }
}

impl Drop for Object {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: O1, and the reference is ours.
        unsafe { ffi::Py_DECREF(self.as_ptr()) }
    }
}

impl From<Bound<'_, PyAny>> for Object {
    #[inline]
    fn from(object: Bound<'_, PyAny>) -> Self {
        // SAFETY: `into_ptr` hands over an owned, non-null reference.
        Self(unsafe { NonNull::new_unchecked(object.into_ptr()) })
    }
}
