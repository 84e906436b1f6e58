//! `ensure_future()` and `create_task()`: from a coroutine or a future to a future.
//!
//! The two usual arguments are seen to here. Everything else (other awaitables, other loops, mistakes) is asyncio's own
//! function's to deal with.

use pyo3::ffi;
use pyo3::prelude::*;

use super::class::{Arguments, create};
use super::name::count_named;
use crate::event_loop::core::Core;
use crate::ffi::args::Args;
use crate::ffi::{Object, Result, call};
use crate::futures::any;
use crate::stdlib::stdlib;

/// `ensure_future(coro_or_future, *, loop=None)`.
pub(crate) fn ensure_future_function(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([awaitable, event_loop]) =
        args.bind(1, 1, [&stdlib().names.coro_or_future, &stdlib().names.loop_])
    else {
        return Ok(None);
    };
    let awaitable = awaitable.expect("it is required");
    let event_loop = event_loop.filter(|given| !given.is_none());
    ensure_future(&awaitable, event_loop.as_ref()).map(Some)
}

/// The future that stands for `awaitable`, on `event_loop` or else the current one.
pub(crate) fn ensure_future(awaitable: &Object, event_loop: Option<&Object>) -> Result<Object> {
    if any::is_future(awaitable)? {
        return match event_loop {
            Some(event_loop) if !any::loop_of(awaitable)?.is(event_loop.as_ptr()) => {
                by_asyncio(awaitable, Some(event_loop))
            }
            _ => Ok(awaitable.clone()),
        };
    }
    if awaitable.class() != &raw mut ffi::PyCoro_Type {
        return by_asyncio(awaitable, event_loop);
    }
    let event_loop = match event_loop {
        Some(given) => given.clone(),
        None => call::call0(&stdlib().event_loop)?,
    };
    match Core::of(&event_loop) {
        Some(core) if core.makes_tasks() && !core.is_closed() => {
            make(event_loop.clone(), core, awaitable.clone())
        }
        _ => by_asyncio(awaitable, Some(&event_loop)),
    }
}

/// A native task on a loop that makes no others.
fn make(event_loop: Object, core: &Core, coroutine: Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    create(py, event_loop, core, Arguments { coroutine, name: None, context: None, eager_start: false })
}

#[cold]
fn by_asyncio(awaitable: &Object, event_loop: Option<&Object>) -> Result<Object> {
    let function = &stdlib().ensure_future;
    let Some(event_loop) = event_loop else { return call::call1(function, awaitable) };
    call::with_keyword(function, &[awaitable], &stdlib().names.loop_, event_loop)
}

/// `create_task(coro, ...)`.
pub(crate) fn create_task(args: &Args<'_>) -> Result<Option<Object>> {
    let names = &stdlib().names;
    let Some([coroutine, name, context]) = args.bind(1, 1, [&names.coro, &names.name, &names.context]) else {
        return Ok(None);
    };
    let event_loop = call::call0(&stdlib().running_loop)?;
    let Some(core) = Core::of(&event_loop).filter(|core| core.makes_tasks()) else { return Ok(None) };
    core.ensure_open()?;
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let coroutine = coroutine.expect("it is required");
    let given = name.clone();
    let task =
        create(py, event_loop.clone(), core, Arguments { coroutine, name, context, eager_start: false })?;
    count_named(given.as_ref(), stdlib().behaviour.create_task_names_later);
    Ok(Some(task))
}
