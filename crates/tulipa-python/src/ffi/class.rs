//! Native classes laid over a base class whose size is known only at run time.
//!
//! PyO3 can extend classes whose layout it knows when it compiles. asyncio's C classes and its Python classes
//! with slots are not such: their size differs from one Python to the next. So a native class is made from a
//! spec at run time: the base's bytes first, then a Rust struct, its **extension**, at an aligned offset.

use std::ffi::{CStr, c_int, c_ulong, c_void};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::make::Text;
use super::{Object, Raised, Result};

/// Alignment of an extension within its object.
const ALIGNMENT: usize = 16;

/// Where an extension begins in instances of a class derived from `base`.
pub(crate) fn extension_offset(base: *mut ffi::PyTypeObject) -> usize {
    // SAFETY: `base` is a live class.
    let size = unsafe { (*base).tp_basicsize }.cast_unsigned();
    size.next_multiple_of(ALIGNMENT)
}

/// Zeroed memory for an instance of `class`.
///
/// # Safety
/// `class` is a native class or a subclass.
#[inline]
pub(crate) unsafe fn allocate(class: *mut ffi::PyTypeObject) -> Result<Object> {
    // SAFETY: classes always have `tp_alloc`.
    let allocate = unsafe { (*class).tp_alloc }.unwrap_or(ffi::PyType_GenericAlloc);
    // SAFETY: a new instance or null.
    unsafe { Object::steal(allocate(class, 0)) }
}

/// One `PyType_Slot`.
pub(crate) fn slot(id: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: id, pfunc: function }
}

/// Makes the class `name` (`"module.Name"`) over `bases` (one class, or a tuple), with instances of `size` bytes.
///
/// # Safety
/// `slots` name functions of the types that CPython documents for them, `size` covers base and extension, and
/// name, slots' tables and functions live for ever.
pub(crate) unsafe fn new_class(
    name: &'static CStr,
    bases: *mut ffi::PyObject,
    size: usize,
    flags: c_ulong,
    mut slots: Vec<ffi::PyType_Slot>,
) -> Result<Object> {
    slots.push(slot(0, std::ptr::null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | flags) as std::ffi::c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the caller vouches for the spec; a single class is accepted in place of a tuple of bases.
    unsafe { Object::steal(ffi::PyType_FromSpecWithBases(&raw mut spec, bases)) }
}

/// The offset of a member of a class, such as a slot of a Python class (`__slots__`), read from its descriptor. A
/// TypeError where a program has put something else in its place.
pub(crate) fn member_offset(class: &Object, name: &Object) -> Result<usize> {
    let descriptor = super::call::getattr(class, name)?;
    if descriptor.class() != &raw mut ffi::PyMemberDescr_Type {
        return Err(no_member(class, name, &descriptor));
    }
    let member = descriptor.as_ptr().cast::<ffi::PyMemberDescrObject>();
    // SAFETY: a member descriptor, as was just found out; its class and its definition live as long as it does.
    let (owner, offset) = unsafe { ((*member).d_common.d_type, (*(*member).d_member).offset) };
    // SAFETY: the callers pass classes; a descriptor's owner is one.
    if unsafe { ffi::PyType_IsSubtype(class.as_ptr().cast(), owner) } == 0 {
        return Err(no_member(class, name, &descriptor));
    }
    Ok(offset.cast_unsigned())
}

/// The TypeError for what is not where asyncio or the socket module has it.
#[cold]
fn no_member(class: &Object, name: &Object, found: &Object) -> Raised {
    // SAFETY: attached, as whoever has objects is.
    let py = unsafe { Python::assume_attached() };
    let text = || {
        let class = class.bound(py).cast::<PyType>()?.fully_qualified_name()?.to_string();
        let (name, found) = (name.bound(py), found.bound(py).repr()?);
        Ok(format!("{class}.{name} must be the member that the class was made with, not {found}"))
    };
    text().map_or_else(|error: PyErr| error, PyTypeError::new_err).into()
}

/// Shorthand for a table entry of a method without arguments.
pub(crate) const fn noargs(
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

/// Shorthand for a table entry of a method with exactly one positional argument.
pub(crate) const fn onearg(
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_O,
        ml_doc: doc.as_ptr(),
    }
}

/// Shorthand for a table entry of a method with positional and keyword arguments.
pub(crate) const fn fastcall(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// Gives a class more methods. In one of PyO3's they stand for those that are called most: PyO3 counts around each call
/// of its own.
///
/// # Safety
/// The table lives for ever; its functions take instances of `class`.
pub(crate) unsafe fn add_methods<const N: usize>(
    class: &Bound<'_, PyType>,
    methods: *mut [ffi::PyMethodDef; N],
) -> PyResult<()> {
    for index in 0..N {
        // SAFETY: within the table.
        let definition = unsafe { methods.cast::<ffi::PyMethodDef>().add(index) };
        // SAFETY: a live class and a definition that outlives it; a new reference or null.
        let method = unsafe { Object::steal(ffi::PyDescr_NewMethod(class.as_type_ptr(), definition)) }?;
        class.setattr(
            method.bound(class.py()).getattr(Text("__name__"))?.cast::<PyString>()?,
            method.bound(class.py()),
        )?;
    }
    Ok(())
}

/// Shorthand for a read-only property (`setter` null) or a writable one.
pub(crate) const fn property(
    name: &'static CStr,
    getter: ffi::getter,
    setter: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(getter),
        set: setter,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    }
}

/// `__dict__`, which a class made from a spec has to name.
pub(crate) const DICT: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: c"__dict__".as_ptr(),
    get: Some(ffi::PyObject_GenericGetDict),
    set: Some(ffi::PyObject_GenericSetDict),
    doc: std::ptr::null(),
    closure: std::ptr::null_mut(),
};

/// The entry that ends a table of properties.
pub(crate) const NO_PROPERTY: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: std::ptr::null(),
    get: None,
    set: None,
    doc: std::ptr::null(),
    closure: std::ptr::null_mut(),
};

/// A member by which CPython is told where something of an instance lies, such as `__weaklistoffset__`.
pub(crate) const fn place(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

/// The entry that ends a table of members.
// SAFETY: an all-zero entry ends the table; its fields are nullable.
pub(crate) const NO_MEMBER: ffi::PyMemberDef = unsafe { std::mem::zeroed() };

/// The table of members that gives instances weak references, whose list begins at `offset`.
pub(crate) fn weakly_referenced(offset: usize) -> *mut ffi::PyMemberDef {
    // The class keeps what it needs of the table, but CPython asks that it outlive the class.
    Box::leak(Box::new([place(c"__weaklistoffset__", offset), NO_MEMBER])).as_mut_ptr()
}

/// The same with a `__dict__`, which lies at `dict`.
pub(crate) fn with_attributes(dict: usize, weak_references: usize) -> *mut ffi::PyMemberDef {
    let places = [place(c"__dictoffset__", dict), place(c"__weaklistoffset__", weak_references), NO_MEMBER];
    // It has to outlive the class, as above.
    Box::leak(Box::new(places)).as_mut_ptr()
}

/// Has instances keep what is set on them in their `__dict__` alone. From 3.14 on CPython would have room for it in
/// each instance, even where nothing is ever set. Derived classes are not affected.
///
/// # Safety
/// There is no instance of `class` yet.
pub(crate) unsafe fn without_room_for_attributes(class: *mut ffi::PyTypeObject) {
    // `Py_TPFLAGS_INLINE_VALUES`, which CPython asks for when it makes an instance and whenever it looks for attributes.
    #[cfg(Py_3_14)]
    const INLINE_VALUES: std::ffi::c_ulong = 1 << 2;
    #[cfg(all(Py_3_14, Py_GIL_DISABLED))]
    // SAFETY: a live class of ours.
    unsafe {
        (*class).tp_flags.fetch_and(!INLINE_VALUES, std::sync::atomic::Ordering::Relaxed);
    }
    #[cfg(all(Py_3_14, not(Py_GIL_DISABLED)))]
    // SAFETY: a live class of ours.
    unsafe {
        (*class).tp_flags &= !INLINE_VALUES;
    }
    #[cfg(not(Py_3_14))]
    let _ = class;
}

/// Has CPython's own messages call the class by `name` alone, as they call classes written in Python; `__module__` is
/// not changed.
pub(crate) fn name_plainly(class: *mut ffi::PyTypeObject, name: &'static CStr) {
    // SAFETY: a live heap class, which keeps the name it was made with elsewhere; the new one is static.
    unsafe { (*class).tp_name = name.as_ptr() };
}
