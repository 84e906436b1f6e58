//! What Python sees of a handle: `cancel()` and `_context`; and how instances are collected and freed.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi;

use super::layout::{key_of, layout};
use super::{at, cancel_handle, making, show};
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::ffi::class::{NO_PROPERTY, new_class, noargs, property, slot};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result};
use crate::gc;

/// How instances of all the classes are visited, emptied and freed.
pub(super) fn life_cycle() -> Vec<ffi::PyType_Slot> {
    vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
    ]
}

/// Makes a class of handles.
pub(super) fn make(
    name: &'static CStr,
    base: &Object,
    size: usize,
    methods: *mut [ffi::PyMethodDef; 2],
) -> Result<Object> {
    let mut slots = life_cycle();
    slots.push(slot(ffi::Py_tp_methods, methods.cast()));
    let flags = ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
    // SAFETY: the slots are of the documented types and static; the size covers base and extension.
    unsafe { new_class(name, base.as_ptr(), size, flags, slots) }
}

static mut PROPERTIES: [ffi::PyGetSetDef; 2] =
    [property(c"_context", context_of, Some(set_context)), NO_PROPERTY];

/// What is in the slot, and never a template: whoever looks may run something in it.
unsafe extern "C" fn context_of(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let held = unsafe { layout().take_context(object) };
        let own = held.clone().into_own();
        let context = own.as_ref().map_or(held, |own| Context::Own(own.clone()));
        // SAFETY: as above.
        unsafe { layout().put_context(object, context) };
        own
    })
}

unsafe extern "C" fn set_context(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: null, or a live object.
        let value = if value.is_null() { Object::none() } else { unsafe { Object::borrow(value) } };
        // SAFETY: called on an instance.
        unsafe { layout().put_context(object, Context::Own(value)) };
        Ok(())
    })
}

pub(super) static mut METHODS: [ffi::PyMethodDef; 2] = [
    noargs(c"cancel", cancel, c"Cancel the callback; it and its arguments are let go at once."),
    ffi::PyMethodDef::zeroed(),
];

pub(super) static mut TIMER_METHODS: [ffi::PyMethodDef; 2] = [
    noargs(c"cancel", cancel_timer, c"Cancel the callback; it leaves the loop's timers at once."),
    ffi::PyMethodDef::zeroed(),
];

unsafe extern "C" fn cancel(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let handle = unsafe { Object::borrow(object) };
        cancel_handle(py, &handle)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn cancel_timer(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let handle = unsafe { Object::borrow(object) };
        // SAFETY: called on a TimerHandle.
        let key = unsafe { key_of(object) }.take();
        // SAFETY: a handle.
        let event_loop = unsafe { at(object, layout().event_loop) }.or_none();
        let job = key.and_then(|key| Core::of(&event_loop)?.engine.cancel_timer(key));
        cancel_handle(py, &handle)?;
        if job.is_some() {
            show(&handle);
        }
        drop(job);
        Ok(Object::none())
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            for slot in layout().slots(object) {
                each(slot.as_ptr());
            }
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: called on an instance.
    for slot in unsafe { layout().slots(object) } {
        slot.set(None);
    }
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        gc::hide(object);
        clear(object);
        if !making::keep(object) {
            gc::free(object);
        }
    }
}
