//! `TaskGroup.__aexit__`: waits for the tasks, then decides what the block raises.

use pyo3::ffi;
use pyo3::prelude::*;

use super::TaskGroup;
use crate::ffi::raised::{leaves_the_loop, raise_object};
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::futures::any;
use crate::futures::methods::boolean;
use crate::operations::{Machine, Step, Waiter};
use crate::stdlib::{cancelled_error, stdlib};
use crate::tasks::any as any_task;

pub(super) struct Exit {
    group: Slot,
    /// What the block raised, or `None`.
    exception: Slot,
    /// The CancelledError to end with.
    propagate: Slot,
    /// The CancelledError that came last while the tasks were waited for.
    pending: Slot,
}

impl Exit {
    pub(super) fn new(group: Object, exception: Object) -> Self {
        Self {
            group: Slot::holding(group),
            exception: Slot::holding(exception),
            propagate: Slot::empty(),
            pending: Slot::empty(),
        }
    }
}

impl Machine for Exit {
    fn qualified_name(&self) -> &'static str {
        "TaskGroup.__aexit__"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        if cfg!(Py_3_13) { &["TaskGroup.__aexit__", "TaskGroup._aexit"] } else { &[] }
    }

    fn start(&self) -> Result<Step> {
        self.with_group(|group| {
            group.exiting.set(true);
            if let Some(exception) = self.raised() {
                if leaves_the_loop(&exception) && group.base_error.is_empty() {
                    group.base_error.put(exception.clone());
                }
                if is_cancellation(&exception) {
                    self.propagate.put(exception);
                }
            }
            if !stdlib().behaviour.group_keeps_cancel_count {
                self.take_request_back(group)?;
            }
            if self.raised().is_some() && !group.aborting.get() {
                group.abort()?;
            }
            self.wait(group)
        })
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        self.with_group(|group| {
            group.waiter.set(None);
            self.wait(group)
        })
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        self.with_group(|group| {
            if !exception.is_instance_of(cancelled_error().cast()) {
                return Err(Raised::from_object(&exception));
            }
            self.pending.put(exception.clone());
            if !group.aborting.get() {
                // The parent is being cancelled while the tasks are running.
                self.propagate.put(exception);
                group.abort()?;
            }
            group.waiter.set(None);
            self.wait(group)
        })
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        [&self.group, &self.exception, &self.propagate, &self.pending].into_iter().for_each(each);
    }
}

impl Exit {
    fn with_group(&self, body: impl FnOnce(&TaskGroup) -> Result<Step>) -> Result<Step> {
        let object = self.group.or_none();
        // SAFETY: made for groups only, and not resumed once it is cleared.
        let group: &TaskGroup = unsafe { native(object.as_ptr()) };
        let step = body(group);
        if cfg!(not(Py_3_14)) || matches!(step, Ok(Step::Park(_))) {
            return step;
        }
        // Exceptions are heavy and in cycles often: the group holds none any longer.
        let raised = step.as_ref().err().map(|_| Raised.take_object());
        for slot in [&group.parent, &group.errors, &group.base_error] {
            slot.set(None);
        }
        match raised {
            Some(exception) => Err(Raised::from_object(&exception)),
            None => step,
        }
    }

    /// What the block raised.
    fn raised(&self) -> Option<Object> {
        self.exception.get().filter(|exception| !exception.is_none())
    }

    fn wait(&self, group: &TaskGroup) -> Result<Step> {
        if group.len() == 0 {
            return self.finish(group);
        }
        let waiter = Waiter::pending(group.event_loop.or_none())?;
        group.waiter.put(waiter.clone());
        Ok(Step::Park(waiter))
    }

    /// The cancellation that the group has asked of its parent is over.
    fn take_request_back(&self, group: &TaskGroup) -> Result<()> {
        if !group.parent_cancel_requested.get() {
            return Ok(());
        }
        if any_task::uncancel(&group.parent.or_none())? == 0 {
            // No request of anybody else's is left.
            self.propagate.set(None);
        } else if cfg!(Py_3_15) && self.propagate.is_empty() {
            self.propagate.set(self.pending.get());
        }
        Ok(())
    }

    fn finish(&self, group: &TaskGroup) -> Result<Step> {
        if let Some(error) = group.base_error.get() {
            return Err(raise_object(&error));
        }
        if stdlib().behaviour.group_keeps_cancel_count {
            self.take_request_back(group)?;
        }
        let errors = group.errors.or_none();
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        if let Some(cancellation) = self.propagate.take()
            && !errors.bound(py).is_truthy()?
        {
            return Err(raise_object(&cancellation));
        }
        if let Some(exception) = self.raised().filter(|exception| !is_cancellation(exception)) {
            group.add_error(&exception)?;
        }
        if errors.bound(py).is_truthy()? {
            return Err(self.fail(group, &errors)?);
        }
        Ok(Step::Done(if cfg!(Py_3_15) { boolean(true) } else { Object::none() }))
    }

    /// The group of all exceptions, raised.
    fn fail(&self, group: &TaskGroup, errors: &Object) -> Result<Raised> {
        let parent = group.parent.or_none();
        if stdlib().behaviour.group_keeps_cancel_count && any_task::cancelling(&parent)? > 0 {
            // Cancelled from outside as well: asked anew, so that the count stays.
            any_task::uncancel(&parent)?;
            any::cancel(&parent)?;
        }
        // SAFETY: attached.
        let count = errors.bound(unsafe { Python::assume_attached() }).len()?;
        // SAFETY: the class lives as long as the interpreter.
        let exit: *mut ffi::PyTypeObject = unsafe { ffi::PyExc_GeneratorExit }.cast();
        if let Some(exception) = self.raised()
            && cfg!(Py_3_15)
            && count == 1
            && exception.is_instance_of(exit)
        {
            // So that an asynchronous generator with a group in it can be closed.
            return Ok(raise_object(&exception));
        }
        let text = &stdlib().names.unhandled_errors;
        let error = call::call2(&stdlib().base_exception_group, text, errors)?;
        // `from None`.
        // SAFETY: an exception instance; null stands for no cause.
        unsafe { ffi::PyException_SetCause(error.as_ptr(), std::ptr::null_mut()) };
        let raised = raise_object(&error);
        group.errors.set(None);
        Ok(raised)
    }
}

/// Before 3.13 asyncio looks for exactly CancelledError.
fn is_cancellation(exception: &Object) -> bool {
    let class: *mut ffi::PyTypeObject = cancelled_error().cast();
    if stdlib().behaviour.group_knows_subclasses {
        exception.is_instance_of(class)
    } else {
        exception.class() == class
    }
}
