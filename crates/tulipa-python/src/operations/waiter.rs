//! `Waiter`: what a parked operation yields. To a native task one slot in which it is registered; to all others a
//! future: `asyncio.isfuture` holds, and so does `isinstance(waiter, asyncio.Future)`.
//!
//! A waiter has one life: pending, then finished or cancelled, and nobody waits on it twice. Most of what a future can
//! do is asked of few, so it lies apart (`Extras`), made when first needed.

use std::cell::{Cell, UnsafeCell};

use pyo3::ffi;

use super::waiter_class;
use crate::event_loop::core::Core;
use crate::ffi::raised::raise;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::futures::Phase;
use crate::futures::callbacks::{self, Callback, Callbacks, OnLoop};
use crate::stdlib::stdlib;

/// A light future.
#[repr(C)]
pub(crate) struct Waiter {
    header: ffi::PyObject,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(crate) event_loop: Slot,
    /// The native task to wake, where it is the only one that waits.
    task: Slot,
    extras: UnsafeCell<Option<Box<Extras>>>,
    /// The place in a list of waiters, which that list gives out.
    pub(super) ticket: Cell<u64>,
    phase: Cell<Phase>,
    /// Set while the waiter is on its way from the operation to the task: the protocol between futures and tasks.
    pub(crate) blocking: Cell<bool>,
}

/// What few waiters have.
pub(super) struct Extras {
    pub(super) callbacks: Callbacks,
    pub(super) message: Slot,
    pub(super) result: Slot,
    pub(super) exception: Slot,
}

impl Extras {
    #[allow(clippy::unnecessary_box_returns, reason = "boxed where it is made, as it lies in few waiters")]
    fn new() -> Box<Self> {
        Box::new(Self {
            callbacks: Callbacks::new(),
            message: Slot::empty(),
            result: Slot::empty(),
            exception: Slot::empty(),
        })
    }

    fn slots(&self) -> [&Slot; 3] {
        [&self.message, &self.result, &self.exception]
    }
}

/// Whether `object` is a waiter; the class cannot be derived from.
#[inline]
pub(crate) fn is_waiter(object: &Object) -> bool {
    object.class() == waiter_class::class()
}

impl Waiter {
    /// A pending waiter on `event_loop`.
    #[inline]
    pub(crate) fn pending(event_loop: Object) -> Result<Object> {
        let object = waiter_class::allocate()?;
        // SAFETY: just made, and zeroed but for the header.
        let waiter = unsafe { Self::of(object.as_ptr()) };
        waiter.event_loop.put(event_loop);
        waiter.phase.set(Phase::Pending);
        waiter.blocking.set(false);
        waiter.ticket.set(super::waiters::NO_TICKET);
        Ok(object)
    }

    /// The waiter that an object is.
    ///
    /// # Safety
    /// `object` is a waiter and outlives the use of the result.
    #[inline]
    pub(crate) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the class's instances have this layout.
        unsafe { &*object.cast::<Self>() }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.phase.get() == Phase::Pending
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.phase.get() == Phase::Cancelled
    }

    /// The extras, where there are any. They are never taken away from a live waiter, so the borrow stays good.
    #[inline]
    pub(super) fn extras(&self) -> Option<&Extras> {
        // SAFETY: S1: nothing is written while this is read; the box does not move.
        unsafe { (*self.extras.get()).as_deref() }
    }

    pub(super) fn extras_or_new(&self) -> &Extras {
        // SAFETY: S1: making the box calls nobody.
        unsafe { &mut *self.extras.get() }.get_or_insert_with(Extras::new)
    }

    /// Has the native `task` woken when the waiter is done.
    #[inline]
    pub(crate) fn register(&self, this: &Object, task: &Object) -> Result<()> {
        if !self.is_pending() {
            return callbacks::schedule(this, self, Callback::wake(task.clone()));
        }
        if self.task.is_empty() && self.extras().is_none() {
            self.task.put(task.clone());
        } else {
            self.add(Callback::wake(task.clone()));
        }
        Ok(())
    }

    /// Adds a callback of the general kind.
    pub(super) fn add(&self, callback: Callback) {
        self.extras_or_new().callbacks.push(callback);
    }

    /// Every callback, the task first.
    pub(super) fn entries(&self) -> Vec<Callback> {
        let task = self.task.get().map(Callback::wake);
        let rest = self.extras().map(|extras| extras.callbacks.snapshot()).unwrap_or_default();
        task.into_iter().chain(rest).collect()
    }

    /// Removes the callbacks equal to `function`, and counts them.
    pub(super) fn remove(&self, function: &Object) -> Result<usize> {
        let mut removed = 0;
        if let Some(task) = self.task.get() {
            let (visible, _) = Callback::wake(task).visible()?;
            if call::equal(&visible, function)? {
                removed += usize::from(self.task.take().is_some());
            }
        }
        match self.extras() {
            Some(extras) => Ok(removed + extras.callbacks.remove(function)?),
            None => Ok(removed),
        }
    }

    /// Ends the wait: whoever waits will go on. Nothing for a waiter that is done already.
    #[inline]
    pub(crate) fn wake(&self, this: &Object) -> Result<()> {
        if self.is_pending() { self.settle(this, Phase::Finished) } else { Ok(()) }
    }

    /// As `wake`, with a result that is not None.
    pub(super) fn set_result(&self, this: &Object, result: Object) -> Result<()> {
        self.ensure_pending()?;
        if !result.is_none() {
            self.extras_or_new().result.put(result);
        }
        self.settle(this, Phase::Finished)
    }

    pub(super) fn set_exception(&self, this: &Object, exception: Object) -> Result<()> {
        self.ensure_pending()?;
        self.extras_or_new().exception.put(exception);
        self.settle(this, Phase::Finished)
    }

    fn ensure_pending(&self) -> Result<()> {
        if self.is_pending() {
            return Ok(());
        }
        Err(raise(&stdlib().invalid_state_error, "invalid state".into()))
    }

    /// `cancel(msg=message)`: whether the waiter was pending.
    #[inline]
    pub(crate) fn cancel(&self, this: &Object, message: Option<Object>) -> Result<bool> {
        if !self.is_pending() {
            return Ok(false);
        }
        if let Some(message) = message.filter(|message| !message.is_none()) {
            self.extras_or_new().message.put(message);
        }
        self.settle(this, Phase::Cancelled)?;
        Ok(true)
    }

    #[inline]
    fn settle(&self, this: &Object, phase: Phase) -> Result<()> {
        self.phase.set(phase);
        if let Some(task) = self.task.take() {
            callbacks::schedule(this, self, Callback::wake(task))?;
        }
        match self.extras() {
            Some(extras) => extras.callbacks.schedule_all(this, self),
            None => Ok(()),
        }
    }

    /// What `await waiter` would raise, now; nothing where there is a result.
    #[inline]
    pub(crate) fn outcome(&self) -> Result<()> {
        match self.phase.get() {
            Phase::Finished if self.extras().is_none() => Ok(()),
            Phase::Pending => {
                Err(pyo3::exceptions::PyRuntimeError::new_err("await wasn't used with future").into())
            }
            _ => match self.failure()? {
                Some(exception) => Err(Raised::from_object(&exception)),
                None => Ok(()),
            },
        }
    }

    /// The exception that a task which waited here is to be thrown, if any.
    #[inline]
    pub(crate) fn failure(&self) -> Result<Option<Object>> {
        match self.phase.get() {
            Phase::Cancelled => self.cancelled_error().map(Some),
            _ => Ok(self.extras().and_then(|extras| extras.exception.get())),
        }
    }

    pub(super) fn value(&self) -> Object {
        self.extras().map_or_else(Object::none, |extras| extras.result.or_none())
    }

    pub(super) fn cancelled_error(&self) -> Result<Object> {
        let class = &stdlib().cancelled_error;
        match self.extras().and_then(|extras| extras.message.get()) {
            Some(message) => call::call1(class, &message),
            None => call::call0(class),
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        visit(self.event_loop.as_ptr());
        visit(self.task.as_ptr());
        if let Some(extras) = self.extras() {
            extras.callbacks.visit(visit);
            for slot in extras.slots() {
                visit(slot.as_ptr());
            }
        }
    }

    /// Gives every reference up.
    pub(super) fn clear(&self) {
        self.event_loop.set(None);
        self.task.set(None);
        // SAFETY: S1: the box is moved out before anything in it is dropped.
        let extras = unsafe { (*self.extras.get()).take() };
        drop(extras);
    }
}

impl OnLoop for Waiter {
    #[inline]
    fn direct(&self) -> Option<&Core> {
        let event_loop = self.event_loop.as_ptr();
        if event_loop.is_null() {
            return None;
        }
        // SAFETY: the waiter keeps its loop alive until it is cleared.
        unsafe { Core::at(event_loop) }.filter(|core| core.is_direct())
    }

    #[inline]
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

/// The time of a waiting operation has come.
#[inline]
pub(crate) fn expire(waiter: &Object) -> Result<()> {
    // SAFETY: timers are set for waiters only.
    unsafe { Waiter::of(waiter.as_ptr()) }.wake(waiter)
}
