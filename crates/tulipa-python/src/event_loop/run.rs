//! `run_forever`: what is set up around the turns, and undone whatever happens in them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::core::current_thread;
use super::host::{PyHost, from_flow};
use super::{EventLoop, driven};
use crate::ffi::{Object, farewell};
use crate::stdlib::stdlib;
use crate::tasks::current;

pub(super) fn run_forever(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    let py = slf.py();
    slf.get().core.ensure_open()?;
    ensure_not_running(slf)?;
    let hooks = py.import("sys")?.call_method0("get_asyncgen_hooks")?;
    farewell::asleep(|| {
        // A panic, as where memory runs out, reaches Python as an exception: that must not leave the loop running either.
        let outcome = catch_unwind(AssertUnwindSafe(|| set_up(slf).and_then(|()| turns(slf))));
        let undone = tear_down(slf, &hooks);
        outcome.unwrap_or_else(|panic| resume_unwind(panic)).and(undone)
    })
}

fn ensure_not_running(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    if slf.get().core.is_running() {
        return Err(PyRuntimeError::new_err("This event loop is already running"));
    }
    if !events(slf.py()).call_method0("_get_running_loop")?.is_none() {
        return Err(PyRuntimeError::new_err("Cannot run the event loop while another loop is running"));
    }
    Ok(())
}

/// Where asyncio keeps which loop runs; asked each time, because programs patch it (nested loops do).
fn events(py: Python<'_>) -> Bound<'_, PyAny> {
    stdlib().events.bound(py)
}

fn set_up(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    let (py, core) = (slf.py(), &slf.get().core);
    slf.call_method1("_set_coroutine_origin_tracking", (core.is_debug(),))?;
    core.set_thread(Some(current_thread()));
    let hooks = PyDict::new(py);
    hooks.set_item("firstiter", slf.getattr("_asyncgen_firstiter_hook")?)?;
    hooks.set_item("finalizer", slf.getattr("_asyncgen_finalizer_hook")?)?;
    py.import("sys")?.call_method("set_asyncgen_hooks", (), Some(&hooks))?;
    events(py).call_method1("_set_running_loop", (slf,))?;
    Ok(())
}

fn tear_down(slf: &Bound<'_, EventLoop>, hooks: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, core) = (slf.py(), &slf.get().core);
    let settled = current::settle(core, &Object::from_bound(slf.as_any()));
    core.contexts.tidy();
    core.engine.take_stop();
    core.set_thread(None);
    core.show_queued();
    events(py).call_method1("_set_running_loop", (py.None(),))?;
    slf.call_method1("_set_coroutine_origin_tracking", (false,))?;
    py.import("sys")?.getattr("set_asyncgen_hooks")?.call1(hooks.extract::<(Py<PyAny>, Py<PyAny>)>()?)?;
    settled.map_err(|(raised, _task)| PyErr::from(raised))
}

fn turns(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    let core = &slf.get().core;
    let host = PyHost::new(slf);
    loop {
        turn(slf, &host)?;
        if core.engine.is_stopping() {
            return Ok(());
        }
    }
}

fn turn(slf: &Bound<'_, EventLoop>, host: &PyHost) -> PyResult<()> {
    if slf.get().core.own_select.get() {
        return driven::turn(slf, host);
    }
    host.prepare_to_wait()?;
    from_flow(slf.get().core.engine.turn(host))
}

/// `_run_once()`.
pub(super) fn run_once(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    let host = PyHost::new(slf);
    host.driven(|| turn(slf, &host))
}
