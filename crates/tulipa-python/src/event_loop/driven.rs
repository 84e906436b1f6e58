//! A loop whose turns are made in Python: by code in the place of `_run_once`, as nested loops have it.
//!
//! Such code asks the selector, moves what is due into `loop._ready` and runs that. Here asking gathers all of it
//! natively, and the jobs are taken out of the native queue one by one. Called by the package's views of the selector
//! and the queue; never while the loop makes a turn of its own, except from inside a job of that.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use tulipa::Host;

use super::core::Core;
use super::host::{PyHost, from_flow};
use super::job::Job;
use super::{EventLoop, handles};
use crate::ffi::Object;
use crate::gc::VisitSlots;

/// Sends what was written, waits as `select()` would, and queues all that is due.
pub(super) fn select(slf: &Bound<'_, EventLoop>, timeout: Option<f64>) -> PyResult<()> {
    let (host, core) = (PyHost::new(slf), &slf.get().core);
    // What is negative is polled, as selectors do; what no clock can hold is as long as it takes.
    let limit = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    from_flow(host.flush(&core.engine))?;
    host.prepare_to_wait()?;
    host.driven(|| from_flow(core.engine.gather(&host, limit)))
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
