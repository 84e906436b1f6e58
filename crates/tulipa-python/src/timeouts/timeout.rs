//! What a Timeout does; `class` is what Python sees of it.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::{Alarm, Limit, State, class};
use crate::event_loop::core::Core;
use crate::event_loop::timers;
use crate::ffi::args::Args;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::futures::observers::{always, observer_kind};
use crate::operations::{Machine, Step, running_loop};
use crate::stdlib::stdlib;
use crate::tasks::current;

/// An asynchronous context manager that cancels what takes too long.
#[repr(C)]
pub(super) struct Timeout {
    header: ffi::PyObject,
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(super) limit: Limit,
    pub(super) when: Slot,
    pub(super) alarm: Alarm,
    /// Tells the alarm that is set from those that were.
    generation: Cell<i64>,
    /// The loop that the alarm is set on.
    event_loop: Slot,
}

impl Timeout {
    /// The state of an instance.
    ///
    /// # Safety
    /// `object` is of the class or of a subclass, and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the class's instances have this layout.
        unsafe { &*object.cast::<Self>() }
    }

    /// Makes a new instance, or what was left of one, a Timeout that was not entered.
    ///
    /// # Safety
    /// `object` is of the class or of a subclass, nobody else has seen it, and its slots are empty.
    #[inline]
    pub(super) unsafe fn prepare(object: *mut ffi::PyObject) {
        let fields = object.cast::<Self>();
        // SAFETY: the instance has these fields, and nothing in them has to be dropped.
        unsafe { (&raw mut (*fields).limit).write(Limit::new()) };
        // SAFETY: as above.
        unsafe { (&raw mut (*fields).alarm).write(Alarm::new()) };
        // SAFETY: as above.
        unsafe { (&raw mut (*fields).generation).write(Cell::new(0)) };
    }

    pub(super) fn slots(&self) -> [&Slot; 4] {
        [&self.limit.task, &self.when, self.alarm.handle(), &self.event_loop]
    }

    /// `reschedule(when)`.
    pub(super) fn reschedule(&self, this: &Object, when: &Object) -> Result<()> {
        match self.limit.state.get() {
            State::Entered => self.set_alarm(this, None, when),
            State::Created => Err(PyRuntimeError::new_err("Timeout has not been entered").into()),
            _ => {
                let text = format!("Cannot change state of {} Timeout", self.state_name());
                Err(PyRuntimeError::new_err(text).into())
            }
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

    pub(super) fn state_name(&self) -> &'static str {
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
    let timeout = unsafe { Timeout::of(timeout.as_ptr()) };
    // SAFETY: what the alarm was set with is an integer.
    if unsafe { ffi::PyLong_AsLongLong(generation.as_ptr()) } != timeout.generation.get() {
        return Ok(());
    }
    timeout.limit.expire()?;
    timeout.alarm.forget();
    Ok(())
}

/// `__aenter__`.
pub(super) struct Enter(pub(super) Slot);

impl Machine for Enter {
    fn qualified_name(&self) -> &'static str {
        "Timeout.__aenter__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let object = self.0.or_none();
        // SAFETY: made for Timeouts only, and not started once it is cleared.
        let timeout = unsafe { Timeout::of(object.as_ptr()) };
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
pub(super) struct Exit {
    pub(super) timeout: Slot,
    pub(super) exception: Slot,
}

impl Machine for Exit {
    fn qualified_name(&self) -> &'static str {
        "Timeout.__aexit__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let object = self.timeout.or_none();
        // SAFETY: made for Timeouts only, and not started once it is cleared.
        let timeout = unsafe { Timeout::of(object.as_ptr()) };
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
        return class::make(delay).map(Some);
    }
    class::make(later(&event_loop, &delay)?).map(Some)
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
    class::make(when.expect("it is required")).map(Some)
}
