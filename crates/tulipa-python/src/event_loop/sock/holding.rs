//! Keeping a socket open while an operation waits for it, by the count in which `socket.makefile()` keeps its files.
//!
//! `close()` then takes effect when the last holder lets go. asyncio closes the descriptor at once: what waits for it is
//! never woken, or by whatever file the kernel gives the number to next.

use pyo3::prelude::*;

use crate::ffi::make;
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;

/// Counts one holder more. `socket` is an instance of the standard library's class.
pub(super) fn hold(socket: &Object) -> Result<()> {
    change(socket, 1).map(drop)
}

/// Counts one holder less, and closes the socket if its program has closed it meanwhile.
pub(super) fn release(socket: &Object) -> Result<()> {
    if change(socket, -1)? == 0 && call::truth(&call::getattr(socket, &stdlib().names.private_closed)?)? {
        call::method0(socket, &stdlib().names.close)?;
    }
    Ok(())
}

/// The new count.
fn change(socket: &Object, by: isize) -> Result<isize> {
    let name = &stdlib().names.io_refs;
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let count = call::getattr(socket, name)?.bound(py).extract::<isize>()? + by;
    let changed = make::int(py, count)?;
    call::setattr(socket, name, &Object::from_bound(changed.as_any()))?;
    Ok(count)
}
