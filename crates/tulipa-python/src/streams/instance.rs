//! What the native stream classes have in common as classes: their making, what the collector sees of an instance and
//! how it ends, and the question whether one behaves as its class was made.

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

/// What the memory of an instance holds.
///
/// # Safety
/// A `#[repr(C)]` struct that begins with an object's header. `slots` shows all references in it but `__dict__` and the
/// weak ones. New instances are complete before anybody sees them.
pub(super) unsafe trait Layout {
    /// `__dict__`, where CPython's offset points.
    fn dict(&self) -> &Cell<*mut ffi::PyObject>;

    fn slots(&self) -> impl IntoIterator<Item = &Slot>;
}

/// What a class is made of, besides the layout of its instances.
pub(super) struct Blueprint {
    pub(super) name: &'static CStr,
    pub(super) doc: &'static CStr,
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
    /// The slots are of the types that CPython documents, and fit instances of that layout, which `base` has the
    /// beginning of.
    pub(super) unsafe fn make<L: Layout>(
        &self,
        base: *mut ffi::PyObject,
        blueprint: Blueprint,
    ) -> Result<()> {
        if self.0.get().is_some() {
            return Ok(());
        }
        let mut slots = blueprint.slots;
        slots.extend([
            slot(ffi::Py_tp_doc, blueprint.doc.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_dealloc, dealloc::<L> as *mut c_void),
            slot(ffi::Py_tp_traverse, traverse::<L> as *mut c_void),
            slot(ffi::Py_tp_clear, clear::<L> as *mut c_void),
        ]);
        if let Some((dict, weak_references)) = blueprint.offsets {
            slots.push(slot(ffi::Py_tp_members, with_attributes(dict, weak_references).cast()));
        }
        let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_BASETYPE;
        // SAFETY: passed on; names, texts and tables are static.
        let class = unsafe { new_class(blueprint.name, base, size_of::<L>(), flags, slots) }?;
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

/// `tp_traverse`.
unsafe extern "C" fn traverse<L: Layout>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
) -> c_int {
    // SAFETY: an instance of that layout; the collector's function and data.
    unsafe {
        let layout = &*object.cast::<L>();
        gc::visit_all(object, visit, data, |each| {
            each(layout.dict().get());
            for slot in layout.slots() {
                each(slot.as_ptr());
            }
        })
    }
}

/// `tp_clear`.
unsafe extern "C" fn clear<L: Layout>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance of that layout.
    let layout = unsafe { &*object.cast::<L>() };
    for slot in layout.slots() {
        slot.set(None);
    }
    gc::drop_dict(layout.dict());
    0
}

/// `tp_dealloc`.
unsafe extern "C" fn dealloc<L: Layout>(object: *mut ffi::PyObject) {
    // SAFETY: this is `tp_dealloc`.
    unsafe { gc::nested(object, free::<L>) };
}

/// Ends an instance: its finalizer, weak references, what it holds, its memory.
unsafe extern "C" fn free<L: Layout>(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still; a finalizer that revives it is obeyed.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return;
    }
    // SAFETY: nobody else sees the object from here on, and nothing of it is used afterwards. Nothing but its
    // references can call out when it goes, and those `clear` has let go of.
    unsafe {
        gc::hide(object);
        clear::<L>(object);
        std::ptr::drop_in_place(object.cast::<L>());
        gc::free(object);
    }
}
