//! `Timeout`: an asynchronous context manager.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::{Alarm, Limit, State};
use crate::event_loop::core::Core;
use crate::event_loop::timers;
use crate::ffi::args::Args;
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::observers::{always, observer_kind};
use crate::gc::VisitSlots;
use crate::operations::{self, Machine, Step, running_loop};
use crate::stdlib::stdlib;
use crate::tasks::current;

/// Asynchronous context manager for cancelling overdue coroutines.
///
/// Use `timeout()` or `timeout_at()` rather than instantiating this class directly. The timeout is triggered at
/// `when` on the loop's clock, on the loop's next iteration if that is past, and never if it is None.
#[pyclass(module = "tulipa._tulipa", subclass, frozen, weakref, dict)]
pub(crate) struct Timeout {
    limit: Limit,
    when: Slot,
    alarm: Alarm,
    /// Tells the alarm that is set from those that were.
    generation: Cell<i64>,
    /// The loop that the alarm is set on.
    event_loop: Slot,
}

// SAFETY: S1.
unsafe impl Send for Timeout {}
// SAFETY: S1.
unsafe impl Sync for Timeout {}

impl Timeout {
    fn at(when: Object) -> Self {
        Self {
            limit: Limit::new(),
            when: Slot::holding(when),
            alarm: Alarm::new(),
            generation: Cell::new(0),
            event_loop: Slot::empty(),
        }
    }

    fn set_alarm(&self, this: &Object, event_loop: Option<Object>, when: &Object) -> Result<()> {
        self.when.put(when.clone());
        self.cancel_alarm()?;
        if when.is_none() {
            return Ok(());
        }
        let event_loop = event_loop.map_or_else(running_loop, Ok)?;
        // SAFETY: a new reference or null.
        let generation = unsafe { Object::steal(ffi::PyLong_FromLongLong(self.generation.get())) }?;
        self.alarm.set(&event_loop, when, (this.clone(), &EXPIRED, generation))?;
        self.event_loop.put(event_loop);
        Ok(())
    }

    fn cancel_alarm(&self) -> Result<()> {
        self.generation.set(self.generation.get() + 1);
        match self.event_loop.take() {
            Some(event_loop) => self.alarm.cancel(&event_loop),
            None => Ok(()),
        }
    }

    fn enter(&self, this: &Object) -> Result<()> {
        if self.limit.state.get() != State::Created {
            return Err(PyRuntimeError::new_err("Timeout has already been entered").into());
        }
        let event_loop = running_loop()?;
        let Some(task) = current::of(&event_loop)? else {
            return Err(PyRuntimeError::new_err("Timeout should be used inside a task").into());
        };
        self.limit.enter(&task)?;
        self.set_alarm(this, Some(event_loop), &self.when.or_none())
    }

    fn leave(&self, exception: Option<&Object>) -> Result<()> {
        if !matches!(self.limit.state.get(), State::Entered | State::Expiring) {
            return Err(PyAssertionError::new_err(()).into());
        }
        self.cancel_alarm()?;
        match self.limit.leave(exception)? {
            Some(error) => Err(Raised::from_object(&error)),
            None => Ok(()),
        }
    }

    fn state_name(&self) -> &'static str {
        match self.limit.state.get() {
            State::Created => "created",
            State::Entered => "active",
            State::Expiring => "expiring",
            State::Expired => "expired",
            State::Exited => "finished",
        }
    }
}

observer_kind!(
    /// The time of a Timeout is up.
    static EXPIRED, c"_on_timeout", always, on_timeout
);

fn on_timeout(timeout: &Object, generation: &Object) -> Result<()> {
    // SAFETY: alarms are set for Timeouts only.
    let timeout: &Timeout = unsafe { native(timeout.as_ptr()) };
    // SAFETY: what the alarm was set with is an integer.
    if unsafe { ffi::PyLong_AsLongLong(generation.as_ptr()) } != timeout.generation.get() {
        return Ok(());
    }
    timeout.limit.expire()?;
    timeout.alarm.forget();
    Ok(())
}

#[pymethods]
impl Timeout {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = "(when)")]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self::at(Object::none())
    }

    #[pyo3(signature = (when))]
    fn __init__(&self, when: &Bound<'_, PyAny>) {
        self.when.put(Object::from_bound(when));
    }

    /// Return the current deadline.
    fn when(&self, py: Python<'_>) -> Py<PyAny> {
        self.when.or_none().bound(py).unbind()
    }

    /// Reschedule the timeout.
    fn reschedule(slf: &Bound<'_, Self>, when: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        match this.limit.state.get() {
            State::Entered => {}
            State::Created => return Err(PyRuntimeError::new_err("Timeout has not been entered")),
            _ => {
                let text = format!("Cannot change state of {} Timeout", this.state_name());
                return Err(PyRuntimeError::new_err(text));
            }
        }
        Ok(this.set_alarm(&Object::from_bound(slf.as_any()), None, &Object::from_bound(when))?)
    }

    /// Is timeout expired during execution?
    fn expired(&self) -> bool {
        matches!(self.limit.state.get(), State::Expiring | State::Expired)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut info = String::new();
        if self.limit.state.get() == State::Entered {
            let when = self.when.or_none();
            let when = when.bound(py);
            let shown = if when.is_none() {
                when.clone()
            } else {
                py.import("builtins")?.call_method1("round", (when, 3))?
            };
            info = format!(" when={}", shown.str()?);
        }
        Ok(format!("<Timeout [{}]{info}>", self.state_name()))
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        operations::coroutine(slf.py(), Enter(Slot::holding(Object::from_bound(slf.as_any()))))
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        exc_type: &Bound<'_, PyAny>,
        exc_val: &Bound<'_, PyAny>,
        exc_tb: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let _ = (exc_type, exc_tb);
        let exit = Exit {
            timeout: Slot::holding(Object::from_bound(slf.as_any())),
            exception: Slot::holding(Object::from_bound(exc_val)),
        };
        operations::coroutine(slf.py(), exit)
    }

    /// What asyncio keeps in the same place: the handle of the timer, where the loop made one.
    #[getter]
    fn _timeout_handler(&self, py: Python<'_>) -> Py<PyAny> {
        self.alarm.handle().or_none().bound(py).unbind()
    }

    #[getter]
    fn _task(&self, py: Python<'_>) -> Py<PyAny> {
        self.limit.task.or_none().bound(py).unbind()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.visit_slots([&self.limit.task, &self.when, self.alarm.handle(), &self.event_loop])
    }

    fn __clear__(&self) {
        for slot in [&self.limit.task, &self.when, self.alarm.handle(), &self.event_loop] {
            slot.set(None);
        }
    }
}

/// `__aenter__`.
struct Enter(Slot);

impl Machine for Enter {
    fn qualified_name(&self) -> &'static str {
        "Timeout.__aenter__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let object = self.0.or_none();
        // SAFETY: made for Timeouts only, and not started once it is cleared.
        let timeout: &Timeout = unsafe { native(object.as_ptr()) };
        timeout.enter(&object)?;
        Ok(Step::Done(object))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}

/// `__aexit__`.
struct Exit {
    timeout: Slot,
    exception: Slot,
}

impl Machine for Exit {
    fn qualified_name(&self) -> &'static str {
        "Timeout.__aexit__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let object = self.timeout.or_none();
        // SAFETY: made for Timeouts only, and not started once it is cleared.
        let timeout: &Timeout = unsafe { native(object.as_ptr()) };
        let exception = self.exception.get().filter(|exception| !exception.is_none());
        timeout.leave(exception.as_ref())?;
        Ok(Step::Done(Object::none()))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.timeout);
        each(&self.exception);
    }
}

/// `timeout(delay)`.
pub(crate) fn timeout(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([delay]) = args.bind(1, 1, [&stdlib().names.delay]) else { return Ok(None) };
    let event_loop = running_loop()?;
    let delay = delay.expect("it is required");
    if delay.is_none() {
        return make(delay).map(Some);
    }
    make(later(&event_loop, &delay)?).map(Some)
}

/// `loop.time() + delay`.
pub(crate) fn later(event_loop: &Object, delay: &Object) -> Result<Object> {
    if let Some(core) = Core::of(event_loop) {
        return timers::after(event_loop, core, delay);
    }
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(call::method0(event_loop, &stdlib().names.time)?.bound(py).add(delay.bound(py))?.into())
}

/// `timeout_at(when)`.
pub(crate) fn timeout_at(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([when]) = args.bind(1, 1, [&stdlib().names.when]) else { return Ok(None) };
    make(when.expect("it is required")).map(Some)
}

fn make(when: Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(Bound::new(py, Timeout::at(when))?.into_any().into())
}
