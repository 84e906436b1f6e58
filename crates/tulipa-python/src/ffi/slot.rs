//! `Slot`: the one cell type for Python references inside native objects.
//!
//! The rule that makes it sound (S1): a slot is read and written only by attached threads, and no call into
//! Python, no allocation and no drop of a reference happens while its content is borrowed. On builds with a
//! GIL that is enough: nobody else runs in between. On free-threaded builds the methods of the object that
//! owns the slot must hold that object's critical section.

use std::cell::UnsafeCell;

use pyo3::ffi;

use super::Object;

/// A nullable owned reference that can be replaced through a shared borrow. All zero bytes is the empty slot.
#[repr(transparent)]
pub(crate) struct Slot(UnsafeCell<Option<Object>>);

impl Slot {
    pub(crate) const fn empty() -> Self {
        Self(UnsafeCell::new(None))
    }

    pub(crate) const fn holding(object: Object) -> Self {
        Self(UnsafeCell::new(Some(object)))
    }

    /// A new reference to the content.
    #[inline]
    pub(crate) fn get(&self) -> Option<Object> {
        // SAFETY: S1: the borrow ends before anything else can run.
        unsafe { (*self.0.get()).clone() }
    }

    /// The content's address, or null; borrowed.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        // SAFETY: S1: the borrow ends with this expression.
        unsafe { (*self.0.get()).as_ref().map_or(std::ptr::null_mut(), Object::as_ptr) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.as_ptr().is_null()
    }

    /// How many references to the content there are.
    #[inline]
    pub(crate) fn references(&self) -> Option<isize> {
        let content = self.as_ptr();
        // SAFETY: a live object, which the slot owns.
        (!content.is_null()).then(|| unsafe { ffi::Py_REFCNT(content) })
    }

    /// The content, borrowed for the garbage collector, during whose visit nothing else runs.
    pub(crate) fn peek(&self) -> Option<&Object> {
        // SAFETY: S1: the collector neither calls out nor writes slots while it visits.
        unsafe { (*self.0.get()).as_ref() }
    }

    /// Whether both hold the same object (or both nothing).
    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.as_ptr() == other.as_ptr()
    }

    /// Takes the content out.
    #[inline]
    pub(crate) fn take(&self) -> Option<Object> {
        // SAFETY: S1.
        unsafe { (*self.0.get()).take() }
    }

    /// Stores `value`; the old content is dropped only after the new one is in place.
    #[inline]
    pub(crate) fn set(&self, value: Option<Object>) {
        // SAFETY: S1: `replace` neither drops nor calls out.
        let old = unsafe { std::mem::replace(&mut *self.0.get(), value) };
        drop(old);
    }

    #[inline]
    pub(crate) fn put(&self, value: Object) {
        self.set(Some(value));
    }

    /// The content, or `None` (Python's) where the slot is empty.
    #[inline]
    pub(crate) fn or_none(&self) -> Object {
        self.get().unwrap_or_else(Object::none)
    }
}
