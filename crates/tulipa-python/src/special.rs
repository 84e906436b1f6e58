//! Special methods that `async with` finds without making an object for each.
//!
//! Before 3.14 `async with` binds `__aenter__` and `__aexit__` before it calls them, and binding a C method makes a
//! builtin function object: both together take a tenth of the time of a whole `async with timeout()`. Here the class's
//! method descriptor is kept in one that binds to an object of its own kind, whose memory is used again. To everybody
//! who looks at that it is the builtin: attributes, repr, comparison and hash come from one made for the purpose.
//!
//! `quicken` is called for the native classes when the module is made, and nobody else knows of this.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::args::Args;
use crate::ffi::class::{NO_MEMBER, new_class, place, slot};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot};
use crate::gc::{self, FreeList};

/// What stands in the class: the method descriptor that was there.
#[repr(C)]
struct Special {
    header: ffi::PyObject,
    descriptor: Slot,
}

/// A method and the object that it was found on.
#[repr(C)]
struct Binding {
    header: ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    descriptor: Slot,
    this: Slot,
}

/// Both classes, which live for ever.
struct Classes {
    special: *mut ffi::PyTypeObject,
    binding: *mut ffi::PyTypeObject,
}

// SAFETY: immutable classes that live for ever.
unsafe impl Send for Classes {}
// SAFETY: as above.
unsafe impl Sync for Classes {}

static CLASSES: OnceLock<Classes> = OnceLock::new();

fn classes() -> &'static Classes {
    CLASSES.get().expect("the module was initialised before any of its classes could be used")
}

/// Freed bindings.
static BINDINGS: FreeList = FreeList::new();

/// What `async with` looks up.
pub(crate) const ASYNC_WITH: &[&str] = &["__aenter__", "__aexit__"];

/// Has the methods `names` of a native class bound in this way, where CPython binds them at all.
pub(crate) fn quicken(class: &Bound<'_, PyType>, names: &[&str]) -> Result<()> {
    if cfg!(Py_3_14) {
        return Ok(());
    }
    if CLASSES.get().is_none() {
        let (special, binding) = (make_special()?, make_binding()?);
        let _ =
            CLASSES.set(Classes { special: special.into_ptr().cast(), binding: binding.into_ptr().cast() });
    }
    for name in names {
        let Some(descriptor) = class.getattr_opt(*name)?.map(Object::from) else { continue };
        if descriptor.class() != &raw mut ffi::PyMethodDescr_Type {
            continue;
        }
        // SAFETY: the class is ours and collected; zeroed bytes are an empty slot.
        let special = unsafe { Object::steal(ffi::PyType_GenericAlloc(classes().special, 0)) }?;
        // SAFETY: just made.
        unsafe { this::<Special>(special.as_ptr()) }.descriptor.put(descriptor);
        class.setattr(*name, special.bound(class.py()))?;
    }
    Ok(())
}

/// # Safety
/// `object` is an instance of the class with that layout, and outlives the use of the result.
#[inline]
unsafe fn this<'a, T>(object: *mut ffi::PyObject) -> &'a T {
    // SAFETY: the caller vouches for the layout.
    unsafe { &*object.cast::<T>() }
}

/// `__get__`.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, which a class keeps; its slot is emptied only by the collector.
        let descriptor = unsafe { this::<Special>(object) }.descriptor.or_none();
        if instance.is_null() || !takes(&descriptor, instance) {
            return bind_usually(&descriptor, instance, class);
        }
        // SAFETY: a live instance.
        bound_to(descriptor, unsafe { Object::borrow(instance) })
    })
}

/// Whether `instance` is of the class whose method `descriptor` is.
#[inline]
fn takes(descriptor: &Object, instance: *mut ffi::PyObject) -> bool {
    // SAFETY: method descriptors begin with these fields.
    let class = unsafe { (*descriptor.as_ptr().cast::<ffi::PyDescrObject>()).d_type };
    // SAFETY: a live object and a live class.
    unsafe { ffi::PyObject_TypeCheck(instance, class) != 0 }
}

/// What the method descriptor itself would give.
#[cold]
fn bind_usually(
    descriptor: &Object,
    instance: *mut ffi::PyObject,
    class: *mut ffi::PyObject,
) -> Result<Object> {
    // SAFETY: method descriptors have `tp_descr_get`.
    let Some(get) = (unsafe { (*descriptor.class()).tp_descr_get }) else { return Ok(descriptor.clone()) };
    // SAFETY: the arguments of `__get__`, passed on; the result is new or null.
    unsafe { Object::steal(get(descriptor.as_ptr(), instance, class)) }
}

#[inline]
fn bound_to(descriptor: Object, instance: Object) -> Result<Object> {
    let class = classes().binding;
    // SAFETY: the list is given instances of this class alone, with empty slots.
    let kept = unsafe { BINDINGS.take(class) };
    let is_new = kept.is_none();
    let object = match kept {
        Some(object) => object,
        // SAFETY: the class is ours and collected; zeroed bytes are empty slots.
        None => unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?,
    };
    let fields = object.as_ptr().cast::<Binding>();
    // SAFETY: an instance that nobody else has seen.
    unsafe { (&raw mut (*fields).vectorcall).write(Some(vectorcall)) };
    // SAFETY: as above, and whole.
    let binding = unsafe { &*fields };
    binding.descriptor.put(descriptor);
    binding.this.put(instance);
    if !is_new {
        gc::track(&object);
    }
    Ok(object)
}

unsafe extern "C" fn vectorcall(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called on an instance, which the caller keeps alive and with it what is in its slots.
    let binding = unsafe { this::<Binding>(object) };
    let positional = (count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET).cast_signed();
    // SAFETY: a method descriptor, whose definition outlives it.
    let definition = unsafe { &*(*binding.descriptor.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method };
    if definition.ml_flags == ffi::METH_NOARGS && positional == 0 && names.is_null() {
        // SAFETY: the flags say which member of the union it is; the object is of the method's class.
        return unsafe { (definition.ml_meth.PyCFunction)(binding.this.as_ptr(), std::ptr::null_mut()) };
    }
    if definition.ml_flags == ffi::METH_FASTCALL | ffi::METH_KEYWORDS {
        // SAFETY: the flags say which member of the union it is.
        let call = unsafe { definition.ml_meth.PyCFunctionFastWithKeywords };
        // SAFETY: the object is of the method's class; the arguments are this call's.
        return unsafe { call(binding.this.as_ptr(), arguments, positional, names) };
    }
    enter(|_| {
        // SAFETY: this call's arguments.
        let args = unsafe { Args::new(arguments, positional, names) };
        args.forward(&binding.descriptor.or_none(), &binding.this.or_none())
    })
}

/// The builtin that a binding passes for.
fn builtin(object: &Object) -> Result<Object> {
    // SAFETY: called for instances.
    let binding = unsafe { this::<Binding>(object.as_ptr()) };
    let (descriptor, instance) = (binding.descriptor.or_none(), binding.this.or_none());
    bind_usually(&descriptor, instance.as_ptr(), instance.class().cast())
}

unsafe extern "C" fn attribute(object: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a name.
        let (this, name) = unsafe { (Object::borrow(object), Object::borrow(name)) };
        crate::ffi::call::getattr(&builtin(&this)?, &name)
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let builtin = builtin(&unsafe { Object::borrow(object) })?;
        // SAFETY: a live object; the result is new or null.
        unsafe { Object::steal(ffi::PyObject_Repr(builtin.as_ptr())) }
    })
}

unsafe extern "C" fn hash(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: called on an instance.
    match builtin(&unsafe { Object::borrow(object) }) {
        // SAFETY: a live object.
        Ok(builtin) => unsafe { ffi::PyObject_Hash(builtin.as_ptr()) },
        Err(Raised) => -1,
    }
}

unsafe extern "C" fn compare(
    object: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live object.
        let (this, mut other) = unsafe { (Object::borrow(object), Object::borrow(other)) };
        if other.class() == classes().binding {
            other = builtin(&other)?;
        }
        // SAFETY: two live objects; the result is new or null.
        unsafe {
            Object::steal(ffi::PyObject_RichCompare(builtin(&this)?.as_ptr(), other.as_ptr(), operation))
        }
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's own function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            let binding = this::<Binding>(object);
            each(binding.descriptor.as_ptr());
            each(binding.this.as_ptr());
        })
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let binding = this::<Binding>(object);
        binding.this.set(None);
        binding.descriptor.set(None);
        // The class can be neither derived from nor weakly referenced, and its instances have no dict.
        if !BINDINGS.give(object) {
            gc::free(object);
        }
    }
}

unsafe extern "C" fn traverse_special(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
) -> c_int {
    // SAFETY: an instance; the collector's own function and data.
    unsafe { gc::visit_all(object, visit, data, |each| each(this::<Special>(object).descriptor.as_ptr())) }
}

unsafe extern "C" fn dealloc_special(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        this::<Special>(object).descriptor.set(None);
        gc::free(object);
    }
}

const FLAGS: std::ffi::c_ulong =
    ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE;

fn make_special() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc_special as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse_special as *mut c_void),
        slot(ffi::Py_tp_descr_get, bind as *mut c_void),
    ];
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.SpecialMethod", base, size_of::<Special>(), FLAGS, slots)
    }
}

/// The name by which CPython is told of the offset.
static mut MEMBERS: [ffi::PyMemberDef; 2] =
    [place(c"__vectorcalloffset__", offset_of!(Binding, vectorcall)), NO_MEMBER];

fn make_binding() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_getattro, attribute as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_hash, hash as *mut c_void),
        slot(ffi::Py_tp_richcompare, compare as *mut c_void),
        slot(ffi::Py_tp_members, (&raw mut MEMBERS).cast()),
    ];
    let flags = FLAGS | ffi::Py_TPFLAGS_HAVE_VECTORCALL;
    // SAFETY: as above.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.BoundSpecialMethod", base, size_of::<Binding>(), flags, slots)
    }
}
