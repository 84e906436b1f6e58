//! The methods and properties that Task has beyond Future's, as C entry points.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::state_of;
use crate::ffi::args::Args;
use crate::ffi::class::{fastcall, noargs, onearg, property};
use crate::ffi::make::{self, Exception};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, call};
use crate::futures::Bit;
use crate::futures::methods::{boolean, cancel_message, cannot_delete, method_table, property_table};
use crate::stdlib::stdlib;

fn integer(value: i32) -> Result<Object> {
    // SAFETY: a new reference or null.
    unsafe { Object::steal(ffi::PyLong_FromLong(value.into())) }
}

unsafe extern "C" fn cancel(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let args = unsafe { Args::new(arguments, count, names) };
        let message = cancel_message(&args)?;
        // A task without a coroutine can be cancelled too: asyncio's cancellation of whole sets relies on no more.
        // SAFETY: called on an instance.
        unsafe { state_of(object) }.cancel(message).map(boolean)
    })
}

unsafe extern "C" fn cancelling(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| integer(unsafe { state_of(object) }.future.cancels()))
}

unsafe extern "C" fn uncancel(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| integer(unsafe { state_of(object) }.uncancel()?))
}

unsafe extern "C" fn get_coro(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { state_of(object) }.coroutine().unwrap_or_else(Object::none)))
}

#[cfg(Py_3_12)]
unsafe extern "C" fn get_context(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { state_of(object) }.own_context())
}

unsafe extern "C" fn get_name(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| unsafe { state_of(object) }.name(py))
}

unsafe extern "C" fn set_name(object: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with a live argument.
        let (state, name) = unsafe { (state_of(object), Object::borrow(name)) };
        state.set_name(py, &name)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn refuse_result(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| refuse("Task does not support set_result operation"))
}

unsafe extern "C" fn refuse_exception(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| refuse("Task does not support set_exception operation"))
}

fn refuse(text: &'static str) -> Result<Object> {
    Err(PyRuntimeError::with_text(text).into())
}

unsafe extern "C" fn get_stack(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with this call's arguments.
        let (task, args) = unsafe { (Object::borrow(object), Args::new(arguments, count, names)) };
        let limit = Object::from_bound(make::interned(py, "limit")?.as_any());
        let [limit] = args.keywords("get_stack", [&limit])?;
        no_positional("get_stack", &args)?;
        call::call2(&stdlib().task_get_stack, &task, &limit.unwrap_or_else(Object::none))
    })
}

unsafe extern "C" fn print_stack(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with this call's arguments.
        let (task, args) = unsafe { (Object::borrow(object), Args::new(arguments, count, names)) };
        let known = make::names(py, ["limit", "file"])?;
        let [limit, file] = args.keywords("print_stack", [&known[0], &known[1]])?;
        no_positional("print_stack", &args)?;
        let or_none = |value: Option<Object>| value.unwrap_or_else(Object::none);
        let (limit, file) = (or_none(limit), or_none(file));
        let print = stdlib().task_print_stack.bound(py);
        Ok(Object::from(print.call1((task.bound(py), limit.bound(py), file.bound(py)))?))
    })
}

fn no_positional(method: &str, args: &Args<'_>) -> Result<()> {
    if args.positional.is_empty() {
        return Ok(());
    }
    Err(PyTypeError::with_text(format!("{method}() takes no positional arguments")).into())
}

unsafe extern "C" fn coroutine(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { state_of(object) }.coroutine().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn waiter(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { state_of(object) }.future.awaited().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn must_cancel(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { state_of(object) }.future.bits.has(Bit::MustCancel))))
}

unsafe extern "C" fn log_destroy(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { state_of(object) }.future.bits.has(Bit::LogDestroyPending))))
}

unsafe extern "C" fn set_log_destroy(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (state, value) = unsafe { (state_of(object), Object::borrow_opt(value)) };
        let value = value.ok_or_else(|| cannot_delete(object, "_log_destroy_pending"))?;
        state.future.bits.set(Bit::LogDestroyPending, call::truth(&value)?);
        Ok(())
    })
}

#[cfg(Py_3_12)]
pub(super) static mut TASK_METHODS: [ffi::PyMethodDef; 20] = method_table![
    SET_RESULT,
    SET_EXCEPTION,
    CANCEL,
    CANCELLING,
    UNCANCEL,
    GET_CORO,
    GET_NAME,
    SET_NAME,
    GET_STACK,
    PRINT_STACK,
    noargs(
        c"get_context",
        get_context,
        c"get_context($self, /)\n--\n\nReturn the context that the coroutine runs in."
    ),
];
#[cfg(not(Py_3_12))]
pub(super) static mut TASK_METHODS: [ffi::PyMethodDef; 19] = method_table![
    SET_RESULT,
    SET_EXCEPTION,
    CANCEL,
    CANCELLING,
    UNCANCEL,
    GET_CORO,
    GET_NAME,
    SET_NAME,
    GET_STACK,
    PRINT_STACK,
];

const SET_RESULT: ffi::PyMethodDef = onearg(
    c"set_result",
    refuse_result,
    c"set_result($self, result, /)\n--\n\nNot for tasks: raises RuntimeError.",
);
const SET_EXCEPTION: ffi::PyMethodDef = onearg(
    c"set_exception",
    refuse_exception,
    c"set_exception($self, exception, /)\n--\n\nNot for tasks: raises RuntimeError.",
);
const CANCEL: ffi::PyMethodDef = fastcall(
    c"cancel",
    cancel,
    c"cancel($self, /, msg=None)\n--\n\nHave CancelledError thrown into the coroutine with its next step; False if the task is done.",
);
const CANCELLING: ffi::PyMethodDef = noargs(
    c"cancelling",
    cancelling,
    c"cancelling($self, /)\n--\n\nReturn how many cancellations were requested and not taken back.",
);
const UNCANCEL: ffi::PyMethodDef = noargs(
    c"uncancel",
    uncancel,
    c"uncancel($self, /)\n--\n\nTake one cancellation request back; return how many remain.",
);
const GET_CORO: ffi::PyMethodDef =
    noargs(c"get_coro", get_coro, c"get_coro($self, /)\n--\n\nReturn the coroutine that the task drives.");
const GET_NAME: ffi::PyMethodDef =
    noargs(c"get_name", get_name, c"get_name($self, /)\n--\n\nReturn the task's name.");
const SET_NAME: ffi::PyMethodDef =
    onearg(c"set_name", set_name, c"set_name($self, value, /)\n--\n\nSet the task's name.");
const GET_STACK: ffi::PyMethodDef = fastcall(
    c"get_stack",
    get_stack,
    c"get_stack($self, /, *, limit=None)\n--\n\nReturn the frames of the coroutine, at most limit of them.",
);
const PRINT_STACK: ffi::PyMethodDef =
    fastcall(c"print_stack", print_stack, c"print_stack($self, /, *, limit=None, file=None)\n--\n\nPrint the stack or traceback of the coroutine to file.");

pub(super) static mut TASK_PROPERTIES: [ffi::PyGetSetDef; 14] = property_table![
    property(c"_coro", coroutine, None),
    property(c"_fut_waiter", waiter, None),
    property(c"_must_cancel", must_cancel, None),
    property(c"_log_destroy_pending", log_destroy, Some(set_log_destroy)),
];
