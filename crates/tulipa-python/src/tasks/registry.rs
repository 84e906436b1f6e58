//! All native tasks, without keeping any alive: what `asyncio.all_tasks()` reads.
//!
//! From 3.14 on CPython links every task derived from its own class into a list that `all_tasks` walks, so
//! registering there is all it takes. Before, `all_tasks` iterates a weak set found through a module global;
//! adding every task to a weak set costs more than running a short one. So native tasks are linked into a list
//! of their own, and the global is replaced, when the first of them is made, by a set that iterates both.

#[cfg(not(Py_3_14))]
use std::cell::Cell;
#[cfg(not(Py_3_14))]
use std::ptr;

#[cfg(not(Py_3_14))]
use pyo3::exceptions::PyRuntimeError;
#[cfg(not(Py_3_14))]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySet};
use pyo3::{PyTraverseError, PyVisit};

#[cfg(not(Py_3_14))]
use super::TaskState;
#[cfg(not(Py_3_14))]
use crate::ffi::args::Args;
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Result, call};
#[cfg(not(Py_3_14))]
use crate::futures::any;
#[cfg(not(Py_3_14))]
use crate::futures::places::offset;
#[cfg(not(Py_3_14))]
use crate::operations::running_loop;
use crate::stdlib::stdlib;

/// A task's links; unlinked ones point nowhere. Read and written only while attached (S1). From 3.14 on CPython's own
/// are used.
pub(crate) struct Links {
    #[cfg(not(Py_3_14))]
    previous: Cell<*const Links>,
    #[cfg(not(Py_3_14))]
    next: Cell<*const Links>,
}

#[cfg(Py_3_14)]
impl Links {
    pub(crate) const fn new() -> Self {
        Self {}
    }

    #[allow(clippy::unused_self, reason = "the same signature as where there are links")]
    fn link(&self) {}

    #[allow(clippy::unused_self, reason = "as above")]
    pub(super) fn unlink(&self) {}
}

#[cfg(not(Py_3_14))]
impl Links {
    pub(crate) const fn new() -> Self {
        Self { previous: Cell::new(ptr::null()), next: Cell::new(ptr::null()) }
    }

    #[inline]
    fn is_linked(&self) -> bool {
        !self.previous.get().is_null() || ptr::eq(HEAD.0.get(), self)
    }

    /// The task that these links are part of; borrowed.
    fn owner(&self) -> *mut ffi::PyObject {
        let state = ptr::from_ref(self).cast_mut().wrapping_byte_sub(std::mem::offset_of!(TaskState, links));
        state.wrapping_byte_sub(offset()).cast()
    }

    #[inline]
    fn link(&self) {
        if self.is_linked() {
            return;
        }
        let head = HEAD.0.replace(self);
        self.next.set(head);
        // SAFETY: linked tasks are allocated: `unlink` runs before their memory goes.
        if let Some(head) = unsafe { head.as_ref() } {
            head.previous.set(self);
        }
    }

    pub(super) fn unlink(&self) {
        if !self.is_linked() {
            return;
        }
        let (previous, next) = (self.previous.replace(ptr::null()), self.next.replace(ptr::null()));
        // SAFETY: neighbours are linked, so they are allocated.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => HEAD.0.set(next),
        }
        // SAFETY: as above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.previous.set(previous);
        }
    }
}

#[cfg(not(Py_3_14))]
impl Drop for Links {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// The list's head. One list serves all loops and threads, as asyncio's weak set does.
#[cfg(not(Py_3_14))]
struct Head(Cell<*const Links>);

// SAFETY: S1: touched only by attached threads, one at a time, between calls into Python.
#[cfg(not(Py_3_14))]
unsafe impl Sync for Head {}

#[cfg(not(Py_3_14))]
static HEAD: Head = Head(Cell::new(ptr::null()));

/// Makes `all_tasks()` see the task, as its constructor does.
#[inline]
pub(crate) fn register(task: &Object, links: &Links) -> Result<()> {
    if cfg!(Py_3_14) {
        return call::builtin(&stdlib().register_task, [task]).map(drop);
    }
    links.link();
    Ok(())
}

/// Forgets a finished task. Before 3.14 `all_tasks` leaves finished ones out by itself, but a shorter list is
/// also a faster one.
#[inline]
pub(crate) fn unregister(task: &Object, links: &Links) -> Result<()> {
    if cfg!(Py_3_14) {
        return call::builtin(&stdlib().unregister_task, [task]).map(drop);
    }
    links.unlink();
    Ok(())
}

/// New references to all linked tasks: none where CPython links them.
#[cfg(Py_3_14)]
fn linked() -> Vec<Object> {
    Vec::new()
}

/// New references to all linked tasks.
///
/// But for those that are being freed: an instance of a subclass is still linked while its class's own part goes, which
/// can run Python code, and so is a task whose freeing CPython has put off.
#[cfg(not(Py_3_14))]
fn linked() -> Vec<Object> {
    let mut tasks = Vec::new();
    let mut place = HEAD.0.get();
    // SAFETY: linked tasks are allocated, and counting up calls nobody who could unlink one.
    while let Some(links) = unsafe { place.as_ref() } {
        let task = links.owner();
        // SAFETY: as above; linked links are part of their task.
        if unsafe { ffi::Py_REFCNT(task) } > 0 {
            // SAFETY: as above, and alive.
            tasks.push(unsafe { Object::borrow(task) });
        }
        place = links.next.get();
    }
    tasks
}

/// Stands in for asyncio's weak set of scheduled tasks: what that holds, and the native tasks.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct ScheduledTasks {
    /// asyncio's own set, where stock and foreign tasks go.
    stock: Py<PyAny>,
}

#[pymethods]
impl ScheduledTasks {
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.everything(py)?.try_iter().map(Bound::into_any)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.everything(py)?.len())
    }

    fn __contains__(&self, py: Python<'_>, task: &Bound<'_, PyAny>) -> PyResult<bool> {
        let native = linked().iter().any(|linked| linked.is(task.as_ptr()));
        Ok(native || self.stock.bind(py).contains(task)?)
    }

    fn add(&self, py: Python<'_>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stock.bind(py).call_method1(Text("add"), (task,)).map(drop)
    }

    fn discard(&self, py: Python<'_>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stock.bind(py).call_method1(Text("discard"), (task,)).map(drop)
    }

    /// The set of weak references, as `WeakSet.data` has it; debuggers read it.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        let weak = py.import(Text("weakref"))?.getattr(Text("ref"))?;
        let data = PySet::empty(py)?;
        for task in self.everything(py)? {
            data.add(weak.call1((task,))?)?;
        }
        Ok(data)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.call(&self.stock)
    }
}

impl ScheduledTasks {
    fn everything<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let stock = self.stock.bind(py).try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let list = make::list_of(py, stock)?;
        for task in linked() {
            list.append(task.bound(py))?;
        }
        Ok(list)
    }
}

/// The names of asyncio's sets of tasks in its module.
const SCHEDULED: &str = if cfg!(Py_3_12) { "_scheduled_tasks" } else { "_all_tasks" };
#[cfg(all(Py_3_12, not(Py_3_14)))]
const EAGER: &str = "_eager_tasks";

/// `all_tasks(loop=None)`. A set that changes while it is iterated is left to the stock function, which tries again.
#[cfg(not(Py_3_14))]
pub(crate) fn all_tasks(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([given]) = args.bind(1, 0, [&stdlib().names.loop_]) else { return Ok(None) };
    let event_loop = match given.filter(|given| !given.is_none()) {
        Some(given) => given,
        None => running_loop()?,
    };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let Some(everything) = known_tasks(py)? else { return Ok(None) };
    let tasks = PySet::empty(py)?;
    for task in everything {
        if any::loop_of(&task)?.is(event_loop.as_ptr()) && !any::done(&task)? {
            tasks.add(task.bound(py))?;
        }
    }
    Ok(Some(tasks.into_any().into()))
}

/// Every task that asyncio or Tulipa knows of; `None` where another thread has changed a set meanwhile.
#[cfg(not(Py_3_14))]
fn known_tasks(py: Python<'_>) -> Result<Option<Vec<Object>>> {
    let module = py.import(Text("asyncio.tasks"))?;
    let mut tasks = Vec::new();
    // Eager ones first, as one that becomes an ordinary task meanwhile is found there then.
    #[cfg(Py_3_12)]
    let sets = [module.getattr(Text(EAGER))?, module.getattr(Text(SCHEDULED))?];
    #[cfg(not(Py_3_12))]
    let sets = [module.getattr(Text(SCHEDULED))?];
    for set in sets {
        let stock = match set.cast::<ScheduledTasks>() {
            Ok(spliced) => spliced.get().stock.bind(py).clone(),
            Err(_) => set.clone(),
        };
        for task in stock.try_iter()? {
            match task {
                Ok(task) => tasks.push(task.into()),
                Err(error) if error.is_instance_of::<PyRuntimeError>(py) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
    tasks.extend(linked());
    Ok(Some(tasks))
}

/// Puts the stand-in where `all_tasks()` looks; called when the first loop or task is made. Idempotent.
pub(crate) fn splice(py: Python<'_>) -> PyResult<()> {
    if cfg!(Py_3_14) {
        return Ok(());
    }
    let module = py.import(Text("asyncio.tasks"))?;
    let found = module.getattr(Text(SCHEDULED))?;
    if found.is_instance_of::<ScheduledTasks>() {
        return Ok(());
    }
    module.setattr(Text(SCHEDULED), Bound::new(py, ScheduledTasks { stock: found.unbind() })?)
}
