//! The class of operations: a coroutine to Python, as `types.CoroutineType` is.
//!
//! It is registered as a `collections.abc.Coroutine`, which is how asyncio knows coroutines that are not Python's own.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::{LARGE_ROOM, Life, Machine, Operation, ROOM, Sent, Waiter, fits, frames, waiter_class};
use crate::ffi::args::Args;
use crate::ffi::class::{
    NO_PROPERTY, fastcall, new_class, noargs, onearg, property, slot, weakly_referenced,
};
use crate::ffi::make::{Exception, Text};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Once, Raised, Result};
use crate::futures::class::preserving_exception;
use crate::futures::iterator::{stop_iteration, thrown_exception};
use crate::futures::methods::boolean;
use crate::futures::stop;
use crate::gc::{self, FreeList};
use crate::stdlib::stdlib;

/// The classes as the module shows them. None can be derived from.
pub(crate) struct Classes {
    /// Of operations whose machines are small. One that parks becomes an instance of `waiter`.
    pub(crate) operation: *mut ffi::PyTypeObject,
    /// Of those with larger machines; to Python it looks the same.
    large: *mut ffi::PyTypeObject,
    pub(crate) waiter: *mut ffi::PyTypeObject,
}

// SAFETY: the classes live for ever.
static CLASSES: Once<Classes> = unsafe { Once::new() };

#[inline]
fn classes() -> &'static Classes {
    CLASSES.get()
}

/// Whether `object` is an operation that has not parked on itself.
#[inline]
pub(crate) fn is_operation(object: &Object) -> bool {
    let (class, classes) = (object.class(), classes());
    class == classes.operation || class == classes.large
}

/// The class of waiters.
#[inline]
pub(super) fn waiter() -> *mut ffi::PyTypeObject {
    classes().waiter
}

/// Makes the classes; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<&'static Classes> {
    CLASSES.get_or_make(|| {
        let register =
            py.import(Text("collections.abc"))?.getattr(Text("Coroutine"))?.getattr(Text("register"))?;
        let coroutine_class = |size: usize| -> Result<*mut ffi::PyTypeObject> {
            let made = make(size)?;
            register.call1((made.bound(py),))?;
            Ok(made.into_ptr().cast())
        };
        Ok(Classes {
            operation: coroutine_class(size_of::<Operation>())?,
            large: coroutine_class(size_of::<Operation<LARGE_ROOM>>())?,
            waiter: waiter_class::make()?.into_ptr().cast(),
        })
    })
}

/// An operation that has not begun.
#[inline]
pub(crate) fn new<M: Machine + 'static>(machine: M) -> Result<Object> {
    const { assert!(fits::<M, LARGE_ROOM>(), "box it") }
    if const { fits::<M, ROOM>() } {
        return fill::<M, ROOM>(&OPERATIONS, classes().operation, machine);
    }
    fill::<M, LARGE_ROOM>(&LARGE, classes().large, machine)
}

#[inline]
fn fill<M: Machine + 'static, const WORDS: usize>(
    free: &FreeList,
    class: *mut ffi::PyTypeObject,
    machine: M,
) -> Result<Object> {
    // SAFETY: the list is given memory of instances of this size alone, whose links and machines are gone; zeroed bytes
    // are empty cells.
    unsafe { free.make(class, |object| (*object.cast::<Operation<WORDS>>()).fill(machine)) }
}

/// A waiter that is no operation, without a link.
pub(super) fn plain_waiter() -> Result<Object> {
    let fill = |object| {
        // SAFETY: just made.
        let operation = unsafe { this(object) };
        operation.find.set(None);
        operation.set_life(Life::Finished);
    };
    // SAFETY: waiters are as large as small operations; zeroed bytes are empty cells.
    unsafe { OPERATIONS.make(waiter(), fill) }
}

/// The references to an operation that starts, and that nobody knows but who awaits it: the frame's, and the one in hand.
const AWAITED: ffi::Py_ssize_t = 2;

/// Has an operation be a waiter from now on, if it is not one yet. `false` for a large one, and for one that somebody
/// holds besides the frame that awaits it: who has made it a task, or drives it by hand, has a coroutine in hand and shall
/// keep one, which ends when it is dropped, whatever list it waits in.
#[inline]
pub(super) fn become_waiter(object: &Object) -> bool {
    let (class, classes) = (object.class(), classes());
    if class == classes.waiter {
        return true;
    }
    // SAFETY: a live object.
    if class != classes.operation || unsafe { ffi::Py_REFCNT(object.as_ptr()) } != AWAITED {
        return false;
    }
    // SAFETY: instances own a reference to their class. Both are of one size, one layout and both collected, and neither
    // is derived from.
    unsafe {
        ffi::Py_INCREF(classes.waiter.cast());
        (*object.as_ptr()).ob_type = classes.waiter;
        ffi::Py_DECREF(class.cast());
    }
    true
}

/// As `new`, for the methods of PyO3's classes.
#[inline]
pub(crate) fn coroutine<M: Machine + 'static>(py: Python<'_>, machine: M) -> PyResult<Py<PyAny>> {
    let operation = new(machine)?.into_ptr();
    // SAFETY: a new reference, handed over.
    Ok(unsafe { Bound::from_owned_ptr(py, operation) }.unbind())
}

/// Freed operations with small machines, and waiters.
static OPERATIONS: FreeList = FreeList::new();

/// Freed operations with large machines.
static LARGE: FreeList = FreeList::new();

/// # Safety
/// `object` is an operation or a waiter, and outlives the use of the result.
#[inline]
pub(super) unsafe fn this<'a>(object: *mut ffi::PyObject) -> &'a Operation {
    // SAFETY: the class's instances have this layout.
    unsafe { &*object.cast::<Operation>() }
}

pub(super) unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let mut kind = ffi::PySendResult::PYGEN_ERROR;
    let given = enter(|_| {
        // SAFETY: CPython calls the slot on instances, with a live value.
        match unsafe { this(object).send(&Object::borrow(value)) }? {
            Sent::Yielded(value) => {
                kind = ffi::PySendResult::PYGEN_NEXT;
                Ok(value)
            }
            Sent::Returned(value) => {
                kind = ffi::PySendResult::PYGEN_RETURN;
                Ok(value)
            }
        }
    });
    // SAFETY: `result` is the caller's place for the value.
    unsafe { *result = given };
    kind
}

/// What `await` in Python code calls.
pub(super) unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: CPython calls the slot on instances.
        match unsafe { this(object) }.send(&Object::none())? {
            Sent::Yielded(value) => Ok(value),
            // Null without an exception is this slot's StopIteration without a value. A coroutine has no `__next__`, so that
            // only the interpreter comes here; others `send`.
            Sent::Returned(value) if value.is_none() => Err(Raised),
            Sent::Returned(value) => Err(stop::with_bare_value(value)),
        }
    })
}

fn answer(sent: Sent) -> Result<Object> {
    match sent {
        Sent::Yielded(value) => Ok(value),
        Sent::Returned(value) => Err(stop_iteration(Some(&value))),
    }
}

unsafe extern "C" fn send(object: *mut ffi::PyObject, value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument. From 3.14 on the caller's reference may not be counted.
        let (_driven, value) = unsafe { (Object::borrow(object), Object::borrow(value)) };
        // SAFETY: called on an instance.
        unsafe { this(object) }.send(&value).and_then(answer)
    })
}

unsafe extern "C" fn throw(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: the arguments of this very call.
        let exception = thrown_exception(py, &unsafe { Args::new(arguments, count, names) })?;
        // SAFETY: called on an instance.
        unsafe { this(object) }.throw(exception).and_then(answer)
    })
}

unsafe extern "C" fn close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        unsafe { this(object) }.close()?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn iterate(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        if unsafe { this(object) }.life().is_suspended() {
            return Err(PyRuntimeError::with_text("coroutine is being awaited already").into());
        }
        // SAFETY: as above.
        Ok(unsafe { Object::borrow(object) })
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let name = unsafe { this(object) }.qualified_name();
        let text = format!("<coroutine object {name} at {object:p}>");
        Object::text(py, &text)
    })
}

/// The operation that an object is, for the attributes of coroutines, which a plain waiter does not have.
///
/// # Safety
/// As for `this`.
unsafe fn coroutine_of<'a>(object: *mut ffi::PyObject) -> Result<&'a Operation> {
    // SAFETY: passed on.
    let operation = unsafe { this(object) };
    if operation.place().is_none() {
        return Err(PyAttributeError::with_text("a future that is no coroutine").into());
    }
    Ok(operation)
}

unsafe extern "C" fn qualified_name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| Object::text(py, unsafe { coroutine_of(object) }?.qualified_name()))
}

unsafe extern "C" fn name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let name = unsafe { coroutine_of(object) }?.qualified_name();
        let last = name.rsplit('.').next().unwrap_or(name);
        Object::text(py, last)
    })
}

/// The awaitable that an `await` inside would show: an inner function of asyncio's, one of another make, or a waiter.
unsafe extern "C" fn awaited(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| frames::awaited(py, &unsafe { Object::borrow(object) }, unsafe { coroutine_of(object) }?))
}

unsafe extern "C" fn frame(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| frames::frame(py, &unsafe { Object::borrow(object) }, unsafe { coroutine_of(object) }?))
}

unsafe extern "C" fn code(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| frames::code(py, unsafe { coroutine_of(object) }?))
}

unsafe extern "C" fn running(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { coroutine_of(object) }?.life() == Life::Running)))
}

unsafe extern "C" fn suspended(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { coroutine_of(object) }?.life().is_suspended())))
}

/// `cr_state`, which `inspect.getcoroutinestate()` reads since Python 3.15.
#[cfg(Py_3_15)]
unsafe extern "C" fn state(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let state = match unsafe { coroutine_of(object) }?.life() {
            Life::Created => "CORO_CREATED",
            Life::Running => "CORO_RUNNING",
            Life::Parked | Life::ParkedOn | Life::Delegating | Life::Yielded => "CORO_SUSPENDED",
            Life::Finished => "CORO_CLOSED",
        };
        Object::text(py, state)
    })
}

/// There is no record of where the call was.
unsafe extern "C" fn absent(_object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| Ok(Object::none()))
}

pub(super) unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
) -> c_int {
    // SAFETY: an instance of the class; the collector's own function and data.
    unsafe { gc::visit_all(object, visit, data, |each| this(object).visit(each)) }
}

pub(super) unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance of the class.
    let operation = unsafe { this(object) };
    operation.finish();
    operation.waiter.clear();
    0
}

pub(super) unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: this is `tp_dealloc`.
    unsafe { gc::nested(object, free) };
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let operation = unsafe { this(object) };
    if operation.life() != Life::Finished
        // SAFETY: a whole object still; a finalizer that revives it is obeyed.
        && unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0
    {
        return;
    }
    // SAFETY: a whole object still.
    let kept = if unsafe { ffi::Py_TYPE(object) } == classes().large { &LARGE } else { &OPERATIONS };
    // SAFETY: nobody else sees the object from here on; the machine is dropped once.
    unsafe {
        gc::hide(object);
        if let Some(machine) = operation.place() {
            ptr::drop_in_place(machine);
        }
        operation.waiter.clear();
        // Neither derived from nor with a dict; the finalizer leaves a mark that the next tenant must not have.
        if ffi::PyObject_GC_IsFinalized(object) != 0 || !kept.give(object) {
            gc::free(object);
        }
    }
}

/// A coroutine that never ran is told of; one that waits is closed, and cleans up.
pub(super) unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let (this, operation) = unsafe { (Object::borrow(object), this(object)) };
    match operation.life() {
        Life::Finished | Life::Running => {}
        Life::Created => preserving_exception(|| {
            if let Err(raised) = warn_never_awaited(&this) {
                unraisable(raised, &this);
            }
        }),
        Life::Parked | Life::ParkedOn | Life::Delegating | Life::Yielded => preserving_exception(|| {
            if let Err(raised) = operation.close() {
                unraisable(raised, &this);
            }
        }),
    }
}

/// The warning that CPython gives of its own coroutines, by the same function.
#[cold]
fn warn_never_awaited(operation: &Object) -> Result<()> {
    crate::ffi::call::call1(&stdlib().warn_never_awaited, operation).map(drop)
}

pub(super) const SEND: ffi::PyMethodDef = onearg(
    c"send",
    send,
    c"send(arg) -> send 'arg' into coroutine,\nreturn next yielded value or raise StopIteration.",
);
pub(super) const THROW: ffi::PyMethodDef = fastcall(
    c"throw",
    throw,
    c"throw(value)\n\nRaise exception in coroutine, return next iterated value or raise\nStopIteration.",
);
pub(super) const CLOSE: ffi::PyMethodDef =
    noargs(c"close", close, c"close() -> raise GeneratorExit inside coroutine.");

static mut METHODS: [ffi::PyMethodDef; 4] = [SEND, THROW, CLOSE, ffi::PyMethodDef::zeroed()];

/// What `types.CoroutineType` has.
pub(super) const COROUTINE: [ffi::PyGetSetDef; if cfg!(Py_3_15) { 9 } else { 8 }] = [
    property(c"__name__", name, None),
    property(c"__qualname__", qualified_name, None),
    property(c"cr_await", awaited, None),
    property(c"cr_running", running, None),
    property(c"cr_suspended", suspended, None),
    property(c"cr_frame", frame, None),
    property(c"cr_code", code, None),
    property(c"cr_origin", absent, None),
    #[cfg(Py_3_15)]
    property(c"cr_state", state, None),
];

static mut PROPERTIES: [ffi::PyGetSetDef; COROUTINE.len() + 1] = {
    let mut table = [NO_PROPERTY; COROUTINE.len() + 1];
    let mut index = 0;
    while index < COROUTINE.len() {
        table[index] = COROUTINE[index];
        index += 1;
    }
    table
};

/// Where the list of weak references begins in operations and waiters.
pub(super) const WEAK_REFERENCES: usize =
    std::mem::offset_of!(Operation, waiter) + std::mem::offset_of!(Waiter, weak_references);

fn make(size: usize) -> Result<Object> {
    let members = weakly_referenced(WEAK_REFERENCES);
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        // For `__await__()`, whose answer must be iterable; so generators may `yield from` an operation too.
        slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
        // `yield from` in generator coroutines asks for it.
        slot(ffi::Py_tp_iter, iterate as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_await, iterate as *mut c_void),
        slot(ffi::Py_am_send, am_send as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(ffi::Py_tp_doc, c"A coroutine of the native toolbox.".as_ptr().cast_mut().cast()),
    ];
    let flags =
        ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.Operation", base, size, flags, slots)
    }
}
