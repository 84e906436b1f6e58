//! Which loop an operation waits on, and the rule that a primitive stays with the loop it first waited on.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::ffi::make::Exception;
use crate::ffi::{Object, Result, Slot, call};
use crate::stdlib::stdlib;

/// `asyncio.get_running_loop()`.
#[inline]
pub(crate) fn running_loop() -> Result<Object> {
    call::builtin0(&stdlib().running_loop)
}

/// The loop that a primitive belongs to, once something has waited on it.
pub(crate) struct LoopBound(Slot);

impl LoopBound {
    pub(crate) const fn new() -> Self {
        Self(Slot::empty())
    }

    /// The running loop, to which `owner` is bound from now on; an error where that is another one.
    #[inline]
    pub(crate) fn bind(&self, owner: &Object) -> Result<Object> {
        let running = call::builtin0(&stdlib().running_loop_or_none)?;
        if self.0.as_ptr() == running.as_ptr() {
            return Ok(running);
        }
        if self.0.is_empty() {
            if !running.is_none() {
                self.0.put(running.clone());
            }
            return Ok(running);
        }
        let text = format!("{} is bound to a different event loop", call::repr(owner)?);
        Err(PyRuntimeError::with_text(text).into())
    }

    /// A pending waiter on the running loop for the operation `this`: see `Waiter::arm`.
    #[inline]
    pub(crate) fn waiter(&self, owner: &Object, this: &Object) -> Result<Object> {
        let event_loop = self.bind(owner)?;
        if event_loop.is_none() {
            // As asyncio's code fails that asks no loop at all for a future.
            call::getattr(&event_loop, &stdlib().names.create_future)?;
        }
        super::Waiter::arm(this, event_loop)
    }

    /// `_loop`.
    pub(crate) fn visible(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.or_none().bound(py).unbind()
    }

    pub(crate) fn set(&self, event_loop: Object) {
        self.0.set((!event_loop.is_none()).then_some(event_loop));
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.0
    }
}
