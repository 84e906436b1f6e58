//! `timeout()`, `timeout_at()`, `Timeout` and `wait_for()`: a limit in time on what a task awaits.
//!
//! All of them cancel the task when the time is up, and on the way out turn that very cancellation into a TimeoutError.
//! `Limit` holds those rules; the class and the function are two faces of it.

mod alarm;
mod class;
mod due;
mod timeout;
mod wait_for;

use std::cell::Cell;

use pyo3::exceptions::PyTimeoutError;
use pyo3::ffi;
use pyo3::prelude::*;

pub(crate) use alarm::{Alarm, RELEASE};
pub(crate) use class::initialise;
pub(crate) use due::Due;
pub(crate) use timeout::{timeout, timeout_at};
pub(crate) use wait_for::wait_for;

use crate::ffi::make::Text;
use crate::ffi::{Object, Raised, Result, Slot};
use crate::stdlib::{cancelled_error, stdlib};
use crate::tasks::any as any_task;

/// Where a limit is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

/// A task that may not take longer.
struct Limit {
    state: Cell<State>,
    task: Slot,
    /// How many cancellations of the task were asked for when it began.
    cancelling: Cell<i64>,
}

impl Limit {
    const fn new() -> Self {
        Self { state: Cell::new(State::Created), task: Slot::empty(), cancelling: Cell::new(0) }
    }

    fn enter(&self, task: &Object) -> Result<()> {
        self.state.set(State::Entered);
        self.task.put(task.clone());
        self.cancelling.set(any_task::cancelling(task)?);
        Ok(())
    }

    /// The time is up.
    fn expire(&self) -> Result<()> {
        any_task::cancel(&self.task.or_none())?;
        self.state.set(State::Expiring);
        Ok(())
    }

    /// The task leaves what is limited, by an exception or without: what it must raise instead, if anything.
    fn leave(&self, exception: Option<&Object>) -> Result<Option<Object>> {
        match self.state.get() {
            State::Expiring => self.state.set(State::Expired),
            State::Entered => {
                self.state.set(State::Exited);
                return Ok(None);
            }
            _ => return Ok(None),
        }
        // No new request has come since: the cancellation is ours to deal with.
        let own = any_task::uncancel(&self.task.or_none())? <= self.cancelling.get();
        let Some(exception) = exception.filter(|_| own) else { return Ok(None) };
        if is_cancellation(exception) {
            return Ok(Some(timeout_error(Some(exception))));
        }
        if stdlib().behaviour.timeout_knows_subclasses {
            insert_timeout_error(exception);
            for inner in group_members(exception)? {
                insert_timeout_error(&inner);
            }
        }
        Ok(None)
    }
}

/// Before 3.13 asyncio looks for exactly CancelledError.
fn is_cancellation(exception: &Object) -> bool {
    let class: *mut ffi::PyTypeObject = cancelled_error().cast();
    if stdlib().behaviour.timeout_knows_subclasses {
        exception.is_instance_of(class)
    } else {
        exception.class() == class
    }
}

/// `raise TimeoutError from cause`, while that is being handled.
fn timeout_error(cause: Option<&Object>) -> Object {
    let error = Raised::from(PyTimeoutError::new_err(())).take_object();
    if let Some(cause) = cause {
        // SAFETY: both are exception instances; the calls steal one reference each.
        unsafe {
            ffi::PyException_SetCause(error.as_ptr(), cause.clone().into_ptr());
            ffi::PyException_SetContext(error.as_ptr(), cause.clone().into_ptr());
        }
    }
    error
}

/// Puts a TimeoutError between an exception and the CancelledError in whose handling it was raised.
fn insert_timeout_error(exception: &Object) {
    let mut exception = exception.clone();
    // SAFETY: an exception instance; the answer is a new reference or null.
    while let Ok(context) = unsafe { Object::steal(ffi::PyException_GetContext(exception.as_ptr())) } {
        if context.is_instance_of(cancelled_error().cast()) {
            let error = timeout_error(Some(&context));
            // SAFETY: both are exception instances; the call steals a reference.
            unsafe { ffi::PyException_SetContext(exception.as_ptr(), error.into_ptr()) };
            return;
        }
        exception = context;
    }
}

/// The exceptions in an ExceptionGroup; none of another exception.
fn group_members(exception: &Object) -> Result<Vec<Object>> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let group = py.import(Text("builtins"))?.getattr(Text("ExceptionGroup"))?;
    let exception = exception.bound(py);
    if !exception.is_instance(&group)? {
        return Ok(Vec::new());
    }
    let members = exception.getattr(Text("exceptions"))?;
    let members = members.try_iter()?.map(|member| member.map(Object::from)).collect::<PyResult<_>>()?;
    Ok(members)
}
