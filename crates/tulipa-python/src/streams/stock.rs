//! asyncio's own StreamReader behind its own StreamReaderProtocol, fed without a call into Python.
//!
//! What happens is what `data_received`, `feed_data` and `_wakeup_waiter` do, in their order. Anything out of the
//! ordinary (a subclass, a replaced method, a buffer above its limit, a waiter of another make) is left to them: they
//! are called, and raise what they raise.

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use super::bytearray;
use super::counts;
use super::originals::Originals;
use crate::ffi::make::Text;
use crate::ffi::{Object, Raised, Result, call};
use crate::futures::{self, Phase};
use crate::stdlib::stdlib;

/// asyncio's two classes as they were when the module was made.
struct Stock {
    protocol: Originals,
    reader: Originals,
}

/// The method of each that an instance may have replaced for itself.
const DATA_RECEIVED: usize = 0;
const FEED_DATA: usize = 0;

static STOCK: OnceLock<Stock> = OnceLock::new();

/// Looks at asyncio's classes; called by the module's initialisation.
pub(super) fn initialise(py: Python<'_>) -> PyResult<()> {
    if STOCK.get().is_some() {
        return Ok(());
    }
    let module = py.import(Text("asyncio.streams"))?;
    let originals = |class: &str, names: &[&str]| {
        Originals::new(&stdlib_class(&module, class)?, "asyncio.streams", names)
    };
    let stock = Stock {
        protocol: originals("StreamReaderProtocol", &["data_received", "_stream_reader"])?,
        reader: originals("StreamReader", &["feed_data", "_wakeup_waiter", "_source_traceback"])?,
    };
    // A second thread that imported at the same moment found the same.
    let _ = STOCK.set(stock);
    Ok(())
}

fn stdlib_class<'py>(module: &Bound<'py, PyModule>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    module.getattr(Text(name))
}

/// Whether `protocol` is exactly asyncio's own.
pub(super) fn is_protocol(protocol: &Object) -> bool {
    STOCK.get().is_some_and(|stock| stock.protocol.is_exact(protocol))
}

/// Feeds `data`; `false` where nothing has happened and `data_received` must be called.
pub(super) fn feed(protocol: &Object, data: &[u8]) -> Result<bool> {
    let Some((reader, buffer)) = usual_reader(protocol) else { return Ok(false) };
    let names = &stdlib().names;
    let Some(waiter) = attribute(&reader, &names.waiter) else { return Ok(false) };
    if !waiter.is_none() && !is_usual_waiter(&waiter) {
        return Ok(false);
    }
    if !has_room(&reader, bytearray::len(&buffer) + data.len()) {
        return Ok(false);
    }
    if let Err(raised) = bytearray::append(&buffer, data) {
        // `data_received` will fail again, and say why.
        raised.clear();
        return Ok(false);
    }
    if waiter.is_none() {
        return Ok(true);
    }
    call::setattr(&reader, &names.waiter, &Object::none())?;
    // SAFETY: exactly a native future, see `is_usual_waiter`.
    let state = unsafe { futures::state_of(waiter.as_ptr()) };
    if state.phase() == Phase::Pending {
        state.set_result(&waiter, Object::none())?;
    }
    Ok(true)
}

/// The reader of `protocol` and its buffer, if both classes and instances are as asyncio made them.
#[inline]
fn usual_reader(protocol: &Object) -> Option<(Object, Object)> {
    let stock = STOCK.get()?;
    if !stock.protocol.is_untouched() || !stock.reader.is_untouched() {
        return None;
    }
    let names = &stdlib().names;
    let reader = referent(&attribute(protocol, &names.stream_reader_wr)?)?;
    if !stock.reader.is_exact(&reader)
        || !stock.protocol.is_own_method(protocol, DATA_RECEIVED)
        || !stock.reader.is_own_method(&reader, FEED_DATA)
    {
        return None;
    }
    // SAFETY: reading the address of a constant.
    if !attribute(&reader, &names.private_eof)?.is(unsafe { ffi::Py_False() }) {
        return None;
    }
    let buffer = attribute(&reader, &names.private_buffer)?;
    bytearray::is_exact(&buffer).then_some((reader, buffer))
}

/// What a weak reference refers to; none for anything else.
fn referent(reference: &Object) -> Option<Object> {
    let mut referent = std::ptr::null_mut();
    // SAFETY: a live object, and a place for the answer; what is no reference is refused with an exception.
    if unsafe { ffi::compat::PyWeakref_GetRef(reference.as_ptr(), &raw mut referent) } < 0 {
        Raised.clear();
    }
    // SAFETY: null or a new reference.
    unsafe { Object::owned_opt(referent) }
}

/// A native future that waits, or was cancelled; a done one makes asyncio's code raise.
fn is_usual_waiter(waiter: &Object) -> bool {
    // SAFETY: exactly a native future or task.
    futures::is_exact(waiter) && unsafe { futures::state_of(waiter.as_ptr()) }.phase() != Phase::Finished
}

/// Whether a buffer of `size` bytes leaves reading as it is: above twice the limit it is paused.
fn has_room(reader: &Object, size: usize) -> bool {
    let Some(limit) = attribute(reader, &stdlib().names.private_limit) else { return false };
    let limit = counts::plain(&limit).and_then(|limit| usize::try_from(limit).ok());
    limit.is_some_and(|limit| size <= limit.saturating_mul(2))
}

/// `object.name`, where it has that.
#[inline]
fn attribute(object: &Object, name: &Object) -> Option<Object> {
    call::getattr_opt(object, name).map_err(Raised::clear).ok().flatten()
}
