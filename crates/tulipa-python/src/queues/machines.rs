//! `get()`, `put()` and `join()`: the waits of a queue.

use pyo3::prelude::*;

use super::class::Queue;
use super::state::{State, raise_class};
use crate::ffi::{Object, Raised, Result, Slot, native};
use crate::locks;
use crate::operations::{self, Machine, Step, WaitList, Waiter, is_waiter};
use crate::stdlib::stdlib;

/// The state of the queue in a machine's slot, which keeps it while the machine runs.
fn state(queue: &Slot) -> &State {
    // SAFETY: machines are made for queues only, and not run once they are cleared.
    &unsafe { native::<Queue>(queue.as_ptr()) }.state
}

/// Waits in `waiters` until woken.
#[inline]
fn park(this: &Object, queue: &Object, state: &State, waiters: &WaitList) -> Result<Step> {
    let waiter = state.bound_to.waiter(queue, this)?;
    waiters.push(waiter.clone())?;
    Ok(Step::Park(waiter))
}

/// Leaves `waiters` by an exception. If it was woken for something that is `still_there`, the next one is instead.
fn leave(
    queue: &Object,
    state: &State,
    waiters: &WaitList,
    waiter: Option<&Object>,
    still_there: impl FnOnce() -> Result<bool>,
) -> Result<()> {
    let Some(waiter) = waiter.filter(|waiter| is_waiter(waiter)) else { return Ok(()) };
    // SAFETY: a waiter.
    let own = unsafe { Waiter::of(waiter.as_ptr()) };
    own.cancel(waiter, None)?;
    waiters.remove(waiter);
    if still_there()? && !own.is_cancelled() {
        state.wake_next(queue, waiters)?;
    }
    Ok(())
}

/// `get()`.
pub(super) struct Get(pub(super) Slot);

impl Machine for Get {
    fn qualified_name(&self) -> &'static str {
        "Queue.get"
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let queue = self.0.or_none();
        let state = state(&self.0);
        if !state.is_empty(&queue)? {
            return state.get_now(&queue).map(Step::Done);
        }
        if state.is_shut_down.get() {
            return Err(raise_class(&stdlib().queue_shut_down));
        }
        park(this, &queue, state, &state.getters)
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        self.start(&waiter)
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let queue = self.0.or_none();
        let state = state(&self.0);
        leave(&queue, state, &state.getters, waiter, || Ok(!state.is_empty(&queue)?))?;
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}

/// `put(item)`.
pub(super) struct Put {
    pub(super) queue: Slot,
    pub(super) item: Slot,
}

impl Machine for Put {
    fn qualified_name(&self) -> &'static str {
        "Queue.put"
    }

    fn start(&self, this: &Object) -> Result<Step> {
        let queue = self.queue.or_none();
        let state = state(&self.queue);
        if !state.is_full(&queue)? {
            return state.put_now(&queue, self.item.or_none()).map(Step::Done);
        }
        if state.is_shut_down.get() {
            return Err(raise_class(&stdlib().queue_shut_down));
        }
        park(this, &queue, state, &state.putters)
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        self.start(&waiter)
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let queue = self.queue.or_none();
        let state = state(&self.queue);
        leave(&queue, state, &state.putters, waiter, || Ok(!state.is_full(&queue)?))?;
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.queue);
        each(&self.item);
    }
}

/// `join()`.
pub(super) struct Join(pub(super) Slot);

impl Machine for Join {
    fn qualified_name(&self) -> &'static str {
        "Queue.join"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let state = state(&self.0);
        if state.unfinished.get() <= 0 {
            return Ok(Step::Done(Object::none()));
        }
        // SAFETY: attached.
        let finished = state.finished(unsafe { Python::assume_attached() })?;
        Ok(Step::Await(operations::new(locks::WaitForEvent::new(finished))?))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}
