//! Functions of asyncio's that are native here, each standing for the one that it replaces.
//!
//! Such a function shows the stock one's name, text, signature and code object, so that `inspect`, `mock` and
//! `iscoroutinefunction` find what they find there. A call whose arguments it does not understand is made to the stock
//! function instead, which raises what asyncio raises.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ffi::args::Args;
use crate::ffi::class::{NO_MEMBER, NO_PROPERTY, new_class, noargs, place, property, slot};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, Slot, call};
use crate::gc;

/// What runs a call; `None` where the stock function is to say what is wrong with the arguments.
pub(crate) type Entry = fn(&Args<'_>) -> Result<Option<Object>>;

/// One function.
#[repr(C)]
struct Function {
    header: ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    weak_references: *mut ffi::PyObject,
    entry: Entry,
    /// The function that this one stands for.
    stock: Slot,
    /// Where the function is found, for pickling by name.
    module: Slot,
}

/// # Safety
/// `object` is an instance of the class, live for the use of the result.
unsafe fn function<'a>(object: *mut ffi::PyObject) -> &'a Function {
    // SAFETY: the class's instances have this layout.
    unsafe { &*object.cast::<Function>() }
}

/// The class, kept for ever.
struct Class(*mut ffi::PyTypeObject);

// SAFETY: an immutable class that lives for ever.
unsafe impl Send for Class {}
// SAFETY: as above.
unsafe impl Sync for Class {}

static CLASS: OnceLock<Class> = OnceLock::new();

/// Makes the function that stands for `module.name` and is found in `home`; called by the module's initialisation.
pub(crate) fn stand_for(
    py: Python<'_>,
    home: &str,
    (name, module, entry): (&str, &str, Entry),
) -> Result<Object> {
    if CLASS.get().is_none() {
        let _ = CLASS.set(Class(make_class()?.into_ptr().cast()));
    }
    let class = CLASS.get().expect("it was set just before").0;
    let stock = py.import(module)?.getattr(name)?;
    // SAFETY: the class is ours; allocation zeroes the instance.
    let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
    let place = object.as_ptr().cast::<Function>();
    // SAFETY: just made, and seen by nobody else; a zeroed entry is overwritten before anybody calls it.
    unsafe {
        (&raw mut (*place).vectorcall).write(Some(vectorcall));
        (&raw mut (*place).entry).write(entry);
    }
    // SAFETY: whole now.
    let function = unsafe { function(object.as_ptr()) };
    function.stock.put(stock.into());
    function.module.put(PyString::intern(py, home).into_any().into());
    Ok(object)
}

unsafe extern "C" fn vectorcall(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let function = unsafe { function(object) };
        let positional = (count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET).cast_signed();
        // SAFETY: this call's arguments.
        let args = unsafe { Args::new(arguments, positional, names) };
        match (function.entry)(&args)? {
            Some(answer) => Ok(answer),
            // SAFETY: as above; the stock function gets the arguments as they came, but for the free place before them.
            None => unsafe {
                Object::steal(ffi::PyObject_Vectorcall(
                    function.stock.as_ptr(),
                    arguments,
                    positional.cast_unsigned(),
                    names,
                ))
            },
        }
    })
}

/// What the function does not have of its own is the stock function's: `__code__`, `__defaults__`, annotations.
unsafe extern "C" fn attribute(object: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a name.
        let (this, name) = unsafe { (Object::borrow(object), Object::borrow(name)) };
        // SAFETY: both are live; the result is new or null.
        match unsafe { Object::steal(ffi::PyObject_GenericGetAttr(this.as_ptr(), name.as_ptr())) } {
            // SAFETY: the class lives as long as the interpreter.
            Err(raised) if raised.matches(unsafe { ffi::PyExc_AttributeError }) => {
                // SAFETY: clears the indicator that was just found set.
                unsafe { ffi::PyErr_Clear() };
                // SAFETY: called on an instance.
                call::getattr(&unsafe { function(object) }.stock.or_none(), &name)
            }
            outcome => outcome,
        }
    })
}

/// Bound to an instance like any function that is a class attribute.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance; both are live or null.
        let (this, instance) = unsafe { (Object::borrow(object), Object::borrow_opt(instance)) };
        match instance.filter(|instance| !instance.is_none()) {
            // SAFETY: two live objects; the result is new or null.
            Some(instance) => unsafe { Object::steal(PyMethod_New(this.as_ptr(), instance.as_ptr())) },
            None => Ok(this),
        }
    })
}

unsafe extern "C" {
    fn PyMethod_New(function: *mut ffi::PyObject, instance: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

unsafe extern "C" fn doc(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| Ok(Object::from(unsafe { function(object) }.stock.or_none().bound(py).getattr("__doc__")?)))
}

unsafe extern "C" fn module(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { function(object) }.module.or_none()))
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let name = unsafe { function(object) }.stock.or_none().bound(py).getattr("__name__")?;
        Ok(Object::from(PyString::new(py, &format!("<built-in function tulipa.{name}>")).into_any()))
    })
}

/// Pickled by name, as functions are.
unsafe extern "C" fn reduce(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| Ok(Object::from(unsafe { function(object) }.stock.or_none().bound(py).getattr("__name__")?)))
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's own function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            each(function(object).stock.as_ptr());
            each(function(object).module.as_ptr());
        })
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        function(object).stock.set(None);
        function(object).module.set(None);
        gc::free(object);
    }
}

static mut METHODS: [ffi::PyMethodDef; 2] =
    [noargs(c"__reduce__", reduce, c"Pickle by name."), ffi::PyMethodDef::zeroed()];

static mut PROPERTIES: [ffi::PyGetSetDef; 3] =
    [property(c"__doc__", doc, None), property(c"__module__", module, None), NO_PROPERTY];

/// Names by which CPython is told of offsets.
static mut MEMBERS: [ffi::PyMemberDef; 3] = [
    place(c"__vectorcalloffset__", std::mem::offset_of!(Function, vectorcall)),
    place(c"__weaklistoffset__", std::mem::offset_of!(Function, weak_references)),
    NO_MEMBER,
];

fn make_class() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_getattro, attribute as *mut c_void),
        slot(ffi::Py_tp_descr_get, bind as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, (&raw mut MEMBERS).cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC
        | ffi::Py_TPFLAGS_HAVE_VECTORCALL
        | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.Function", base, size_of::<Function>(), flags, slots)
    }
}
