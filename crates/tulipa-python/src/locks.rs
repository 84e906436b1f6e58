//! Lock, Event, Condition, Semaphore, BoundedSemaphore and Barrier, with the rules of the running Python's own.
//!
//! Each class holds its state in cells; what its coroutine methods do between their waits are machines, driven by
//! `operations`. Whoever waits stays in the list until its task runs, woken or cancelled, as asyncio's futures do:
//! fairness rests on that. A method that a subclass overrides is called where asyncio calls it.

mod barrier;
mod condition;
mod entering;
mod event;
mod lock;
mod semaphore;

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyModule};
use pyo3::{PyClass, PyTypeInfo};

pub(crate) use barrier::Barrier;
pub(crate) use condition::Condition;
pub(crate) use event::{Event, Wait as WaitForEvent};
pub(crate) use lock::Lock;
pub(crate) use semaphore::{BoundedSemaphore, Semaphore};

use crate::ffi::Object;
use crate::ffi::class::{add_methods, name_plainly};
use crate::ffi::make::Text;
use crate::functions::show_coroutine_methods;
use crate::gc::nesting::{Nested, nested_classes};

nested_classes!(Lock, Event, Condition, Semaphore, BoundedSemaphore, Barrier);

/// Adds the classes to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // SAFETY: static tables of methods of these classes.
    unsafe {
        add_methods(&py.get_type::<Lock>(), &raw mut lock::METHODS)?;
        add_methods(&py.get_type::<Event>(), &raw mut event::METHODS)?;
        add_methods(&py.get_type::<Semaphore>(), &raw mut semaphore::METHODS)?;
        add_methods(&py.get_type::<BoundedSemaphore>(), &raw mut semaphore::BOUNDED_METHODS)?;
    }
    add::<Lock>(module, c"Lock")?;
    add::<Event>(module, c"Event")?;
    add::<Condition>(module, c"Condition")?;
    add::<Semaphore>(module, c"Semaphore")?;
    add::<BoundedSemaphore>(module, c"BoundedSemaphore")?;
    add::<Barrier>(module, c"Barrier")
}

/// Adds one of the toolbox's classes, called in messages as asyncio's own is.
pub(crate) fn add<T: PyClass + Nested>(module: &Bound<'_, PyModule>, name: &'static CStr) -> PyResult<()> {
    T::nest(module.py());
    module.add_class::<T>()?;
    name_plainly(T::type_object_raw(module.py()), name);
    show_coroutine_methods(&module.py().get_type::<T>(), "asyncio")
}

/// `object.__repr__`'s text with `extra` in it, as these classes have it: `<module.Class object at 0x... [extra]>`.
fn describe(object: &Bound<'_, PyAny>, extra: &str, waiters: usize) -> PyResult<Text<String>> {
    let class = object.get_type();
    let (module, name) = (class.module()?, class.qualname()?);
    let waiters = if waiters == 0 { String::new() } else { format!(", waiters:{waiters}") };
    Ok(Text(format!("<{module}.{name} object at {:p} [{extra}{waiters}]>", object.as_ptr())))
}

/// Whether the methods of `object` are those of the native class `T`: neither has a subclass come in between, nor have
/// attributes of its own, by which tests replace methods.
#[inline]
fn is_exactly<T: PyTypeInfo>(object: &Object) -> bool {
    is_of_class::<T>(object) && !has_attributes(object)
}

#[inline]
fn is_of_class<T: PyTypeInfo>(object: &Object) -> bool {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    object.class() == T::type_object_raw(py)
}

/// Whether anything was put into the instance's `__dict__`.
#[inline]
fn has_attributes(object: &Object) -> bool {
    // SAFETY: a live instance of a class of ours, whose `__dict__` lies at a fixed offset.
    unsafe {
        let offset = (*object.class()).tp_dictoffset;
        debug_assert!(offset > 0, "the class has room for attributes");
        let dict = *object.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>();
        !dict.is_null() && ffi::PyDict_Size(dict) > 0
    }
}

/// A count that is exactly an integer, and one that the machine has room for; others are compared by Python.
fn plain_count(given: &Bound<'_, PyAny>) -> Option<i64> {
    given.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// Whether the class of `object` is one of these, and not a subclass made elsewhere.
#[inline]
fn is_exactly_any(object: &Object) -> bool {
    is_exactly::<Lock>(object)
        || is_exactly::<Semaphore>(object)
        || is_exactly::<BoundedSemaphore>(object)
        || is_exactly::<Condition>(object)
}
