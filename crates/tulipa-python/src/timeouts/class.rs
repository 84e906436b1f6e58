//! The class `Timeout`: an asynchronous context manager to Python.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::timeout::{Enter, Exit, Timeout};
use super::{Due, State};
use crate::ffi::args::{self, Args};
use crate::ffi::class::{
    DICT, NO_PROPERTY, allocate, fastcall, new_class, noargs, property, slot, with_attributes,
};
use crate::ffi::make::{Exception, Int, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Once, Result, Slot};
use crate::functions::show_coroutine_methods;
use crate::futures::methods::boolean;
use crate::gc::{self, FreeList};
use crate::operations;
use crate::stdlib::stdlib;

// SAFETY: the class lives for ever.
static CLASS: Once<*mut ffi::PyTypeObject> = unsafe { Once::new() };

#[inline]
fn class() -> *mut ffi::PyTypeObject {
    *CLASS.get()
}

/// Makes the class; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<*mut ffi::PyTypeObject> {
    CLASS
        .get_or_make(|| {
            let made = make_class()?;
            show_coroutine_methods(made.bound(py).cast::<PyType>().map_err(PyErr::from)?, "asyncio")?;
            Ok(made.into_ptr().cast())
        })
        .copied()
}

/// Freed instances.
static TIMEOUTS: FreeList = FreeList::new();

/// `Timeout(when)`.
#[inline]
pub(super) fn make(when: Due) -> Result<Object> {
    let fill = |object| {
        // SAFETY: nobody else has seen it.
        unsafe { Timeout::prepare(object) };
        // SAFETY: whole now.
        unsafe { Timeout::of(object) }.set_when(when);
    };
    // SAFETY: the list is given instances of this class alone, with empty slots, which zeroed bytes are too.
    unsafe { TIMEOUTS.make(class(), fill) }
}

unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: CPython passes the class itself or a subclass; zeroed bytes are empty slots.
        let object = unsafe { allocate(class) }?;
        // SAFETY: just made.
        unsafe { Timeout::prepare(object.as_ptr()) };
        Ok(object)
    })
}

unsafe extern "C" fn init(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|_| {
        const NAMES: [*const c_char; 2] = [c"when".as_ptr(), std::ptr::null()];
        // SAFETY: `tp_init`'s own arguments; one object asked for.
        let [when] = unsafe { args::parse(arguments, keywords, c"O:Timeout", &NAMES) }?;
        // SAFETY: `tp_init` gets an instance.
        unsafe { Timeout::of(object) }.set_when(Due::given(when.unwrap_or_else(Object::none)));
        Ok(())
    })
}

/// # Safety
/// `object` is a Timeout, live for the entry point's run.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a Timeout) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Timeout::of(object)) }
}

unsafe extern "C" fn when(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { Timeout::of(object) }.when())
}

unsafe extern "C" fn reschedule(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, timeout), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        timeout.reschedule(&this, args.sole("Timeout.reschedule", &stdlib().names.when)?)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn expired(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let state = unsafe { Timeout::of(object) }.limit.state.get();
        Ok(boolean(matches!(state, State::Expiring | State::Expired)))
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let (_this, timeout) = unsafe { this(object) };
        let mut info = String::new();
        if timeout.limit.state.get() == State::Entered {
            let when = timeout.when()?;
            let shown = if when.is_none() {
                when.bound(py)
            } else {
                py.import(Text("builtins"))?.call_method1(Text("round"), (when.bound(py), Int(3)))?
            };
            info = format!(" when={}", shown.str()?);
        }
        Object::text(py, &format!("<Timeout [{}]{info}>", timeout.state_name()))
    })
}

unsafe extern "C" fn aenter(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| operations::new(Enter(Slot::holding(unsafe { Object::borrow(object) }))))
}

unsafe extern "C" fn aexit(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, _), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let exception = exception_of(&args)?;
        operations::new(Exit { timeout: Slot::holding(this), exception: Slot::holding(exception) })
    })
}

/// `exc_val` of `__aexit__(exc_type, exc_val, exc_tb)`.
#[inline]
fn exception_of(args: &Args<'_>) -> Result<Object> {
    if args.positional.len() == 3 && !args.has_names() {
        return Ok(args.at(1).expect("there are three"));
    }
    named_exception(args)
}

#[cold]
fn named_exception(args: &Args<'_>) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let (class, value) = (Object::text(py, "exc_type")?, Object::text(py, "exc_val")?);
    let traceback = Object::text(py, "exc_tb")?;
    let bound = args.bind(3, 3, [&class, &value, &traceback]);
    let exception = bound.and_then(|[_, exception, _]| exception);
    exception.ok_or_else(|| {
        PyTypeError::with_text("Timeout.__aexit__() takes exc_type, exc_val and exc_tb").into()
    })
}

/// What asyncio keeps in the same place: the handle of the timer, where the loop made one.
unsafe extern "C" fn timeout_handler(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Timeout::of(object) }.alarm.handle().or_none()))
}

unsafe extern "C" fn task(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Timeout::of(object) }.limit.task.or_none()))
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's own function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            let timeout = Timeout::of(object);
            each(timeout.dict.get());
            for slot in timeout.slots() {
                each(slot.as_ptr());
            }
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    let timeout = unsafe { Timeout::of(object) };
    for slot in timeout.slots() {
        slot.set(None);
    }
    gc::drop_dict(&timeout.dict);
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: this is `tp_dealloc`.
    unsafe { gc::nested(object, free) };
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        gc::hide(object);
        clear(object);
        // Neither attributes nor weak references are left, and the class itself has no finalizer.
        if ffi::Py_TYPE(object) != class() || !TIMEOUTS.give(object) {
            gc::free(object);
        }
    }
}

static mut METHODS: [ffi::PyMethodDef; 6] = [
    noargs(c"when", when, c"when($self)\n--\n\nReturn the current deadline."),
    fastcall(c"reschedule", reschedule, c"reschedule($self, when)\n--\n\nReschedule the timeout."),
    noargs(c"expired", expired, c"expired($self)\n--\n\nIs timeout expired during execution?"),
    noargs(c"__aenter__", aenter, c"__aenter__($self)\n--\n\nBegin."),
    fastcall(c"__aexit__", aexit, c"__aexit__($self, exc_type, exc_val, exc_tb)\n--\n\nEnd."),
    ffi::PyMethodDef::zeroed(),
];

static mut PROPERTIES: [ffi::PyGetSetDef; 4] =
    [property(c"_timeout_handler", timeout_handler, None), property(c"_task", task, None), DICT, NO_PROPERTY];

const DOC: &std::ffi::CStr = c"Timeout(when)\n--\n\n\
Asynchronous context manager for cancelling overdue coroutines.\n\n\
Use `timeout()` or `timeout_at()` rather than instantiating this class directly. The timeout is triggered at\n\
`when` on the loop's clock, on the loop's next iteration if that is past, and never if it is None.";

fn make_class() -> Result<Object> {
    let members = with_attributes(offset_of!(Timeout, dict), offset_of!(Timeout, weak_references));
    let slots = vec![
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_init, init as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_BASETYPE;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.Timeout", base, size_of::<Timeout>(), flags, slots)
    }
}
