//! Steps and wake-ups as callables, for loops that are not Tulipa's and for eyes that look into callbacks.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::step;
use crate::ffi::class::onearg;
use crate::ffi::make;
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;

/// What a task hands to `call_soon` for its next step. Messages show it as asyncio's own.
#[pyclass(module = "_asyncio", frozen, weakref)]
pub(crate) struct TaskStepMethWrapper {
    task: Py<PyAny>,
    exception: Option<Py<PyAny>>,
}

#[pymethods]
impl TaskStepMethWrapper {
    fn __call__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let task = Object::from_bound(this.task.bind(slf.py()));
        let exception = this.exception.as_ref().map(|exception| Object::from_bound(exception.bind(slf.py())));
        step::step_anywhere(&task, exception).map_err(PyErr::from)
    }

    /// There asyncio's class says of no module that it is from there.
    #[cfg(not(Py_3_12))]
    fn __repr__(slf: &Bound<'_, Self>) -> crate::ffi::make::Text<String> {
        crate::ffi::make::Text(format!("<TaskStepMethWrapper object at {:p}>", slf.as_ptr()))
    }

    /// The task: the loop's debug mode finds out by it whose step was slow.
    #[getter]
    fn __self__(&self, py: Python<'_>) -> Py<PyAny> {
        self.task.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.call(&self.task)?;
        visit.call(&self.exception)
    }
}

/// A callable that performs the task's next step, throwing `exception` where there is one.
pub(crate) fn step_callable(task: &Object, exception: Option<&Object>) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let wrapper = TaskStepMethWrapper {
        task: task.bound(py).unbind(),
        exception: exception.map(|exception| exception.bound(py).unbind()),
    };
    Ok(Bound::new(py, wrapper)?.into_any().into())
}

static mut WAKEUP: ffi::PyMethodDef =
    onearg(c"task_wakeup", wakeup, c"Continue the task with the outcome of a future.");

unsafe extern "C" fn wakeup(task: *mut ffi::PyObject, future: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: the method is bound to a native task, and called with a live argument.
        let (task, future) = unsafe { (Object::borrow(task), Object::borrow(future)) };
        step::wakeup_anywhere(&task, &future)?;
        Ok(Object::none())
    })
}

/// A callable that continues the task with the outcome of the future it is called with. Two of them for the
/// same task are equal, as builtin methods are.
pub(crate) fn wakeup_callable(task: &Object) -> Result<Object> {
    // SAFETY: the definition is static; the method owns a reference to the task.
    unsafe { Object::steal(ffi::PyCFunction_New(&raw mut WAKEUP, task.as_ptr())) }
}

/// `loop.call_soon(function[, argument], context=context)`.
pub(crate) fn call_soon(
    event_loop: &Object,
    function: &Object,
    argument: Option<&Object>,
    context: &Object,
) -> Result<()> {
    let names = &stdlib().names;
    let keywords = keyword_tuple(&names.context)?;
    let mut arguments = vec![event_loop.as_ptr(), function.as_ptr()];
    arguments.extend(argument.map(Object::as_ptr));
    arguments.push(context.as_ptr());
    call::vectorcall_method(&arguments, &names.call_soon, keywords.as_ptr()).map(drop)
}

/// `future.add_done_callback(callback, context=context)`.
pub(super) fn add_done_callback(future: &Object, callback: &Object, context: &Object) -> Result<()> {
    let names = &stdlib().names;
    let keywords = keyword_tuple(&names.context)?;
    let arguments = [future.as_ptr(), callback.as_ptr(), context.as_ptr()];
    call::vectorcall_method(&arguments, &names.add_done_callback, keywords.as_ptr()).map(drop)
}

/// `future.cancel(message)`.
pub(crate) fn cancel_by_call(future: &Object, message: Option<&Object>) -> Result<bool> {
    let message = message.cloned().unwrap_or_else(Object::none);
    call::truth(&call::method1(future, &stdlib().names.cancel, &message)?)
}

/// `future.cancel(msg=message)`, as asyncio's Python functions call it.
pub(crate) fn cancel_by_name(future: &Object, message: Option<&Object>) -> Result<bool> {
    let names = &stdlib().names;
    let message = message.cloned().unwrap_or_else(Object::none);
    let keywords = keyword_tuple(&names.msg)?;
    let arguments = [future.as_ptr(), message.as_ptr()];
    call::truth(&call::vectorcall_method(&arguments, &names.cancel, keywords.as_ptr())?)
}

fn keyword_tuple(name: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(make::tuple(py, [name.bound(py)])?.into_any().into())
}
