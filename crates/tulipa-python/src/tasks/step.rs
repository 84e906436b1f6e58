//! One step of a task: send into the coroutine, then wait on what it yields.
//!
//! `run_step` and `run_wakeup` are what a Tulipa loop runs from its ready queue; `step_anywhere` and
//! `wakeup_anywhere` are the same for any loop. All of them end in `step`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::{TaskState, callables, cancel_future, current, registry, state_of};
use crate::event_loop::contexts::{Context, Holder};
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::make::{Exception, Text};
use crate::ffi::raised::{finally, leaves_the_loop, raise};
use crate::ffi::{Object, Raised, Result, call};
use crate::futures::callbacks::{self, Callback, OnLoop};
use crate::futures::{self, Bit, FutureState, any};
use crate::operations::{Waiter, is_waiter};
use crate::stdlib::{cancelled_error, stdlib};

/// A step taken from the ready queue of the task's own loop.
#[inline]
pub(crate) fn run_step(core: &Core, task: &Object, exception: Option<Object>) -> Result<()> {
    // SAFETY: the queue holds steps of native tasks only.
    let state = unsafe { state_of(task.as_ptr()) };
    let event_loop = state.future.home().or_none();
    let body = || {
        current::enter_native(core, &event_loop, task)?;
        let result = step(task, state, exception);
        current::leave_native(core, task);
        result
    };
    core.contexts.run_for(state, body, || state.gives_context_back())
}

impl TaskState {
    /// Whether the task gives a lent context back after a step. One that goes on for the second time does not: it is
    /// likely to go on for long, and borrowing takes longer than having.
    #[inline]
    fn gives_context_back(&self) -> bool {
        !(self.future.bits.replace(Bit::HasBorrowed, true) && self.future.is_pending())
    }
}

impl Holder for TaskState {
    #[inline]
    fn own(&self) -> Option<Object> {
        (!self.future.bits.has(Bit::SharedContext)).then(|| self.context().or_none())
    }

    #[inline]
    fn take(&self) -> Object {
        self.context().take().unwrap_or_else(Object::none)
    }

    #[inline]
    fn put(&self, context: Context) {
        self.set_context(context);
    }
}

/// A wake-up taken from the ready queue: the native future or waiter that the task waited on is done.
#[inline]
pub(crate) fn run_wakeup(core: &Core, task: &Object, future: &Object) -> Result<()> {
    let exception = if is_waiter(future) {
        // SAFETY: a waiter.
        unsafe { Waiter::of(future.as_ptr()) }.failure()?
    } else {
        // SAFETY: wake-ups are queued by waiters and native futures only.
        let future = unsafe { futures::state_of(future.as_ptr()) };
        if future.has_failed() { future.failure()? } else { None }
    };
    run_step(core, task, exception)
}

/// A step called through `call_soon` of any loop; the context is the caller's business.
pub(super) fn step_anywhere(task: &Object, exception: Option<Object>) -> Result<()> {
    // SAFETY: step callables are made for native tasks only.
    let state = unsafe { state_of(task.as_ptr()) };
    let event_loop = state.future.home().or_none();
    current::enter(&event_loop, task)?;
    finally(step(task, state, exception), || current::leave(&event_loop, task))
}

/// A wake-up called as the done-callback of any kind of future.
pub(super) fn wakeup_anywhere(task: &Object, future: &Object) -> Result<()> {
    let outcome = if futures::is_exact(future) {
        // SAFETY: exactly a native future.
        unsafe { futures::state_of(future.as_ptr()) }.outcome()
    } else {
        call::method0(future, &stdlib().names.result)
    };
    step_anywhere(task, outcome.err().map(Raised::take_object))
}

/// Starts the coroutine at once, inside whatever runs now; what is left of it is scheduled as usual.
#[cfg(Py_3_12)]
pub(super) fn eager_start(task: &Object, state: &TaskState) -> Result<()> {
    let event_loop = state.future.home().or_none();
    let previous = current::swap(&event_loop, task)?;
    call::call1(&stdlib().register_eager_task, task)?;
    // Kept aside: what follows calls into Python.
    let failure = crate::ffi::context::run_in(&state.context().or_none(), || step(task, state, None))
        .err()
        .map(Raised::take_object);
    call::call1(&stdlib().unregister_eager_task, task)?;
    current::swap(&event_loop, &previous)?;
    if state.future.is_pending() {
        registry::register(task, &state.links)?;
    } else {
        state.forget_coroutine();
    }
    failure.map_or(Ok(()), |failure| Err(Raised::from_object(&failure)))
}

/// Queues the next step, throwing `exception` where there is one.
#[inline]
pub(super) fn schedule(task: &Object, state: &TaskState, exception: Option<Object>) -> Result<()> {
    if let Some(core) = state.future.direct() {
        core.schedule(Job::Step { task: task.clone(), exception });
        return Ok(());
    }
    let callable = callables::step_callable(task, exception.as_ref())?;
    callables::call_soon(&state.future.home().or_none(), &callable, None, &state.own_context()?)
}

/// What the coroutine did when it was resumed.
enum Resumed {
    Yielded(Object),
    Returned(Object),
}

fn step(task: &Object, state: &TaskState, exception: Option<Object>) -> Result<()> {
    if !state.future.is_pending() {
        return Err(already_done(task, exception.as_ref()));
    }
    let exception = if state.future.bits.replace(Bit::MustCancel, false) {
        Some(cancellation(state, exception)?)
    } else {
        exception
    };
    forget_waiter(task, state)?;
    let Some(coroutine) = state.coroutine() else {
        return Err(PyRuntimeError::with_text("uninitialized Task object").into());
    };
    match resume(&coroutine, exception) {
        Ok(Resumed::Yielded(value)) => wait_on(task, state, value),
        Ok(Resumed::Returned(value)) => returned(task, state, value),
        Err(raised) => failed(task, state, raised),
    }
}

#[cold]
fn already_done(task: &Object, exception: Option<&Object>) -> Raised {
    let exception = exception.cloned().unwrap_or_else(Object::none);
    let text = call::repr(task).and_then(|task| Ok((task, call::repr(&exception)?)));
    match text {
        Ok((task, exception)) => {
            let step = if cfg!(Py_3_14) { "__step" } else { "_step" };
            raise(&stdlib().invalid_state_error, format!("{step}(): already done: {task} {exception}"))
        }
        Err(raised) => raised,
    }
}

/// A requested cancellation: thrown instead of anything but a CancelledError that is on its way already.
fn cancellation(state: &TaskState, exception: Option<Object>) -> Result<Object> {
    match exception {
        Some(exception) if exception.is_instance_of(cancelled_error().cast()) => Ok(exception),
        _ => state.future.cancelled_error(),
    }
}

/// Waiting is over, and where futures show who awaits them, no longer so.
#[inline]
fn forget_waiter(task: &Object, state: &TaskState) -> Result<()> {
    match state.future.take_awaited() {
        // A waiter has no such record, as CPython keeps one in its own futures only.
        Some(waiter) if cfg!(Py_3_14) && !is_waiter(&waiter) => current::discard_awaited_by(&waiter, task),
        _ => Ok(()),
    }
}

#[inline]
fn resume(coroutine: &Object, exception: Option<Object>) -> Result<Resumed> {
    let Some(exception) = exception else { return send_none(coroutine) };
    match call::method1(coroutine, &stdlib().names.throw, &exception) {
        Ok(value) => Ok(Resumed::Yielded(value)),
        // SAFETY: the class lives as long as the interpreter.
        Err(raised) if raised.matches(unsafe { ffi::PyExc_StopIteration }) => {
            let stop = raised.take_object();
            // SAFETY: attached.
            let py = unsafe { Python::assume_attached() };
            Ok(Resumed::Returned(stop.bound(py).getattr(Text("value"))?.into()))
        }
        Err(raised) => Err(raised),
    }
}

#[inline]
fn send_none(coroutine: &Object) -> Result<Resumed> {
    let mut value = std::ptr::null_mut();
    // SAFETY: two live objects, and a place for the value.
    let kind = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &raw mut value) };
    // SAFETY: a new reference, or null with an exception set.
    let value = unsafe { Object::steal(value) };
    match kind {
        ffi::PySendResult::PYGEN_NEXT => value.map(Resumed::Yielded),
        ffi::PySendResult::PYGEN_RETURN => value.map(Resumed::Returned),
        ffi::PySendResult::PYGEN_ERROR => Err(Raised),
    }
}

fn returned(task: &Object, state: &TaskState, value: Object) -> Result<()> {
    registry::unregister(task, &state.links)?;
    if state.future.bits.replace(Bit::MustCancel, false) {
        // Cancelled after its last await: asked for before the coroutine could end.
        return state.future.end_cancelled(task, None);
    }
    state.future.set_result(task, value)
}

#[cold]
fn failed(task: &Object, state: &TaskState, raised: Raised) -> Result<()> {
    let cancelled = raised.matches(cancelled_error());
    let exception = raised.take_object();
    registry::unregister(task, &state.links)?;
    if cancelled {
        // The exception has the message, and is raised once.
        state.future.set_cancel_message(None)?;
        return state.future.end_cancelled(task, Some(exception));
    }
    state.future.set_exception(task, &exception)?;
    if leaves_the_loop(&exception) {
        return Err(Raised::from_object(&exception));
    }
    Ok(())
}

/// The coroutine yielded: a future to wait on, a bare `None`, or something that it must not yield.
#[inline]
fn wait_on(task: &Object, state: &TaskState, value: Object) -> Result<()> {
    if value.is_none() {
        return schedule(task, state, None);
    }
    if value.is(task.as_ptr()) {
        return fail_soon(task, state, |task| {
            Ok(format!("Task cannot await on itself: {}", call::repr(task)?))
        });
    }
    if is_waiter(&value) {
        return wait_on_waiter(task, state, value);
    }
    if !futures::is_exact(&value) {
        return wait_on_foreign(task, state, value);
    }
    // SAFETY: exactly a native future or task.
    let future: &FutureState = unsafe { futures::state_of(value.as_ptr()) };
    if !future.home().is_same(state.future.home()) {
        return different_loop(task, state, &value);
    }
    if !future.bits.replace(Bit::Blocking, false) {
        return yield_from_missing(task, state, &value);
    }
    #[cfg(Py_3_14)]
    super::base_fields::add_awaited_by(&value, task)?;
    let wake = Callback::Wake(task.clone());
    if future.is_pending() {
        future.callbacks.push(wake);
    } else {
        callbacks::schedule(&value, future, wake)?;
    }
    await_cancellable(state, value)
}

/// The coroutine is in a native operation that parked.
#[inline]
fn wait_on_waiter(task: &Object, state: &TaskState, value: Object) -> Result<()> {
    // SAFETY: a waiter, kept alive by `value`.
    let waiter = unsafe { Waiter::of(value.as_ptr()) };
    if !waiter.is_on(state.future.home()) {
        return different_loop(task, state, &value);
    }
    if !waiter.blocking.replace(false) {
        return yield_from_missing(task, state, &value);
    }
    waiter.register(&value, task)?;
    await_cancellable(state, value)
}

/// The task now waits on `future`; a cancellation that came before it did goes there at once.
#[inline]
fn await_cancellable(state: &TaskState, future: Object) -> Result<()> {
    if !state.future.bits.has(Bit::MustCancel) {
        return state.future.set_awaited(future);
    }
    state.future.set_awaited(future.clone())?;
    if cancel_future(&future, state.future.cancel_message().as_ref())? {
        state.future.bits.set(Bit::MustCancel, false);
    }
    Ok(())
}

/// Anything that is not exactly ours: a stock future, a library's own, or no future at all.
fn wait_on_foreign(task: &Object, state: &TaskState, value: Object) -> Result<()> {
    let names = &stdlib().names;
    let blocking =
        call::getattr_opt(&value, &names.asyncio_future_blocking)?.filter(|value| !value.is_none());
    let Some(blocking) = blocking else { return bad_yield(task, state, &value) };
    let blocking = call::truth(&blocking)?;
    if !state.future.home().or_none().is(any::loop_of(&value)?.as_ptr()) {
        return different_loop(task, state, &value);
    }
    if !blocking {
        return yield_from_missing(task, state, &value);
    }
    call::setattr(&value, &names.asyncio_future_blocking, &futures::methods::boolean(false))?;
    current::add_awaited_by(&value, task)?;
    let wakeup = callables::wakeup_callable(task)?;
    callables::add_done_callback(&value, &wakeup, &state.own_context()?)?;
    await_cancellable(state, value)
}

#[cold]
fn different_loop(task: &Object, state: &TaskState, future: &Object) -> Result<()> {
    fail_soon(task, state, |task| {
        let (task, future) = (call::repr(task)?, call::repr(future)?);
        Ok(format!("Task {task} got Future {future} attached to a different loop"))
    })
}

#[cold]
fn yield_from_missing(task: &Object, state: &TaskState, future: &Object) -> Result<()> {
    fail_soon(task, state, |task| {
        let (task, future) = (call::repr(task)?, call::repr(future)?);
        Ok(format!("yield was used instead of yield from in task {task} with {future}"))
    })
}

#[cold]
fn bad_yield(task: &Object, state: &TaskState, value: &Object) -> Result<()> {
    // SAFETY: reads the object's class.
    let is_generator = unsafe { ffi::PyGen_CheckExact(value.as_ptr()) } != 0;
    fail_soon(task, state, |task| {
        let text = call::repr(value)?;
        if !is_generator {
            return Ok(format!("Task got bad yield: {text}"));
        }
        let task = call::repr(task)?;
        Ok(format!("yield was used instead of yield from for generator in task {task} with {text}"))
    })
}

/// A mistake of the coroutine's is thrown into it with its next step.
#[cold]
fn fail_soon(task: &Object, state: &TaskState, text: impl FnOnce(&Object) -> Result<String>) -> Result<()> {
    let exception = Raised::from(PyRuntimeError::with_text(text(task)?)).take_object();
    schedule(task, state, Some(exception))
}
