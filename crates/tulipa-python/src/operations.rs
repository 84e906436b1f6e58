//! Operations: what the native counterparts of asyncio's coroutine functions return, and how a task waits on them.
//!
//! `lock.acquire()` gives an `Operation`: a coroutine to whoever awaits it, a small state machine (`Machine`) inside.
//! What is available at once completes without suspending. What is not parks on a `Waiter`, which the operation yields
//! as a coroutine would yield a future: a native task is registered in it by one store, and woken by one push on the
//! ready queue. To anybody else a waiter is a future like any other.
//!
//! The machines live with what they act on (`sleep`, `locks`, `queues`, ...); this module drives them and knows none.
//! No borrow is held while a machine runs: it may call Python, which may come back to the same objects (S1).

mod binding;
mod class;
mod frames;
mod outsider;
mod sleep;
mod waiter;
mod waiter_class;
pub(crate) mod waiters;

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;

pub(crate) use binding::{LoopBound, running_loop};
pub(crate) use class::{coroutine, initialise, is_operation, new};
pub(crate) use sleep::sleep;
pub(crate) use waiter::{Waiter, expire, is_waiter};
pub(crate) use waiters::{WaitList, is_done, wake};

use crate::ffi::make::{Exception, Text};
use crate::ffi::recursion::deeper;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::stdlib::stdlib;

/// What a machine does next.
pub(crate) enum Step {
    /// The operation is over, with this result.
    Done(Object),
    /// Wait for a `Waiter`, made by the machine and known to whoever will wake it: the operation itself, or another.
    Park(Object),
    /// Yield something else to the task, as it is: `None`, or a future whose blocking flag is set.
    Yield(Object),
    /// Wait for another awaitable's iterator, as `await` does.
    Await(Object),
    /// The same where the machine has taken the iterator's first step itself, which yielded `value`.
    Follow { iterator: Object, value: Object },
}

/// One kind of operation: what a coroutine function of asyncio does between its `await`s.
///
/// Methods take `&self` and keep what changes in slots and cells, because Python code that they call may look at the
/// operation meanwhile. The operation itself is kept alive by whoever drives it.
pub(crate) trait Machine {
    /// The name in messages and reprs, such as `Lock.acquire`.
    fn qualified_name(&self) -> &'static str;

    /// The functions of asyncio's that would be waiting here, outermost first, where it is not the one of that name alone.
    fn waits_in(&self) -> &'static [&'static str] {
        &[]
    }

    /// The coroutine's beginning, up to its first `await` that must wait. `this` is the operation that the machine is
    /// part of, which it may park on (`Waiter::arm`).
    fn start(&self, this: &Object) -> Result<Step>;

    /// Goes on after a wait: with the waiter, which has a result and may be parked on again, or with the value of what
    /// was awaited.
    fn resume(&self, value: Object) -> Result<Step>;

    /// Goes on by an exception, raised where the machine waits: nearly always CancelledError. `waiter` is what it
    /// was parked on, whether done or not. By default the exception ends the operation.
    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let _ = waiter;
        Err(Raised::from_object(&exception))
    }

    /// Shows every slot: the collector visits them, and they are emptied when the operation is over.
    fn each_slot(&self, each: &mut dyn FnMut(&Slot));
}

/// How much of a machine lies in the operation itself, in words. What tasks wait in by the hundred thousand fits in the
/// lesser; four hold all of the hot ones. Larger ones are boxed by their makers.
const ROOM: usize = 2;
const LARGE_ROOM: usize = 4;

type Room<const WORDS: usize> = UnsafeCell<MaybeUninit<[usize; WORDS]>>;

/// Where an operation is in its life; the states of a coroutine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Created,
    Running,
    /// Waits on itself.
    Parked,
    /// Waits on another waiter, which is its pending object.
    ParkedOn,
    /// Waits on the iterator of another awaitable, which is its pending object.
    Delegating,
    /// Waits for its task's next step.
    Yielded,
    Finished,
}

impl Life {
    fn is_suspended(self) -> bool {
        matches!(self, Self::Parked | Self::ParkedOn | Self::Delegating | Self::Yielded)
    }
}

// The allocator deals in multiples of sixteen bytes, and the collector takes sixteen more for each object.
const _: () = assert!(size_of::<Operation>() == size_of::<ffi::PyObject>() + 48);

/// Finds the machine in an operation's room.
type Find = unsafe fn(*mut ()) -> *mut dyn Machine;

/// A coroutine that is a machine.
#[repr(C)]
pub(crate) struct Operation<const WORDS: usize = ROOM> {
    waiter: Waiter,
    /// What is in `room`; nothing where this is a waiter only.
    find: Cell<Option<Find>>,
    room: Room<WORDS>,
}

/// What driving an operation gave.
pub(crate) enum Sent {
    Yielded(Object),
    Returned(Object),
}

/// # Safety
/// `room` holds an `M`.
unsafe fn find<M: Machine + 'static>(room: *mut ()) -> *mut dyn Machine {
    room.cast::<M>()
}

/// Whether an `M` fits into so much room.
const fn fits<M, const WORDS: usize>() -> bool {
    size_of::<M>() <= size_of::<Room<WORDS>>() && align_of::<M>() <= align_of::<usize>()
}

impl<const WORDS: usize> Operation<WORDS> {
    /// Puts the machine into a fresh instance.
    #[inline]
    fn fill<M: Machine + 'static>(&self, machine: M) {
        assert!(fits::<M, WORDS>(), "`new` chooses the room");
        // SAFETY: the room is as large as asserted, and holds nothing yet.
        unsafe { self.room.get().cast::<M>().write(machine) };
        self.find.set(Some(find::<M>));
        self.waiter.life.set(Life::Created);
    }
}

/// An operation of either size: what only needs to know where the room begins.
impl Operation {
    #[inline]
    fn life(&self) -> Life {
        self.waiter.life.get()
    }

    #[inline]
    fn set_life(&self, life: Life) {
        self.waiter.life.set(life);
    }

    /// Where the machine lies: instances never move.
    #[inline]
    fn place(&self) -> Option<*mut dyn Machine> {
        // SAFETY: `fill` put what is found there.
        self.find.get().map(|find| unsafe { find(self.room.get().cast()) })
    }

    /// The machine, of what is not a waiter only; such a one's life is over from the beginning.
    #[inline]
    fn machine(&self) -> &dyn Machine {
        // SAFETY: written when the operation was made, dropped with it only.
        self.place().map(|machine| unsafe { &*machine }).expect("only operations live")
    }

    /// The object that this is.
    #[inline]
    fn object(&self) -> Object {
        // SAFETY: operations are made as objects, and driven while they are alive.
        unsafe { Object::borrow(ptr::from_ref(self).cast_mut().cast()) }
    }

    /// `send(value)`.
    #[inline]
    fn send(&self, value: &Object) -> Result<Sent> {
        match self.life() {
            Life::Created if !value.is_none() => {
                Err(PyTypeError::with_text("can't send non-None value to a just-started coroutine").into())
            }
            Life::Created => {
                self.set_life(Life::Running);
                self.follow(self.machine().start(&self.object()))
            }
            Life::Running => Err(already_running()),
            Life::Finished => Err(self.already_awaited()),
            life => self.wake(life, value),
        }
    }

    /// Goes on where the operation waits.
    #[inline]
    fn wake(&self, life: Life, value: &Object) -> Result<Sent> {
        self.set_life(Life::Running);
        match life {
            Life::Parked => {
                let outcome = self.waiter.outcome();
                self.go_on(self.object(), outcome)
            }
            Life::ParkedOn => {
                let waiter = self.waiter.take_pending_object().unwrap_or_else(Object::none);
                // SAFETY: a waiter, kept alive by the reference.
                let outcome = unsafe { Waiter::of(waiter.as_ptr()) }.outcome();
                self.go_on(waiter, outcome)
            }
            Life::Delegating => {
                let iterator = self.waiter.take_pending_object().unwrap_or_else(Object::none);
                self.delegate(iterator, |iterator| send_to(iterator, value))
            }
            _ => self.follow(self.machine().resume(value.clone())),
        }
    }

    #[inline]
    fn go_on(&self, waiter: Object, outcome: Result<()>) -> Result<Sent> {
        match outcome {
            Ok(()) => self.follow(self.machine().resume(waiter)),
            Err(raised) => self.follow(self.machine().throw(Some(&waiter), raised.take_object())),
        }
    }

    /// `throw(exception)` where the operation waits.
    fn throw(&self, exception: Object) -> Result<Sent> {
        let life = self.life();
        match life {
            Life::Created => {
                self.finish();
                // As of Python 3.12 the conversion is part of a coroutine's code, which has not begun.
                let raised = if cfg!(Py_3_12) { Raised::from_object(&exception) } else { left_by(exception) };
                return Err(raised);
            }
            Life::Running => return Err(already_running()),
            Life::Finished => return Err(self.already_awaited()),
            _ => {}
        }
        self.set_life(Life::Running);
        let pending =
            if life == Life::Parked { Some(self.object()) } else { self.waiter.take_pending_object() };
        match pending {
            Some(pending) if life == Life::Delegating => {
                self.delegate(pending, |iterator| throw_into(iterator, &exception))
            }
            pending => self.follow(self.machine().throw(pending.as_ref(), exception)),
        }
    }

    /// `close()`: has the machine clean up after itself.
    fn close(&self) -> Result<()> {
        match self.life() {
            Life::Running => return Err(already_running()),
            Life::Created | Life::Finished => {
                self.finish();
                return Ok(());
            }
            _ => {}
        }
        // SAFETY: the class lives as long as the interpreter.
        let exit = call::call0(&unsafe { Object::borrow(ffi::PyExc_GeneratorExit) })?;
        match self.throw(exit) {
            Ok(Sent::Returned(_)) => Ok(()),
            Ok(Sent::Yielded(_)) => Err(PyRuntimeError::with_text("coroutine ignored GeneratorExit").into()),
            Err(raised) if is_exit(&raised) => {
                raised.clear();
                Ok(())
            }
            Err(raised) => Err(raised),
        }
    }

    /// Takes the machine's steps until it waits or ends.
    #[inline]
    fn follow(&self, step: Result<Step>) -> Result<Sent> {
        match step {
            Ok(Step::Done(result)) => {
                self.finish();
                Ok(Sent::Returned(result))
            }
            Ok(Step::Park(waiter)) => {
                // SAFETY: machines park on waiters only.
                unsafe { Waiter::of(waiter.as_ptr()) }.blocking.set(true);
                if waiter.is(ptr::from_ref(self).cast_mut().cast()) {
                    self.set_life(Life::Parked);
                    return Ok(Sent::Yielded(waiter));
                }
                Ok(self.suspend(Life::ParkedOn, waiter.clone(), waiter))
            }
            Ok(Step::Yield(value)) => {
                self.set_life(Life::Yielded);
                Ok(Sent::Yielded(value))
            }
            Ok(Step::Follow { iterator, value }) => Ok(self.suspend(Life::Delegating, iterator, value)),
            Ok(Step::Await(iterator)) => {
                self.delegate(iterator, |iterator| send_to(iterator, &Object::none()))
            }
            Err(raised) => Err(self.fail(raised)),
        }
    }

    #[inline]
    fn suspend(&self, life: Life, pending: Object, value: Object) -> Sent {
        self.waiter.set_pending_object(pending);
        self.set_life(life);
        Sent::Yielded(value)
    }

    /// Drives what the operation awaits; once that is over the machine goes on.
    fn delegate(&self, iterator: Object, drive: impl FnOnce(&Object) -> Result<Sent>) -> Result<Sent> {
        match drive(&iterator) {
            Ok(Sent::Yielded(value)) => Ok(self.suspend(Life::Delegating, iterator, value)),
            Ok(Sent::Returned(value)) => {
                drop(iterator);
                self.follow(self.machine().resume(value))
            }
            Err(raised) => {
                let exception = raised.take_object();
                drop(iterator);
                self.follow(self.machine().throw(None, exception))
            }
        }
    }

    /// The operation is over: what it held goes, as a coroutine's frame does.
    #[inline]
    fn finish(&self) {
        self.set_life(Life::Finished);
        drop(self.waiter.take_pending_object());
        self.each_slot(&mut |slot| slot.set(None));
    }

    #[inline]
    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        if let Some(machine) = self.place() {
            // SAFETY: dropped with the operation only.
            unsafe { &*machine }.each_slot(each);
        }
    }

    /// As `finish`, with the exception put aside while references go.
    #[cold]
    fn fail(&self, raised: Raised) -> Raised {
        let exception = raised.take_object();
        self.finish();
        left_by(exception)
    }

    fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        self.waiter.visit(visit);
        self.each_slot(&mut |slot| visit(slot.as_ptr()));
    }

    fn qualified_name(&self) -> &'static str {
        // SAFETY: dropped with the operation only.
        self.place().map_or("Future", |machine| unsafe { &*machine }.qualified_name())
    }

    #[cold]
    fn already_awaited(&self) -> Raised {
        if self.find.get().is_none() {
            return PyTypeError::with_text("a future is not a coroutine").into();
        }
        PyRuntimeError::with_text("cannot reuse already awaited coroutine").into()
    }
}

/// Whether what closing raised is the exit itself, or the end that it led to.
fn is_exit(raised: &Raised) -> bool {
    // SAFETY: the classes live as long as the interpreter.
    let (exit, stop) = unsafe { (ffi::PyExc_GeneratorExit, ffi::PyExc_StopIteration) };
    raised.matches(exit) || raised.matches(stop)
}

/// The exception with which a coroutine ends: not a StopIteration, which would be taken for its result.
#[cold]
fn left_by(exception: Object) -> Raised {
    // SAFETY: the class lives as long as the interpreter.
    if !exception.is_instance_of(unsafe { ffi::PyExc_StopIteration }.cast()) {
        return Raised::from_object(&exception);
    }
    // SAFETY: attached.
    let py = unsafe { pyo3::Python::assume_attached() };
    let error = PyRuntimeError::with_text("coroutine raised StopIteration").into_value(py);
    // SAFETY: an exception; each call takes a reference of its own.
    unsafe {
        ffi::PyException_SetCause(error.as_ptr(), exception.clone().into_ptr());
        ffi::PyException_SetContext(error.as_ptr(), exception.into_ptr());
    }
    Raised::from_object(&Object::from_bound(error.bind(py).as_any()))
}

#[cold]
fn already_running() -> Raised {
    PyValueError::with_text("coroutine already executing").into()
}

/// `iterator.send(value)`, as the interpreter does it.
#[inline]
pub(crate) fn send_to(iterator: &Object, value: &Object) -> Result<Sent> {
    let mut given = ptr::null_mut();
    deeper(c"", || {
        // SAFETY: two live objects, and a place for the value.
        let kind = unsafe { ffi::PyIter_Send(iterator.as_ptr(), value.as_ptr(), &raw mut given) };
        // SAFETY: a new reference, or null with an exception set.
        let given = unsafe { Object::steal(given) };
        match kind {
            ffi::PySendResult::PYGEN_NEXT => given.map(Sent::Yielded),
            ffi::PySendResult::PYGEN_RETURN => given.map(Sent::Returned),
            ffi::PySendResult::PYGEN_ERROR => Err(Raised),
        }
    })
}

/// `iterator.throw(exception)`, or `close()` for a GeneratorExit, as the interpreter delegates them.
fn throw_into(iterator: &Object, exception: &Object) -> Result<Sent> {
    let names = &stdlib().names;
    // SAFETY: the class lives as long as the interpreter.
    if exception.is_instance_of(unsafe { ffi::PyExc_GeneratorExit }.cast()) {
        if let Some(close) = call::getattr_opt(iterator, &names.close)? {
            call::call0(&close)?;
        }
        return Err(Raised::from_object(exception));
    }
    let Some(throw) = call::getattr_opt(iterator, &names.throw)? else {
        return Err(Raised::from_object(exception));
    };
    match call::call1(&throw, exception) {
        Ok(value) => Ok(Sent::Yielded(value)),
        // SAFETY: as above.
        Err(raised) if raised.matches(unsafe { ffi::PyExc_StopIteration }) => {
            let stop = raised.take_object();
            // SAFETY: attached.
            let py = unsafe { pyo3::Python::assume_attached() };
            Ok(Sent::Returned(pyo3::types::PyAnyMethods::getattr(&stop.bound(py), Text("value"))?.into()))
        }
        Err(raised) => Err(raised),
    }
}

/// The iterator that `await awaitable` steps through.
pub(crate) fn awaiting(awaitable: &Object) -> Result<Step> {
    // SAFETY: a live object.
    let class = awaitable.class();
    // Coroutines, native or not, are stepped through themselves.
    if class == &raw mut ffi::PyCoro_Type || is_operation(awaitable) {
        return Ok(Step::Await(awaitable.clone()));
    }
    // SAFETY: a live class; the method table, where there is one, lives as long as it.
    let method = unsafe { (*class).tp_as_async.as_ref() }.and_then(|methods| methods.am_await);
    let Some(method) = method else { return Err(not_awaitable(awaitable)) };
    // SAFETY: the class's own slot, called on an instance; a new reference or null.
    unsafe { Object::steal(method(awaitable.as_ptr())) }.map(Step::Await)
}

#[cold]
fn not_awaitable(object: &Object) -> Raised {
    // SAFETY: attached.
    let py = unsafe { pyo3::Python::assume_attached() };
    let name = pyo3::types::PyTypeMethods::name(&pyo3::types::PyAnyMethods::get_type(&object.bound(py)));
    match name {
        Ok(name) if cfg!(Py_3_14) => {
            PyTypeError::with_text(format!("'{name}' object can't be awaited")).into()
        }
        Ok(name) => {
            PyTypeError::with_text(format!("object {name} can't be used in 'await' expression")).into()
        }
        Err(error) => error.into(),
    }
}
