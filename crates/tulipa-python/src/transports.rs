//! Transports: the engine's stream core with asyncio's face.

use std::cell::RefCell;

use tulipa::Readiness;

use crate::event_loop::core::Core;
use crate::ffi::{Object, Result};

/// Streams that were written to in this turn and go out at its end.
#[derive(Default)]
pub(crate) struct Flushing(RefCell<Vec<Object>>);

impl Flushing {
    pub(crate) fn take(&self) -> Vec<Object> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    pub(crate) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        if let Ok(streams) = self.0.try_borrow() {
            streams.iter().for_each(see);
        }
    }
}

pub(crate) fn ready(_core: &Core, _target: &Object, _readiness: Readiness) -> Result<()> {
    Ok(())
}

pub(crate) fn flush(_core: &Core, _event_loop: &Object) {}
