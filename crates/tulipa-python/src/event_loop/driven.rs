//! A loop whose turns are made in Python, or wait there: by code in the place of `_run_once`, as nested loops have it,
//! or of the selector's `select`, as loops with a made-up clock have it.
//!
//! The former asks the selector, moves what is due from `loop._scheduled` into `loop._ready` and runs that. Here asking
//! queues natively what has happened, the timers are shown as asyncio's loop has them, and the jobs are taken out of the
//! native queue one by one. Called by the package's views of the selector, the timers and the queue, and by the loop for
//! a turn that is to wait by a `select` of the program's; never while the loop makes another turn, except from inside a
//! job of that.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3::{PyTraverseError, PyVisit};
use tulipa::Host;

use super::core::Core;
use super::handles::Parts;
use super::host::{PyHost, from_flow};
use super::job::Job;
use super::{EventLoop, handles, timers};
use crate::ffi::make::{self, Float, Text};
use crate::ffi::{Object, context};
use crate::futures::observers::Kind;
use crate::gc::VisitSlots;
use crate::stdlib::stdlib;

/// What asyncio's loops wait for at most.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// One iteration, which waits by whatever `loop._selector.select` is. That may set the clock, so timers come after it.
pub(super) fn turn(slf: &Bound<'_, EventLoop>, host: &PyHost) -> PyResult<()> {
    let engine = &slf.get().core.engine;
    host.prepare_to_wait()?;
    let timeout = from_flow(engine.choose_timeout(host))?;
    host.settle()?;
    let seconds = timeout.map(|timeout| Float(timeout.min(LONGEST_WAIT).as_secs_f64()));
    let events = slf.getattr(Text("_selector"))?.call_method1(Text("select"), (seconds,))?;
    slf.call_method1(Text("_process_events"), (events,))?;
    from_flow(engine.finish(host))
}

/// Sends what was written, waits as `select()` would, no longer than until the next timer, and queues what has happened.
/// Returns whether anything has.
pub(super) fn select(slf: &Bound<'_, EventLoop>, timeout: Option<f64>) -> PyResult<bool> {
    let (host, core) = (PyHost::new(slf), &slf.get().core);
    // What is negative is polled, as selectors do; what no clock can hold is as long as it takes.
    let limit = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    from_flow(host.flush(&core.engine))?;
    host.prepare_to_wait()?;
    let queued = core.engine.ready_len();
    host.driven(|| from_flow(core.engine.poll(&host, limit)))?;
    Ok(core.engine.ready_len() > queued)
}

/// What the pending timers run, as TimerHandles, nearest first. Sleeps and timeouts, which have none, get one for the
/// occasion, by which they can be run early or cancelled; a callback's is its own.
pub(super) fn scheduled<'py>(slf: &Bound<'py, EventLoop>) -> PyResult<Bound<'py, PyList>> {
    let (py, core) = (slf.py(), &slf.get().core);
    let mut pending = Vec::new();
    core.engine.for_each_timer(|key, due, job| pending.push((key, due, Pending::of(job))));
    let handles = make::list(py)?;
    for (key, due, purpose) in pending {
        let (callback, arguments) = match purpose {
            Pending::Handle(handle) => {
                handles::show(&handle);
                handles.append(handle.bound(py))?;
                continue;
            }
            Pending::Expiry(waiter) => {
                let arguments = make::tuple(py, [waiter.bound(py), py.None().into_bound(py)])?;
                (stdlib().set_result_unless_cancelled.clone(), arguments)
            }
            Pending::Alarm { observer, kind, subject } => {
                (kind.callable(&observer)?, make::tuple(py, [subject.bound(py)])?)
            }
            Pending::Internal => continue,
        };
        let arguments = Object::from_bound(arguments.as_any());
        let parts = Parts { callback, arguments, context: Some(context::copy_current()?) };
        let when = make::float(py, timers::seconds(due))?.into_any().into();
        let handle = handles::new_timer_handle(slf.as_ptr(), core, when, parts)?;
        handles::set_timer(&handle, key);
        handles::show(&handle);
        handles.append(handle.bound(py))?;
    }
    Ok(handles)
}

/// What a timer is for, held apart from the engine.
enum Pending {
    Handle(Object),
    Expiry(Object),
    Alarm {
        observer: Object,
        kind: &'static Kind,
        subject: Object,
    },
    /// Nothing that a program knows of.
    Internal,
}

impl Pending {
    fn of(job: &Job) -> Self {
        match job {
            Job::Handle(handle) => Self::Handle(handle.clone()),
            Job::Expire(waiter) => Self::Expiry(waiter.clone()),
            Job::Notify { observer, kind, future } => {
                Self::Alarm { observer: observer.clone(), kind, subject: future.clone() }
            }
            _ => Self::Internal,
        }
    }
}

/// Takes the job that is next, as something with what runs a Handle: `_cancelled` and `_run()`.
pub(super) fn take<'py>(slf: &Bound<'py, EventLoop>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, core) = (slf.py(), &slf.get().core);
    let event_loop = Object::from_bound(slf.as_any());
    let taken = match core.engine.take_job() {
        None => return Ok(None),
        Some(Job::Handle(handle)) => {
            handles::show(&handle);
            handle.bound(py)
        }
        Some(Job::Bare(bare)) => handles::restore(&event_loop, core, bare)?.bound(py),
        Some(job) => Bound::new(py, TakenJob { event_loop, job: Some(job) })?.into_any(),
    };
    Ok(Some(taken))
}

/// A job of the loop that is no Handle, taken out of its queue.
#[pyclass(module = "tulipa._tulipa")]
pub(crate) struct TakenJob {
    event_loop: Object,
    /// None once it has been run.
    job: Option<Job>,
}

#[pymethods]
impl TakenJob {
    /// It cannot be cancelled.
    #[classattr]
    fn _cancelled() -> bool {
        false
    }

    /// What debug mode looks at to name a slow callback.
    #[classattr]
    fn _callback(py: Python<'_>) -> Py<PyAny> {
        py.None()
    }

    /// Do the job, once.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (job, event_loop) = {
            let mut taken = slf.borrow_mut();
            (taken.job.take(), taken.event_loop.clone())
        };
        let Some(job) = job else { return Ok(()) };
        let Ok(event_loop) = event_loop.bound(slf.py()).cast_into::<EventLoop>() else { return Ok(()) };
        run(&event_loop, job)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.event_loop.as_py())?;
        visit.visit_shown(|see| self.job.iter().for_each(|job| job.visit(see)))
    }

    fn __clear__(&mut self) {
        self.job = None;
    }
}

fn run(event_loop: &Bound<'_, EventLoop>, job: Job) -> PyResult<()> {
    let core: &Core = &event_loop.get().core;
    let host = PyHost::new(event_loop);
    host.driven(|| from_flow(host.run(&core.engine, job)))
}
