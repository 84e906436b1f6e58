//! What the native stream classes have in common as classes: their making, their instances' `__dict__` and weak
//! references, and the question whether an instance behaves as its class was made.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::originals::Originals;
use crate::ffi::class::{new_class, slot, with_attributes};
use crate::ffi::{Object, Result, Slot};
use crate::functions::show_coroutine_methods;
use crate::gc;

/// A native class, made once.
pub(super) struct NativeClass(OnceLock<Originals>);

/// What a class is made of.
pub(super) struct Blueprint {
    pub(super) name: &'static CStr,
    pub(super) doc: &'static CStr,
    pub(super) size: usize,
    /// Offsets of `__dict__` and of the weak references; none where a base class has them already.
    pub(super) offsets: Option<(usize, usize)>,
    pub(super) slots: Vec<ffi::PyType_Slot>,
    /// The methods that native code stands in for.
    pub(super) watched: &'static [&'static str],
}

impl NativeClass {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Makes the class over `base`.
    ///
    /// # Safety
    /// The slots are of the types that CPython documents, and fit instances of that size.
    pub(super) unsafe fn make(&self, base: *mut ffi::PyObject, blueprint: Blueprint) -> Result<()> {
        if self.0.get().is_some() {
            return Ok(());
        }
        let mut slots = blueprint.slots;
        slots.push(slot(ffi::Py_tp_doc, blueprint.doc.as_ptr().cast_mut().cast()));
        if let Some((dict, weak_references)) = blueprint.offsets {
            slots.push(slot(ffi::Py_tp_members, with_attributes(dict, weak_references).cast()));
        }
        let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_BASETYPE;
        // SAFETY: passed on; names, texts and tables are static.
        let class = unsafe { new_class(blueprint.name, base, blueprint.size, flags, slots) }?;
        // SAFETY: attached.
        let class = class.bound(unsafe { Python::assume_attached() });
        show_coroutine_methods(class.cast::<PyType>().map_err(PyErr::from)?, "asyncio.streams")?;
        let _ = self.0.set(Originals::new(&class, "tulipa._tulipa", blueprint.watched)?);
        Ok(())
    }

    #[inline]
    fn originals(&self) -> &Originals {
        self.0.get().expect("the module was initialised before any of its classes could be used")
    }

    #[inline]
    pub(super) fn class(&self) -> *mut ffi::PyTypeObject {
        self.originals().class()
    }

    /// Whether `object` is an instance, of a subclass too.
    #[inline]
    pub(super) fn has_instance(&self, object: &Object) -> bool {
        object.class() == self.class() || object.is_instance_of(self.class())
    }

    /// Whether `object`, with the attributes `dict` of its own, is exactly of the class, which nobody has changed:
    /// then calling its methods and doing what they do are the same.
    #[inline]
    pub(super) fn is_plain(&self, object: &Object, dict: &Cell<*mut ffi::PyObject>) -> bool {
        object.class() == self.class() && dict.get().is_null() && self.originals().is_untouched()
    }
}

/// `tp_traverse`, for an instance with these references.
///
/// # Safety
/// As for `tp_traverse`.
pub(super) unsafe fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
    dict: &Cell<*mut ffi::PyObject>,
    slots: &[&Slot],
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            each(dict.get());
            for slot in slots {
                each(slot.as_ptr());
            }
        })
    }
}

/// `tp_clear`, likewise.
pub(super) fn clear(dict: &Cell<*mut ffi::PyObject>, slots: &[&Slot]) {
    for slot in slots {
        slot.set(None);
    }
    gc::drop_dict(dict);
}

/// Ends an instance: its finalizer, weak references, what `drop` lets go of, its memory.
///
/// # Safety
/// As for `tp_dealloc`; `drop` leaves nothing behind that owns anything.
pub(super) unsafe fn deallocate(object: *mut ffi::PyObject, drop: impl FnOnce()) {
    // SAFETY: a whole object still; a finalizer that revives it is obeyed.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return;
    }
    // SAFETY: nobody else sees the object from here on.
    unsafe {
        gc::hide(object);
    }
    drop();
    // SAFETY: nothing of the instance is used afterwards.
    unsafe { gc::free(object) };
}
