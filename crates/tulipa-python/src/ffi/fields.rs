//! Attributes of Python's that are the slots and flags of a native struct, named by their offsets in it.
//!
//! What asyncio's classes keep in private attributes, libraries read, and tests write. `None` and an empty slot are the
//! same thing.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};

use pyo3::exceptions::PyAttributeError;
use pyo3::ffi;

use super::make::Exception;
use super::raised::enter;
use super::{Object, Result, Slot, call};
use crate::futures::methods::boolean;

/// A writable attribute over the `Slot` at `offset`.
///
/// # Safety
/// The table it stands in belongs to a class whose instances have a `Slot` at that offset.
pub(crate) const unsafe fn slot_field(name: &'static CStr, offset: usize) -> ffi::PyGetSetDef {
    field(name, slot_value, Some(set_slot), offset)
}

/// A read-only attribute over the `Slot` at `offset`.
///
/// # Safety
/// As for `slot_field`.
pub(crate) const unsafe fn slot_view(name: &'static CStr, offset: usize) -> ffi::PyGetSetDef {
    field(name, slot_value, None, offset)
}

/// A writable attribute over the `Cell<bool>` at `offset`.
///
/// # Safety
/// As for `slot_field`, of a `Cell<bool>`.
pub(crate) const unsafe fn flag_field(name: &'static CStr, offset: usize) -> ffi::PyGetSetDef {
    field(name, flag_value, Some(set_flag), offset)
}

const fn field(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
    offset: usize,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set,
        doc: std::ptr::null(),
        closure: std::ptr::without_provenance_mut(offset),
    }
}

unsafe extern "C" fn slot_value(object: *mut ffi::PyObject, offset: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the table's maker vouches for a slot there.
    enter(|_| Ok(unsafe { &*object.byte_add(offset.addr()).cast::<Slot>() }.or_none()))
}

unsafe extern "C" fn set_slot(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    offset: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: null stands for `del`.
        let value = given(unsafe { Object::borrow_opt(value) })?;
        // SAFETY: the table's maker vouches for a slot there.
        let slot = unsafe { &*object.byte_add(offset.addr()).cast::<Slot>() };
        slot.set(Some(value).filter(|value| !value.is_none()));
        Ok(())
    })
}

unsafe extern "C" fn flag_value(object: *mut ffi::PyObject, offset: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: the table's maker vouches for a flag there.
    enter(|_| Ok(boolean(unsafe { &*object.byte_add(offset.addr()).cast::<Cell<bool>>() }.get())))
}

unsafe extern "C" fn set_flag(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    offset: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: null stands for `del`.
        let value = call::truth(&given(unsafe { Object::borrow_opt(value) })?)?;
        // SAFETY: the table's maker vouches for a flag there.
        unsafe { &*object.byte_add(offset.addr()).cast::<Cell<bool>>() }.set(value);
        Ok(())
    })
}

pub(crate) fn given(value: Option<Object>) -> Result<Object> {
    value.ok_or_else(|| PyAttributeError::with_text("cannot delete attribute").into())
}
