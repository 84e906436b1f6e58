//! What the ready queue holds and what watched descriptors stand for, for a loop whose host is Python.

use std::ptr::NonNull;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::Token;

use super::bare::Bare;
use super::contexts::Context;
use super::handles;
use crate::executors::Outcome;
use crate::ffi::Object;
use crate::ffi::make::Exception;
use crate::futures::observers::Kind;
use crate::names::Found;
use crate::stdlib::stdlib;
use crate::transports::Event;

/// One entry of the ready queue.
pub(crate) enum Job {
    /// A Handle or TimerHandle: what `call_soon` and `call_later` were given.
    Handle(Object),
    /// What is left of a Handle that nobody kept.
    Bare(Bare),
    /// A native task's next step; with an exception to throw into the coroutine.
    Step { task: Object, exception: Option<Object> },
    /// A native task whose native future, or waiter, is done.
    Wakeup { task: Object, future: Object },
    /// A native object that waits for a future, which is done.
    Notify { observer: Object, kind: &'static Kind, future: Object },
    /// `function(argument)` in `context`, without a Handle: done-callbacks, and steps of stock tasks.
    Call { function: Object, argument: Option<Object>, context: Context },
    /// Who waits for a `sock_*` operation, and the registration of its socket, which is ready.
    Ready { waiter: Object, token: Token },
    /// The waiter of a native operation whose time has come.
    Expire(Object),
    /// What another thread has found out for a native future.
    Answer { future: Object, outcome: Outcome },
    /// What the resolver has found for a native future.
    Resolved { future: Object, answer: Box<Found> },
    /// Something of a native transport's or listener's; `context` where it is not their own.
    Io { target: Object, event: Event, context: Option<Object> },
}

impl Job {
    pub(super) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        match self {
            Self::Handle(object) | Self::Ready { waiter: object, .. } | Self::Expire(object) => see(object),
            Self::Bare(bare) => bare.visit(see),
            Self::Step { task, exception } => {
                see(task);
                exception.iter().for_each(see);
            }
            Self::Wakeup { task: object, future } | Self::Notify { observer: object, future, .. } => {
                [object, future].into_iter().for_each(see);
            }
            Self::Call { function, argument, context } => {
                [function, context.object()].into_iter().chain(argument).for_each(see);
            }
            Self::Answer { future, outcome } => {
                see(future);
                outcome.value().into_iter().for_each(see);
            }
            Self::Resolved { future, .. } => see(future),
            Self::Io { target, context, .. } => {
                [Some(target), context.as_ref()].into_iter().flatten().for_each(see);
            }
        }
    }
}

/// What a watched descriptor stands for.
pub(crate) enum Source {
    /// Callbacks of `add_reader` and `add_writer`, or operations that wait; `file` is the object that they were
    /// registered with, an operation's socket.
    Handles { file: Object, reader: Option<Object>, writer: Option<Object> },
    /// A native transport that is watched, or a listener.
    Native(Object),
    /// A native transport of which nothing is wanted at the moment. As in asyncio, the loop does not keep it alive then.
    Idle(Unowned),
}

/// A reference that is not counted, to a transport that takes its registration out of the loop before it is freed.
pub(crate) struct Unowned(NonNull<ffi::PyObject>);

impl Unowned {
    /// # Safety
    ///
    /// The object outlives the registration that this is kept in.
    pub(crate) unsafe fn new(object: NonNull<ffi::PyObject>) -> Self {
        Self(object)
    }

    /// The object, for as long as the caller wants.
    pub(super) fn get(&self) -> Object {
        // SAFETY: alive, as `new` was promised.
        unsafe { Object::borrow(self.0.as_ptr()) }
    }
}

impl Source {
    pub(super) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        match self {
            Self::Handles { file, reader, writer } => {
                [Some(file), reader.as_ref(), writer.as_ref()].into_iter().flatten().for_each(see);
            }
            Self::Native(object) => see(object),
            Self::Idle(_) => {}
        }
    }
}

/// The job that runs a Handle which asyncio's code made, or one of ours; none for a cancelled one.
pub(super) fn from_handle(handle: &Bound<'_, PyAny>) -> PyResult<Option<Job>> {
    let handle = Object::from_bound(handle);
    if !handle.is_instance_of(stdlib().abstract_handle.as_ptr().cast()) {
        return Err(PyTypeError::with_text("a Handle is required"));
    }
    Ok((!handles::is_cancelled(&handle)).then_some(Job::Handle(handle)))
}

/// Recognises what asyncio's own C tasks hand to `call_soon`: they drop the Handle that they would get, so none
/// is made.
#[inline]
pub(super) fn from_stock_task(
    callback: &Object,
    arguments: &[*mut ffi::PyObject],
    context: Option<&Object>,
) -> Option<Job> {
    let context = context?;
    let argument = match arguments {
        [] if callback.class().cast() == stdlib().behaviour.c_task_step.as_ptr() => None,
        // SAFETY: arguments live for the call.
        [argument] if is_stock_wakeup(callback) => Some(unsafe { Object::borrow(*argument) }),
        _ => return None,
    };
    Some(Job::Call { function: callback.clone(), argument, context: Context::Own(context.clone()) })
}

/// Whether `callback` is the builtin by which a future wakes a stock C task.
fn is_stock_wakeup(callback: &Object) -> bool {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyCFunction_CheckExact(callback.as_ptr()) } == 0 {
        return false;
    }
    // SAFETY: a builtin function: its definition outlives it.
    let name = unsafe { (*(*callback.as_ptr().cast::<ffi::PyCFunctionObject>()).m_ml).ml_name };
    // SAFETY: definitions have names.
    if unsafe { std::ffi::CStr::from_ptr(name) } != c"task_wakeup" {
        return false;
    }
    // SAFETY: `m_self` is null or a live object.
    unsafe { Object::borrow_opt((*callback.as_ptr().cast::<ffi::PyCFunctionObject>()).m_self) }
        .is_some_and(|owner| owner.class().cast() == stdlib().c_task.as_ptr())
}
