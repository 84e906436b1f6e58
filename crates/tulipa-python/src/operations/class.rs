//! The class of operations: a coroutine to Python, as `types.CoroutineType` is.
//!
//! It is registered as a `collections.abc.Coroutine`, which is how asyncio knows coroutines that are not Python's own.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::{Life, Machine, Operation, Sent, frames, waiter_class};
use crate::ffi::args::Args;
use crate::ffi::class::{
    NO_PROPERTY, fastcall, new_class, noargs, onearg, property, slot, weakly_referenced,
};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Raised, Result};
use crate::futures::class::preserving_exception;
use crate::futures::iterator::{stop_iteration, thrown_exception};
use crate::futures::methods::boolean;
use crate::futures::stop;
use crate::gc::{self, FreeList};
use crate::stdlib::stdlib;

struct Class(*mut ffi::PyTypeObject);

// SAFETY: the class lives for ever.
unsafe impl Send for Class {}
// SAFETY: as above.
unsafe impl Sync for Class {}

static CLASS: OnceLock<Class> = OnceLock::new();

#[inline]
fn class() -> *mut ffi::PyTypeObject {
    CLASS.get().expect("the module was initialised before any of its classes could be used").0
}

/// Whether `object` is an operation; the class cannot be derived from.
#[inline]
pub(crate) fn is_operation(object: &Object) -> bool {
    object.class() == class()
}

/// The classes as the module shows them.
pub(crate) struct Classes {
    pub(crate) operation: *mut ffi::PyTypeObject,
    pub(crate) waiter: *mut ffi::PyTypeObject,
}

/// Makes the classes; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<Classes> {
    if CLASS.get().is_none() {
        let made = make()?;
        py.import("collections.abc")?.getattr("Coroutine")?.call_method1("register", (made.bound(py),))?;
        let _ = CLASS.set(Class(made.into_ptr().cast()));
    }
    Ok(Classes { operation: class(), waiter: waiter_class::initialise()? })
}

/// An operation that has not begun.
#[inline]
pub(crate) fn new<M: Machine + 'static>(machine: M) -> Result<Object> {
    // SAFETY: the list is given instances of this class alone.
    if let Some(object) = unsafe { OPERATIONS.take(class()) } {
        // SAFETY: an instance, whose machine was dropped.
        unsafe { this(object.as_ptr()) }.fill(machine);
        gc::track(&object);
        return Ok(object);
    }
    // SAFETY: the class is ours and collected; zeroed bytes are empty cells, and the machine follows.
    let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(class(), 0)) }?;
    // SAFETY: just made.
    unsafe { this(object.as_ptr()) }.fill(machine);
    Ok(object)
}

/// As `new`, for the methods of PyO3's classes.
#[inline]
pub(crate) fn coroutine<M: Machine + 'static>(py: Python<'_>, machine: M) -> PyResult<Py<PyAny>> {
    let operation = new(machine)?.into_ptr();
    // SAFETY: a new reference, handed over.
    Ok(unsafe { Bound::from_owned_ptr(py, operation) }.unbind())
}

/// Freed operations.
static OPERATIONS: FreeList = FreeList::new();

/// # Safety
/// `object` is an operation and outlives the use of the result.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> &'a Operation {
    // SAFETY: the class's instances have this layout.
    unsafe { &*object.cast::<Operation>() }
}

unsafe extern "C" fn am_send(
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
unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
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
    // SAFETY: called on an instance, with a live argument.
    enter(|_| unsafe { this(object).send(&Object::borrow(value)) }.and_then(answer))
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
        if unsafe { this(object) }.life.get() == Life::Suspended {
            return Err(PyRuntimeError::new_err("coroutine is being awaited already").into());
        }
        // SAFETY: as above.
        Ok(unsafe { Object::borrow(object) })
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let name = unsafe { this(object) }.machine().qualified_name();
        let text = format!("<coroutine object {name} at {object:p}>");
        Ok(Object::text(py, &text))
    })
}

unsafe extern "C" fn qualified_name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| Ok(Object::text(py, unsafe { this(object) }.machine().qualified_name())))
}

unsafe extern "C" fn name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let name = unsafe { this(object) }.machine().qualified_name();
        let last = name.rsplit('.').next().unwrap_or(name);
        Ok(Object::text(py, last))
    })
}

/// The awaitable that an `await` inside would show: an inner function of asyncio's, one of another make, or the waiter.
unsafe extern "C" fn awaited(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| frames::awaited(py, &unsafe { Object::borrow(object) }, unsafe { this(object) }))
}

unsafe extern "C" fn frame(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| frames::frame(py, &unsafe { Object::borrow(object) }, unsafe { this(object) }))
}

unsafe extern "C" fn code(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|py| frames::code(py, unsafe { this(object) }))
}

unsafe extern "C" fn running(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { this(object) }.life.get() == Life::Running)))
}

unsafe extern "C" fn suspended(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { this(object) }.life.get() == Life::Suspended)))
}

/// There is no record of where the call was.
unsafe extern "C" fn absent(_object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| Ok(Object::none()))
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance of the class; the collector's own function and data.
    unsafe { gc::visit_all(object, visit, data, |each| this(object).visit(each)) }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance of the class.
    unsafe { this(object) }.finish();
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let operation = unsafe { this(object) };
    if operation.life.get() != Life::Finished
        // SAFETY: a whole object still; a finalizer that revives it is obeyed.
        && unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0
    {
        return;
    }
    // SAFETY: nobody else sees the object from here on; the machine is dropped once.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        if !operation.weak_references.get().is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        std::ptr::drop_in_place(operation.machine.get().cast_mut());
        operation.pending.set(None);
        // Neither derived from nor with a dict; the finalizer leaves a mark that the next tenant must not have.
        if ffi::PyObject_GC_IsFinalized(object) != 0 || !OPERATIONS.give(object) {
            gc::free(object);
        }
    }
}

/// A coroutine that never ran is told of; one that waits is closed, and cleans up.
unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let (this, operation) = unsafe { (Object::borrow(object), this(object)) };
    match operation.life.get() {
        Life::Finished | Life::Running => {}
        Life::Created => preserving_exception(|| {
            if let Err(raised) = warn_never_awaited(&this) {
                unraisable(raised, &this);
            }
        }),
        Life::Suspended => preserving_exception(|| {
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

static mut METHODS: [ffi::PyMethodDef; 4] = [
    onearg(
        c"send",
        send,
        c"send(arg) -> send 'arg' into coroutine,\nreturn next yielded value or raise StopIteration.",
    ),
    fastcall(
        c"throw",
        throw,
        c"throw(value)\n\nRaise exception in coroutine, return next iterated value or raise\nStopIteration.",
    ),
    noargs(c"close", close, c"close() -> raise GeneratorExit inside coroutine."),
    ffi::PyMethodDef::zeroed(),
];

static mut PROPERTIES: [ffi::PyGetSetDef; 9] = [
    property(c"__name__", name, None),
    property(c"__qualname__", qualified_name, None),
    property(c"cr_await", awaited, None),
    property(c"cr_running", running, None),
    property(c"cr_suspended", suspended, None),
    property(c"cr_frame", frame, None),
    property(c"cr_code", code, None),
    property(c"cr_origin", absent, None),
    NO_PROPERTY,
];

fn make() -> Result<Object> {
    let members = weakly_referenced(std::mem::offset_of!(Operation, weak_references));
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
        new_class(c"tulipa._tulipa.Operation", base, size_of::<Operation>(), flags, slots)
    }
}
