//! What an operation shows to those who look at a waiting coroutine: frames, code, what it awaits.
//!
//! It has none of its own. What asyncio's function would show is made in Python, when somebody asks: `tulipa._frames`.
//! Called by the attributes of the class; nothing that runs an operation comes here.

use pyo3::prelude::*;

use super::{Life, Operation};
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Result};

/// `cr_frame`: the frame of asyncio's function of that name, while there is something left to run.
pub(super) fn frame(py: Python<'_>, this: &Object, operation: &Operation) -> Result<Object> {
    let inside = functions(operation);
    let own = [operation.qualified_name()];
    let names = if inside.is_empty() { &own } else { inside };
    if operation.life() == Life::Finished {
        return Ok(Object::none());
    }
    attribute(&stand_in(py, this, names)?, "cr_frame")
}

/// `cr_await`: the inner one of asyncio's functions, where several would be waiting, or what is awaited in truth. None
/// where that is the operation itself: whoever follows such references would never come to an end.
pub(super) fn awaited(py: Python<'_>, this: &Object, operation: &Operation) -> Result<Object> {
    let pending = operation.waiter.pending_object().unwrap_or_else(Object::none);
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
        .import(Text("tulipa._frames"))?
        .call_method1(Text("stock_function"), (Text(operation.qualified_name()),))?
        .into();
    attribute(&function, "__code__")
}

/// The functions in which the operation waits, if it does.
fn functions(operation: &Operation) -> &'static [&'static str] {
    if operation.life().is_suspended() { operation.machine().waits_in() } else { &[] }
}

/// A coroutine that waits in the functions of these names, or `None` where asyncio has no such.
fn stand_in(py: Python<'_>, this: &Object, names: &[&str]) -> Result<Object> {
    let names = make::tuple(py, names.iter().map(Text))?;
    Ok(py
        .import(Text("tulipa._frames"))?
        .call_method1(Text("coroutine_for"), (this.bound(py), names))?
        .into())
}

fn attribute(object: &Object, name: &str) -> Result<Object> {
    if object.is_none() {
        return Ok(Object::none());
    }
    // SAFETY: attached.
    Ok(object.bound(unsafe { Python::assume_attached() }).getattr(Text(name))?.into())
}
