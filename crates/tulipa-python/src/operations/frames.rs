//! What an operation shows to those who look at a waiting coroutine: frames, code, what it awaits.
//!
//! It has none of its own. What asyncio's function would show is made in Python, when somebody asks: `tulipa._frames`.
//! Called by the attributes of the class; nothing that runs an operation comes here.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{Life, Operation};
use crate::ffi::{Object, Result};

/// `cr_frame`: the frame of asyncio's function of that name, while there is something left to run.
pub(super) fn frame(py: Python<'_>, this: &Object, operation: &Operation) -> Result<Object> {
    let inside = functions(operation);
    let own = [operation.machine().qualified_name()];
    let names = if inside.is_empty() { &own } else { inside };
    match operation.life.get() {
        Life::Finished => Ok(Object::none()),
        Life::Created | Life::Running | Life::Suspended => attribute(&stand_in(py, this, names)?, "cr_frame"),
    }
}

/// `cr_await`: the inner one of asyncio's functions, where several would be waiting, or what is awaited in truth.
pub(super) fn awaited(py: Python<'_>, this: &Object, operation: &Operation) -> Result<Object> {
    let pending = operation.pending.or_none();
    let inside = functions(operation);
    if inside.len() < 2 {
        return Ok(pending);
    }
    let shown = stand_in(py, this, inside)?;
    if shown.is_none() { Ok(pending) } else { attribute(&shown, "cr_await") }
}

/// `cr_code`: the code of asyncio's function of that name.
pub(super) fn code(py: Python<'_>, operation: &Operation) -> Result<Object> {
    let function = py
        .import("tulipa._frames")?
        .call_method1("stock_function", (operation.machine().qualified_name(),))?
        .into();
    attribute(&function, "__code__")
}

/// The functions in which the operation waits, if it does.
fn functions(operation: &Operation) -> &'static [&'static str] {
    if operation.life.get() == Life::Suspended { operation.machine().waits_in() } else { &[] }
}

/// A coroutine that waits in the functions of these names, or `None` where asyncio has no such.
fn stand_in(py: Python<'_>, this: &Object, names: &[&str]) -> Result<Object> {
    let names = PyTuple::new(py, names)?;
    Ok(py.import("tulipa._frames")?.call_method1("coroutine_for", (this.bound(py), names))?.into())
}

fn attribute(object: &Object, name: &str) -> Result<Object> {
    if object.is_none() {
        return Ok(Object::none());
    }
    // SAFETY: attached.
    Ok(object.bound(unsafe { Python::assume_attached() }).getattr(name)?.into())
}
