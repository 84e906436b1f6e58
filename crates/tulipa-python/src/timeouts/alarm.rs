//! An observer that is told once at a time of the loop's clock: a timer of the engine's own, without a TimerHandle.
//!
//! A loop that is not Tulipa's, is in debug mode, or whose clock or timers a program has replaced, is asked by
//! `call_at` and `call_soon`, as asyncio's code asks it.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyFloat;
use tulipa::TimerKey;

use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::event_loop::timers;
use crate::ffi::{Object, Result, Slot, call};
use crate::futures::observers::Kind;
use crate::stdlib::stdlib;

/// One alarm. It may ring once more after it was cancelled, when its job was queued already: whoever is told must know.
pub(crate) struct Alarm {
    timer: Cell<Option<TimerKey>>,
    /// What the loop gave where it was asked.
    handle: Slot,
}

impl Alarm {
    pub(crate) const fn new() -> Self {
        Self { timer: Cell::new(None), handle: Slot::empty() }
    }

    pub(crate) fn handle(&self) -> &Slot {
        &self.handle
    }

    /// Has `kind` tell `observer` of `subject` at `when`, on the next turn if that is past.
    pub(crate) fn set(
        &self,
        event_loop: &Object,
        when: &Object,
        (observer, kind, subject): (Object, &'static Kind, Object),
    ) -> Result<()> {
        let Some(core) = Core::of(event_loop).filter(|core| core.has_plain_timers()) else {
            let handle = ask(event_loop, when, [&kind.callable(&observer)?, &subject])?;
            self.handle.put(handle);
            return Ok(());
        };
        core.ensure_open()?;
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let when = when.bound(py);
        let now = timers::seconds(tulipa::Instant::now());
        let is_past = match when.cast_exact::<PyFloat>() {
            Ok(when) => when.value() <= now,
            Err(_) => when.le(PyFloat::new(py, now))?,
        };
        let job = Job::Notify { observer, kind, future: subject };
        if is_past {
            core.schedule(job);
            return Ok(());
        }
        let due = timers::deadline(when.extract::<f64>()?);
        self.timer.set(Some(core.engine.schedule_at(due, job)));
        Ok(())
    }

    pub(crate) fn cancel(&self, event_loop: &Object) -> Result<()> {
        if let (Some(key), Some(core)) = (self.timer.take(), Core::of(event_loop)) {
            drop(core.engine.cancel_timer(key));
        }
        match self.handle.take() {
            Some(handle) => call::method0(&handle, &stdlib().names.cancel).map(drop),
            None => Ok(()),
        }
    }

    /// It has rung.
    pub(crate) fn forget(&self) {
        self.timer.set(None);
        self.handle.set(None);
    }
}

/// `loop.call_soon(...)` or `loop.call_at(when, ...)`.
#[cold]
fn ask(event_loop: &Object, when: &Object, callback: [&Object; 2]) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let [function, subject] = callback.map(|part| part.bound(py));
    let (event_loop, when) = (event_loop.bound(py), when.bound(py));
    let handle = if when.le(event_loop.call_method0("time")?)? {
        event_loop.call_method1("call_soon", (function, subject))?
    } else {
        event_loop.call_method1("call_at", (when, function, subject))?
    };
    Ok(handle.into())
}
