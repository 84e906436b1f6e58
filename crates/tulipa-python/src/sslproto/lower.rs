//! The transport below: any that keeps asyncio's interface, and a shorter way where it is a native stream.

use pyo3::prelude::*;

use super::machine::Machine;
use crate::ffi::make::Text;
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;
use crate::transports;

/// The connection is made.
pub(super) fn attach(machine: &Machine, transport: Object) {
    machine.lower_is_native.set(transports::is_plain_socket(&transport));
    // start_tls() on a native connection: its callbacks go on in the surroundings that they had.
    let surroundings =
        transports::context_of(&transport).or_else(|| super::transport::surroundings(&transport));
    if let Some(surroundings) = surroundings {
        machine.surroundings.put(surroundings);
    }
    machine.lower.put(transport);
}

/// The connection is lost.
pub(super) fn detach(machine: &Machine) {
    machine.lower_is_native.set(false);
    machine.lower.set(None);
}

/// Gives it ciphertext. What is put into a native stream leaves with `send`.
pub(super) fn write(machine: &Machine, data: Object) -> Result<()> {
    let Some(transport) = machine.lower.get() else { return Ok(()) };
    if machine.lower_is_native.get() && transports::is_plain_socket(&transport) {
        return transports::put(&transport, data);
    }
    call::method1(&transport, &stdlib().names.write, &data).map(drop)
}

/// Has a native stream send what it was given.
pub(super) fn send(machine: &Machine) -> Result<()> {
    match machine.lower.get() {
        Some(transport) if machine.lower_is_native.get() => transports::send(&transport),
        _ => Ok(()),
    }
}

pub(super) fn pause_reading(machine: &Machine) -> Result<()> {
    tell(machine, "pause_reading")
}

pub(super) fn resume_reading(machine: &Machine) -> Result<()> {
    tell(machine, "resume_reading")
}

pub(super) fn close(machine: &Machine) -> Result<()> {
    tell(machine, "close")
}

fn tell(machine: &Machine, method: &str) -> Result<()> {
    if let Some(transport) = machine.lower.get() {
        // SAFETY: attached.
        transport.bound(unsafe { Python::assume_attached() }).call_method0(Text(method))?;
    }
    Ok(())
}

/// Closes it at once, for a reason or without one. asyncio's transports take the reason; one of a program's own that
/// has no such method is aborted.
pub(super) fn force_close(machine: &Machine, error: &Object) -> Result<()> {
    let Some(transport) = machine.lower.get() else { return Ok(()) };
    if let Some(force_close) = call::getattr_opt(&transport, &stdlib().names.force_close)? {
        return call::call1(&force_close, error).map(drop);
    }
    // It will say that the connection is lost for no reason.
    machine.reason.set(Some(error.clone()).filter(|error| !error.is_none()));
    tell(machine, "abort")
}

/// Whether it is closing.
#[cfg(Py_3_14)]
pub(super) fn is_closing(machine: &Machine) -> Result<bool> {
    let Some(transport) = machine.lower.get() else { return Ok(false) };
    // SAFETY: attached.
    Ok(transport.bound(unsafe { Python::assume_attached() }).call_method0(Text("is_closing"))?.is_truthy()?)
}
