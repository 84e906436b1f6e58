//! `Due`: a time of the loop's clock as it is handed on, without an object where it is a plain number.

use pyo3::prelude::*;
use tulipa::Instant;

use crate::event_loop::core::Core;
use crate::event_loop::timers;
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;

/// A time at which something is due.
pub(crate) enum Due {
    Never,
    /// Seconds of the loop's clock.
    At(f64),
    /// What a program gave, or its clock: whatever compares and adds as a number does.
    Given(Object),
}

impl Due {
    /// A time that a program gave; None stands for never.
    pub(crate) fn given(when: Object) -> Self {
        if when.is_none() { Self::Never } else { Self::Given(when) }
    }

    /// `loop.time() + delay`.
    #[inline]
    pub(crate) fn later(event_loop: &Object, delay: &Object) -> Result<Self> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let Some(core) = Core::of(event_loop) else {
            let now = call::method0(event_loop, &stdlib().names.time)?;
            return Ok(Self::Given(now.bound(py).add(delay.bound(py))?.into()));
        };
        match timers::plain_after(core, delay) {
            Some(when) => when.map(Self::At),
            None => timers::given_after(event_loop, core, delay).map(Self::Given),
        }
    }

    /// As Python sees it.
    pub(crate) fn to_object(&self) -> Result<Object> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        Ok(match self {
            Self::Never => Object::none(),
            Self::At(seconds) => make::float(py, *seconds)?.into_any().into(),
            Self::Given(when) => when.clone(),
        })
    }

    /// In seconds, as a timer needs it; never is infinitely far.
    #[inline]
    pub(crate) fn seconds(&self) -> Result<f64> {
        match self {
            Self::Never => Ok(f64::INFINITY),
            Self::At(seconds) => Ok(*seconds),
            // SAFETY: attached.
            Self::Given(when) => Ok(when.bound(unsafe { Python::assume_attached() }).extract()?),
        }
    }

    /// `when <= loop.time()`.
    #[inline]
    pub(crate) fn is_past(&self, event_loop: &Object) -> Result<bool> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        if Core::of(event_loop).is_none_or(Core::has_own_clock) {
            let now = event_loop.bound(py).call_method0(Text("time"))?;
            return Ok(self.to_object()?.bound(py).le(now)?);
        }
        let now = || timers::seconds(Instant::now());
        match self {
            Self::Never => Ok(false),
            Self::At(seconds) => Ok(!timers::deadline(*seconds).is_far() && *seconds <= now()),
            Self::Given(when) => Ok(when.bound(py).le(make::float(py, now())?)?),
        }
    }
}
