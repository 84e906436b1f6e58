//! What a Timeout does; `class` is what Python sees of it.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::ffi;

use super::{Alarm, Due, Limit, State, class};
use crate::ffi::args::Args;
use crate::ffi::make::Exception;
use crate::ffi::{Object, Raised, Result, Slot};
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
    /// Where that is a plain number, and no object has been made of it.
    seconds: Cell<Option<f64>>,
    when: Slot,
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
        unsafe { (&raw mut (*fields).seconds).write(Cell::new(None)) };
        // SAFETY: as above.
        unsafe { (&raw mut (*fields).generation).write(Cell::new(0)) };
    }

    pub(super) fn slots(&self) -> [&Slot; 4] {
        [&self.limit.task, &self.when, self.alarm.handle(), &self.event_loop]
    }

    /// `when()`.
    pub(super) fn when(&self) -> Result<Object> {
        if let Some(seconds) = self.seconds.get() {
            self.when.put(Due::At(seconds).to_object()?);
            self.seconds.set(None);
        }
        Ok(self.when.or_none())
    }

    #[inline]
    pub(super) fn set_when(&self, when: Due) {
        let (seconds, object) = match when {
            Due::Never => (None, None),
            Due::At(seconds) => (Some(seconds), None),
            Due::Given(object) => (None, Some(object)),
        };
        self.seconds.set(seconds);
        self.when.set(object);
    }

    #[inline]
    fn due(&self) -> Due {
        self.seconds.get().map_or_else(|| Due::given(self.when.or_none()), Due::At)
    }

    /// `reschedule(when)`.
    pub(super) fn reschedule(&self, this: &Object, when: Object) -> Result<()> {
        match self.limit.state.get() {
            State::Entered => {
                self.set_when(Due::given(when));
                self.set_alarm(this, None)
            }
            State::Created => Err(PyRuntimeError::with_text("Timeout has not been entered").into()),
            _ => {
                let text = format!("Cannot change state of {} Timeout", self.state_name());
                Err(PyRuntimeError::with_text(text).into())
            }
        }
    }

    fn set_alarm(&self, this: &Object, event_loop: Option<Object>) -> Result<()> {
        self.cancel_alarm()?;
        let when = self.due();
        if matches!(when, Due::Never) {
            return Ok(());
        }
        let event_loop = event_loop.map_or_else(running_loop, Ok)?;
        // SAFETY: a new reference or null.
        let generation = unsafe { Object::steal(ffi::PyLong_FromLongLong(self.generation.get())) }?;
        self.alarm.set(&event_loop, &when, (this.clone(), &EXPIRED, generation))?;
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
            return Err(PyRuntimeError::with_text("Timeout has already been entered").into());
        }
        let event_loop = running_loop()?;
        let Some(task) = current::of(&event_loop)? else {
            return Err(PyRuntimeError::with_text("Timeout should be used inside a task").into());
        };
        self.limit.enter(&task)?;
        self.set_alarm(this, Some(event_loop))
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
        return class::make(Due::Never).map(Some);
    }
    class::make(Due::later(&event_loop, &delay)?).map(Some)
}

/// `timeout_at(when)`.
pub(crate) fn timeout_at(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([when]) = args.bind(1, 1, [&stdlib().names.when]) else { return Ok(None) };
    class::make(Due::given(when.expect("it is required"))).map(Some)
}
