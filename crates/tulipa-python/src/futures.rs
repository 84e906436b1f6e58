//! `Future`: a result that is not there yet, and the callbacks that wait for it.
//!
//! The state lies in an extension behind the bytes of asyncio's own C class, and its references in fields of that
//! (`places`): so an instance *is* an `asyncio.Future`, also for C code, while nothing of the base's behaviour is used.
//! `Task` carries the same state struct. What a done future schedules goes straight to the ready queue of a Tulipa loop, and
//! through `loop.call_soon` on any other.

pub(crate) mod any;
mod bits;
pub(crate) mod callbacks;
pub(crate) mod chain;
pub(crate) mod class;
pub(crate) mod extras;
pub(crate) mod iterator;
pub(crate) mod methods;
pub(crate) mod observers;
pub(crate) mod places;
pub(crate) mod stop;

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;

pub(crate) use bits::{Bit, Bits};
pub(crate) use class::{classes, initialise};

use crate::event_loop::core::Core;
use crate::ffi::make::Exception;
use crate::ffi::raised::{is_exception, raise};
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::gc;
use crate::stdlib::stdlib;
use callbacks::{Callbacks, OnLoop};
use extras::Extras;
use places::{OF_FUTURE, Place};

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

/// What a Future holds besides its references, and a Task in its first part.
///
/// Hundreds of thousands of them may be alive at once: what few have lies apart, and what is never there at the same
/// time shares a place.
#[repr(C)]
pub(crate) struct FutureState {
    pub(crate) callbacks: Callbacks,
    phase: Cell<Phase>,
    pub(crate) bits: Bits,
    /// Of a task, the N of `Task-N` in 48 bits, see `number`. It lies here because here is room.
    number: Cell<[u16; 3]>,
}

impl FutureState {
    pub(crate) const fn new() -> Self {
        Self {
            callbacks: Callbacks::new(),
            phase: Cell::new(Phase::Pending),
            bits: Bits::none(),
            number: Cell::new([0; 3]),
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The loop whose `call_soon` runs the callbacks; empty until `__init__` ran.
    #[inline]
    pub(crate) fn home(&self) -> &Slot {
        self.at(Place::Loop)
    }

    /// By phase. Finished: the result, or with `Bit::Failed` the exception. Cancelled: the CancelledError that ended a
    /// task's coroutine, handed out once. Pending: of a task, the future that its coroutine waits on.
    #[inline]
    fn end(&self) -> &Slot {
        self.at(Place::Outcome)
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        !self.home().is_empty()
    }

    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.phase.get() == Phase::Pending
    }

    /// The core of a Tulipa loop, whatever mode the loop is in. It lies in the loop, which this state keeps alive.
    #[inline]
    pub(crate) fn core(&self) -> Option<&Core> {
        let event_loop = self.home().as_ptr();
        if !self.bits.has(Bit::OnTulipa) || event_loop.is_null() {
            return None;
        }
        // The class is asked for because whoever calls the base's `__init__` by hand has the base use its fields.
        // SAFETY: a live object, which the state keeps alive.
        unsafe { Core::at(event_loop) }
    }

    /// The extras, where there are any. They are never taken from a live future, so the borrow stays good.
    #[inline]
    fn extras(&self) -> Option<&Extras> {
        let extras = self.at(Place::Extras).peek()?;
        // SAFETY: attached.
        let is_ours = extras.bound(unsafe { Python::assume_attached() }).is_exact_instance_of::<Extras>();
        // SAFETY: an instance, kept alive by the future. Of another class it is when the base has used its field, see `core`.
        is_ours.then(|| unsafe { native(extras.as_ptr()) })
    }

    #[cold]
    fn extras_or_new(&self) -> Result<&Extras> {
        if self.extras().is_none() {
            // SAFETY: attached.
            let made = Bound::new(unsafe { Python::assume_attached() }, Extras::new())?;
            self.at(Place::Extras).put(made.into_any().into());
        }
        Ok(self.extras().expect("made above"))
    }

    pub(crate) fn source_traceback(&self) -> Option<Object> {
        self.extras()?.source_traceback.get()
    }

    pub(crate) fn cancel_message(&self) -> Option<Object> {
        self.extras()?.cancel_message.get()
    }

    pub(crate) fn set_cancel_message(&self, message: Option<Object>) -> Result<()> {
        match (self.extras(), message) {
            (Some(extras), message) => extras.cancel_message.set(message),
            // None is what a message that was never set is.
            (None, Some(message)) if !message.is_none() => self.extras_or_new()?.cancel_message.put(message),
            (None, _) => {}
        }
        Ok(())
    }

    /// The future that a task waits on.
    #[inline]
    pub(crate) fn awaited(&self) -> Option<Object> {
        if self.is_pending() { self.end().get() } else { self.extras()?.awaited.get() }
    }

    #[inline]
    pub(crate) fn set_awaited(&self, future: Object) -> Result<()> {
        if self.is_pending() {
            self.end().put(future);
        } else {
            self.extras_or_new()?.awaited.put(future);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn take_awaited(&self) -> Option<Object> {
        if self.is_pending() { self.end().take() } else { self.extras()?.awaited.take() }
    }

    /// Makes room for how the future ends. A task that ends by itself waits on nothing.
    #[inline]
    fn put_awaited_aside(&self) -> Result<()> {
        if !self.end().is_empty() {
            self.extras_or_new()?.awaited.set(self.end().take());
        }
        Ok(())
    }

    /// The N of `Task-N`, for a task that was given no name; else zero.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        let [low, middle, high] = self.number.get().map(u64::from);
        low | middle << 16 | high << 32
    }

    /// Takes 48 bits of `number`, which suffice for a million tasks a second over eight years.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "each takes its sixteen bits")]
    pub(crate) fn set_number(&self, number: u64) {
        self.number.set([number as u16, (number >> 16) as u16, (number >> 32) as u16]);
    }

    pub(crate) fn cancels(&self) -> i32 {
        self.extras().map_or(0, |extras| extras.cancels.get())
    }

    pub(crate) fn set_cancels(&self, count: i32) -> Result<()> {
        if count != self.cancels() {
            self.extras_or_new()?.cancels.set(count);
        }
        Ok(())
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
        let is_tulipa = core.is_some();
        self.home().put(event_loop);
        self.bits.set(Bit::OnTulipa, is_tulipa);
        if debug {
            self.extras_or_new()?.source_traceback.put(call::call0(&stdlib().extract_stack)?);
        }
        Ok(())
    }

    /// As `bind`, for the `create_future` and `create_task` of `event_loop`, a Tulipa loop.
    #[inline]
    pub(crate) fn bind_native(&self, event_loop: Object) {
        self.home().put(event_loop);
        self.bits.set(Bit::OnTulipa, true);
    }

    /// Forgets everything: a second `__init__` starts afresh, and the collector breaks cycles.
    pub(crate) fn reset(&self) {
        self.phase.set(Phase::Pending);
        self.bits.clear();
        self.callbacks.clear();
        self.home().set(None);
        self.end().set(None);
        if let Some(extras) = self.extras() {
            extras.reset();
        }
    }

    /// Every reference, for the garbage collector, that the base does not show it.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        self.callbacks.visit(visit);
        self.visit_places(&OF_FUTURE, visit);
    }

    pub(crate) fn result_or_none(&self) -> Object {
        let has_result = self.phase() == Phase::Finished && !self.bits.has(Bit::Failed);
        if has_result { self.end().or_none() } else { Object::none() }
    }

    /// The exception that was set.
    #[inline]
    pub(crate) fn exception(&self) -> Option<Object> {
        if self.bits.has(Bit::Failed) { self.end().get() } else { None }
    }

    pub(crate) fn exception_or_none(&self) -> Object {
        self.exception().unwrap_or_else(Object::none)
    }

    /// Whether a task that waited here must be thrown into: cancelled, or an exception is set.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.phase.get() == Phase::Cancelled || self.bits.has(Bit::Failed)
    }

    /// The result, or the exception raised as the awaiting code must see it.
    #[inline]
    pub(crate) fn outcome(&self) -> Result<Object> {
        match self.phase.get() {
            Phase::Pending => Err(raise(&stdlib().invalid_state_error, "Result is not set.".into())),
            Phase::Cancelled => Err(Raised::from_object(&self.cancelled_error()?)),
            Phase::Finished => {
                self.bits.set(Bit::LogTraceback, false);
                match self.exception() {
                    None => Ok(self.end().or_none()),
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
        self.bits.set(Bit::LogTraceback, false);
        let exception = self.exception();
        if let Some(exception) = &exception {
            self.restore_traceback(exception);
        }
        Ok(exception)
    }

    fn restore_traceback(&self, exception: &Object) {
        let kept = self.extras().and_then(|extras| extras.exception_traceback.take());
        let traceback = kept.unwrap_or_else(Object::none);
        // SAFETY: an exception instance, and a traceback or None.
        unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
    }

    /// `_make_cancelled_error()`: the exception that ended the coroutine, once; then fresh ones.
    pub(crate) fn cancelled_error(&self) -> Result<Object> {
        if self.phase.get() == Phase::Cancelled
            && let Some(exception) = self.end().take()
        {
            return Ok(exception);
        }
        let class = &stdlib().cancelled_error;
        match self.cancel_message() {
            Some(message) if !message.is_none() => call::call1(class, &message),
            _ => call::call0(class),
        }
    }
}

impl OnLoop for FutureState {
    /// A Tulipa loop that is open, not in debug mode, and whose `call_soon` nobody has overridden.
    #[inline]
    fn direct(&self) -> Option<&Core> {
        self.core().filter(|core| core.is_direct())
    }

    #[inline]
    fn event_loop(&self) -> Object {
        self.home().or_none()
    }
}

/// A future's own operations: `future` is the object that `state` belongs to.
impl FutureState {
    #[inline]
    pub(crate) fn set_result(&self, future: &Object, result: Object) -> Result<()> {
        self.ensure_pending()?;
        self.put_awaited_aside()?;
        self.end().put(result);
        self.settle(future, Phase::Finished)
    }

    pub(crate) fn set_exception(&self, future: &Object, exception: &Object) -> Result<()> {
        self.ensure_pending()?;
        let exception = acceptable_exception(exception)?;
        // SAFETY: an exception instance; the result is new, or null where there is no traceback.
        let traceback = unsafe { ffi::PyException_GetTraceback(exception.as_ptr()) };
        // SAFETY: null or a reference of our own.
        if let Some(traceback) = unsafe { Object::owned_opt(traceback) } {
            self.extras_or_new()?.exception_traceback.put(traceback);
        }
        self.put_awaited_aside()?;
        self.end().put(exception);
        self.bits.set(Bit::Failed, true);
        // Before the callbacks are queued, as some of them take note of the exception at once; but a loop that refuses
        // them must not leave a warning behind as well.
        self.bits.set(Bit::LogTraceback, true);
        self.settle(future, Phase::Finished).inspect_err(|_| self.bits.set(Bit::LogTraceback, false))
    }

    /// Cancels a future that is not a task.
    pub(crate) fn cancel(&self, future: &Object, message: Option<Object>) -> Result<bool> {
        self.bits.set(Bit::LogTraceback, false);
        if !self.is_pending() {
            return Ok(false);
        }
        self.set_cancel_message(message)?;
        self.put_awaited_aside()?;
        self.settle(future, Phase::Cancelled)?;
        Ok(true)
    }

    /// Ends a task's future by what ended the coroutine: that very exception, or where there was none, any.
    pub(crate) fn end_cancelled(&self, task: &Object, exception: Option<Object>) -> Result<()> {
        self.bits.set(Bit::LogTraceback, false);
        self.end().set(exception);
        self.settle(task, Phase::Cancelled)
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
        return Err(pyo3::exceptions::PyTypeError::with_text("invalid exception object").into());
    }
    // SAFETY: the class lives as long as the interpreter.
    let stop_iteration: *mut ffi::PyTypeObject = unsafe { ffi::PyExc_StopIteration }.cast();
    let wraps = stdlib().behaviour.wraps_stop_iteration;
    if wraps && exception.is_instance_of(stop_iteration) {
        return Ok(wrapped_stop_iteration(&exception));
    }
    if !wraps && exception.class() == stop_iteration {
        return Err(pyo3::exceptions::PyTypeError::with_text(STOP_ITERATION).into());
    }
    Ok(exception)
}

const STOP_ITERATION: &str =
    "StopIteration interacts badly with generators and cannot be raised into a Future";

fn wrapped_stop_iteration(exception: &Object) -> Object {
    let wrapper = Raised::from(pyo3::exceptions::PyRuntimeError::with_text(STOP_ITERATION)).take_object();
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
        state.bind_native(event_loop);
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
    unsafe { &*object.byte_add(places::offset()).cast::<FutureState>() }
}

/// Whether `object` is exactly a native Future or Task, or what `gather` returns: its behaviour is ours, not a
/// subclass's.
#[inline]
pub(crate) fn is_exact(object: &Object) -> bool {
    let class = object.class();
    let classes = classes();
    class == classes.future || class == classes.task || class == classes.gathering
}

/// Whether `object` is exactly a native Future or Task, in which no program has put methods of its own. Libraries do so
/// with `cancel`, `cancelling` and `uncancel`, to shield a task; and whoever calls these calls theirs.
#[inline]
pub(crate) fn is_plain(object: &Object) -> bool {
    // SAFETY: an instance of one of our classes, which have a dict and keep nothing beside it.
    is_exact(object) && unsafe { gc::has_no_attributes(object.as_ptr()) }
}
