//! The class object of Task: construction, life-cycle, and what is said of a task that dies while pending.

use std::ffi::{c_char, c_int, c_void};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::methods::{TASK_METHODS, TASK_PROPERTIES};
use super::{TaskState, name, registry, state_of, step};
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::ffi::class::{new_class, slot};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Result, args, call, context};
use crate::futures::callbacks::OnLoop;
use crate::futures::class::{self as base, Extension, FLAGS, allocate, allocate_exact, dealloc_with};
use crate::futures::places::{self, OF_TASK, Place};
use crate::futures::{Bit, any, classes, is_exact, methods};
use crate::gc::{self, FreeList};
use crate::operations::is_operation;
use crate::stdlib::stdlib;

/// Makes the class over the tuple of its bases: asyncio's Task, and the native Future.
pub(crate) fn make_class(bases: &Object, offset: usize) -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_new, new_task as *mut c_void),
        slot(ffi::Py_tp_init, init as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_iter, methods::iterate as *mut c_void),
        slot(ffi::Py_am_await, methods::iterate as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut TASK_METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut TASK_PROPERTIES).cast()),
        slot(ffi::Py_tp_doc, c"A coroutine wrapped in a Future.".as_ptr().cast_mut().cast()),
    ];
    let size = offset + size_of::<TaskState>();
    // SAFETY: the slots are of the documented types and static; the size covers base and state.
    unsafe { new_class(c"tulipa._tulipa.Task", bases.as_ptr(), size, FLAGS, slots) }
}

unsafe extern "C" fn new_task(
    class: *mut ffi::PyTypeObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes the class itself or a subclass.
    enter(|_| unsafe { allocate(class, places::offset(), TaskState::new()) })
}

/// What a task is made of.
pub(crate) struct Arguments {
    pub(crate) coroutine: Object,
    pub(crate) name: Option<Object>,
    pub(crate) context: Option<Object>,
    #[cfg_attr(not(Py_3_12), allow(dead_code, reason = "always false there"))]
    pub(crate) eager_start: bool,
}

#[cfg(Py_3_12)]
unsafe fn parse(
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> Result<(Arguments, Option<Object>)> {
    const NAMES: [*const c_char; 6] = [
        c"coro".as_ptr(),
        c"loop".as_ptr(),
        c"name".as_ptr(),
        c"context".as_ptr(),
        c"eager_start".as_ptr(),
        std::ptr::null(),
    ];
    // SAFETY: `tp_init`'s own arguments; five objects asked for.
    let [coroutine, event_loop, name, context, eager] =
        unsafe { args::parse(arguments, keywords, c"O|$OOOO:Task", &NAMES) }?;
    let eager_start = eager.map_or(Ok(false), |eager| call::truth(&eager))?;
    let coroutine = coroutine.expect("the format makes it mandatory");
    Ok((Arguments { coroutine, name, context, eager_start }, event_loop))
}

#[cfg(not(Py_3_12))]
unsafe fn parse(
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> Result<(Arguments, Option<Object>)> {
    const NAMES: [*const c_char; 5] =
        [c"coro".as_ptr(), c"loop".as_ptr(), c"name".as_ptr(), c"context".as_ptr(), std::ptr::null()];
    // SAFETY: `tp_init`'s own arguments; four objects asked for.
    let [coroutine, event_loop, name, context] =
        unsafe { args::parse(arguments, keywords, c"O|$OOO:Task", &NAMES) }?;
    let coroutine = coroutine.expect("the format makes it mandatory");
    Ok((Arguments { coroutine, name, context, eager_start: false }, event_loop))
}

unsafe extern "C" fn init(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|py| {
        // SAFETY: `tp_init` gets a tuple.
        let count = unsafe { ffi::PyTuple_GET_SIZE(arguments) };
        if count > 1 {
            let text = format!("Task() takes exactly 1 positional argument ({count} given)");
            return Err(PyTypeError::with_text(text).into());
        }
        // SAFETY: `tp_init`'s own arguments.
        let (arguments, event_loop) = unsafe { parse(arguments, keywords) }?;
        // SAFETY: `tp_init` gets an instance.
        let (task, state) = unsafe { (Object::borrow(object), state_of(object)) };
        base::ensure_fresh(&task, &state.future)?;
        registry::splice(py)?;
        state.reset();
        state.future.bind(event_loop)?;
        start(py, &task, state, arguments)
    })
}

/// `loop.create_task` on a Tulipa loop, without an argument tuple in between.
#[inline]
pub(crate) fn create(
    py: Python<'_>,
    event_loop: Object,
    core: &Core,
    arguments: Arguments,
) -> Result<Object> {
    // SAFETY: the native class, whose extension is a TaskState.
    let task = unsafe { allocate_exact(&TASKS, classes().task, TaskState::new()) }?;
    // SAFETY: just made.
    let state = unsafe { state_of(task.as_ptr()) };
    if core.is_debug() {
        state.future.bind(Some(event_loop))?;
    } else {
        state.future.bind_native(event_loop);
    }
    start(py, &task, state, arguments)?;
    Ok(task)
}

/// The common end of construction: takes the coroutine over and schedules its first step.
#[inline]
fn start(py: Python<'_>, task: &Object, state: &TaskState, arguments: Arguments) -> Result<()> {
    if !is_coroutine(&arguments.coroutine)? {
        let text = format!("a coroutine was expected, got {}", call::repr(&arguments.coroutine)?);
        return Err(PyTypeError::with_text(text).into());
    }
    #[cfg(Py_3_15)]
    check_context(arguments.context.as_ref())?;
    state.future.bits.set(Bit::LogDestroyPending, true);
    #[cfg(Py_3_12)]
    let is_eager = arguments.eager_start && is_running(state)?;
    #[cfg(not(Py_3_12))]
    let is_eager = false;
    state.set_context(context_for(state, arguments.context, is_eager)?);
    state.set_coroutine(arguments.coroutine);
    match arguments.name.filter(|name| !name.is_none()) {
        Some(name) => state.set_name(py, &name)?,
        None => state.take_number(),
    }
    #[cfg(Py_3_14)]
    super::base_fields::show(task, state)?;
    #[cfg(Py_3_12)]
    if is_eager {
        return step::eager_start(task, state);
    }
    step::schedule(task, state, None)?;
    registry::register(task, &state.links)
}

fn context_for(state: &TaskState, given: Option<Object>, is_eager: bool) -> Result<Context> {
    let Some(given) = given.filter(|given| !given.is_none()) else {
        return match state.future.direct() {
            Some(core) if !is_eager => core.contexts.current(),
            _ => context::copy_current().map(Context::Own),
        };
    };
    Ok(Context::Own(given))
}

/// Refuses what is no context. Done while nobody would miss the task yet, so that only the caller hears of it.
#[cfg(Py_3_15)]
fn check_context(given: Option<&Object>) -> Result<()> {
    let Some(given) = given.filter(|given| !given.is_none() && !context::is_context(given)) else {
        return Ok(());
    };
    // SAFETY: attached.
    let class = given.bound(unsafe { Python::assume_attached() }).get_type();
    let text = format!("a contextvars.Context was expected, got {}", class.name()?);
    Err(PyTypeError::with_text(text).into())
}

#[inline]
pub(crate) fn is_coroutine(object: &Object) -> Result<bool> {
    if object.class() == &raw mut ffi::PyCoro_Type || is_operation(object) {
        return Ok(true);
    }
    if is_exact(object) || any::is_collection(object) {
        return Ok(false);
    }
    call::truth(&call::call1(&stdlib().iscoroutine, object)?)
}

/// `iscoroutine(obj)`.
pub(crate) fn iscoroutine(args: &args::Args<'_>) -> Result<Option<Object>> {
    let Some([Some(object)]) = args.bind(1, 1, [&stdlib().names.obj]) else { return Ok(None) };
    is_coroutine(&object).map(|answer| Some(methods::boolean(answer)))
}

#[cfg(Py_3_12)]
fn is_running(state: &TaskState) -> Result<bool> {
    if let Some(core) = state.future.core() {
        return Ok(core.is_running());
    }
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(state.future.home().or_none().bound(py).call_method0(Text("is_running"))?.is_truthy()?)
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (task, state) = unsafe { methods::this(object) };
        methods::ensure_alive(state)?;
        call::call1(&stdlib().task_repr, &task)
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data.
    unsafe {
        let answer = base::traverse_base(&stdlib().c_task, object, visit, data);
        if answer != 0 {
            return answer;
        }
        base::visit_state(object, visit, data, |each| state_of(object).visit(each))
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    unsafe { state_of(object) }.reset();
    // SAFETY: the object begins with the base's layout.
    unsafe { base::clear_base(&stdlib().c_task, object) }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: this is `tp_dealloc`.
    unsafe { gc::nested(object, free) };
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    // SAFETY: `tp_dealloc` on an instance whose extension is a TaskState.
    unsafe { dealloc_with::<TaskState>(object, classes().task, &stdlib().c_task, &TASKS) };
}

/// Freed tasks.
static TASKS: FreeList = FreeList::new();

impl Extension for TaskState {
    fn empty() -> Self {
        Self::new()
    }

    #[inline]
    fn must_report(&self) -> bool {
        self.is_lost() || self.future.bits.has(Bit::LogTraceback)
    }

    #[inline]
    fn leave(&self) {
        self.links.unlink();
    }

    #[inline]
    fn hide(object: *mut ffi::PyObject) {
        // SAFETY: a task, whose memory is still there.
        name::forget(unsafe { places::inside(object, Place::Name) });
        // SAFETY: as above.
        unsafe { places::empty(object, OF_TASK) };
        #[cfg(Py_3_14)]
        super::base_fields::hide(object);
    }
}

impl TaskState {
    /// Whether nobody will ever know how the task would have ended.
    #[inline]
    fn is_lost(&self) -> bool {
        self.future.is_alive() && self.future.is_pending() && self.future.bits.has(Bit::LogDestroyPending)
    }
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: `tp_finalize` on an instance that is still whole.
    let (task, state) = unsafe { (Object::borrow(object), state_of(object)) };
    let future = &state.future;
    let destroyed = state.is_lost();
    if destroyed || future.bits.has(Bit::LogTraceback) {
        base::preserving_exception(|| {
            if destroyed {
                report_destroyed(&task, state);
                // Whoever the report reached may keep the task; among all tasks it is no more.
                state.links.unlink();
            }
            if future.bits.has(Bit::LogTraceback) {
                base::report_unretrieved(&task, future);
            }
        });
    }
}

fn report_destroyed(task: &Object, state: &TaskState) {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let report = || -> PyResult<()> {
        let context = make::dict(py)?;
        context.set_item(Text("task"), task.bound(py))?;
        context.set_item(Text("message"), Text("Task was destroyed but it is pending!"))?;
        if let Some(traceback) = state.future.source_traceback() {
            context.set_item(Text("source_traceback"), traceback.bound(py))?;
        }
        base::call_exception_handler(&state.future, context)
    };
    if let Err(error) = report() {
        unraisable(error.into(), task);
    }
}
