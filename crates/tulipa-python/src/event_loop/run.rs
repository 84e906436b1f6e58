//! `run_forever`: what is set up around the turns, and undone whatever happens in them.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::core::current_thread;
use super::host::{PyHost, from_flow};
use super::{EventLoop, driven};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::{caught, finally};
use crate::ffi::{Object, Result, call, farewell};
use crate::futures::methods::boolean;
use crate::stdlib::stdlib;
use crate::tasks::current;

pub(super) fn run_forever(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    slf.get().core.ensure_open()?;
    ensure_not_running(slf)?;
    let ending = Ending::new(slf.py())?;
    farewell::asleep(|| {
        // A panic reaches Python as an exception: that must not leave the loop running either.
        let outcome = caught(|| Ok(set_up(slf).and_then(|()| turns(slf))?));
        Ok(finally(outcome, || ending.come_to_rest(slf))?)
    })
}

fn ensure_not_running(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    if slf.get().core.is_running() {
        return Err(PyRuntimeError::with_text("This event loop is already running"));
    }
    if !events(slf.py()).call_method0(Text("_get_running_loop"))?.is_none() {
        return Err(PyRuntimeError::with_text("Cannot run the event loop while another loop is running"));
    }
    Ok(())
}

/// Where asyncio keeps which loop runs; asked each time, because programs patch it (nested loops do).
fn events(py: Python<'_>) -> Bound<'_, PyAny> {
    stdlib().events.bound(py)
}

fn set_up(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    let (py, core) = (slf.py(), &slf.get().core);
    slf.call_method1(Text("_set_coroutine_origin_tracking"), (core.is_debug(),))?;
    core.set_thread(Some(current_thread()));
    let hooks = make::dict(py)?;
    hooks.set_item(Text("firstiter"), slf.getattr(Text("_asyncgen_firstiter_hook"))?)?;
    hooks.set_item(Text("finalizer"), slf.getattr(Text("_asyncgen_finalizer_hook"))?)?;
    py.import(Text("sys"))?.call_method(Text("set_asyncgen_hooks"), (), Some(&hooks))?;
    events(py).call_method1(Text("_set_running_loop"), (slf,))?;
    Ok(())
}

/// What the end of a run needs, looked up before it begins: where memory has run out meanwhile, the loop must come to
/// rest all the same.
struct Ending {
    /// The module, of which programs patch functions while a loop runs.
    sys: Object,
    asyncgen_hooks: Object,
}

impl Ending {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let sys = py.import(Text("sys"))?.into_any();
        let asyncgen_hooks = sys.call_method0(Text("get_asyncgen_hooks"))?.into();
        Ok(Self { sys: sys.into(), asyncgen_hooks })
    }

    fn come_to_rest(&self, running: &Bound<'_, EventLoop>) -> Result<()> {
        let (core, names) = (&running.get().core, &stdlib().names);
        let event_loop = Object::from_bound(running.as_any());
        let settled = current::settle(core, &event_loop).map_err(|(raised, _task)| raised);
        let stopped = finally(settled, || {
            core.contexts.tidy();
            core.engine.take_stop();
            core.set_thread(None);
            core.show_queued();
            call::method1(&stdlib().events, &names.set_running_loop, &Object::none()).map(drop)
        });
        let untracked = finally(stopped, || {
            call::method1(&event_loop, &names.set_origin_tracking, &boolean(false)).map(drop)
        });
        finally(untracked, || {
            let set_hooks = call::getattr(&self.sys, &names.set_asyncgen_hooks)?;
            call::with_tuple(&set_hooks, &self.asyncgen_hooks).map(drop)
        })
    }
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
