//! `wait_for()`: a limit on one awaitable.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{Alarm, Due, Limit, RELEASE, State, timeout_error};
use crate::ffi::args::Args;
use crate::ffi::make::{self, Exception};
use crate::ffi::{Object, Raised, Result, Slot};
use crate::futures::any;
use crate::futures::observers::{always, observer_kind};
use crate::operations::{self, Machine, Sent, Step, Waiter, awaiting, running_loop, send_to};
use crate::stdlib::{cancelled_error, stdlib};
use crate::tasks::{current, ensure_future};

/// `wait_for(fut, timeout)`.
pub(crate) fn wait_for(args: &Args<'_>) -> Result<Option<Object>> {
    let names = &stdlib().names;
    let Some([awaitable, timeout]) = args.bind(2, 2, [&names.fut, &names.timeout]) else { return Ok(None) };
    let [awaitable, timeout] = [awaitable, timeout].map(|given| given.expect("both are required"));
    let state = Box::new(WaitFor {
        stage: Cell::new(Stage::Limited),
        awaitable: Slot::holding(awaitable),
        timeout: Slot::holding(timeout),
        event_loop: Slot::empty(),
        waiter: Slot::empty(),
        failure: Slot::empty(),
        alarm: Alarm::new(),
        limit: Limit::new(),
    });
    operations::new(Boxed(state)).map(Some)
}

/// What the operation is waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The awaitable itself.
    Limited,
    /// The end of a future, or of the time (before 3.12).
    Racing,
    /// The end of a future that was cancelled because the time is up.
    Cancelling,
}

struct WaitFor {
    stage: Cell<Stage>,
    /// The awaitable; in the later stages the future that stands for it.
    awaitable: Slot,
    timeout: Slot,
    event_loop: Slot,
    /// Done when the time is up; in the later stages what the operation is parked on.
    waiter: Slot,
    /// The exception to end with once the cancelled future is done, instead of what that says.
    failure: Slot,
    alarm: Alarm,
    limit: Limit,
}

/// The state is larger than an operation has room for.
struct Boxed(Box<WaitFor>);

impl Machine for Boxed {
    fn qualified_name(&self) -> &'static str {
        "wait_for"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        if self.0.stage.get() == Stage::Cancelling { &["wait_for", "_cancel_and_wait"] } else { &[] }
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        self.0.start()
    }

    fn resume(&self, value: Object) -> Result<Step> {
        let this = &self.0;
        match this.stage.get() {
            Stage::Limited => {
                this.leave(None)?;
                Ok(Step::Done(value))
            }
            Stage::Racing => this.raced(),
            Stage::Cancelling => this.was_cancelled(),
        }
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let this = &self.0;
        match this.stage.get() {
            Stage::Limited => {
                this.leave(Some(&exception))?;
                Err(Raised::from_object(&exception))
            }
            Stage::Racing => this.interrupted(&exception),
            Stage::Cancelling => {
                this.stop_observing()?;
                this.stop_alarm()?;
                Err(Raised::from_object(&exception))
            }
        }
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        let this = &self.0;
        let own = [&this.awaitable, &this.timeout, &this.event_loop, &this.waiter, &this.failure];
        own.into_iter().chain([this.alarm.handle(), &this.limit.task]).for_each(each);
    }
}

impl WaitFor {
    fn start(&self) -> Result<Step> {
        let timeout = self.timeout.or_none();
        if cfg!(not(Py_3_12)) {
            self.event_loop.put(running_loop()?);
            if timeout.is_none() {
                return self.await_unlimited();
            }
        }
        if !timeout.is_none() && !is_positive(&timeout)? {
            return self.at_once();
        }
        if cfg!(Py_3_12) { self.limited(&timeout) } else { self.race(&timeout) }
    }

    /// No time at all: what is not done is cancelled, and waited for.
    fn at_once(&self) -> Result<Step> {
        let event_loop = self.event_loop.get();
        let future = ensure_future::ensure_future(&self.awaitable.or_none(), event_loop.as_ref())?;
        if any::done(&future)? {
            return any::result(&future).map(Step::Done);
        }
        self.awaitable.put(future);
        self.cancel_and_wait()
    }

    /// `await fut`, without a limit and without a task of its own.
    fn await_unlimited(&self) -> Result<Step> {
        // Leaving finds a limit that was never entered, which changes nothing.
        awaiting(&self.awaitable.or_none())
    }

    /// `async with timeout(...): return await fut`. An awaitable that needs no waiting needs no timer: none is set
    /// before it has to wait, unless the loop would see it.
    fn limited(&self, timeout: &Object) -> Result<Step> {
        let event_loop = running_loop()?;
        let when = if timeout.is_none() { Due::Never } else { Due::later(&event_loop, timeout)? };
        let Some(task) = current::of(&event_loop)? else {
            return Err(PyRuntimeError::with_text("Timeout should be used inside a task").into());
        };
        self.limit.enter(&task)?;
        let limits = !matches!(when, Due::Never);
        let shows = limits && Alarm::asks(&event_loop);
        if shows {
            self.set_alarm(event_loop.clone(), &when, task.clone())?;
        }
        let step = awaiting(&self.awaitable.or_none()).and_then(|step| match step {
            Step::Await(iterator) => Ok((send_to(&iterator, &Object::none())?, iterator)),
            _ => unreachable!("awaiting gives an iterator"),
        });
        match step {
            Ok((Sent::Returned(value), _)) => {
                self.leave(None)?;
                Ok(Step::Done(value))
            }
            Ok((Sent::Yielded(value), iterator)) => {
                if limits && !shows {
                    self.set_alarm(event_loop, &when, task)?;
                }
                Ok(Step::Follow { iterator, value })
            }
            Err(raised) => {
                let exception = raised.take_object();
                self.leave(Some(&exception))?;
                Err(Raised::from_object(&exception))
            }
        }
    }

    fn set_alarm(&self, event_loop: Object, when: &Due, task: Object) -> Result<()> {
        let waiter = Waiter::pending(event_loop.clone())?;
        self.waiter.put(waiter.clone());
        self.alarm.set(&event_loop, when, (waiter, &TIME_IS_UP, task))?;
        self.event_loop.put(event_loop);
        Ok(())
    }

    fn stop_alarm(&self) -> Result<()> {
        match self.event_loop.get() {
            Some(event_loop) => self.alarm.cancel(&event_loop),
            None => Ok(()),
        }
    }

    /// The awaitable is over. Raises what is to be raised instead of its exception, if anything.
    fn leave(&self, exception: Option<&Object>) -> Result<()> {
        if let Some(waiter) = self.waiter.take() {
            // SAFETY: made as a waiter.
            let waiter_state = unsafe { Waiter::of(waiter.as_ptr()) };
            if waiter_state.is_pending() {
                // Should the alarm be about to ring, nobody is there any more.
                waiter_state.cancel(&waiter, None)?;
                self.stop_alarm()?;
            } else {
                self.limit.state.set(State::Expiring);
                self.alarm.forget();
            }
        }
        match self.limit.leave(exception)? {
            Some(error) => Err(Raised::from_object(&error)),
            None => Ok(()),
        }
    }

    /// Cancels the future and waits until it is done, in a way that can itself be cancelled.
    fn cancel_and_wait(&self) -> Result<Step> {
        let event_loop = running_loop()?;
        let future = self.awaitable.or_none();
        let waiter = Waiter::pending(event_loop.clone())?;
        if cfg!(Py_3_14)
            && let Some(task) = current::of(&event_loop)?
        {
            current::add_awaited_by(&future, &task)?;
            self.limit.task.put(task);
        }
        RELEASE.observe(&future, &waiter)?;
        self.waiter.put(waiter.clone());
        self.stage.set(Stage::Cancelling);
        any::cancel(&future)?;
        Ok(Step::Park(waiter))
    }

    fn stop_observing(&self) -> Result<()> {
        let future = self.awaitable.or_none();
        if let Some(task) = self.limit.task.take() {
            current::discard_awaited_by(&future, &task)?;
        }
        match self.waiter.take() {
            Some(waiter) => RELEASE.forget(&future, &waiter),
            None => Ok(()),
        }
    }

    /// The cancelled future is done: what it says counts, but for the cancellation.
    fn was_cancelled(&self) -> Result<Step> {
        self.stop_observing()?;
        self.stop_alarm()?;
        if let Some(failure) = self.failure.take() {
            return Err(Raised::from_object(&failure));
        }
        match any::result(&self.awaitable.or_none()) {
            Ok(result) => Ok(Step::Done(result)),
            Err(raised) if raised.matches(cancelled_error()) => {
                Err(Raised::from_object(&timeout_error(Some(&raised.take_object()))))
            }
            Err(raised) => Err(raised),
        }
    }

    /// Before 3.12: a future and the time, whichever ends first.
    fn race(&self, timeout: &Object) -> Result<Step> {
        let event_loop = self.event_loop.or_none();
        let waiter = Waiter::pending(event_loop.clone())?;
        self.alarm.set_later(&event_loop, timeout, (waiter.clone(), &RELEASE, Object::none()))?;
        let future = match ensure_future::ensure_future(&self.awaitable.or_none(), Some(&event_loop)) {
            Ok(future) => future,
            Err(raised) => {
                let exception = raised.take_object();
                self.stop_alarm()?;
                return Err(Raised::from_object(&exception));
            }
        };
        RELEASE.observe(&future, &waiter)?;
        self.awaitable.put(future);
        self.waiter.put(waiter.clone());
        self.stage.set(Stage::Racing);
        Ok(Step::Park(waiter))
    }

    fn raced(&self) -> Result<Step> {
        let future = self.awaitable.or_none();
        if any::done(&future)? {
            self.stop_alarm()?;
            return any::result(&future).map(Step::Done);
        }
        self.stop_observing()?;
        self.cancel_and_wait()
    }

    /// The caller was cancelled while future and time were racing.
    fn interrupted(&self, exception: &Object) -> Result<Step> {
        let future = self.awaitable.or_none();
        if !exception.is_instance_of(cancelled_error().cast()) {
            self.stop_alarm()?;
            return Err(Raised::from_object(exception));
        }
        if any::done(&future)? {
            self.stop_alarm()?;
            return any::result(&future).map(Step::Done);
        }
        self.stop_observing()?;
        self.failure.put(exception.clone());
        self.cancel_and_wait()
    }
}

/// `timeout > 0`, asked as asyncio asks: `not timeout <= 0`.
fn is_positive(timeout: &Object) -> Result<bool> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let timeout = timeout.bound(py);
    if let Ok(number) = timeout.cast_exact::<pyo3::types::PyFloat>() {
        let number = number.value();
        return Ok(number > 0.0 || number.is_nan());
    }
    Ok(!timeout.le(make::int(py, 0)?)?)
}

observer_kind!(
    /// The time of a task is up.
    static TIME_IS_UP, c"_on_timeout", always, time_is_up
);
fn time_is_up(waiter: &Object, task: &Object) -> Result<()> {
    // SAFETY: alarms of this kind are set for waiters only.
    let state = unsafe { Waiter::of(waiter.as_ptr()) };
    if !state.is_pending() {
        return Ok(());
    }
    any::cancel(task)?;
    state.wake(waiter)
}
