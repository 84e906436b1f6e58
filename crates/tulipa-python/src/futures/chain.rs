//! Futures of threads and futures of loops, each told of the other's end: `wrap_future()` and
//! `run_coroutine_threadsafe()`.
//!
//! The future of a thread calls its callbacks wherever it happens to be set, so what must happen on the loop's thread
//! is sent there. Both directions are asyncio's `_chain_future`.

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::any;
use super::observers::{always, observer_kind};
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::args::Args;
use crate::ffi::class::noargs;
use crate::ffi::make::{self, Exception};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::stdlib;
use crate::tasks::{ensure_future, is_coroutine};

/// `wrap_future(future, *, loop=None)`.
pub(crate) fn wrap_future(args: &Args<'_>) -> Result<Option<Object>> {
    let names = &stdlib().names;
    let Some([future, event_loop]) = args.bind(1, 1, [&names.future, &names.loop_]) else { return Ok(None) };
    let future = future.expect("it is required");
    let event_loop = event_loop.filter(|given| !given.is_none());
    wrap_on(&future, || event_loop.map_or_else(|| call::call0(&stdlib().event_loop), Ok)).map(Some)
}

/// A future of `event_loop`'s that ends as `future`, of a thread, does; a future of any loop is handed back.
pub(crate) fn wrap(future: &Object, event_loop: &Object) -> Result<Object> {
    wrap_on(future, || Ok(event_loop.clone()))
}

fn wrap_on(future: &Object, event_loop: impl FnOnce() -> Result<Object>) -> Result<Object> {
    if any::is_future(future)? {
        return Ok(future.clone());
    }
    if !is_concurrent(future)? {
        let text = format!("concurrent.futures.Future is expected, got {}", call::repr(future)?);
        return Err(PyAssertionError::with_text(text).into());
    }
    let wrapper = any::create(&event_loop()?)?;
    from_thread(future, &wrapper)?;
    Ok(wrapper)
}

fn is_concurrent(object: &Object) -> Result<bool> {
    // SAFETY: two live objects.
    match unsafe { ffi::PyObject_IsInstance(object.as_ptr(), stdlib().concurrent_future.as_ptr()) } {
        -1 => Err(Raised),
        answer => Ok(answer != 0),
    }
}

/// Has `future`, of a loop, end as `source`, of a thread, does; a cancellation goes the other way.
pub(crate) fn from_thread(source: &Object, future: &Object) -> Result<()> {
    CANCEL_SOURCE.observe(future, source)?;
    let callable = SOURCE_DONE.callable(future)?;
    call::method1(source, &stdlib().names.add_done_callback, &callable).map(drop)
}

observer_kind!(
    /// The future of a thread is told that the one waiting for it is done: was that cancelled?
    static CANCEL_SOURCE, c"_call_check_cancel", always, pass_cancellation
);
observer_kind!(
    /// The future of a loop is told, on any thread, that the one of a thread is done.
    static SOURCE_DONE, c"_call_set_state", always, send_state
);
observer_kind!(
    /// The same, on the loop's thread.
    static COPY_STATE, c"_set_state", always, copy_state
);

fn pass_cancellation(source: &Object, future: &Object) -> Result<()> {
    if any::cancelled(future)? {
        call::method0(source, &stdlib().names.cancel)?;
    }
    Ok(())
}

fn send_state(future: &Object, source: &Object) -> Result<()> {
    let event_loop = any::loop_of(future)?;
    if is_closed(&event_loop)? {
        return Ok(());
    }
    if let Some(core) = Core::of(&event_loop).filter(|core| core.is_direct()) {
        let job = Job::Notify { observer: future.clone(), kind: &COPY_STATE, future: source.clone() };
        return core.schedule_from_anywhere(job).map_err(Raised::from);
    }
    call_threadsafe(&event_loop, &COPY_STATE.callable(future)?, Some(source))
}

fn copy_state(future: &Object, source: &Object) -> Result<()> {
    if any::cancelled(future)? {
        return Ok(());
    }
    debug_assert!(!any::done(future)?);
    if any::cancelled(source)? {
        return any::cancel(future).map(drop);
    }
    match any::exception(source)? {
        Some(exception) => any::set_exception(future, &converted(&exception)?),
        None => any::set_result(future, any::result(source)?),
    }
}

/// asyncio's counterpart of an exception of `concurrent.futures`, and any other itself.
fn converted(exception: &Object) -> Result<Object> {
    call::call1(&stdlib().convert_future_exception, exception)
}

fn is_closed(event_loop: &Object) -> Result<bool> {
    match Core::of(event_loop) {
        Some(core) => Ok(core.is_closed()),
        None => call::truth(&call::method0(event_loop, &stdlib().names.is_closed)?),
    }
}

/// `loop.call_soon_threadsafe(function[, argument])`.
fn call_threadsafe(event_loop: &Object, function: &Object, argument: Option<&Object>) -> Result<()> {
    let mut arguments = vec![event_loop.as_ptr(), function.as_ptr()];
    arguments.extend(argument.map(Object::as_ptr));
    let name = &stdlib().names.call_soon_threadsafe;
    call::vectorcall_method(&arguments, name, std::ptr::null_mut()).map(drop)
}

/// `run_coroutine_threadsafe(coro, loop)`.
pub(crate) fn run_coroutine_threadsafe(args: &Args<'_>) -> Result<Option<Object>> {
    let names = &stdlib().names;
    let Some([coroutine, event_loop]) = args.bind(2, 2, [&names.coro, &names.loop_]) else {
        return Ok(None);
    };
    let [coroutine, event_loop] = [coroutine, event_loop].map(|given| given.expect("both are required"));
    if !is_coroutine(&coroutine)? {
        return Err(PyTypeError::with_text("A coroutine object is required").into());
    }
    let future = call::call0(&stdlib().concurrent_future)?;
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let parts = make::tuple(py, [&coroutine, &event_loop, &future].map(|part| part.bound(py)))?;
    // SAFETY: the definition is static; the method owns a reference to the tuple.
    let callback = unsafe { Object::steal(ffi::PyCFunction_New(&raw mut START, parts.as_ptr())) }?;
    call_threadsafe(&event_loop, &callback, None)?;
    Ok(Some(future))
}

static mut START: ffi::PyMethodDef = noargs(c"callback", start, c"Start the coroutine on its loop.");

unsafe extern "C" fn start(parts: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: the method is bound to the tuple that it was made with.
        let parts = unsafe { Object::borrow(parts) };
        let (coroutine, event_loop, future): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
            parts.bound(py).extract()?;
        let [coroutine, event_loop, future] =
            [coroutine, event_loop, future].map(|part| Object::from_bound(&part));
        match begin(&coroutine, &event_loop, &future) {
            Ok(()) => Ok(Object::none()),
            Err(raised) => Err(fail(&future, &raised.caught()?)?),
        }
    })
}

fn begin(coroutine: &Object, event_loop: &Object, future: &Object) -> Result<()> {
    let task = ensure_future::ensure_future(coroutine, Some(event_loop))?;
    let callable = CANCEL_TASK.callable(&task)?;
    call::method1(future, &stdlib().names.add_done_callback, &callable)?;
    TASK_DONE.observe(&task, future)
}

/// What kept the coroutine from starting goes to both: who waits in the thread, and the loop's exception handler.
fn fail(future: &Object, exception: &Object) -> Result<Raised> {
    if call::truth(&call::method0(future, &stdlib().names.set_running_or_notify_cancel)?)? {
        call::method1(future, &stdlib().names.set_exception, exception)?;
    }
    Ok(Raised::from_object(exception))
}

observer_kind!(
    /// A task is told, on any thread, that the future of the thread that waits for it is done: was that cancelled?
    static CANCEL_TASK, c"_call_check_cancel", always, cancel_task
);
observer_kind!(
    /// The future of a thread is told of the end of the task that it waits for.
    static TASK_DONE, c"_call_set_state", always, set_concurrent_state
);

fn cancel_task(task: &Object, future: &Object) -> Result<()> {
    if !any::cancelled(future)? {
        return Ok(());
    }
    let event_loop = any::loop_of(task)?;
    if runs_here(&event_loop)? {
        return any::cancel(task).map(drop);
    }
    let cancel = call::getattr(task, &stdlib().names.cancel)?;
    call_threadsafe(&event_loop, &cancel, None)
}

/// Whether the loop runs in this thread. Before 3.14 asyncio did not ask.
fn runs_here(event_loop: &Object) -> Result<bool> {
    if cfg!(not(Py_3_14)) {
        return Ok(false);
    }
    Ok(call::call0(&stdlib().running_loop_or_none)?.is(event_loop.as_ptr()))
}

fn set_concurrent_state(future: &Object, task: &Object) -> Result<()> {
    let names = &stdlib().names;
    if any::cancelled(task)? {
        call::method0(future, &names.cancel)?;
    }
    if !call::truth(&call::method0(future, &names.set_running_or_notify_cancel)?)? {
        return Ok(());
    }
    match any::exception(task)? {
        Some(exception) => call::method1(future, &names.set_exception, &converted(&exception)?),
        None => call::method1(future, &names.set_result, &any::result(task)?),
    }
    .map(drop)
}
