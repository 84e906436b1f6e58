//! Noticing that a program has put its own `call_soon`, `time`, `call_later` or `call_at` over the loop's.
//!
//! Futures, timers and sleeps go past them as long as they are native; a subclass that overrides them, or an instance
//! that is assigned another or becomes one of such a subclass, is asked every time.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::EventLoop;
use super::core::Core;
use crate::ffi::make::Text;

/// Looks at the class of a new loop.
pub(super) fn inspect_class(class: &Bound<'_, PyType>, core: &Core) -> PyResult<()> {
    inspect(class, None, core)
}

/// Looks at the class of a loop and at its own attributes.
fn inspect(class: &Bound<'_, PyType>, own: Option<&Bound<'_, PyAny>>, core: &Core) -> PyResult<()> {
    let native = class.py().get_type::<EventLoop>();
    let overridden = |name: &str| -> PyResult<bool> {
        if own.map_or(Ok(false), |own| own.contains(Text(name)))? {
            return Ok(true);
        }
        Ok(!class.getattr(Text(name))?.is(&native.getattr(Text(name))?))
    };
    core.set_call_soon_overridden(overridden("call_soon")?);
    core.own_clock.set(overridden("time")?);
    core.set_own_factories(overridden("create_future")? || overridden("create_task")?);
    core.own_timers.set(overridden("call_later")? || overridden("call_at")?);
    Ok(())
}

/// `object.__setattr__`, or `object.__delattr__` without a value.
pub(super) fn set_attribute(
    slf: &Bound<'_, EventLoop>,
    name: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let pointer = value.map_or(std::ptr::null_mut(), pyo3::Bound::as_ptr);
    // SAFETY: live objects; a null value deletes.
    if unsafe { ffi::PyObject_GenericSetAttr(slf.as_ptr(), name.as_ptr(), pointer) } < 0 {
        return Err(PyErr::fetch(slf.py()));
    }
    let core = &slf.get().core;
    match name.extract::<&str>() {
        Ok("call_soon") if value.is_some() => core.set_call_soon_overridden(true),
        Ok("time") if value.is_some() => core.own_clock.set(true),
        Ok("create_future" | "create_task") if value.is_some() => core.set_own_factories(true),
        Ok("call_later" | "call_at") if value.is_some() => core.own_timers.set(true),
        Ok(
            "call_soon" | "time" | "create_future" | "create_task" | "call_later" | "call_at" | "__class__",
        ) => {
            inspect(&slf.get_type(), Some(&slf.getattr(Text("__dict__"))?), core)?;
        }
        _ => {}
    }
    Ok(())
}
