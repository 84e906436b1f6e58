//! Making the tasks of a group: at once on a loop that makes native ones, and by its `create_task()` otherwise.

use pyo3::prelude::*;
#[cfg(Py_3_14)]
use pyo3::types::PyDict;

use super::TaskGroup;
use crate::event_loop::core::Core;
#[cfg(not(Py_3_14))]
use crate::ffi::make;
use crate::ffi::make::Text;
use crate::ffi::{Object, Result};
use crate::stdlib::stdlib;
use crate::tasks::{self, Arguments};

/// `create_task` where all keywords are the loop's.
#[cfg(Py_3_14)]
pub(super) fn create(
    slf: &Bound<'_, TaskGroup>,
    coroutine: &Bound<'_, PyAny>,
    keywords: &Bound<'_, PyDict>,
) -> PyResult<Py<PyAny>> {
    let (py, group) = (slf.py(), slf.get());
    let (this, coroutine) = (Object::from_bound(slf.as_any()), Object::from_bound(coroutine));
    group.ensure_open(&this, &coroutine)?;
    let event_loop = group.event_loop.or_none();
    let native = Core::of(&event_loop).filter(|core| core.makes_tasks() && keywords.is_empty());
    let task = match native {
        Some(core) => make(py, &event_loop, core, coroutine, [None, None])?,
        None => event_loop
            .bound(py)
            .call_method(Text("create_task"), (coroutine.bound(py),), Some(keywords))?
            .into(),
    };
    group.adopt(&this, &task)?;
    Ok(task.bound(py).unbind())
}

#[cfg(not(Py_3_14))]
pub(super) fn create(
    slf: &Bound<'_, TaskGroup>,
    coroutine: &Bound<'_, PyAny>,
    name: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let (py, group) = (slf.py(), slf.get());
    let (this, coroutine) = (Object::from_bound(slf.as_any()), Object::from_bound(coroutine));
    group.ensure_open(&this, &coroutine)?;
    let event_loop = group.event_loop.or_none();
    let task = match Core::of(&event_loop).filter(|core| core.makes_tasks()) {
        Some(core) => {
            let given = [name, context].map(|given| given.map(Object::from_bound));
            make(py, &event_loop, core, coroutine, given)?
        }
        None => ask(py, &event_loop, &coroutine, name, context)?,
    };
    group.adopt(&this, &task)?;
    Ok(task.bound(py).unbind())
}

fn make(
    py: Python<'_>,
    event_loop: &Object,
    core: &Core,
    coroutine: Object,
    [name, context]: [Option<Object>; 2],
) -> Result<Object> {
    core.ensure_open()?;
    let given = name.clone();
    let arguments = Arguments { coroutine, name, context, eager_start: false };
    let task = tasks::create(py, event_loop.clone(), core, arguments)?;
    tasks::count_named(given.as_ref(), stdlib().behaviour.group_names_later);
    Ok(task)
}

/// `loop.create_task(coro, name=name, context=context)`; where asyncio does so the name is set afterwards.
#[cfg(not(Py_3_14))]
fn ask(
    py: Python<'_>,
    event_loop: &Object,
    coroutine: &Object,
    name: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
) -> Result<Object> {
    let keywords = make::dict(py)?;
    let names_later = stdlib().behaviour.group_names_later;
    if !names_later {
        keywords.set_item(Text("name"), name)?;
    }
    if let Some(context) = context {
        keywords.set_item(Text("context"), context)?;
    }
    let task =
        event_loop.bound(py).call_method(Text("create_task"), (coroutine.bound(py),), Some(&keywords))?;
    if let Some(name) = name.filter(|_| names_later) {
        py.import(Text("asyncio.tasks"))?.call_method1(Text("_set_task_name"), (&task, name))?;
    }
    Ok(task.into())
}
