//! `contextvars.Context`: copying the current one, entering and leaving one.

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use super::{Object, Raised, Result};

/// Where a context keeps its variables, an immutable mapping that copies have in common; `None` where that was not found.
static VARIABLES: OnceLock<Option<usize>> = OnceLock::new();

/// Finds out where contexts keep their variables; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    if VARIABLES.get().is_none() {
        let _ = VARIABLES.set(find_variables(py)?);
    }
    Ok(())
}

/// The one word that a context with a variable has in common with its copy, and not with an empty context.
fn find_variables(py: Python<'_>) -> PyResult<Option<usize>> {
    let module = py.import("contextvars")?;
    let variable = module.getattr("ContextVar")?.call1(("tulipa",))?;
    let [empty, filled] = [module.getattr("Context")?.call0()?, module.getattr("Context")?.call0()?];
    filled.call_method1("run", (variable.getattr("set")?, 1))?;
    let copy = filled.call_method0("copy")?;
    let [empty, filled, copy] = [empty, filled, copy].map(Object::from);
    let [empty_words, filled_words, copied_words] = [words(&empty), words(&filled), words(&copy)];
    let header = size_of::<ffi::PyObject>() / size_of::<usize>();
    let is_place = |&index: &usize| {
        let word = filled_words[index];
        word != 0 && word == copied_words[index] && word != empty_words[index]
    };
    let mut places = (header..filled_words.len()).filter(is_place);
    // Found twice it would be a guess.
    Ok(places.next().filter(|_| places.next().is_none()).map(|index| index * size_of::<usize>()))
}

/// A context, word by word.
fn words(context: &Object) -> &[usize] {
    // SAFETY: a live class.
    let size = unsafe { (*context.class()).tp_basicsize }.cast_unsigned();
    // SAFETY: an instance has as many initialised bytes as its class says.
    unsafe { std::slice::from_raw_parts(context.as_ptr().cast::<usize>(), size / size_of::<usize>()) }
}

/// Whether `have_same_variables` is ever true.
#[inline]
pub(crate) fn can_compare() -> bool {
    !cfg!(Py_GIL_DISABLED) && VARIABLES.get().is_some_and(Option::is_some)
}

/// Whether two contexts have the very same variables, so that one may stand for the other.
#[inline]
pub(crate) fn have_same_variables(one: &Object, other: &Object) -> bool {
    let Some(&Some(offset)) = VARIABLES.get() else { return false };
    // SAFETY: callers hold contexts, in which the word was found.
    let [one, other] =
        [one, other].map(|context| unsafe { context.as_ptr().byte_add(offset).cast::<usize>().read() });
    one == other
}

/// How many references to `context` there are.
#[inline]
pub(crate) fn references(context: &Object) -> isize {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(context.as_ptr()) }
}

/// A copy of the current context, as `contextvars.copy_context()` makes it.
#[inline]
pub(crate) fn copy_current() -> Result<Object> {
    // SAFETY: the function returns a new reference or null with an exception set.
    unsafe { Object::steal(ffi::PyContext_CopyCurrent()) }
}

/// A copy of `context`.
pub(crate) fn copy(context: &Object) -> Result<Object> {
    // SAFETY: a live object; anything but a context is refused with an exception.
    unsafe { Object::steal(ffi::PyContext_Copy(context.as_ptr())) }
}

/// Runs `body` inside `context`, as `Context.run` does.
#[inline]
pub(crate) fn run_in<T>(context: &Object, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: a live object; anything but a context is refused with an exception.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(Raised);
    }
    let result = body();
    leave(context, result)
}

/// The same in a copy of `context`, which itself may be entered already.
pub(crate) fn run_in_copy<T>(context: &Object, body: impl FnOnce() -> Result<T>) -> Result<T> {
    run_in(&copy(context)?, body)
}

#[inline]
fn leave<T>(context: &Object, result: Result<T>) -> Result<T> {
    // SAFETY: the context was entered just before; leaving works with an exception set.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(Raised);
    }
    result
}

/// Whether `object` is a `contextvars.Context`.
pub(crate) fn is_context(object: &Object) -> bool {
    // SAFETY: reads the object's class.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}
