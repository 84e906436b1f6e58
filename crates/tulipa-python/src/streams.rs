//! Streams: asyncio's StreamReader and its kin, fed by the transports without a call into Python.
//!
//! `stock` feeds asyncio's own readers where a program uses those; `originals` notices that it has changed them;
//! `bytearray` grows the buffers they keep.

mod bytearray;
mod originals;
mod stock;

use pyo3::prelude::*;

use crate::ffi::{Object, Result};

/// Looks at asyncio's classes; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    stock::initialise(py)
}

/// How what a transport receives reaches its protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feeding {
    /// By calling `data_received`.
    Calls,
    /// Into the buffer of asyncio's own StreamReader, behind its own protocol.
    Stock,
}

impl Feeding {
    /// What suits `protocol`, by its class alone: the rest is looked at whenever data comes in.
    pub(crate) fn of(protocol: &Object) -> Self {
        if stock::is_protocol(protocol) { Self::Stock } else { Self::Calls }
    }

    /// Hands `data` to the reader behind `protocol`; `false` where `data_received` must be called after all.
    #[inline]
    pub(crate) fn feed(self, protocol: &Object, data: &[u8]) -> Result<bool> {
        match self {
            Self::Calls => Ok(false),
            Self::Stock => stock::feed(protocol, data),
        }
    }
}
