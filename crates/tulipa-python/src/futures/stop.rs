//! How `await` learns a result: by a `StopIteration`, whose memory is used again.
//!
//! CPython's `await` steps an iterator that is not a coroutine of its own by `tp_iternext`, and a result comes out of
//! that as a StopIteration with a value. The interpreter takes the value and drops the exception at once. Making one
//! the usual way (an argument tuple, a call of the class, an allocation the collector counts) costs more than all the
//! rest of an `await` that need not wait. So a subclass of the same layout and name is raised here, filled by hand. A
//! debugger, which is told of it and asks whether it is StopIteration itself, gets that.

use std::ffi::{c_int, c_void};

use pyo3::ffi;

use super::iterator::stop_iteration;
use crate::ffi::class::{new_class, slot};
use crate::ffi::followed::is_followed;
use crate::ffi::{Object, Once, Raised, Result};
use crate::gc::{self, FreeList};

// SAFETY: the class lives for ever.
static CLASS: Once<*mut ffi::PyTypeObject> = unsafe { Once::new() };

/// Freed exceptions.
static STOPS: FreeList = FreeList::new();

/// Makes the class; called by the module's initialisation.
pub(crate) fn initialise() -> Result<()> {
    CLASS.get_or_make(|| make().map(|class| class.into_ptr().cast())).map(drop)
}

fn base() -> *mut ffi::PyTypeObject {
    // SAFETY: the class lives as long as the interpreter.
    unsafe { ffi::PyExc_StopIteration }.cast()
}

fn make() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
    ];
    // SAFETY: a live class.
    let size = unsafe { (*base()).tp_basicsize }.cast_unsigned();
    // SAFETY: the slots are of the documented types; the layout is the base's.
    unsafe { new_class(c"builtins.StopIteration", base().cast(), size, ffi::Py_TPFLAGS_HAVE_GC, slots) }
}

/// `StopIteration(value)`, set in the indicator.
#[inline]
pub(crate) fn with_value(value: Object) -> Raised {
    // SAFETY: one live object, which the tuple gets a reference to; the result is new or null.
    with(value, |value| unsafe { Object::steal(ffi::PyTuple_Pack(1, value.as_ptr())) })
}

/// As `with_value`, with the value in `value` alone and not in `args`: for the interpreter, which looks at no more.
#[inline]
pub(crate) fn with_bare_value(value: Object) -> Raised {
    // SAFETY: the one empty tuple.
    with(value, |_| unsafe { Object::steal(ffi::PyTuple_New(0)) })
}

#[inline]
fn with(value: Object, arguments: impl FnOnce(&Object) -> Result<Object>) -> Raised {
    if is_followed() {
        return stop_iteration(Some(&value));
    }
    match arguments(&value).and_then(|arguments| filled(arguments, value)) {
        Ok(exception) => raise(exception),
        Err(raised) => raised,
    }
}

#[inline]
fn filled(arguments: Object, value: Object) -> Result<Object> {
    let class = *CLASS.get();
    let fill = |exception: *mut ffi::PyObject| {
        let fields = exception.cast::<ffi::PyStopIterationObject>();
        // SAFETY: the base's layout; both fields are empty, and take the references over.
        unsafe {
            (*fields).args = arguments.into_ptr();
            (*fields).value = value.into_ptr();
        }
    };
    // SAFETY: the list is given instances of this class alone; zeroed bytes are an exception without anything.
    unsafe { STOPS.make(class, fill) }
}

#[cfg(Py_3_12)]
#[inline]
fn raise(exception: Object) -> Raised {
    // SAFETY: an exception, whose reference the indicator takes over.
    unsafe { ffi::PyErr_SetRaisedException(exception.into_ptr()) };
    Raised
}

#[cfg(not(Py_3_12))]
#[inline]
fn raise(exception: Object) -> Raised {
    // SAFETY: a live class, which the indicator takes a reference to.
    let class = unsafe { Object::borrow(exception.class().cast()) };
    // SAFETY: an exception class and an instance, whose references the indicator takes over.
    unsafe { ffi::PyErr_Restore(class.into_ptr(), exception.into_ptr(), std::ptr::null_mut()) };
    Raised
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: a live class, whose layout the object has; the collector's function and data.
    let answer = unsafe { (*base()).tp_traverse.map_or(0, |traverse| traverse(object, visit, data)) };
    if answer != 0 {
        return answer;
    }
    // SAFETY: an instance owns its class.
    unsafe { visit(ffi::Py_TYPE(object).cast(), data) }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: as in `traverse`.
    unsafe { (*base()).tp_clear.map_or(0, |clear| clear(object)) }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        // Leaves every field empty.
        clear(object);
        (*object.cast::<ffi::PyStopIterationObject>()).suppress_context = '\0';
        if !STOPS.give(object) {
            gc::free(object);
        }
    }
}
