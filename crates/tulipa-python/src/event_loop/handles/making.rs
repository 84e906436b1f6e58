//! Making handles: for those who keep them, for the queue, and out of the memory of those that were freed.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tulipa::TimerKey;

use super::layout::{at, key_of, layout};
use super::running::{is_callable, is_hidden};
use crate::event_loop::EventLoop;
use crate::event_loop::bare::{self, Bare};
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::ffi::{Object, Result, call, context};
use crate::futures::methods::boolean;
use crate::gc;
use crate::stdlib::stdlib;

/// What a Handle is made of.
pub(crate) struct Parts {
    pub(crate) callback: Object,
    /// A tuple.
    pub(crate) arguments: Object,
    /// A copy of the current context where there is none.
    pub(crate) context: Option<Object>,
}

/// A Handle that stands for itself: the collector sees it at once.
pub(crate) fn new_handle(
    event_loop: &Bound<'_, EventLoop>,
    callback: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    context: Option<&Bound<'_, PyAny>>,
) -> Result<Object> {
    let context = context.map(Object::from_bound).filter(|context| !context.is_none());
    let parts = Parts {
        callback: Object::from_bound(callback),
        arguments: Object::from_bound(args.as_any()),
        // Run more than once, it would borrow a shared one each time.
        context: Some(context.map_or_else(context::copy_current, Ok)?),
    };
    let handle = fill(&HANDLES, layout().handle, event_loop.as_ptr(), &event_loop.get().core, parts)?;
    gc::track(&handle);
    Ok(handle)
}

/// A Handle for the ready queue of a loop; see `show`.
#[inline]
pub(crate) fn new_queued_handle(event_loop: *mut ffi::PyObject, core: &Core, parts: Parts) -> Result<Object> {
    queued(&HANDLES, layout().handle, event_loop, core, parts)
}

/// The same for `call_soon_threadsafe`.
pub(crate) fn new_thread_safe_handle(
    event_loop: *mut ffi::PyObject,
    core: &Core,
    parts: Parts,
) -> Result<Object> {
    let Some(thread_safe) = &layout().thread_safe else { return new_queued_handle(event_loop, core, parts) };
    queued(&THREAD_SAFE_HANDLES, thread_safe.class, event_loop, core, parts)
}

#[inline]
fn queued(
    free: &gc::FreeList,
    class: *mut ffi::PyTypeObject,
    event_loop: *mut ffi::PyObject,
    core: &Core,
    parts: Parts,
) -> Result<Object> {
    if !core.is_debug()
        && let Some(handle) = bare::take_last_handle(event_loop, core)
        && handle.class() == class
    {
        return refill(handle, core, parts);
    }
    let handle = fill(free, class, event_loop, core, parts)?;
    show_unless_running(&handle, core);
    Ok(handle)
}

/// Puts new parts where `take_parts` has left none.
#[inline]
fn refill(handle: Object, core: &Core, parts: Parts) -> Result<Object> {
    let context = context_for(core, parts.context)?;
    let layout = layout();
    let put = |offset: usize, value: Object| {
        // SAFETY: a handle.
        unsafe { at(handle.as_ptr(), offset) }.put(value);
    };
    put(layout.callback, parts.callback);
    put(layout.arguments, parts.arguments);
    // SAFETY: a handle.
    unsafe { layout.put_context(handle.as_ptr(), context) };
    Ok(handle)
}

#[inline]
fn context_for(core: &Core, given: Option<Object>) -> Result<Context> {
    match given {
        Some(context) if !context.is_none() => Ok(Context::Own(context)),
        _ => core.contexts.current(),
    }
}

/// Empties a Handle of the loop's that only the queue refers to; `None` if there is more to it than can be made again.
#[inline]
pub(in crate::event_loop) fn take_parts(handle: &Object, event_loop: *mut ffi::PyObject) -> Option<Bare> {
    let (object, layout) = (handle.as_ptr(), layout());
    let thread_safe = match handle.class() {
        class if class == layout.handle => false,
        class if layout.thread_safe.as_ref().is_some_and(|kind| kind.class == class) => true,
        _ => return None,
    };
    // SAFETY: a handle; the constants live as long as the interpreter.
    let is_plain = unsafe {
        at(object, layout.cancelled).as_ptr() == ffi::Py_False()
            && at(object, layout.source_traceback).as_ptr() == ffi::Py_None()
            && at(object, layout.repr).as_ptr() == ffi::Py_None()
            && at(object, layout.event_loop).as_ptr() == event_loop
    };
    // SAFETY: a handle.
    if !is_plain || !is_hidden(handle) || !unsafe { is_callable(object, layout) } {
        return None;
    }
    // SAFETY: a handle.
    let take = |offset: usize| unsafe { at(object, offset) }.take().unwrap_or_else(Object::none);
    let (callback, arguments) = (take(layout.callback), take(layout.arguments));
    // SAFETY: as above.
    Some(Bare::new(callback, arguments, unsafe { layout.take_context(object) }, thread_safe))
}

/// A Handle for what was taken out of one.
#[cold]
pub(in crate::event_loop) fn restore(event_loop: &Object, core: &Core, bare: Bare) -> Result<Object> {
    let context = Some(bare.own_context()?);
    let Bare { callback, arguments, thread_safe, .. } = bare;
    let parts = Parts { callback, arguments, context };
    let make = if thread_safe { new_thread_safe_handle } else { new_queued_handle };
    make(event_loop.as_ptr(), core, parts)
}

#[inline]
fn show_unless_running(handle: &Object, core: &Core) {
    if cfg!(Py_GIL_DISABLED) || !core.is_running() {
        gc::track(handle);
    }
}

/// Tells the collector of a handle that it may not know yet.
///
/// A handle that a running loop will call is no garbage, whoever else holds it, and most are gone right after their
/// call. So the collector is told of one only when it leaves the loop and somebody keeps it (`run`, `cancel`), or
/// when the loop stops (`Core::show_queued`). A hundred thousand pending callbacks then cost no collections.
#[inline]
pub(crate) fn show(handle: &Object) {
    // SAFETY: a live object.
    if unsafe { ffi::PyObject_GC_IsTracked(handle.as_ptr()) } == 0 {
        gc::track(handle);
    }
}

/// A TimerHandle at `when`, not yet in the engine.
#[inline]
pub(crate) fn new_timer_handle(
    event_loop: *mut ffi::PyObject,
    core: &Core,
    when: Object,
    parts: Parts,
) -> Result<Object> {
    let layout = layout();
    let handle = fill(&TIMER_HANDLES, layout.timer_handle, event_loop, core, parts)?;
    // SAFETY: just made of the timer class; one that is used again may still name its last timer.
    unsafe { key_of(handle.as_ptr()) }.clear();
    // SAFETY: as above.
    unsafe { at(handle.as_ptr(), layout.when) }.put(when);
    // SAFETY: as above.
    unsafe { at(handle.as_ptr(), layout.scheduled) }.put(boolean(false));
    show_unless_running(&handle, core);
    Ok(handle)
}

static HANDLES: gc::FreeList = gc::FreeList::new();
static TIMER_HANDLES: gc::FreeList = gc::FreeList::new();
static THREAD_SAFE_HANDLES: gc::FreeList = gc::FreeList::new();

/// An instance with all slots empty, which the collector does not see yet.
#[inline]
fn allocate(free: &gc::FreeList, class: *mut ffi::PyTypeObject) -> Result<Object> {
    // SAFETY: each list is given the instances of one class, with empty slots.
    if let Some(handle) = unsafe { free.take(class) } {
        return Ok(handle);
    }
    // SAFETY: the class is ours and collected; allocation zeroes the instance, which empties its slots.
    let handle = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
    // SAFETY: a live collected object.
    unsafe { ffi::PyObject_GC_UnTrack(handle.as_ptr().cast()) };
    Ok(handle)
}

#[inline]
fn fill(
    free: &gc::FreeList,
    class: *mut ffi::PyTypeObject,
    event_loop: *mut ffi::PyObject,
    core: &Core,
    parts: Parts,
) -> Result<Object> {
    let context = context_for(core, parts.context)?;
    let traceback = if core.is_debug() { call::call0(&stdlib().extract_stack)? } else { Object::none() };
    let handle = allocate(free, class)?;
    let layout = layout();
    let put = |offset: usize, value: Object| {
        // SAFETY: instances have these slots.
        unsafe { at(handle.as_ptr(), offset) }.put(value);
    };
    put(layout.callback, parts.callback);
    put(layout.arguments, parts.arguments);
    put(layout.cancelled, boolean(false));
    // SAFETY: the callers pass a live loop.
    put(layout.event_loop, unsafe { Object::borrow(event_loop) });
    put(layout.source_traceback, traceback);
    put(layout.repr, Object::none());
    // SAFETY: a handle.
    unsafe { layout.put_context(handle.as_ptr(), context) };
    Ok(handle)
}

/// Notes the timer that will run the handle.
pub(crate) fn set_timer(handle: &Object, key: TimerKey) {
    // SAFETY: called for a TimerHandle.
    unsafe { key_of(handle.as_ptr()) }.set(key);
    // SAFETY: as above.
    unsafe { at(handle.as_ptr(), layout().scheduled) }.put(boolean(true));
}

/// Gives a freed instance to the list of its class; subclasses have none.
///
/// # Safety
/// As for `FreeList::give`.
#[inline]
pub(super) unsafe fn keep(object: *mut ffi::PyObject) -> bool {
    // SAFETY: still allocated.
    let class = unsafe { ffi::Py_TYPE(object) };
    let free = match class {
        class if class == layout().handle => &HANDLES,
        class if class == layout().timer_handle => &TIMER_HANDLES,
        class if layout().thread_safe.as_ref().is_some_and(|kind| kind.class == class) => {
            &THREAD_SAFE_HANDLES
        }
        _ => return false,
    };
    // SAFETY: passed on.
    unsafe { free.give(object) }
}
