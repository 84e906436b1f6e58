//! `call_later` and `call_at`: asyncio's seconds as the engine's nanoseconds.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyTuple};
use tulipa::Instant;

use super::job::Job;
use super::{EventLoop, handles};

/// What the loop's clock shows at `instant`: the number that `time.monotonic()` returns there.
pub(super) fn seconds(instant: Instant) -> f64 {
    instant.as_nanos() as f64 / 1e9
}

/// The first instant at which the clock shows `when` or more, so that a timer never fires early. What lies
/// before the clock's beginning, or is no number, is due at once, as asyncio's comparison has it.
pub(super) fn deadline(when: f64) -> Instant {
    if when.is_nan() || when <= 0.0 {
        return Instant::from_nanos(0);
    }
    // The product is rounded; at most a few steps lead from it to the exact place.
    let mut nanos = (when * 1e9).ceil() as u64;
    while nanos < u64::MAX && seconds(Instant::from_nanos(nanos)) < when {
        nanos += 1;
    }
    Instant::from_nanos(nanos)
}

/// `self.time() + delay`.
pub(super) fn after<'py>(slf: &Bound<'py, EventLoop>, delay: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if delay.is_none() {
        return Err(PyTypeError::new_err("delay must not be None"));
    }
    let py = slf.py();
    if slf.get().core.own_clock.get() {
        return slf.call_method0("time")?.add(delay);
    }
    let now = seconds(Instant::now());
    if let Ok(delay) = delay.cast_exact::<PyFloat>() {
        return Ok(PyFloat::new(py, now + delay.value()).into_any());
    }
    PyFloat::new(py, now).into_any().add(delay)
}

pub(super) fn call_at(
    slf: &Bound<'_, EventLoop>,
    when: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    if when.is_none() {
        return Err(PyTypeError::new_err("when cannot be None"));
    }
    let core = &slf.get().core;
    core.ensure_open()?;
    if core.is_debug() {
        slf.call_method0("_check_thread")?;
        slf.call_method1("_check_callback", (callback, "call_at"))?;
    }
    let due = deadline(when.extract::<f64>()?);
    let handle = handles::new_timer_handle(slf, when, callback, args, context)?;
    let key = core.engine.schedule_at(due, Job::Handle(handle.clone()));
    handles::set_timer(&handle, key);
    Ok(handle.bound(slf.py()).unbind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_the_first_nanosecond_that_shows_the_time() {
        for when in [1e-9, 0.1, 1.5, 12345.678_901_234, 1e6 / 3.0, 98_765_432.1] {
            let due = deadline(when);
            assert!(seconds(due) >= when);
            assert!(seconds(Instant::from_nanos(due.as_nanos() - 2)) < when);
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
