//! Running a handle's callback in its context, and what is told where that fails.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::layout::{Layout, at, key_of, layout};
use super::{is_cancelled, show};
use crate::event_loop::bare;
use crate::event_loop::contexts::{Context, Holder};
use crate::event_loop::core::Core;
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Raised, Result, call, context};
use crate::futures::methods::{self as futures, boolean};
use crate::stdlib::stdlib;

/// Whether the callback is none that runs Python code.
#[inline]
pub(in crate::event_loop) fn is_quiet(core: &Core, handle: &Object) -> bool {
    // SAFETY: a handle.
    futures::is_quiet(unsafe { at(handle.as_ptr(), layout().callback) }.as_ptr(), core)
}

/// Runs the callback in its context, unless it was cancelled.
#[inline]
pub(crate) fn run(core: &Core, handle: &Object) -> Result<()> {
    let (object, layout) = (handle.as_ptr(), layout());
    if handle.class() == layout.timer_handle {
        // SAFETY: a TimerHandle: it has left the engine's timers.
        unsafe { key_of(object) }.clear();
        // SAFETY: as above.
        unsafe { at(object, layout.scheduled) }.put(boolean(false));
    }
    let outcome = if is_cancelled(handle) { Ok(()) } else { call_back(core, handle, layout) };
    // Asked after the call, which may have found the handle by a weak reference.
    // SAFETY: a live object.
    if unsafe { ffi::Py_REFCNT(object) } > 1 {
        show(handle);
    }
    outcome
}

/// Whether a handle has a callback, and its arguments in a tuple. A program may have put anything else there, or nothing.
///
/// # Safety
/// `object` is a handle.
#[inline]
pub(super) unsafe fn is_callable(object: *mut ffi::PyObject, layout: &Layout) -> bool {
    // SAFETY: passed on.
    let (callback, arguments) =
        unsafe { (at(object, layout.callback), at(object, layout.arguments).as_ptr()) };
    // SAFETY: null was told apart; a live object.
    !arguments.is_null() && unsafe { ffi::PyTuple_CheckExact(arguments) } != 0 && !callback.is_empty()
}

#[inline]
fn call_back(core: &Core, handle: &Object, layout: &Layout) -> Result<()> {
    let object = handle.as_ptr();
    // SAFETY: a handle.
    if !unsafe { is_callable(object, layout) } {
        return call_back_changed(core, handle, layout);
    }
    // In debug mode the handle is formatted afterwards.
    if handle.class() == layout.handle && is_hidden(handle) && !core.is_debug() {
        return call_back_hidden(core, object, layout);
    }
    // References of our own: the callback may cancel its handle, which lets both go.
    // SAFETY: a handle.
    let (callback, arguments) =
        unsafe { (at(object, layout.callback).or_none(), at(object, layout.arguments).or_none()) };
    call_back_with(core, handle, layout, &callback, &arguments)
}

/// What asyncio's own handles do, `self._callback(*self._args)`, for one whose parts a program has changed.
#[cold]
fn call_back_changed(core: &Core, handle: &Object, layout: &Layout) -> Result<()> {
    let [callback, arguments] = parts_of(handle)?;
    call_back_with(core, handle, layout, &callback, &call::spread(&arguments)?)
}

/// The callback and the arguments as attributes: one that a program has deleted is an AttributeError.
fn parts_of(handle: &Object) -> Result<[Object; 2]> {
    let names = &stdlib().names;
    Ok([call::getattr(handle, &names.private_callback)?, call::getattr(handle, &names.private_args)?])
}

#[inline]
fn call_back_with(
    core: &Core,
    handle: &Object,
    layout: &Layout,
    callback: &Object,
    arguments: &Object,
) -> Result<()> {
    let call = || call::call_tuple(callback, arguments.as_ptr()).map(drop);
    let body = || {
        let outcome =
            core.contexts.run_for(&HandleContext { object: handle.as_ptr(), layout }, call, || true);
        outcome.or_else(|raised| {
            // SAFETY: a handle.
            let context = unsafe { at(handle.as_ptr(), layout.context) }.or_none();
            call_by_context((raised, context), callback, arguments).map_err(|(raised, _)| raised)
        })
    };
    match &layout.thread_safe {
        Some(thread_safe) if handle.class() == thread_safe.class => thread_safe.run(handle, body),
        _ => body(),
    }
}

/// What is left to do where running in its context has failed: the context may be a program's own, with a `run()`.
#[cold]
pub(in crate::event_loop) fn call_by_context(
    failure: (Raised, Object),
    callback: &Object,
    arguments: &Object,
) -> std::result::Result<(), (Raised, Object)> {
    context::or_by_its_run(failure, |run| call::call_with(run, callback, arguments))
}

/// A live handle, as the holder of its context.
struct HandleContext<'a> {
    object: *mut ffi::PyObject,
    layout: &'a Layout,
}

impl Holder for HandleContext<'_> {
    #[inline]
    fn own(&self) -> Option<Object> {
        // SAFETY: a live handle.
        let (sharing, held) =
            unsafe { (self.layout.sharing(self.object), at(self.object, self.layout.context)) };
        (!sharing.is_some_and(Cell::get)).then(|| held.or_none())
    }

    #[inline]
    fn take(&self) -> Object {
        // SAFETY: a live handle.
        unsafe { self.layout.take_context(self.object) }.split().1
    }

    #[inline]
    fn put(&self, context: Context) {
        // SAFETY: a live handle.
        unsafe { self.layout.put_context(self.object, context) };
    }
}

/// `call_back` for a handle that nobody can see, and so nobody misses anything in it meanwhile: its references are lent
/// to the call.
#[inline]
fn call_back_hidden(core: &Core, object: *mut ffi::PyObject, layout: &Layout) -> Result<()> {
    let places = [layout.callback, layout.arguments];
    // SAFETY: a handle.
    let lent = places.map(|offset| unsafe { at(object, offset) }.take().unwrap_or_else(Object::none));
    // SAFETY: as above.
    let context = unsafe { layout.take_context(object) };
    let [callback, arguments] = &lent;
    let outcome = core
        .contexts
        .run(context, || call::call_tuple(callback, arguments.as_ptr()).map(drop))
        .or_else(|failure| call_by_context(failure, callback, arguments));
    // Without its parts the handle is only good for being freed; the exception handler is shown a whole one.
    outcome.map_err(|(raised, context)| {
        for (offset, value) in places.into_iter().zip(lent) {
            // SAFETY: a handle.
            unsafe { at(object, offset) }.put(value);
        }
        // SAFETY: as above.
        unsafe { layout.put_context(object, Context::Own(context)) };
        raised
    })
}

/// Whether there is only the one reference to the handle, and no other way to come by it.
#[inline]
pub(super) fn is_hidden(handle: &Object) -> bool {
    // SAFETY: a live collected object.
    bare::is_sole(handle)
        && bare::is_unobserved(handle)
        && unsafe { ffi::PyObject_GC_IsTracked(handle.as_ptr()) } == 0
}

/// What the exception handler is told when the handle's callback raised.
pub(crate) fn failure_context<'py>(
    py: Python<'py>,
    handle: &Object,
    exception: &Object,
) -> PyResult<Bound<'py, PyDict>> {
    let (object, layout) = (handle.as_ptr(), layout());
    let [callback, arguments] = parts_of(handle)?;
    // SAFETY: a handle.
    let traceback = unsafe { at(object, layout.source_traceback) }.or_none();
    let keywords = make::dict(py)?;
    if stdlib().behaviour.format_takes_debug {
        let event_loop = handle.bound(py).getattr(Text("_loop"))?;
        keywords.set_item(Text("debug"), event_loop.call_method0(Text("get_debug"))?)?;
    }
    let format = stdlib().format_callback_source.bound(py);
    let source = format.call((callback.bound(py), arguments.bound(py)), Some(&keywords))?;
    let context = make::dict(py)?;
    context.set_item(Text("message"), Text(format!("Exception in callback {source}")))?;
    context.set_item(Text("exception"), exception.bound(py))?;
    context.set_item(Text("handle"), handle.bound(py))?;
    if traceback.bound(py).is_truthy()? {
        context.set_item(Text("source_traceback"), traceback.bound(py))?;
    }
    Ok(context)
}
