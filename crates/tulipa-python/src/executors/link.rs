//! `Link`: a `concurrent.futures.Future` tied to a native one, as `asyncio.wrap_future` ties them.
//!
//! It is the done-callback of both. The executor's side calls it on whatever thread the work was done, where it reads
//! the answer and leaves it in the loop's inbox; the loop's side calls it to pass a cancellation on.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::{Outcome, pending};
use crate::event_loop::EventLoop;
use crate::event_loop::core::as_py;
use crate::event_loop::job::Job;
use crate::ffi::{Object, Result, Slot, call};
use crate::futures::state_of;
use crate::stdlib::stdlib;

/// The two futures; both slots are emptied once the executor's side is done.
#[pyclass(module = "tulipa._tulipa", frozen)]
struct Link {
    source: Slot,
    destination: Slot,
}

// SAFETY: S1: the slots are used by attached threads only.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

/// A native future of the loop that follows `source`.
pub(super) fn tie(slf: &Bound<'_, EventLoop>, source: &Bound<'_, PyAny>) -> PyResult<Object> {
    let py = slf.py();
    let destination = pending(slf)?;
    let link = Link { source: Slot::empty(), destination: Slot::empty() };
    link.source.put(Object::from_bound(source));
    link.destination.put(destination.clone());
    let link = Bound::new(py, link)?;
    destination.bound(py).call_method1("add_done_callback", (&link,))?;
    source.call_method1("add_done_callback", (&link,))?;
    Ok(destination)
}

#[pymethods]
impl Link {
    fn __call__(&self, done: &Bound<'_, PyAny>) -> PyResult<()> {
        let done = Object::from_bound(done);
        if done.as_ptr() == self.destination.as_ptr() {
            return Ok(self.pass_cancellation_on(&done)?);
        }
        Ok(self.answer(&done)?)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        [&self.source, &self.destination]
            .into_iter()
            .filter_map(Slot::peek)
            .try_for_each(|object| visit.call(as_py(object)))
    }

    fn __clear__(&self) {
        self.source.set(None);
        self.destination.set(None);
    }
}

impl Link {
    /// The loop's future is done: if it was cancelled, so is the work, as far as its executor can.
    fn pass_cancellation_on(&self, destination: &Object) -> Result<()> {
        // SAFETY: `tie` made it a native future.
        let cancelled = unsafe { state_of(destination.as_ptr()) }.phase() == crate::futures::Phase::Cancelled;
        let Some(source) = self.source.get().filter(|_| cancelled) else { return Ok(()) };
        call::method0(&source, &stdlib().names.cancel).map(drop)
    }

    /// The executor's future is done, on any thread.
    fn answer(&self, source: &Object) -> Result<()> {
        let destination = self.destination.take();
        self.source.set(None);
        let Some(destination) = destination else { return Ok(()) };
        // SAFETY: `tie` made it a native future.
        let state = unsafe { state_of(destination.as_ptr()) };
        let Some(core) = state.core().filter(|_| state.is_pending()) else { return Ok(()) };
        let outcome = outcome_of(source)?;
        if let Some(remote) = core.leave(Job::Answer { future: destination, outcome }) {
            remote.notify();
        }
        Ok(())
    }
}

/// The answer in a done `concurrent.futures.Future`.
fn outcome_of(source: &Object) -> Result<Outcome> {
    let names = &stdlib().names;
    if call::truth(&call::method0(source, &names.cancelled)?)? {
        return Ok(Outcome::Cancelled);
    }
    let exception = call::method0(source, &names.exception)?;
    if !exception.is_none() {
        return Ok(Outcome::Exception(exception));
    }
    call::method0(source, &names.result).map(Outcome::Result)
}
