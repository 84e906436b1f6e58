//! `sleep(delay, result=None)`: a timer of the engine's own, without a TimerHandle, that wakes a waiter.
//!
//! A loop that is not Tulipa's, is in debug mode, or whose clock or timers a program has replaced, is asked by
//! `call_later`, as asyncio's function asks it.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyFloat;
use tulipa::TimerKey;

use super::{Machine, Step, Waiter, running_loop};
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::event_loop::timers;
use crate::ffi::args::Args;
use crate::ffi::make::{self, Exception};
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::stdlib::stdlib;

/// How long is left, as far as it is known. `R` is the result: a `Slot`, or nothing where that is None, as nearly always;
/// so what thousands of tasks sleep in is small.
struct Sleep<R> {
    /// The delay until the wait begins; then the TimerHandle, where the loop made one.
    delay: Slot,
    /// The bits of the key of the engine's timer, or `NO_TIMER`.
    timer: Cell<u64>,
    result: R,
}

/// What is no timer's key.
const NO_TIMER: u64 = u64::MAX;

/// What a sleep gives in the end.
trait Outcome {
    fn slot(&self) -> Option<&Slot>;

    fn value(&self) -> Object {
        self.slot().map_or_else(Object::none, Slot::or_none)
    }
}

impl Outcome for () {
    fn slot(&self) -> Option<&Slot> {
        None
    }
}

impl Outcome for Slot {
    fn slot(&self) -> Option<&Slot> {
        Some(self)
    }
}

impl<R: Outcome> Machine for Sleep<R> {
    fn qualified_name(&self) -> &'static str {
        "sleep"
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let delay = self.delay.take().unwrap_or_else(Object::none);
        if !is_positive(&delay)? {
            return Ok(Step::Yield(Object::none()));
        }
        refuse_nan(&delay)?;
        let event_loop = running_loop()?;
        let waiter = Waiter::arm(this, event_loop.clone())?;
        match Core::of(&event_loop).filter(|core| core.has_plain_timers()) {
            Some(core) => {
                let due = timers::after(&event_loop, core, &delay)?;
                // SAFETY: attached.
                let due = due.bound(unsafe { Python::assume_attached() }).extract::<f64>()?;
                let key = core.engine.schedule_at(timers::deadline(due), Job::Expire(waiter.clone()));
                self.timer.set(key.to_bits());
            }
            None => self.delay.put(self.ask(&event_loop, &delay, &waiter)?),
        }
        Ok(Step::Park(waiter))
    }

    fn resume(&self, value: Object) -> Result<Step> {
        if let Some(handle) = self.delay.take() {
            call::method0(&handle, &stdlib().names.cancel)?;
        }
        drop(value);
        Ok(Step::Done(self.result.value()))
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        if let Some(handle) = self.delay.take() {
            call::method0(&handle, &stdlib().names.cancel)?;
        }
        let timer = self.timer.replace(NO_TIMER);
        if let Some(waiter) = waiter.filter(|_| timer != NO_TIMER) {
            // SAFETY: what the operation parked on.
            let event_loop = unsafe { Waiter::of(waiter.as_ptr()) }.event_loop();
            if let Some(core) = event_loop.as_ref().and_then(Core::of) {
                drop(core.engine.cancel_timer(TimerKey::from_bits(timer)));
            }
        }
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.delay);
        self.result.slot().into_iter().for_each(each);
    }
}

impl<R: Outcome> Sleep<R> {
    /// `loop.call_later(delay, futures._set_result_unless_cancelled, waiter, result)`.
    #[cold]
    fn ask(&self, event_loop: &Object, delay: &Object, waiter: &Object) -> Result<Object> {
        let result = self.result.value();
        let callback = &stdlib().set_result_unless_cancelled;
        let arguments = [event_loop, delay, callback, waiter, &result].map(Object::as_ptr);
        call::vectorcall_method(&arguments, &stdlib().names.call_later, std::ptr::null_mut())
    }
}

/// `delay > 0`, asked as asyncio asks: `not delay <= 0`.
#[inline]
fn is_positive(delay: &Object) -> Result<bool> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let bound = delay.bound(py);
    if let Ok(number) = bound.cast_exact::<PyFloat>() {
        let number = number.value();
        return Ok(number > 0.0 || number.is_nan());
    }
    Ok(!bound.le(make::int(py, 0)?)?)
}

/// From 3.13 on a delay that is no number is refused.
#[inline]
fn refuse_nan(delay: &Object) -> Result<()> {
    if cfg!(not(Py_3_13)) {
        return Ok(());
    }
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let is_nan = match delay.bound(py).cast_exact::<PyFloat>() {
        Ok(number) => number.value().is_nan(),
        Err(_) => call::truth(&call::call1(&stdlib().isnan, delay)?)?,
    };
    if is_nan {
        return Err(PyValueError::with_text("Invalid delay: NaN (not a number)").into());
    }
    Ok(())
}

/// `sleep(delay, result=None)`.
pub(crate) fn sleep(args: &Args<'_>) -> Result<Option<Object>> {
    let names = &stdlib().names;
    let Some([delay, result]) = args.bind(2, 1, [&names.delay, &names.result]) else { return Ok(None) };
    let (delay, timer) = (Slot::holding(delay.expect("it is required")), Cell::new(NO_TIMER));
    match result.filter(|result| !result.is_none()) {
        None => super::new(Sleep { delay, timer, result: () }),
        Some(result) => super::new(Sleep { delay, timer, result: Slot::holding(result) }),
    }
    .map(Some)
}
