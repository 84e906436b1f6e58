//! Streams: StreamReader, StreamWriter and the protocol between them and a transport, after `Lib/asyncio/streams.py`.
//!
//! `reader` and `buffer` hold what has come in, `reading` and `lines` are the coroutines that take it, `protocol` and
//! `flow` face the transport, `writer` the program; the `_class` files are what Python sees of each. `instance` and
//! `originals` say whether an object still behaves as its class was made. `stock` feeds asyncio's own readers, where a
//! program uses those. What opens and serves connections is Python code, in the package.

mod buffer;
mod bytearray;
mod counts;
mod errors;
mod flow;
mod instance;
mod lines;
mod originals;
mod protocol;
mod protocol_class;
mod reader;
mod reader_class;
mod reading;
mod separators;
mod stock;
mod writer;
mod writer_class;

use pyo3::ffi::PyTypeObject;
use pyo3::prelude::*;

use crate::ffi::{Object, Result};

/// Makes the classes, which come back with their names; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<[(&'static str, *mut PyTypeObject); 4]> {
    stock::initialise(py)?;
    let [flow, protocol] = protocol_class::initialise()?;
    Ok([
        ("FlowControlMixin", flow),
        ("StreamReaderProtocol", protocol),
        ("StreamReader", reader_class::initialise()?),
        ("StreamWriter", writer_class::initialise()?),
    ])
}

/// What has come in, and is not empty.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    /// In memory that will be used again.
    Passing(&'a [u8]),
    /// In a `bytes` object, which may be kept.
    Whole(&'a Object),
}

impl<'a> Data<'a> {
    /// Of exactly a `bytes` object.
    pub(crate) fn of(bytes: &'a Object) -> Self {
        Self::Whole(bytes)
    }

    #[inline]
    fn as_slice(self) -> &'a [u8] {
        match self {
            Self::Passing(data) => data,
            Self::Whole(bytes) => buffer::as_slice(bytes),
        }
    }
}

/// Hands `data` to a native StreamReader past its protocol; `false` where that must be told after all.
#[inline]
pub(crate) fn feed_reader(reader: &Object, data: Data<'_>) -> Result<bool> {
    protocol::feed_reader(reader, data)
}

/// How what a transport receives reaches its protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feeding {
    /// By calling `data_received`.
    Calls,
    /// Into the buffer of a native StreamReader, behind the native protocol.
    Native,
    /// Into the buffer of asyncio's own StreamReader, behind its own protocol.
    Stock,
}

impl Feeding {
    /// What suits `protocol`, by its class alone: the rest is looked at whenever data comes in.
    pub(crate) fn of(protocol: &Object) -> Self {
        if protocol::is_protocol(protocol) {
            Self::Native
        } else if stock::is_protocol(protocol) {
            Self::Stock
        } else {
            Self::Calls
        }
    }

    /// Hands `data` to the reader behind `protocol`; `false` where `data_received` must be called after all.
    #[inline]
    pub(crate) fn feed(self, protocol: &Object, data: Data<'_>) -> Result<bool> {
        match self {
            Self::Calls => Ok(false),
            Self::Native => protocol::feed(protocol, data),
            Self::Stock => stock::feed(protocol, data.as_slice()),
        }
    }
}
