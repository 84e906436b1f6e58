//! `Task`: drives a coroutine by sending into it and waiting on the futures it yields.
//!
//! On a Tulipa loop a step is one entry of the ready queue, and a native future that a task waits on wakes it
//! with another; no Handle and no callable object comes between. On any other loop the same steps go through
//! `call_soon` with callables that look like those of asyncio's own tasks.

pub(crate) mod any;
pub(crate) mod as_completed;
#[cfg(Py_3_14)]
pub(crate) mod base_fields;
pub(crate) mod callables;
mod class;
pub(crate) mod current;
pub(crate) mod ensure_future;
mod methods;
mod name;
pub(crate) mod registry;
pub(crate) mod shield;
mod step;
pub(crate) mod wait;

use std::ffi::CStr;

use pyo3::ffi;

pub(crate) use callables::{call_soon, wakeup_callable};
pub(crate) use class::{Arguments, create, is_coroutine, iscoroutine, make_class};
pub(crate) use name::count_named;
pub(crate) use step::{run_step, run_wakeup};

use crate::event_loop::contexts::Context;
use crate::ffi::recursion::deeper;
use crate::ffi::{Object, Result, Slot, call};
use crate::futures::places::{OF_TASK, Place};
use crate::futures::{self, Bit, FutureState};
use crate::gather;
use crate::operations::{Waiter, is_waiter};
use crate::stdlib::stdlib;
use registry::Links;

/// What a Task holds besides its references, behind its part as a Future.
#[repr(C)]
pub(crate) struct TaskState {
    pub(crate) future: FutureState,
    /// The place in the list of all native tasks.
    pub(crate) links: Links,
}

impl TaskState {
    pub(crate) const fn new() -> Self {
        Self { future: FutureState::new(), links: Links::new() }
    }

    #[inline]
    pub(crate) fn coroutine(&self) -> Option<Object> {
        self.future.at(Place::Coroutine).get().or_else(|| self.future.at(Place::Foreign).get())
    }

    #[inline]
    fn set_coroutine(&self, coroutine: Object) {
        // SAFETY: a live object.
        let is_cpythons = unsafe {
            ffi::PyCoro_CheckExact(coroutine.as_ptr()) != 0 || ffi::PyGen_CheckExact(coroutine.as_ptr()) != 0
        };
        let place = if is_cpythons { Place::Coroutine } else { Place::Foreign };
        self.future.at(place).put(coroutine);
    }

    /// A finished eager task shows no coroutine, in asyncio too.
    #[cfg(Py_3_12)]
    fn forget_coroutine(&self) {
        for place in [Place::Coroutine, Place::Foreign] {
            self.future.at(place).set(None);
        }
    }

    #[inline]
    fn context(&self) -> &Slot {
        self.future.at(Place::Context)
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        self.future.visit(visit);
        self.future.visit_places(&OF_TASK, visit);
    }

    pub(crate) fn reset(&self) {
        self.future.reset();
        name::forget(self.future.at(Place::Name));
        for place in OF_TASK {
            self.future.at(place).set(None);
        }
    }

    /// The context, for eyes and hands other than the loop's: from now on the task has one to itself.
    pub(crate) fn own_context(&self) -> Result<Object> {
        let context = self.context().or_none();
        if !self.future.bits.has(Bit::SharedContext) {
            return Ok(context);
        }
        let own = Context::Shared(context).into_own()?;
        self.set_context(Context::Own(own.clone()));
        Ok(own)
    }

    #[inline]
    fn set_context(&self, context: Context) {
        let (shares, context) = context.split();
        self.future.bits.set(Bit::SharedContext, shares);
        self.context().put(context);
    }

    /// `cancel()`: asks the future that the task waits on, else has the next step throw.
    pub(crate) fn cancel(&self, message: Option<Object>) -> Result<bool> {
        self.future.bits.set(Bit::LogTraceback, false);
        if !self.future.is_pending() {
            return Ok(false);
        }
        self.future.set_cancels(self.future.cancels() + 1)?;
        if let Some(waiter) = self.future.awaited()
            && cancel_future(&waiter, message.as_ref())?
        {
            return Ok(true);
        }
        self.future.bits.set(Bit::MustCancel, true);
        self.future.set_cancel_message(message)?;
        Ok(true)
    }

    /// `uncancel()`: how many cancellations remain.
    fn uncancel(&self) -> Result<i32> {
        let remaining = (self.future.cancels() - 1).max(0);
        self.future.set_cancels(remaining)?;
        if cfg!(Py_3_13) && remaining == 0 {
            self.future.bits.set(Bit::MustCancel, false);
        }
        Ok(remaining)
    }
}

/// What the interpreter says of a builtin method that is called too deep.
const CALLING: &CStr = c" while calling a Python object";

/// `future.cancel(message)`, as asyncio's C tasks call it; without a call where the future is exactly ours.
pub(crate) fn cancel_future(future: &Object, message: Option<&Object>) -> Result<bool> {
    if is_waiter(future) {
        // SAFETY: a waiter, kept alive by `future`.
        return unsafe { Waiter::of(future.as_ptr()) }.cancel(future, message.cloned());
    }
    if futures::is_plain(future) {
        if is_native(future) {
            // SAFETY: a native task, kept alive by `future`.
            let task = unsafe { state_of(future.as_ptr()) };
            return deeper(CALLING, || task.cancel(message.cloned()));
        }
        if gather::is_gathering(future) {
            return deeper(c"", || gather::cancel(future, message));
        }
        // SAFETY: a native future, kept alive by `future`.
        return unsafe { futures::state_of(future.as_ptr()) }.cancel(future, message.cloned());
    }
    callables::cancel_by_call(future, message)
}

/// The same as asyncio's Python functions call it: `future.cancel(msg=message)`.
pub(crate) fn cancel_by_name(future: &Object, message: Option<&Object>) -> Result<bool> {
    if is_waiter(future) || futures::is_plain(future) {
        return cancel_future(future, message);
    }
    callables::cancel_by_name(future, message)
}

/// The state of an object known to be a native Task.
///
/// # Safety
/// `object` is an instance of the native Task class (or of a subclass), and outlives the result.
#[inline]
pub(crate) unsafe fn state_of<'a>(object: *mut ffi::PyObject) -> &'a TaskState {
    // SAFETY: a task's extension begins with its FutureState, which is the TaskState's first field (repr(C)).
    unsafe { &*std::ptr::from_ref(futures::state_of(object)).cast::<TaskState>() }
}

/// Whether `object` is a native Task or an instance of a subclass.
#[inline]
pub(crate) fn is_native(object: &Object) -> bool {
    let class = futures::classes().task;
    object.class() == class || object.is_instance_of(class)
}

/// Whether `object` is exactly a native Task.
#[inline]
pub(crate) fn is_exact(object: &Object) -> bool {
    object.class() == futures::classes().task
}

/// Whether `object` is that, and has no methods of a program's own.
#[inline]
pub(crate) fn is_plain(object: &Object) -> bool {
    is_exact(object) && futures::is_plain(object)
}

/// Whether `loop.create_task` is to make native tasks: asyncio's name for the class stands for asyncio's own or for
/// ours, and nobody has wrapped asyncio's method. A program that has put another class, or another method, there gets
/// that, as from asyncio's loop.
#[inline]
pub(crate) fn is_usual_class() -> bool {
    let stdlib = stdlib();
    let base = stdlib.base_event_loop.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: a heap class, which is never unloaded.
    let methods = unsafe { (*base).tp_dict };
    // SAFETY: the dict of that class, and a string; the answer is borrowed, and only compared.
    let method = unsafe { ffi::PyDict_GetItemWithError(methods, stdlib.names.create_task.as_ptr()) };
    if method != stdlib.behaviour.create_task.as_ptr() {
        return false;
    }
    let (namespace, name) = (stdlib.tasks_namespace.as_ptr(), stdlib.names.task_class.as_ptr());
    // SAFETY: the dict of a module that is never unloaded, and a string; the answer is borrowed, and only compared.
    let class = unsafe { ffi::PyDict_GetItemWithError(namespace, name) };
    class == futures::classes().task.cast() || class == stdlib.c_task.as_ptr()
}

/// `task._log_destroy_pending = False`, for a task that its maker keeps to himself.
pub(crate) fn forgive_destruction(task: &Object) -> Result<()> {
    if is_exact(task) {
        // SAFETY: exactly a native task.
        unsafe { state_of(task.as_ptr()) }.future.bits.set(Bit::LogDestroyPending, false);
        return Ok(());
    }
    call::setattr(task, &stdlib().names.log_destroy_pending, &futures::methods::boolean(false))
}

/// The context that a native task's steps run in.
pub(crate) fn context_of(task: &Object) -> Result<Object> {
    // SAFETY: callers hold native tasks.
    unsafe { state_of(task.as_ptr()) }.own_context()
}
