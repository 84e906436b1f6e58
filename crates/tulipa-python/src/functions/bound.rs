//! A method of ours bound to its instance, for `async with` before Python 3.14, which binds both of its methods each
//! time before it calls them.
//!
//! It is what CPython makes, of a subclass with the same layout and name: the memory is used again, and a call goes to
//! the native function without a look at what is bound in between.

use std::ffi::{c_int, c_void};

use pyo3::ffi;

use super::{PyMethod_New, call_method};
use crate::ffi::class::{name_plainly, new_class, slot};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Once, Result, Slot};
use crate::futures::methods::boolean;
use crate::gc::{self, FreeList};

/// CPython's `PyMethodObject`, as it is in all the versions that this file is for.
#[repr(C)]
struct Bound {
    header: ffi::PyObject,
    function: Slot,
    instance: Slot,
    weak_references: *mut ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
}

// SAFETY: an immutable class that lives for ever.
static CLASS: Once<*mut ffi::PyTypeObject> = unsafe { Once::new() };

/// Freed instances.
static METHODS: FreeList = FreeList::new();

fn base() -> *mut ffi::PyTypeObject {
    &raw mut PyMethod_Type
}

unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
}

/// Makes the class; called when the first function that stands for a method is made.
pub(super) fn initialise() -> Result<()> {
    CLASS.get_or_make(|| make_class().map(|class| class.into_ptr().cast())).map(drop)
}

fn make_class() -> Result<Object> {
    // SAFETY: CPython's class lives as long as the interpreter.
    let hash = unsafe { (*base()).tp_hash }.map_or(std::ptr::null_mut(), |hash| hash as *mut c_void);
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_richcompare, compare as *mut c_void),
        slot(ffi::Py_tp_hash, hash),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    // SAFETY: C11: the GIL is held, and making a class without a metaclass of its own runs no program's code, so nobody
    // sees what the base says meanwhile. The slots are of the documented types; the layout is the base's.
    let class = unsafe {
        (*base()).tp_flags |= ffi::Py_TPFLAGS_BASETYPE;
        let class = new_class(c"builtins.method", base().cast(), size_of::<Bound>(), flags, slots);
        (*base()).tp_flags &= !ffi::Py_TPFLAGS_BASETYPE;
        class?
    };
    name_plainly(class.as_ptr().cast(), c"method");
    Ok(class)
}

/// Binds `function`, which stands for a method of ours, to `instance`.
#[inline]
pub(super) fn bind(function: Object, instance: Object) -> Result<Object> {
    let class = *CLASS.get();
    let fill = |object: *mut ffi::PyObject| {
        // SAFETY: nobody else has seen it.
        unsafe { (&raw mut (*object.cast::<Bound>()).vectorcall).write(Some(vectorcall)) };
        // SAFETY: an instance.
        let method = unsafe { bound(object) };
        method.function.put(function);
        method.instance.put(instance);
    };
    // SAFETY: the list is given instances of this class alone; zeroed bytes are a method of nothing.
    unsafe { METHODS.make(class, fill) }
}

/// # Safety
/// `object` is an instance of this class or of CPython's, live for the use of the result.
unsafe fn bound<'a>(object: *mut ffi::PyObject) -> &'a Bound {
    // SAFETY: C11: the layout of both.
    unsafe { &*object.cast::<Bound>() }
}

unsafe extern "C" fn vectorcall(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called on an instance, whose two objects are live as it is.
    let method = unsafe { bound(object) };
    let (function, instance) = (method.function.as_ptr(), method.instance.as_ptr());
    let positional = count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: only functions that stand for a method are bound here; this call's arguments.
    if let Some(answer) = unsafe { call_method(function, instance, (arguments, positional), names) } {
        return answer;
    }
    // SAFETY: live objects; CPython's own bound method gets the arguments as they came.
    enter(|_| unsafe {
        let method = Object::steal(PyMethod_New(function, instance))?;
        Object::steal(ffi::PyObject_Vectorcall(method.as_ptr(), arguments, count, names))
    })
}

fn is_method(object: *mut ffi::PyObject) -> bool {
    // SAFETY: a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    class == base() || class == *CLASS.get()
}

/// Equal to another that binds the same function to the same object.
unsafe extern "C" fn compare(
    object: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject {
    enter(|_| {
        if !matches!(operation, ffi::Py_EQ | ffi::Py_NE) || !is_method(other) {
            // SAFETY: the one such object.
            return Ok(unsafe { Object::borrow(ffi::Py_NotImplemented()) });
        }
        // SAFETY: both are methods.
        let (this, other) = unsafe { (bound(object), bound(other)) };
        let equal = this.instance.is_same(&other.instance) && this.function.is_same(&other.function);
        Ok(boolean(equal == (operation == ffi::Py_EQ)))
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's own function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            each(bound(object).function.as_ptr());
            each(bound(object).instance.as_ptr());
        })
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        gc::hide(object);
        bound(object).function.set(None);
        bound(object).instance.set(None);
        if !METHODS.give(object) {
            gc::free(object);
        }
    }
}
