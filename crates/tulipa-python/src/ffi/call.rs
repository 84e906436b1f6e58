//! Calls into Python: functions and methods by vectorcall, attributes by interned name.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::types::PyAnyMethods;

use super::make::{self, Exception};
use super::{Object, Raised, Result};

/// `function()`.
#[inline]
pub(crate) fn call0(function: &Object) -> Result<Object> {
    // SAFETY: `function` is live; the result is new or null.
    unsafe { Object::steal(ffi::PyObject_CallNoArgs(function.as_ptr())) }
}

/// `function(argument)`.
#[inline]
pub(crate) fn call1(function: &Object, argument: &Object) -> Result<Object> {
    // SAFETY: both are live; the result is new or null.
    unsafe { Object::steal(ffi::PyObject_CallOneArg(function.as_ptr(), argument.as_ptr())) }
}

/// `function(first, second)`.
#[inline]
pub(crate) fn call2(function: &Object, first: &Object, second: &Object) -> Result<Object> {
    // The leading place may be overwritten by the callee, which spares it a copy of the arguments.
    let mut arguments = [std::ptr::null_mut(), first.as_ptr(), second.as_ptr()];
    // SAFETY: both arguments are live for the call, and the offset flag announces the free place before them.
    unsafe {
        Object::steal(ffi::PyObject_Vectorcall(
            function.as_ptr(),
            arguments.as_mut_ptr().add(1),
            2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            std::ptr::null_mut(),
        ))
    }
}

/// `function(*arguments)` for a builtin of the standard library that asks nothing of the interpreter's calling
/// machinery. Where it is of the kind that takes its arguments as an array, as all of `_asyncio`'s are, its C function
/// is called, which takes half the time.
#[inline]
pub(crate) fn builtin<const N: usize>(function: &Object, arguments: [&Object; N]) -> Result<Object> {
    let arguments = arguments.map(Object::as_ptr);
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyCFunction_CheckExact(function.as_ptr()) } != 0 {
        // SAFETY: a builtin function: its definition outlives it.
        let (builtin, definition) = unsafe {
            let builtin = function.as_ptr().cast::<ffi::PyCFunctionObject>();
            (&*builtin, &*(*builtin).m_ml)
        };
        if definition.ml_flags == ffi::METH_FASTCALL | ffi::METH_KEYWORDS {
            // SAFETY: the flags say that the definition has this member of the union.
            let call = unsafe { definition.ml_meth.PyCFunctionFastWithKeywords };
            // SAFETY: the function's own object, and live arguments; the result is new or null.
            return unsafe {
                let names = std::ptr::null_mut();
                Object::steal(call(builtin.m_self, arguments.as_ptr(), N.cast_signed(), names))
            };
        }
    }
    // SAFETY: all are live; the result is new or null.
    unsafe {
        Object::steal(ffi::PyObject_Vectorcall(
            function.as_ptr(),
            arguments.as_ptr(),
            N,
            std::ptr::null_mut(),
        ))
    }
}

/// `function()` for a builtin of the standard library, likewise.
#[inline]
pub(crate) fn builtin0(function: &Object) -> Result<Object> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyCFunction_CheckExact(function.as_ptr()) } != 0 {
        // SAFETY: a builtin function: its definition outlives it.
        let (builtin, definition) = unsafe {
            let builtin = function.as_ptr().cast::<ffi::PyCFunctionObject>();
            (&*builtin, &*(*builtin).m_ml)
        };
        if definition.ml_flags == ffi::METH_NOARGS {
            // SAFETY: the flags say that the definition has this member of the union.
            let call = unsafe { definition.ml_meth.PyCFunction };
            // SAFETY: the function's own object, and no argument; the result is new or null.
            return unsafe { Object::steal(call(builtin.m_self, std::ptr::null_mut())) };
        }
    }
    call0(function)
}

/// `function(*arguments)` for a tuple, without building another one.
#[inline]
pub(crate) fn call_tuple(function: &Object, arguments: *mut ffi::PyObject) -> Result<Object> {
    // SAFETY: the callers pass a live tuple.
    let count = unsafe { ffi::PyTuple_GET_SIZE(arguments) };
    if count == 0 {
        return call0(function);
    }
    // SAFETY: a tuple's items lie side by side from its first on, and live as long as the tuple.
    let items =
        unsafe { (&raw mut (*arguments.cast::<ffi::PyTupleObject>()).ob_item).cast::<*mut ffi::PyObject>() };
    // SAFETY: `count` live items; no free place before them is announced.
    unsafe {
        Object::steal(ffi::PyObject_Vectorcall(
            function.as_ptr(),
            items,
            count.cast_unsigned(),
            std::ptr::null_mut(),
        ))
    }
}

/// `function(*arguments)` for a function that wants a tuple, which is the one it gets.
pub(crate) fn with_tuple(function: &Object, arguments: &Object) -> Result<Object> {
    // SAFETY: a callable, and an instance of `tuple`; the result is new or null.
    unsafe { Object::steal(ffi::PyObject_Call(function.as_ptr(), arguments.as_ptr(), std::ptr::null_mut())) }
}

/// The tuple of arguments that `*arguments` stands for.
#[cold]
pub(crate) fn spread(arguments: &Object) -> Result<Object> {
    let class = arguments.class();
    // SAFETY: a live object and its class.
    let is_iterable = unsafe { (*class).tp_iter.is_some() || ffi::PySequence_Check(arguments.as_ptr()) != 0 };
    if !is_iterable {
        // SAFETY: the name of a live class.
        let name = unsafe { CStr::from_ptr((*class).tp_name) }.to_string_lossy();
        return Err(PyTypeError::with_text(format!("Value after * must be an iterable, not {name}")).into());
    }
    // SAFETY: a live object; the result is new or null.
    unsafe { Object::steal(ffi::PySequence_Tuple(arguments.as_ptr())) }
}

/// `function(first, *arguments)`, where `arguments` is a tuple.
#[cold]
pub(crate) fn call_with(function: &Object, first: &Object, arguments: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { pyo3::Python::assume_attached() };
    let first = make::tuple(py, [first.bound(py)])?;
    call_tuple(function, first.add(arguments.bound(py))?.as_ptr())
}

/// `object.name()`.
#[inline]
pub(crate) fn method0(object: &Object, name: &Object) -> Result<Object> {
    vectorcall_method(&[object.as_ptr()], name, std::ptr::null_mut())
}

/// `object.name(argument)`.
#[inline]
pub(crate) fn method1(object: &Object, name: &Object, argument: &Object) -> Result<Object> {
    vectorcall_method(&[object.as_ptr(), argument.as_ptr()], name, std::ptr::null_mut())
}

/// `function(*arguments)` for borrowed arguments.
#[inline]
pub(crate) fn vectorcall(function: &Object, arguments: &[*mut ffi::PyObject]) -> Result<Object> {
    // SAFETY: the callers pass live objects.
    unsafe {
        Object::steal(ffi::PyObject_Vectorcall(
            function.as_ptr(),
            arguments.as_ptr(),
            arguments.len(),
            std::ptr::null_mut(),
        ))
    }
}

/// `object.name(*positional, **{keywords: the last ones of arguments})`; `arguments[0]` is the object.
#[inline]
pub(crate) fn vectorcall_method(
    arguments: &[*mut ffi::PyObject],
    name: &Object,
    keywords: *mut ffi::PyObject,
) -> Result<Object> {
    let named = if keywords.is_null() {
        0
    } else {
        // SAFETY: a live tuple of keyword names.
        unsafe { ffi::PyTuple_GET_SIZE(keywords) }.cast_unsigned()
    };
    // SAFETY: all arguments are live; their count leaves out those that the keyword names stand for.
    unsafe {
        Object::steal(ffi::PyObject_VectorcallMethod(
            name.as_ptr(),
            arguments.as_ptr(),
            arguments.len() - named,
            keywords,
        ))
    }
}

/// `function(*positional, name=value)`, for up to three positional arguments.
pub(crate) fn with_keyword(
    function: &Object,
    positional: &[&Object],
    name: &Object,
    value: &Object,
) -> Result<Object> {
    // SAFETY: a new tuple or null; it takes over the reference made here.
    let names = unsafe { Object::steal(ffi::PyTuple_Pack(1, name.as_ptr())) }?;
    let mut arguments: Vec<_> = positional.iter().map(|argument| argument.as_ptr()).collect();
    arguments.push(value.as_ptr());
    // SAFETY: live arguments, the last one named by the tuple.
    unsafe {
        Object::steal(ffi::PyObject_Vectorcall(
            function.as_ptr(),
            arguments.as_ptr(),
            positional.len(),
            names.as_ptr(),
        ))
    }
}

/// `functools.partial(function, *arguments, **keywords)`.
pub(crate) fn partial(function: &Object, arguments: &Object, keywords: Option<&Object>) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { pyo3::Python::assume_attached() };
    let head = make::tuple(py, [function.bound(py)])?;
    // SAFETY: two tuples; the result is new or null.
    let all = unsafe { Object::steal(ffi::PySequence_Concat(head.as_ptr(), arguments.as_ptr())) }?;
    let keywords = keywords.map_or(std::ptr::null_mut(), Object::as_ptr);
    // SAFETY: a callable, a tuple, and a dict or null.
    unsafe {
        Object::steal(ffi::PyObject_Call(crate::stdlib::stdlib().partial.as_ptr(), all.as_ptr(), keywords))
    }
}

/// `object.name`.
#[inline]
pub(crate) fn getattr(object: &Object, name: &Object) -> Result<Object> {
    // SAFETY: both are live; the result is new or null.
    unsafe { Object::steal(ffi::PyObject_GetAttr(object.as_ptr(), name.as_ptr())) }
}

/// `getattr(object, name, None)`, with Rust's `None` where there is no such attribute.
#[inline]
pub(crate) fn getattr_opt(object: &Object, name: &Object) -> Result<Option<Object>> {
    match getattr(object, name) {
        Ok(value) => Ok(Some(value)),
        // SAFETY: the exception class lives as long as the interpreter.
        Err(raised) if raised.matches(unsafe { ffi::PyExc_AttributeError }) => {
            raised.clear();
            Ok(None)
        }
        Err(raised) => Err(raised),
    }
}

/// `dict.get(key)`.
#[inline]
pub(crate) fn dict_item(dict: &Object, key: &Object) -> Result<Option<Object>> {
    // SAFETY: a dict and a live object; the answer is borrowed, and null with or without an exception.
    let found = unsafe { Object::borrow_opt(ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr())) };
    // SAFETY: attached; reads the indicator.
    if found.is_none() && !unsafe { ffi::PyErr_Occurred() }.is_null() {
        return Err(Raised);
    }
    Ok(found)
}

/// `object.name = value`.
#[inline]
pub(crate) fn setattr(object: &Object, name: &Object, value: &Object) -> Result<()> {
    // SAFETY: all three are live.
    if unsafe { ffi::PyObject_SetAttr(object.as_ptr(), name.as_ptr(), value.as_ptr()) } < 0 {
        return Err(Raised);
    }
    Ok(())
}

/// `bool(object)`.
#[inline]
pub(crate) fn truth(object: &Object) -> Result<bool> {
    // SAFETY: a live object.
    match unsafe { ffi::PyObject_IsTrue(object.as_ptr()) } {
        -1 => Err(Raised),
        answer => Ok(answer != 0),
    }
}

/// `len(object)`.
#[inline]
pub(crate) fn length(object: &Object) -> Result<usize> {
    // SAFETY: a live object.
    usize::try_from(unsafe { ffi::PyObject_Size(object.as_ptr()) }).map_err(|_| Raised)
}

/// `left == right`.
#[inline]
pub(crate) fn equal(left: &Object, right: &Object) -> Result<bool> {
    // SAFETY: both are live.
    match unsafe { ffi::PyObject_RichCompareBool(left.as_ptr(), right.as_ptr(), ffi::Py_EQ) } {
        -1 => Err(Raised),
        answer => Ok(answer != 0),
    }
}

/// `repr(object)` as text; an object whose repr fails raises.
pub(crate) fn repr(object: &Object) -> Result<String> {
    // SAFETY: the caller is attached.
    let py = unsafe { pyo3::Python::assume_attached() };
    Ok(object.bound(py).repr()?.to_string())
}
