//! `Future`: a result that is not there yet, and the callbacks that wait for it.
//!
//! The state lies in an extension behind the bytes of asyncio's own C class, which stays empty: so an instance
//! *is* an `asyncio.Future`, also for C code, while nothing of the base's behaviour is used. `Task` carries the
//! same state struct. What a done future schedules goes straight to the ready queue of a Tulipa loop, and
//! through `loop.call_soon` on any other.

pub(crate) mod any;
pub(crate) mod callbacks;
pub(crate) mod chain;
pub(crate) mod class;
pub(crate) mod iterator;
pub(crate) mod methods;
pub(crate) mod observers;
pub(crate) mod stop;

use std::cell::Cell;

use pyo3::ffi;

pub(crate) use class::{classes, initialise};

use crate::event_loop::core::Core;
use crate::ffi::raised::{is_exception, raise};
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::stdlib::stdlib;
use callbacks::{Callbacks, OnLoop};

/// Where a future is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Pending,
    Cancelled,
    Finished,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Cancelled => "CANCELLED",
            Self::Finished => "FINISHED",
        }
    }
}

/// What a Future holds, and a Task in its first part.
pub(crate) struct FutureState {
    /// The loop whose `call_soon` runs the callbacks; empty until `__init__` ran.
    pub(crate) event_loop: Slot,
    /// The core of that loop where it is a Tulipa loop; kept alive by `event_loop`.
    core: Cell<Option<&'static Core>>,
    phase: Cell<Phase>,
    /// Set while a task waits through the iterator: the protocol between futures and tasks.
    pub(crate) blocking: Cell<bool>,
    /// An exception was set that nobody has looked at.
    pub(crate) log_traceback: Cell<bool>,
    pub(crate) callbacks: Callbacks,
    result: Slot,
    exception: Slot,
    /// The traceback that the exception had when it was set: re-raising must not make it grow.
    exception_traceback: Slot,
    pub(crate) source_traceback: Slot,
    pub(crate) cancel_message: Slot,
    /// The CancelledError that ended a task's coroutine; handed out once.
    cancelled_exception: Slot,
}

impl FutureState {
    pub(crate) const fn new() -> Self {
        Self {
            event_loop: Slot::empty(),
            core: Cell::new(None),
            phase: Cell::new(Phase::Pending),
            blocking: Cell::new(false),
            log_traceback: Cell::new(false),
            callbacks: Callbacks::new(),
            result: Slot::empty(),
            exception: Slot::empty(),
            exception_traceback: Slot::empty(),
            source_traceback: Slot::empty(),
            cancel_message: Slot::empty(),
            cancelled_exception: Slot::empty(),
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        !self.event_loop.is_empty()
    }

    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.phase.get() == Phase::Pending
    }

    /// The core, whatever mode the loop is in.
    #[inline]
    pub(crate) fn core(&self) -> Option<&'static Core> {
        self.core.get()
    }

    /// Binds the state to `event_loop` (asyncio's default where it is `None`), as `__init__` does.
    pub(crate) fn bind(&self, event_loop: Option<Object>) -> Result<()> {
        let event_loop = match event_loop {
            Some(given) if !given.is_none() => given,
            _ => call::call0(&stdlib().event_loop)?,
        };
        let core = Core::of(&event_loop);
        let debug = match core {
            Some(core) => core.is_debug(),
            None => call::truth(&call::method0(&event_loop, &stdlib().names.get_debug)?)?,
        };
        self.reset();
        // SAFETY: the core lies in the loop object, which `event_loop` keeps alive for as long as this state.
        self.core.set(core.map(|core| unsafe { &*std::ptr::from_ref(core) }));
        self.event_loop.put(event_loop);
        if debug {
            self.source_traceback.put(call::call0(&stdlib().extract_stack)?);
        }
        Ok(())
    }

    /// As `bind`, for the loop's own `create_future` and `create_task`.
    #[inline]
    pub(crate) fn bind_native(&self, event_loop: Object, core: &Core) {
        // SAFETY: as in `bind`.
        self.core.set(Some(unsafe { &*std::ptr::from_ref(core) }));
        self.event_loop.put(event_loop);
    }

    /// Forgets everything: a second `__init__` starts afresh, and the collector breaks cycles.
    pub(crate) fn reset(&self) {
        self.core.set(None);
        self.phase.set(Phase::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
        self.callbacks.clear();
        for slot in self.slots() {
            slot.set(None);
        }
    }

    fn slots(&self) -> [&Slot; 7] {
        [
            &self.event_loop,
            &self.result,
            &self.exception,
            &self.exception_traceback,
            &self.source_traceback,
            &self.cancel_message,
            &self.cancelled_exception,
        ]
    }

    /// Every reference, for the garbage collector.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        self.callbacks.visit(visit);
        for slot in self.slots() {
            visit(slot.as_ptr());
        }
    }

    pub(crate) fn result_or_none(&self) -> Object {
        self.result.or_none()
    }

    pub(crate) fn exception_or_none(&self) -> Object {
        self.exception.or_none()
    }

    /// Whether a task that waited here must be thrown into: cancelled, or an exception is set.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.phase.get() == Phase::Cancelled || !self.exception.is_empty()
    }

    /// The result, or the exception raised as the awaiting code must see it.
    #[inline]
    pub(crate) fn outcome(&self) -> Result<Object> {
        match self.phase.get() {
            Phase::Pending => Err(raise(&stdlib().invalid_state_error, "Result is not set.".into())),
            Phase::Cancelled => Err(Raised::from_object(&self.cancelled_error()?)),
            Phase::Finished => {
                self.log_traceback.set(false);
                match self.exception.get() {
                    None => Ok(self.result.or_none()),
                    Some(exception) => {
                        self.restore_traceback(&exception);
                        Err(Raised::from_object(&exception))
                    }
                }
            }
        }
    }

    /// The exception that a waiting task's coroutine is to be thrown, if any.
    pub(crate) fn failure(&self) -> Result<Option<Object>> {
        if self.phase.get() == Phase::Cancelled {
            return self.cancelled_error().map(Some);
        }
        self.log_traceback.set(false);
        let exception = self.exception.get();
        if let Some(exception) = &exception {
            self.restore_traceback(exception);
        }
        Ok(exception)
    }

    fn restore_traceback(&self, exception: &Object) {
        let traceback = self.exception_traceback.take().unwrap_or_else(Object::none);
        // SAFETY: an exception instance, and a traceback or None.
        unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
    }

    /// `_make_cancelled_error()`: the exception that ended the coroutine, once; then fresh ones.
    pub(crate) fn cancelled_error(&self) -> Result<Object> {
        if let Some(exception) = self.cancelled_exception.take() {
            return Ok(exception);
        }
        let class = &stdlib().cancelled_error;
        match self.cancel_message.get() {
            Some(message) if !message.is_none() => call::call1(class, &message),
            _ => call::call0(class),
        }
    }

    pub(crate) fn keep_cancelled_exception(&self, exception: Object) {
        self.cancelled_exception.put(exception);
    }
}

impl OnLoop for FutureState {
    /// A Tulipa loop that is open, not in debug mode, and whose `call_soon` nobody has overridden.
    #[inline]
    fn direct(&self) -> Option<&Core> {
        self.core.get().filter(|core| core.is_direct())
    }

    #[inline]
    fn event_loop(&self) -> &Slot {
        &self.event_loop
    }
}

/// A future's own operations: `future` is the object that `state` belongs to.
impl FutureState {
    #[inline]
    pub(crate) fn set_result(&self, future: &Object, result: Object) -> Result<()> {
        self.ensure_pending()?;
        self.result.put(result);
        self.settle(future, Phase::Finished)
    }

    pub(crate) fn set_exception(&self, future: &Object, exception: &Object) -> Result<()> {
        self.ensure_pending()?;
        let exception = acceptable_exception(exception)?;
        // SAFETY: an exception instance; the result is new or null, and null here means "no traceback".
        let traceback = unsafe { ffi::PyException_GetTraceback(exception.as_ptr()) };
        // SAFETY: null or a reference of our own.
        self.exception_traceback.set(unsafe { Object::steal(traceback) }.ok());
        self.exception.put(exception);
        // The callbacks are queued first: a loop that refuses them must not leave a warning behind as well.
        self.settle(future, Phase::Finished)?;
        self.log_traceback.set(true);
        Ok(())
    }

    /// Cancels a future that is not a task.
    pub(crate) fn cancel(&self, future: &Object, message: Option<Object>) -> Result<bool> {
        self.log_traceback.set(false);
        if !self.is_pending() {
            return Ok(false);
        }
        self.cancel_message.set(message);
        self.settle(future, Phase::Cancelled)?;
        Ok(true)
    }

    fn ensure_pending(&self) -> Result<()> {
        if self.is_pending() {
            return Ok(());
        }
        Err(raise(&stdlib().invalid_state_error, "invalid state".into()))
    }

    fn settle(&self, future: &Object, phase: Phase) -> Result<()> {
        self.phase.set(phase);
        self.callbacks.schedule_all(future, self)
    }
}

/// The exception instance that `set_exception` stores for what it was given.
pub(crate) fn acceptable_exception(given: &Object) -> Result<Object> {
    let exception = if is_exception_class(given) { call::call0(given)? } else { given.clone() };
    if !is_exception(&exception) {
        return Err(pyo3::exceptions::PyTypeError::new_err("invalid exception object").into());
    }
    // SAFETY: the class lives as long as the interpreter.
    let stop_iteration: *mut ffi::PyTypeObject = unsafe { ffi::PyExc_StopIteration }.cast();
    let wraps = stdlib().behaviour.wraps_stop_iteration;
    if wraps && exception.is_instance_of(stop_iteration) {
        return Ok(wrapped_stop_iteration(&exception));
    }
    if !wraps && exception.class() == stop_iteration {
        return Err(pyo3::exceptions::PyTypeError::new_err(STOP_ITERATION).into());
    }
    Ok(exception)
}

const STOP_ITERATION: &str =
    "StopIteration interacts badly with generators and cannot be raised into a Future";

fn wrapped_stop_iteration(exception: &Object) -> Object {
    let wrapper = Raised::from(pyo3::exceptions::PyRuntimeError::new_err(STOP_ITERATION)).take_object();
    // SAFETY: both are exception instances; the call steals one reference.
    unsafe { ffi::PyException_SetCause(wrapper.as_ptr(), exception.clone().into_ptr()) };
    // SAFETY: as above.
    unsafe { ffi::PyException_SetContext(wrapper.as_ptr(), exception.clone().into_ptr()) };
    wrapper
}

fn is_exception_class(object: &Object) -> bool {
    // SAFETY: the class check looks at flags of live objects only.
    unsafe { ffi::PyExceptionClass_Check(object.as_ptr()) != 0 }
}

/// `loop.create_future()` on a Tulipa loop.
#[inline]
pub(crate) fn create(event_loop: Object, core: &Core) -> Result<Object> {
    // SAFETY: the native class, whose extension is a FutureState.
    let future = unsafe { class::allocate_exact(&class::FUTURES, classes().future, FutureState::new()) }?;
    // SAFETY: just made.
    let state = unsafe { state_of(future.as_ptr()) };
    if core.is_debug() {
        state.bind(Some(event_loop))?;
    } else {
        state.bind_native(event_loop, core);
    }
    Ok(future)
}

/// The state of an object known to be a native Future or Task.
///
/// # Safety
/// `object` is an instance of the native Future or Task class (or of a subclass), and outlives the result.
#[inline]
pub(crate) unsafe fn state_of<'a>(object: *mut ffi::PyObject) -> &'a FutureState {
    // SAFETY: instances of both classes carry a FutureState at the extension's offset, written by `tp_new`.
    unsafe { &*object.byte_add(class::offset()).cast::<FutureState>() }
}

/// Whether `object` is exactly a native Future or Task, or what `gather` returns: its behaviour is ours, not a
/// subclass's.
#[inline]
pub(crate) fn is_exact(object: &Object) -> bool {
    let class = object.class();
    let classes = classes();
    class == classes.future || class == classes.task || class == classes.gathering
}
