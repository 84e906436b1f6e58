//! Limits in bytes. A program may give any numbers: asyncio shows them as they were given, and only compares counts of
//! bytes with them.

use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::ffi::Object;
use crate::ffi::make;

/// How a number that is no count becomes one.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    /// For counts that may be above it: these are above what is cut off here as well.
    Down,
    /// For counts that may reach it.
    Up,
}

/// The count that stands for a limit which is not negative.
pub(crate) fn count(limit: &Bound<'_, PyAny>, cut: Cut) -> usize {
    limit.extract().unwrap_or_else(|_| {
        let limit = limit.extract::<f64>().unwrap_or(f64::INFINITY);
        saturated(match cut {
            Cut::Down => limit.floor(),
            Cut::Up => limit.ceil(),
        })
    })
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "larger ones are as good as no limit"
)]
fn saturated(limit: f64) -> usize {
    limit as usize
}

/// `(low, high)` for who asks, where counts alone would not show what was given.
pub(crate) fn shown(low: &Bound<'_, PyAny>, high: &Bound<'_, PyAny>) -> PyResult<Option<Object>> {
    let is_count =
        |limit: &Bound<'_, PyAny>| limit.is_exact_instance_of::<PyInt>() && limit.extract::<usize>().is_ok();
    if is_count(low) && is_count(high) {
        return Ok(None);
    }
    Ok(Some(make::tuple(low.py(), [low, high])?.into_any().into()))
}
