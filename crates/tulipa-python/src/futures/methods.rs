//! The methods and properties that Future and Task share, as C entry points.
//!
//! Each does three things: find the state, call the operation, convert the answer. Texts are CPython's.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::callbacks::{self, Callback, OnLoop};
use super::{Bit, FutureState, Phase, classes, iterator, state_of};
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::ffi::args::Args;
use crate::ffi::class::{fastcall, noargs, onearg, property};
use crate::ffi::make::{self, Exception};
use crate::ffi::raised::{enter, raise};
use crate::ffi::{Object, Result, call, context};
use crate::stdlib::stdlib;

const NOT_INITIALISED: &str = "Future object is not initialized.";

pub(crate) fn boolean(value: bool) -> Object {
    // SAFETY: the constants live as long as the interpreter.
    unsafe { Object::borrow(if value { ffi::Py_True() } else { ffi::Py_False() }) }
}

/// # Safety
/// `object` is a native Future or Task, live for the entry point's run.
#[inline]
pub(crate) unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a FutureState) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), state_of(object)) }
}

pub(crate) fn ensure_alive(state: &FutureState) -> Result<()> {
    if state.is_alive() {
        return Ok(());
    }
    Err(PyRuntimeError::with_text(NOT_INITIALISED).into())
}

fn ensure_readable(state: &FutureState) -> Result<()> {
    if state.is_alive() {
        return Ok(());
    }
    Err(raise(&stdlib().invalid_state_error, NOT_INITIALISED.into()))
}

unsafe extern "C" fn result(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_readable(state)?;
        state.outcome()
    })
}

unsafe extern "C" fn exception(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_readable(state)?;
        match state.phase() {
            Phase::Pending => Err(raise(&stdlib().invalid_state_error, "Exception is not set.".into())),
            Phase::Cancelled => state.outcome(),
            Phase::Finished => {
                state.bits.set(Bit::LogTraceback, false);
                Ok(state.exception_or_none())
            }
        }
    })
}

unsafe extern "C" fn set_result(object: *mut ffi::PyObject, value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let ((future, state), value) = unsafe { (this(object), Object::borrow(value)) };
        ensure_alive(state)?;
        state.set_result(&future, value)?;
        Ok(Object::none())
    })
}

/// Whether `callable` is the `set_result` of a future of this loop, which only queues what waits for it: nothing that
/// Python code could see happens in it.
#[inline]
pub(crate) fn is_quiet(callable: *mut ffi::PyObject, core: &Core) -> bool {
    // SAFETY: a live object, and a builtin method if its class says so; what it is bound to lives as long.
    unsafe {
        if callable.is_null() || ffi::PyCFunction_CheckExact(callable) == 0 {
            return false;
        }
        let method = &*callable.cast::<ffi::PyCFunctionObject>();
        let is_own = (*method.m_ml).ml_meth.PyCFunction as *const () == set_result as *const ();
        is_own
            && ffi::Py_TYPE(method.m_self) == classes().future
            && state_of(method.m_self).direct().is_some_and(|direct| std::ptr::eq(direct, core))
    }
}

unsafe extern "C" fn set_exception(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let ((future, state), value) = unsafe { (this(object), Object::borrow(value)) };
        ensure_alive(state)?;
        state.set_exception(&future, &value)?;
        Ok(Object::none())
    })
}

/// The `msg` of `cancel(msg=None)`.
pub(crate) fn cancel_message(args: &Args<'_>) -> Result<Option<Object>> {
    let [named] = args.keywords("cancel", [&stdlib().names.msg])?;
    if args.positional.len() > 1 {
        let count = args.positional.len();
        return Err(
            PyTypeError::with_text(format!("cancel() takes at most 1 argument ({count} given)")).into()
        );
    }
    Ok(args.at(0).or(named))
}

unsafe extern "C" fn cancel(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((future, state), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        ensure_alive(state)?;
        state.cancel(&future, cancel_message(&args)?).map(boolean)
    })
}

unsafe extern "C" fn cancelled(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { state_of(object) }.phase() == Phase::Cancelled)))
}

unsafe extern "C" fn done(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(!unsafe { state_of(object) }.is_pending())))
}

/// The arguments of `add_done_callback(function, *, context)`.
#[inline]
pub(crate) fn done_callback(args: &Args<'_>) -> Result<(Object, Option<Object>)> {
    let [context] = args.keywords("add_done_callback", [&stdlib().names.context])?;
    let (Some(function), 1) = (args.at(0), args.positional.len()) else {
        let count = args.positional.len();
        let text = format!("add_done_callback() takes exactly 1 positional argument ({count} given)");
        return Err(PyTypeError::with_text(text).into());
    };
    Ok((function, context))
}

unsafe extern "C" fn add_done_callback(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((future, state), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let (function, given) = done_callback(&args)?;
        if !state.is_alive() {
            return Err(PyRuntimeError::with_text("uninitialized Future object").into());
        }
        let context = match (given, state.direct()) {
            (Some(given), _) => Context::Own(given),
            (None, Some(core)) => core.contexts.current()?,
            (None, None) => Context::Own(context::copy_current()?),
        };
        let callback = Callback::Call { function, context };
        if state.is_pending() {
            state.callbacks.push(callback);
        } else {
            callbacks::schedule(&future, state, callback)?;
        }
        Ok(Object::none())
    })
}

unsafe extern "C" fn remove_done_callback(
    object: *mut ffi::PyObject,
    function: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with a live argument.
        let ((_future, state), function) = unsafe { (this(object), Object::borrow(function)) };
        ensure_alive(state)?;
        let removed = state.callbacks.remove(&function)?;
        Ok(Object::from(make::int(py, removed)?.into_any()))
    })
}

unsafe extern "C" fn get_loop(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_alive(state)?;
        Ok(state.home().or_none())
    })
}

unsafe extern "C" fn make_cancelled_error(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { state_of(object) }.cancelled_error())
}

pub(crate) unsafe extern "C" fn iterate(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (future, state) = unsafe { this(object) };
        ensure_alive(state)?;
        iterator::new(classes().iterator, future)
    })
}

pub(super) unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (future, state) = unsafe { this(object) };
        ensure_alive(state)?;
        call::call1(&stdlib().future_repr, &future)
    })
}

unsafe extern "C" fn blocking(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        Ok(boolean(state.is_alive() && state.bits.has(Bit::Blocking)))
    })
}

unsafe extern "C" fn set_blocking(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (state, value) = unsafe { (state_of(object), Object::borrow_opt(value)) };
        ensure_alive(state)?;
        let value = value.ok_or_else(|| cannot_delete(object, "_asyncio_future_blocking"))?;
        state.bits.set(Bit::Blocking, call::truth(&value)?);
        Ok(())
    })
}

/// `del future.name`; 3.14 alone says more, since its eighth release.
#[cold]
pub(crate) fn cannot_delete(object: *mut ffi::PyObject, name: &str) -> crate::ffi::Raised {
    // SAFETY: attached.
    let version = unsafe { Python::assume_attached() }.version_info();
    if version < (3, 14, 8) || version >= (3, 15) {
        return PyAttributeError::with_text("cannot delete attribute").into();
    }
    // SAFETY: called on an instance.
    let is_task = unsafe { ffi::PyObject_TypeCheck(object, classes().task) } != 0;
    let class = if is_task { "Task" } else { "Future" };
    let text = format!("attribute '{name}' of '_asyncio.{class}' objects cannot be deleted");
    PyAttributeError::with_text(text).into()
}

unsafe extern "C" fn event_loop(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { state_of(object) }.home().or_none()))
}

unsafe extern "C" fn visible_callbacks(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_alive(state)?;
        state.callbacks.own_contexts()?;
        let entries = state.callbacks.snapshot();
        if entries.is_empty() {
            return Ok(Object::none());
        }
        let list = make::list(py)?;
        for entry in entries {
            let (function, context) = entry.visible()?;
            list.append(make::tuple(py, [function.bound(py), context.bound(py)])?)?;
        }
        Ok(Object::from(list.into_any()))
    })
}

unsafe extern "C" fn stored_result(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_alive(state)?;
        Ok(state.result_or_none())
    })
}

unsafe extern "C" fn stored_exception(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_alive(state)?;
        Ok(state.exception_or_none())
    })
}

unsafe extern "C" fn phase(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_alive(state)?;
        Ok(Object::from(make::interned(py, state.phase().name())?.into_any()))
    })
}

unsafe extern "C" fn log_traceback(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { state_of(object) };
        ensure_alive(state)?;
        Ok(boolean(state.bits.has(Bit::LogTraceback)))
    })
}

unsafe extern "C" fn set_log_traceback(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (state, value) = unsafe { (state_of(object), Object::borrow_opt(value)) };
        if call::truth(&value.ok_or_else(|| cannot_delete(object, "_log_traceback"))?)? {
            return Err(PyValueError::with_text("_log_traceback can only be set to False").into());
        }
        state.bits.set(Bit::LogTraceback, false);
        Ok(())
    })
}

unsafe extern "C" fn source_traceback(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { state_of(object) }.source_traceback().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn stored_message(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { state_of(object) }.cancel_message().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn set_stored_message(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (state, value) = unsafe { (state_of(object), Object::borrow_opt(value)) };
        state.set_cancel_message(Some(value.ok_or_else(|| cannot_delete(object, "_cancel_message"))?))
    })
}

/// The entries that both classes share; what follows them differs.
macro_rules! method_table {
    ($($own:expr),* $(,)?) => {
        [
            $crate::futures::methods::RESULT, $crate::futures::methods::EXCEPTION,
            $crate::futures::methods::ADD_DONE_CALLBACK, $crate::futures::methods::REMOVE_DONE_CALLBACK,
            $crate::futures::methods::CANCELLED, $crate::futures::methods::DONE,
            $crate::futures::methods::GET_LOOP, $crate::futures::methods::MAKE_CANCELLED_ERROR,
            $($own,)*
            pyo3::ffi::PyMethodDef::zeroed(),
        ]
    };
}
pub(crate) use method_table;

pub(crate) const RESULT: ffi::PyMethodDef = noargs(
    c"result",
    result,
    c"result($self, /)\n--\n\nReturn the result; raise the exception, CancelledError, or InvalidStateError while there is none.",
);
pub(crate) const EXCEPTION: ffi::PyMethodDef = noargs(
    c"exception",
    exception,
    c"exception($self, /)\n--\n\nReturn the exception or None; raise CancelledError, or InvalidStateError while the future is pending.",
);
pub(crate) const ADD_DONE_CALLBACK: ffi::PyMethodDef = fastcall(
    c"add_done_callback",
    add_done_callback,
    c"Have the loop call fn(future) in context (a copy of the current one by default) once the future is done.",
);
pub(crate) const REMOVE_DONE_CALLBACK: ffi::PyMethodDef = onearg(
    c"remove_done_callback",
    remove_done_callback,
    c"remove_done_callback($self, fn, /)\n--\n\nRemove all callbacks equal to fn; return how many there were.",
);
pub(crate) const CANCELLED: ffi::PyMethodDef =
    noargs(c"cancelled", cancelled, c"cancelled($self, /)\n--\n\nReturn True if the future was cancelled.");
pub(crate) const DONE: ffi::PyMethodDef = noargs(
    c"done",
    done,
    c"done($self, /)\n--\n\nReturn True if the future has a result or an exception, or was cancelled.",
);
pub(crate) const GET_LOOP: ffi::PyMethodDef =
    noargs(c"get_loop", get_loop, c"get_loop($self, /)\n--\n\nReturn the event loop the future is bound to.");
pub(crate) const MAKE_CANCELLED_ERROR: ffi::PyMethodDef = noargs(
    c"_make_cancelled_error",
    make_cancelled_error,
    c"_make_cancelled_error($self, /)\n--\n\nCreate the CancelledError to raise.",
);

pub(super) static mut FUTURE_METHODS: [ffi::PyMethodDef; 12] = method_table![
    onearg(
        c"set_result",
        set_result,
        c"set_result($self, result, /)\n--\n\nMark the future done and set its result."
    ),
    onearg(
        c"set_exception",
        set_exception,
        c"set_exception($self, exception, /)\n--\n\nMark the future done and set an exception."
    ),
    fastcall(
        c"cancel",
        cancel,
        c"cancel($self, /, msg=None)\n--\n\nCancel the future and schedule its callbacks."
    ),
];

macro_rules! property_table {
    ($($own:expr),* $(,)?) => {
        [
            $crate::futures::methods::STATE, $crate::futures::methods::BLOCKING,
            $crate::futures::methods::LOOP, $crate::futures::methods::CALLBACKS,
            $crate::futures::methods::STORED_RESULT, $crate::futures::methods::STORED_EXCEPTION,
            $crate::futures::methods::LOG_TRACEBACK, $crate::futures::methods::SOURCE_TRACEBACK,
            $crate::futures::methods::CANCEL_MESSAGE,
            $($own,)*
            $crate::ffi::class::NO_PROPERTY,
        ]
    };
}
pub(crate) use property_table;

pub(crate) const STATE: ffi::PyGetSetDef = property(c"_state", phase, None);
pub(crate) const BLOCKING: ffi::PyGetSetDef =
    property(c"_asyncio_future_blocking", blocking, Some(set_blocking));
pub(crate) const LOOP: ffi::PyGetSetDef = property(c"_loop", event_loop, None);
pub(crate) const CALLBACKS: ffi::PyGetSetDef = property(c"_callbacks", visible_callbacks, None);
pub(crate) const STORED_RESULT: ffi::PyGetSetDef = property(c"_result", stored_result, None);
pub(crate) const STORED_EXCEPTION: ffi::PyGetSetDef = property(c"_exception", stored_exception, None);
pub(crate) const LOG_TRACEBACK: ffi::PyGetSetDef =
    property(c"_log_traceback", log_traceback, Some(set_log_traceback));
pub(crate) const SOURCE_TRACEBACK: ffi::PyGetSetDef = property(c"_source_traceback", source_traceback, None);
pub(crate) const CANCEL_MESSAGE: ffi::PyGetSetDef =
    property(c"_cancel_message", stored_message, Some(set_stored_message));

pub(super) static mut PROPERTIES: [ffi::PyGetSetDef; 10] = property_table![];
