//! `run_in_executor`: work for other threads and processes, and how its answer comes back to the loop.
//!
//! The pool that a loop makes for itself takes its work past `concurrent.futures`: a call and its Future are one
//! entry of the pool's queue (`queue`), and the worker leaves the answer in the loop's inbox. Any other executor is
//! asked for a `concurrent.futures.Future`, to which one of the loop's is chained; so is the pool itself in debug mode,
//! where everything must be a Handle. Both ways the answer is one job for the loop, run one iteration before the
//! Future's callbacks are, as in asyncio.

mod owed;
pub(crate) mod queue;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

pub(crate) use owed::Owed;
pub(crate) use queue::{WorkQueue, look_up};

use crate::event_loop::EventLoop;
use crate::event_loop::core::Core;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Raised, Result, call};
use crate::futures::{self, chain, state_of};
use crate::stdlib::stdlib;

/// What another thread has found out.
pub(crate) enum Outcome {
    Result(Object),
    Exception(Object),
    Cancelled,
}

impl Outcome {
    pub(crate) fn value(&self) -> Option<&Object> {
        match self {
            Self::Result(value) | Self::Exception(value) => Some(value),
            Self::Cancelled => None,
        }
    }
}

impl From<Result<Object>> for Outcome {
    fn from(result: Result<Object>) -> Self {
        match result {
            Ok(value) => Self::Result(value),
            Err(raised) => Self::Exception(raised.take_object()),
        }
    }
}

/// The body of `loop.run_in_executor`.
pub(crate) fn run_in_executor(
    slf: &Bound<'_, EventLoop>,
    executor: &Bound<'_, PyAny>,
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
) -> PyResult<Py<PyAny>> {
    let (py, core) = (slf.py(), &slf.get().core);
    core.ensure_open()?;
    if core.is_debug() {
        slf.call_method1(Text("_check_callback"), (function, Text("run_in_executor")))?;
    }
    let executor = if executor.is_none() { default_executor(slf)? } else { Object::from_bound(executor) };
    if core.is_direct()
        && core.default_executor.as_ptr() == executor.as_ptr()
        && let Some(future) = queue::submit(slf, &executor, function, arguments)?
    {
        return Ok(future.bound(py).unbind());
    }
    let submit = executor.bound(py).getattr(Text("submit"))?;
    let mut call = vec![function.clone()];
    call.extend(arguments.iter());
    let source = submit.call1(make::tuple(py, call)?)?;
    let (source, event_loop) = (Object::from_bound(&source), Object::from_bound(slf.as_any()));
    Ok(chain::wrap(&source, &event_loop)?.bound(py).unbind())
}

/// The executor that stands for None, made when it is first needed.
pub(crate) fn default_executor(slf: &Bound<'_, EventLoop>) -> PyResult<Object> {
    let core = &slf.get().core;
    if slf.getattr(Text("_executor_shutdown_called"))?.is_truthy()? {
        return Err(PyRuntimeError::with_text("Executor shutdown has been called"));
    }
    match core.default_executor.get() {
        Some(executor) => Ok(executor),
        None => Ok(slf.call_method0(Text("_make_default_executor"))?.into()),
    }
}

/// Sets the executor that stands for None.
pub(crate) fn set_default(core: &Core, executor: &Bound<'_, PyAny>) -> PyResult<()> {
    let executor = (!executor.is_none()).then(|| Object::from_bound(executor));
    let queue = executor.as_ref().map(|executor| call::getattr_opt(executor, &stdlib().names.native_queue));
    core.work_queue.set(queue.transpose()?.flatten());
    core.default_executor.set(executor);
    Ok(())
}

/// Settles `future` on its loop's thread, unless it was cancelled meanwhile. A failure comes with what failed, as
/// the exception handler is to name it.
pub(crate) fn settle(future: &Object, outcome: Outcome) -> std::result::Result<(), (Raised, Object, Object)> {
    // SAFETY: only native futures are answered.
    let state = unsafe { state_of(future.as_ptr()) };
    if !state.is_pending() {
        return Ok(());
    }
    let names = &stdlib().names;
    let (settled, setter, value) = match outcome {
        Outcome::Result(value) => (state.set_result(future, value.clone()), &names.set_result, value),
        Outcome::Exception(exception) => {
            let converted = call::call1(&stdlib().convert_future_exception, &exception);
            let settled = converted.and_then(|converted| state.set_exception(future, &converted));
            (settled, &names.set_exception, exception)
        }
        Outcome::Cancelled => (state.cancel(future, None).map(drop), &names.cancel, Object::none()),
    };
    settled.map_err(|raised| {
        let exception = raised.take_object();
        let setter = call::getattr(future, setter).unwrap_or_else(|Raised| future.clone());
        (Raised::from_object(&exception), setter, value)
    })
}

/// A future for an answer from elsewhere.
fn pending(slf: &Bound<'_, EventLoop>) -> Result<Object> {
    futures::create(Object::from_bound(slf.as_any()), &slf.get().core)
}
