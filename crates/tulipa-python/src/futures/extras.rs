//! What few futures have, in an object that is made when it is first needed and then belongs to its future.
//!
//! Being an object it can lie where the base class of futures visits and clears it. Nobody but the future uses it, though
//! `gc.get_referents` shows it. Made and read by `futures`.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi::Slot;
use crate::gc::VisitSlots;

/// All empty at first.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct Extras {
    /// The traceback that the exception had when it was set: re-raising must not make it grow.
    pub(super) exception_traceback: Slot,
    pub(super) source_traceback: Slot,
    pub(super) cancel_message: Slot,
    /// What a task waited on that somebody else ended meanwhile, as by `Future.set_result(task, ...)`.
    pub(super) awaited: Slot,
    /// `cancel()` calls of a task not taken back by `uncancel()`.
    pub(super) cancels: Cell<i32>,
}

// SAFETY: S1: slots and cells are touched by attached threads only.
unsafe impl Send for Extras {}
// SAFETY: as above.
unsafe impl Sync for Extras {}

#[pymethods]
impl Extras {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.visit_slots(self.slots())
    }

    fn __clear__(&self) {
        self.reset();
    }
}

impl Extras {
    pub(super) fn new() -> Self {
        Self {
            exception_traceback: Slot::empty(),
            source_traceback: Slot::empty(),
            cancel_message: Slot::empty(),
            awaited: Slot::empty(),
            cancels: Cell::new(0),
        }
    }

    fn slots(&self) -> [&Slot; 4] {
        [&self.exception_traceback, &self.source_traceback, &self.cancel_message, &self.awaited]
    }

    pub(super) fn reset(&self) {
        self.slots().into_iter().for_each(|slot| slot.set(None));
        self.cancels.set(0);
    }
}
