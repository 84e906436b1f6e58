//! The class of waiters: a future's methods and attributes, for tasks of other makes and for whoever looks into a task.
//!
//! `__class__` says `asyncio.Future`, since libraries decide by `isinstance` whether a task waits on a future. A waiter
//! is no instance of it in C's sense, as its memory is a fifth of one's.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::{Life, Operation, Waiter, class};
use crate::event_loop::contexts::Context;
use crate::ffi::args::Args;
use crate::ffi::class::{
    NO_PROPERTY, fastcall, new_class, noargs, onearg, property, slot, weakly_referenced,
};
use crate::ffi::make::{self, Exception};
use crate::ffi::raised::{enter, raise};
use crate::ffi::{Object, Raised, Result, call, context};
use crate::futures::callbacks::{self, Callback};
use crate::futures::methods::{boolean, cancel_message, done_callback};
use crate::futures::{Phase, acceptable_exception};
use crate::stdlib::stdlib;

/// # Safety
/// `object` is a waiter, live for the entry point's run.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a Waiter) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Waiter::of(object)) }
}

unsafe extern "C" fn result(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (_this, waiter) = unsafe { this(object) };
        if waiter.is_pending() {
            return Err(raise(&stdlib().invalid_state_error, "Result is not set.".into()));
        }
        match waiter.failure()? {
            Some(exception) => Err(Raised::from_object(&exception)),
            None => Ok(waiter.value()),
        }
    })
}

unsafe extern "C" fn exception(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (_this, waiter) = unsafe { this(object) };
        match waiter.phase() {
            Phase::Pending => Err(raise(&stdlib().invalid_state_error, "Exception is not set.".into())),
            Phase::Cancelled => Err(Raised::from_object(&waiter.cancelled_error()?)),
            Phase::Finished => Ok(waiter.failure()?.unwrap_or_else(Object::none)),
        }
    })
}

unsafe extern "C" fn set_result(object: *mut ffi::PyObject, value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let ((this, waiter), value) = unsafe { (this(object), Object::borrow(value)) };
        waiter.set_result(&this, value)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn set_exception(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let ((this, waiter), value) = unsafe { (this(object), Object::borrow(value)) };
        waiter.set_exception(&this, acceptable_exception(&value)?)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn cancel(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, waiter), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        waiter.cancel(&this, cancel_message(&args)?).map(boolean)
    })
}

unsafe extern "C" fn cancelled(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { Waiter::of(object) }.is_cancelled())))
}

unsafe extern "C" fn done(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(!unsafe { Waiter::of(object) }.is_pending())))
}

unsafe extern "C" fn add_done_callback(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, waiter), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let (function, given) = done_callback(&args)?;
        let context = Context::Own(given.map_or_else(context::copy_current, Ok)?);
        let callback = Callback::Call { function, context };
        if waiter.is_pending() {
            waiter.add(callback);
        } else {
            callbacks::schedule(&this, waiter, callback)?;
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
        let ((_this, waiter), function) = unsafe { (this(object), Object::borrow(function)) };
        let removed = waiter.remove(&function)?;
        Ok(Object::from(make::int(py, removed)?.into_any()))
    })
}

unsafe extern "C" fn get_loop(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Waiter::of(object) }.event_loop().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn make_cancelled_error(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { Waiter::of(object) }.cancelled_error())
}

/// `await waiter` by somebody who got hold of one: through a stock-like iterator of its own. An operation that is over
/// says so instead, as a coroutine that is awaited again does.
unsafe extern "C" fn iterate(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let operation = unsafe { class::this(object) };
        if operation.find.get().is_some() && operation.life() == Life::Finished {
            // SAFETY: as above.
            return Ok(unsafe { Object::borrow(object) });
        }
        // SAFETY: called on an instance.
        let (this, _waiter) = unsafe { this(object) };
        super::new(super::outsider::Outsider::new(this))
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| call::call1(&stdlib().future_repr, &unsafe { Object::borrow(object) }))
}

unsafe extern "C" fn kind(_object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| Ok(stdlib().c_future.clone()))
}

unsafe extern "C" fn blocking(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { Waiter::of(object) }.blocking.get())))
}

unsafe extern "C" fn set_blocking(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (waiter, value) = unsafe { (Waiter::of(object), Object::borrow_opt(value)) };
        let value =
            value.ok_or_else(|| pyo3::exceptions::PyAttributeError::with_text("cannot delete attribute"))?;
        waiter.blocking.set(call::truth(&value)?);
        Ok(())
    })
}

unsafe extern "C" fn event_loop(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Waiter::of(object) }.event_loop().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn visible_callbacks(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let entries = unsafe { Waiter::of(object) }.entries();
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
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Waiter::of(object) }.value()))
}

unsafe extern "C" fn stored_exception(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    let waiter = unsafe { Waiter::of(object) };
    enter(|_| Ok(waiter.extras().map_or_else(Object::none, |extras| extras.exception.or_none())))
}

unsafe extern "C" fn phase(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| Object::text(py, unsafe { Waiter::of(object) }.phase().name()))
}

unsafe extern "C" fn stored_message(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    let waiter = unsafe { Waiter::of(object) };
    enter(|_| Ok(waiter.extras().map_or_else(Object::none, |extras| extras.message.or_none())))
}

unsafe extern "C" fn set_stored_message(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (waiter, value) = unsafe { (Waiter::of(object), Object::borrow_opt(value)) };
        waiter.extras_or_new().message.set(value);
        Ok(())
    })
}

/// Exceptions of waiters are handed to the operation, which always looks at them.
unsafe extern "C" fn log_traceback(_object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| Ok(boolean(false)))
}

unsafe extern "C" fn set_log_traceback(
    _object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: null, for `del`, or a live argument.
        let value = unsafe { Object::borrow_opt(value) };
        if value.is_some_and(|value| call::truth(&value).is_ok_and(|value| !value)) {
            return Ok(());
        }
        Err(PyValueError::with_text("_log_traceback can only be set to False").into())
    })
}

unsafe extern "C" fn absent(_object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| Ok(Object::none()))
}

static mut METHODS: [ffi::PyMethodDef; 15] = [
    class::SEND,
    class::THROW,
    class::CLOSE,
    noargs(c"result", result, c"Return the result, or raise what ended the wait."),
    noargs(c"exception", exception, c"Return the exception or None."),
    onearg(c"set_result", set_result, c"End the wait."),
    onearg(c"set_exception", set_exception, c"End the wait by an exception."),
    fastcall(c"cancel", cancel, c"Cancel the wait."),
    noargs(c"cancelled", cancelled, c"Return True if the wait was cancelled."),
    noargs(c"done", done, c"Return True if the wait is over."),
    fastcall(
        c"add_done_callback",
        add_done_callback,
        c"Have the loop call fn(waiter) once the wait is over.",
    ),
    onearg(
        c"remove_done_callback",
        remove_done_callback,
        c"Remove all callbacks equal to fn; return how many there were.",
    ),
    noargs(c"get_loop", get_loop, c"Return the event loop."),
    noargs(c"_make_cancelled_error", make_cancelled_error, c"Create the CancelledError to raise."),
    ffi::PyMethodDef::zeroed(),
];

const FUTURE: [ffi::PyGetSetDef; 11] = [
    property(c"__class__", kind, None),
    property(c"_asyncio_future_blocking", blocking, Some(set_blocking)),
    property(c"_asyncio_awaited_by", absent, None),
    property(c"_loop", event_loop, None),
    property(c"_callbacks", visible_callbacks, None),
    property(c"_result", stored_result, None),
    property(c"_exception", stored_exception, None),
    property(c"_state", phase, None),
    property(c"_cancel_message", stored_message, Some(set_stored_message)),
    property(c"_log_traceback", log_traceback, Some(set_log_traceback)),
    property(c"_source_traceback", absent, None),
];

/// Those of a future, and those of the coroutine that a waiter may be as well.
static mut PROPERTIES: [ffi::PyGetSetDef; FUTURE.len() + class::COROUTINE.len() + 1] = {
    let mut table = [NO_PROPERTY; FUTURE.len() + class::COROUTINE.len() + 1];
    let mut index = 0;
    while index < table.len() - 1 {
        table[index] =
            if index < FUTURE.len() { FUTURE[index] } else { class::COROUTINE[index - FUTURE.len()] };
        index += 1;
    }
    table
};

/// Makes the class. It is a coroutine's as well: what parked is driven on through it.
pub(super) fn make() -> Result<Object> {
    let members = weakly_referenced(class::WEAK_REFERENCES);
    let slots = vec![
        slot(ffi::Py_tp_dealloc, class::dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, class::finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, class::traverse as *mut c_void),
        slot(ffi::Py_tp_clear, class::clear as *mut c_void),
        slot(ffi::Py_tp_iternext, class::next as *mut c_void),
        slot(ffi::Py_am_send, class::am_send as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_iter, iterate as *mut c_void),
        slot(ffi::Py_am_await, iterate as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(ffi::Py_tp_doc, c"What a task waits on in a native operation.".as_ptr().cast_mut().cast()),
    ];
    let flags =
        ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.Waiter", base, size_of::<Operation>(), flags, slots)
    }
}
