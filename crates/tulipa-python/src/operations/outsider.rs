//! Awaiting a waiter from outside of its operation: by code that found it in `task._fut_waiter` or in a list.

use super::{Machine, Step, Waiter};
use crate::ffi::{Object, Result, Slot};

/// `await waiter`: its result, once it is done.
pub(super) struct Outsider {
    waiter: Slot,
}

impl Outsider {
    pub(super) fn new(waiter: Object) -> Self {
        let slot = Slot::empty();
        slot.put(waiter);
        Self { waiter: slot }
    }
}

impl Machine for Outsider {
    fn qualified_name(&self) -> &'static str {
        "Future.__await__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let waiter = self.waiter.or_none();
        // SAFETY: made for waiters only, and not resumed once it is cleared.
        let state = unsafe { Waiter::of(waiter.as_ptr()) };
        if state.is_pending() {
            return Ok(Step::Park(waiter));
        }
        state.outcome()?;
        Ok(Step::Done(state.value()))
    }

    fn resume(&self, waiter: Object) -> Result<Step> {
        // SAFETY: what it parked on.
        Ok(Step::Done(unsafe { Waiter::of(waiter.as_ptr()) }.value()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.waiter);
    }
}
