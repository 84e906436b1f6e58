//! `call_later` and `call_at`: asyncio's seconds as the engine's nanoseconds.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};
use tulipa::Instant;

use super::core::Core;
use super::handles::{self, Parts};
use super::job::Job;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Raised, Result};

/// What the loop's clock shows at `instant`: the number that `time.monotonic()` returns there.
#[inline]
pub(crate) fn seconds(instant: Instant) -> f64 {
    // No clock shows three hundred years, and converting a signed number takes one instruction.
    instant.as_nanos().cast_signed() as f64 / 1e9
}

/// An instant at which the clock shows `when` or more, so that a timer never fires early, and no more than two
/// nanoseconds later than need be (where a float's step is more than a nanosecond, after some weeks of uptime, two such
/// steps): to find the very first would take longer than that. What lies before the clock's beginning, or is no number,
/// is due at once, as asyncio's comparison has it.
#[inline]
pub(crate) fn deadline(when: f64) -> Instant {
    if when.is_nan() || when <= 0.0 {
        return Instant::from_nanos(0);
    }
    // The product is rounded by less than the step to the next float, which is cut off by less than a nanosecond.
    let nanos = (when * 1e9).next_up() as u64;
    Instant::from_nanos(nanos.saturating_add(1))
}

/// `self.time() + delay`.
#[inline]
pub(crate) fn after(event_loop: &Object, core: &Core, delay: &Object) -> Result<Object> {
    match plain_after(core, delay) {
        // SAFETY: attached.
        Some(when) => Ok(make::float(unsafe { Python::assume_attached() }, when?)?.into_any().into()),
        None => given_after(event_loop, core, delay),
    }
}

/// The same of what `plain_after` leaves: the clock or the delay is a program's own.
pub(crate) fn given_after(event_loop: &Object, core: &Core, delay: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    if delay.is_none() {
        return Err(PyTypeError::with_text("delay must not be None").into());
    }
    if core.has_own_clock() {
        return Ok(event_loop.bound(py).call_method0(Text("time"))?.add(delay.bound(py))?.into());
    }
    Ok(make::float(py, seconds(Instant::now()))?.into_any().add(delay.bound(py))?.into())
}

/// The same where the clock is the engine's and `delay` a plain number.
#[inline]
pub(crate) fn plain_after(core: &Core, delay: &Object) -> Option<Result<f64>> {
    if core.has_own_clock() {
        return None;
    }
    // SAFETY: attached.
    let delay = plain_number(&delay.bound(unsafe { Python::assume_attached() }))?;
    Some(delay.map(|delay| seconds(Instant::now()) + delay))
}

/// A float, or an integer as adding it to a float makes one of it; `None` for anything else.
#[inline]
fn plain_number(number: &Bound<'_, PyAny>) -> Option<Result<f64>> {
    if let Ok(number) = number.cast_exact::<PyFloat>() {
        return Some(Ok(number.value()));
    }
    number.is_exact_instance_of::<PyInt>().then(|| {
        // SAFETY: an integer; one that is too large sets the exception.
        let value = unsafe { ffi::PyLong_AsDouble(number.as_ptr()) };
        // SAFETY: attached; reads the indicator.
        if value < 0.0 && !unsafe { ffi::PyErr_Occurred() }.is_null() { Err(Raised) } else { Ok(value) }
    })
}

/// Schedules a callback for `when` on the loop's clock.
#[inline]
pub(super) fn call_at(event_loop: &Object, core: &Core, when: Object, parts: Parts) -> Result<Object> {
    if when.is_none() {
        return Err(PyTypeError::with_text("when cannot be None").into());
    }
    core.ensure_open()?;
    if core.is_debug() {
        super::methods::check_debug(event_loop, &parts.callback, "call_at", true)?;
    }
    // SAFETY: attached.
    let due = deadline(when.bound(unsafe { Python::assume_attached() }).extract::<f64>()?);
    let handle = handles::new_timer_handle(event_loop.as_ptr(), core, when, parts)?;
    let key = core.engine.schedule_at(due, Job::Handle(handle.clone()));
    handles::set_timer(&handle, key);
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_hardly_late() {
        for when in [1e-9, 0.1, 1.5, 12_345.678_901_234, 1e6 / 3.0] {
            let due = deadline(when);
            assert!(seconds(due) >= when);
            assert!(seconds(Instant::from_nanos(due.as_nanos().saturating_sub(3))) < when);
        }
    }

    #[test]
    fn after_years_of_uptime_a_deadline_is_late_by_no_more_than_two_steps_of_a_float() {
        for when in [98_765_432.1, 1e8 / 3.0, 1e9 + 0.1] {
            let due = seconds(deadline(when));
            assert!(when <= due && due <= when.next_up().next_up());
        }
    }

    #[test]
    fn what_is_past_or_no_number_is_due_at_once_and_infinity_never() {
        for when in [f64::NAN, -1.0, 0.0, f64::NEG_INFINITY] {
            assert_eq!(deadline(when), Instant::from_nanos(0));
        }
        assert_eq!(deadline(f64::INFINITY), Instant::MAX);
    }
}
