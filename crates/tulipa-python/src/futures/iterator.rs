//! What `await future` steps through: yields the future once while it is pending, then returns its outcome.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;

use super::{Bit, FutureState, state_of, stop};
use crate::ffi::args::Args;
use crate::ffi::class::{fastcall, new_class, noargs, onearg, slot};
use crate::ffi::make::Exception;
use crate::ffi::raised::{enter, is_exception};
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::gc::{self, FreeList};

/// An iterator over one native future.
#[repr(C)]
struct Iterator {
    header: ffi::PyObject,
    /// Empty once the outcome was handed out, or an exception thrown in.
    future: Slot,
}

/// # Safety
/// `object` is an instance of the iterator class.
unsafe fn iterator<'a>(object: *mut ffi::PyObject) -> &'a Iterator {
    // SAFETY: the class's instances have this layout.
    unsafe { &*object.cast::<Iterator>() }
}

/// `iter(future)`, `future.__await__()`.
#[inline]
pub(super) fn new(class: *mut ffi::PyTypeObject, future: Object) -> Result<Object> {
    // SAFETY: the list is given instances of this class alone, with an empty slot, which zeroed bytes are too.
    unsafe { ITERATORS.make(class, |object| iterator(object).future.put(future)) }
}

/// Freed iterators.
static ITERATORS: FreeList = FreeList::new();

/// One step of the iterator.
enum Step {
    Yield(Object),
    Return(Object),
}

impl Iterator {
    /// `None`: the iterator is exhausted.
    #[inline]
    fn step(&self) -> Result<Option<Step>> {
        let Some(future) = self.future.get() else { return Ok(None) };
        // SAFETY: iterators are made for native futures only.
        let state: &FutureState = unsafe { state_of(future.as_ptr()) };
        if !state.is_pending() {
            self.future.set(None);
            return state.outcome().map(|result| Some(Step::Return(result)));
        }
        if state.bits.replace(Bit::Blocking, true) {
            return Err(PyRuntimeError::with_text("await wasn't used with future").into());
        }
        Ok(Some(Step::Yield(future)))
    }
}

unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let mut kind = ffi::PySendResult::PYGEN_ERROR;
    let value = enter(|_| {
        // SAFETY: CPython calls the slot on instances of the class.
        let step = unsafe { iterator(object) }.step()?;
        let Some(step) = step else { return Err(stop_iteration(None)) };
        match step {
            Step::Yield(future) => {
                kind = ffi::PySendResult::PYGEN_NEXT;
                Ok(future)
            }
            Step::Return(result) => {
                kind = ffi::PySendResult::PYGEN_RETURN;
                Ok(result)
            }
        }
    });
    // SAFETY: `result` is the caller's place for the value.
    unsafe { *result = value };
    kind
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: CPython calls the slot on instances of the class.
        match unsafe { iterator(object) }.step()? {
            Some(Step::Yield(future)) => Ok(future),
            // Null without an exception is this slot's StopIteration without a value: `await`, which comes here, makes
            // None of it, and no exception is ever built.
            Some(Step::Return(result)) if result.is_none() => Err(Raised),
            Some(Step::Return(result)) => Err(stop::with_value(result)),
            None => Err(Raised),
        }
    })
}

/// `StopIteration(value)` set in the indicator.
#[cfg(Py_3_12)]
pub(crate) fn stop_iteration(value: Option<&Object>) -> Raised {
    let none = Object::none();
    let value = value.unwrap_or(&none);
    // SAFETY: `True` lives as long as the interpreter.
    let made =
        if value.is(unsafe { ffi::Py_True() }) { true_iteration(value) } else { made_stop_iteration(value) };
    match made {
        Ok(exception) => {
            // SAFETY: an exception instance; the call steals the reference.
            unsafe { ffi::PyErr_SetRaisedException(exception.into_ptr()) };
            Raised
        }
        Err(raised) => raised,
    }
}

/// The exception for `True`, which is what locks and events give: one object serves all, unless somebody has kept it or
/// it has been through Python code.
#[cfg(Py_3_12)]
fn true_iteration(value: &Object) -> Result<Object> {
    if let Some(kept) = TRUE_ITERATION.0.get() {
        let fields: *mut ffi::PyStopIterationObject = kept.as_ptr().cast();
        // SAFETY: an instance of exactly that class.
        let unused = unsafe {
            // Two references: the one that is kept, and the one in hand.
            ffi::Py_REFCNT(kept.as_ptr()) == 2
                && [(*fields).traceback, (*fields).context, (*fields).cause, (*fields).dict, (*fields).notes]
                    .iter()
                    .all(|field| field.is_null())
                && (*fields).value == value.as_ptr()
        };
        if unused {
            return Ok(kept);
        }
    }
    let made = made_stop_iteration(value)?;
    if cfg!(not(Py_GIL_DISABLED)) {
        TRUE_ITERATION.0.put(made.clone());
    }
    Ok(made)
}

/// The exception that is kept.
#[cfg(Py_3_12)]
struct Kept(Slot);

// SAFETY: S1: touched by attached threads only, between calls into Python, on builds with a GIL.
#[cfg(Py_3_12)]
unsafe impl Sync for Kept {}

#[cfg(Py_3_12)]
static TRUE_ITERATION: Kept = Kept(Slot::empty());

/// The exception, filled in where it lies. Every `await` that has a result ends by one, and calling the class would
/// take as long as all the rest of it.
#[cfg(Py_3_12)]
fn made_stop_iteration(value: &Object) -> Result<Object> {
    // SAFETY: the class lives as long as the interpreter.
    let class: *mut ffi::PyTypeObject = unsafe { ffi::PyExc_StopIteration }.cast();
    let arguments = if value.is_none() {
        // SAFETY: a new reference or null.
        unsafe { Object::steal(ffi::PyTuple_New(0)) }?
    } else {
        // SAFETY: one live object; a new reference or null.
        unsafe { Object::steal(ffi::PyTuple_Pack(1, value.as_ptr())) }?
    };
    // SAFETY: a collected class; the instance's fields are zeroed, which is "none" for all but the two that follow.
    let exception = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
    let fields: *mut ffi::PyStopIterationObject = exception.as_ptr().cast();
    // SAFETY: an instance of exactly that class, whose fields own what they hold.
    unsafe { (&raw mut (*fields).args).write(arguments.into_ptr()) };
    // SAFETY: as above.
    unsafe { (&raw mut (*fields).value).write(value.clone().into_ptr()) };
    Ok(exception)
}

/// `StopIteration(value)` set in the indicator; a tuple or exception value must not be taken apart. The exception itself
/// is made by whoever looks at it, which `await` does not.
#[cfg(not(Py_3_12))]
pub(crate) fn stop_iteration(value: Option<&Object>) -> Raised {
    // SAFETY: the class lives as long as the interpreter.
    let class = unsafe { Object::borrow(ffi::PyExc_StopIteration) };
    match value.filter(|value| !value.is_none()) {
        None => set_exception(&class, &Object::none()),
        Some(value) if !is_exception(value) && !value.is_instance_of(&raw mut ffi::PyTuple_Type) => {
            set_exception(&class, value)
        }
        Some(value) => call::call1(&class, value)
            .map_or_else(|raised| raised, |exception| Raised::from_object(&exception)),
    }
}

/// `raise class(value)`, the instance made by CPython.
#[cfg(not(Py_3_12))]
fn set_exception(class: &Object, value: &Object) -> Raised {
    // SAFETY: a live exception class and a live object.
    unsafe { ffi::PyErr_SetObject(class.as_ptr(), value.as_ptr()) };
    Raised
}

/// By hand: whoever catches the exception gets one of the very class.
unsafe extern "C" fn send(object: *mut ffi::PyObject, _value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        match unsafe { iterator(object) }.step()? {
            Some(Step::Yield(future)) => Ok(future),
            Some(Step::Return(result)) => Err(stop_iteration(Some(&result))),
            None => Err(stop_iteration(None)),
        }
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
        let exception = thrown_exception(py, &unsafe { Args::new(arguments, count, names) });
        // SAFETY: CPython calls methods on instances of the class.
        unsafe { iterator(object) }.future.set(None);
        exception.and_then(|exception| Err::<Object, _>(Raised::from_object(&exception)))
    })
}

/// The exception that the arguments of `throw(kind, value, traceback)` stand for.
pub(crate) fn thrown_exception(py: pyo3::Python<'_>, args: &Args<'_>) -> Result<Object> {
    args.keywords::<0>("throw", [])?;
    let (Some(kind), true) = (args.at(0), args.positional.len() <= 3) else {
        return Err(PyTypeError::with_text("throw expected 1 to 3 arguments").into());
    };
    if cfg!(Py_3_12) && args.positional.len() > 1 {
        pyo3::PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyDeprecationWarning>(), THROW_SIGNATURE, 1)?;
    }
    let exception = exception_for(&kind, args.at(1))?;
    if let Some(traceback) = args.at(2).filter(|traceback| !traceback.is_none()) {
        // SAFETY: an exception instance; anything but a traceback is refused with an exception.
        if unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) } != 0 {
            return Err(Raised);
        }
    }
    Ok(exception)
}

const THROW_SIGNATURE: &std::ffi::CStr =
    c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";

fn exception_for(kind: &Object, value: Option<Object>) -> Result<Object> {
    let value = value.filter(|value| !value.is_none());
    if is_exception(kind) {
        if value.is_some() {
            return Err(PyTypeError::with_text("instance exception may not have a separate value").into());
        }
        return Ok(kind.clone());
    }
    // SAFETY: the class check looks at flags only.
    if unsafe { ffi::PyExceptionClass_Check(kind.as_ptr()) } == 0 {
        return Err(PyTypeError::with_text(
            "exceptions must be classes deriving BaseException or instances of such a class",
        )
        .into());
    }
    match value {
        Some(value) if value.is_instance_of(kind.as_ptr().cast()) => Ok(value),
        Some(value) => call::call1(kind, &value),
        None => call::call0(kind),
    }
}

unsafe extern "C" fn close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: CPython calls methods on instances of the class.
        unsafe { iterator(object) }.future.set(None);
        Ok(Object::none())
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance of the class; the collector's own function and data.
    unsafe { gc::visit_all(object, visit, data, |each| each(iterator(object).future.as_ptr())) }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance of the class.
    unsafe { iterator(object) }.future.set(None);
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        iterator(object).future.set(None);
        // The class can be neither derived from nor weakly referenced, and its instances have no dict.
        if !ITERATORS.give(object) {
            gc::free(object);
        }
    }
}

static mut METHODS: [ffi::PyMethodDef; 4] = [
    onearg(c"send", send, c"Step the iterator; the value is ignored."),
    fastcall(c"throw", throw, c"Raise an exception inside the iterator."),
    noargs(c"close", close, c"Forget the future."),
    ffi::PyMethodDef::zeroed(),
];

pub(super) fn make_class() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_send, am_send as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.FutureIter", base, size_of::<Iterator>(), flags, slots)
    }
}
