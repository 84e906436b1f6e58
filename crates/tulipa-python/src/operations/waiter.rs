//! `Waiter`: what a parked operation yields. To a native task one word in which it is registered; to all others a
//! future: `asyncio.isfuture` holds, and so does `isinstance(waiter, asyncio.Future)`.
//!
//! Nearly always it is the operation itself, which becomes a waiter when it parks for the first time (`arm`): its memory
//! begins with a waiter's. Nobody waits on a waiter twice at once; an operation that parks again waits on itself again.
//! Most of what a future can do is asked of few, so it lies apart (`Extras`), made when first needed.

use std::cell::Cell;
use std::ptr;

use pyo3::ffi;

use super::{Life, class};
use crate::event_loop::core::Core;
use crate::ffi::make::Exception;
use crate::ffi::raised::raise;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::futures::Phase;
use crate::futures::callbacks::{self, Callback, Callbacks, OnLoop};
use crate::stdlib::stdlib;
use crate::tasks;

/// A light future, and the beginning of every operation.
#[repr(C)]
pub(crate) struct Waiter {
    header: ffi::PyObject,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    /// What `kind` says: an object or a box that the waiter owns.
    link: Cell<*mut ()>,
    /// The place in a list of waiters, which that list gives out.
    pub(super) ticket: Cell<u32>,
    kind: Cell<Kind>,
    phase: Cell<Phase>,
    /// Set while the waiter is on its way from the operation to the task: the protocol between futures and tasks.
    pub(crate) blocking: Cell<bool>,
    /// Of an operation; a waiter that is none has finished.
    pub(super) life: Cell<Life>,
}

/// What a waiter's link is. Nothing comes first: zeroed memory has no link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Loop,
    Task,
    Pending,
    Extras,
}

/// The same with what it holds.
enum Link {
    Nothing,
    /// The loop on which nobody waits yet, or any more.
    Loop(Object),
    /// The native task to wake, where it is the only one that waits; it knows the loop.
    Task(Object),
    /// What an operation waits on that is not parked on itself.
    Pending(Object),
    Extras(Box<Extras>),
}

/// What few waiters have.
pub(super) struct Extras {
    event_loop: Slot,
    pending: Slot,
    pub(super) callbacks: Callbacks,
    pub(super) message: Slot,
    pub(super) result: Slot,
    pub(super) exception: Slot,
}

impl Extras {
    /// Takes over what `link` held.
    #[allow(clippy::unnecessary_box_returns, reason = "boxed where it is made, as it lies in few waiters")]
    fn instead_of(link: Link) -> Box<Self> {
        let extras = Box::new(Self {
            event_loop: Slot::empty(),
            pending: Slot::empty(),
            callbacks: Callbacks::new(),
            message: Slot::empty(),
            result: Slot::empty(),
            exception: Slot::empty(),
        });
        match link {
            Link::Nothing => {}
            Link::Loop(event_loop) => extras.event_loop.put(event_loop),
            Link::Pending(pending) => extras.pending.put(pending),
            Link::Task(task) => {
                extras.event_loop.set(loop_of(&task));
                extras.callbacks.push(Callback::Wake(task));
            }
            Link::Extras(others) => return others,
        }
        extras
    }

    fn slots(&self) -> [&Slot; 5] {
        [&self.event_loop, &self.pending, &self.message, &self.result, &self.exception]
    }
}

/// The loop of a native task.
#[inline]
fn loop_of(task: &Object) -> Option<Object> {
    // SAFETY: waiters register native tasks only.
    unsafe { tasks::state_of(task.as_ptr()) }.future.home().get()
}

/// Whether `object` is a waiter: a plain one, or an operation that has parked. The class cannot be derived from.
#[inline]
pub(crate) fn is_waiter(object: &Object) -> bool {
    object.class() == class::waiter()
}

impl Waiter {
    /// A pending waiter on `event_loop`, of its own.
    pub(crate) fn pending(event_loop: Object) -> Result<Object> {
        let object = class::plain_waiter()?;
        // SAFETY: just made, without a link.
        unsafe { Self::of(object.as_ptr()) }.begin(event_loop);
        Ok(object)
    }

    /// A pending waiter on `event_loop` for the operation `this`, which it nearly always is itself. Another one has to
    /// be made where the operation is not to become one, or somebody still waits on it since it was parked last.
    #[inline]
    pub(crate) fn arm(this: &Object, event_loop: Object) -> Result<Object> {
        // SAFETY: operations begin with a waiter.
        let waiter = unsafe { Self::of(this.as_ptr()) };
        let is_free = match waiter.kind.get() {
            Kind::Nothing => true,
            Kind::Loop => !waiter.is_pending(),
            Kind::Task | Kind::Pending | Kind::Extras => false,
        };
        if !is_free || !class::become_waiter(this) {
            return Self::pending(event_loop);
        }
        waiter.begin(event_loop);
        Ok(this.clone())
    }

    #[inline]
    fn begin(&self, event_loop: Object) {
        self.phase.set(Phase::Pending);
        self.blocking.set(false);
        self.set_link(Link::Loop(event_loop));
    }

    /// The waiter that an object is, or begins with.
    ///
    /// # Safety
    /// `object` is a waiter or an operation, and outlives the use of the result.
    #[inline]
    pub(crate) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: instances of these classes begin so.
        unsafe { &*object.cast::<Self>() }
    }

    #[inline]
    fn take_link(&self) -> Link {
        let (link, kind) = (self.link.replace(ptr::null_mut()), self.kind.replace(Kind::Nothing));
        // SAFETY: what `set_link` gave away under this kind comes back once.
        let object = || unsafe { Object::owned(link.cast()) };
        match kind {
            Kind::Nothing => Link::Nothing,
            Kind::Loop => Link::Loop(object()),
            Kind::Task => Link::Task(object()),
            Kind::Pending => Link::Pending(object()),
            // SAFETY: as above, of a box.
            Kind::Extras => Link::Extras(unsafe { Box::from_raw(link.cast()) }),
        }
    }

    /// What was there before is dropped last.
    #[inline]
    fn set_link(&self, link: Link) {
        let old = self.take_link();
        let (link, kind) = match link {
            Link::Nothing => (ptr::null_mut(), Kind::Nothing),
            Link::Loop(event_loop) => (event_loop.into_ptr().cast(), Kind::Loop),
            Link::Task(task) => (task.into_ptr().cast(), Kind::Task),
            Link::Pending(object) => (object.into_ptr().cast(), Kind::Pending),
            Link::Extras(extras) => (Box::into_raw(extras).cast(), Kind::Extras),
        };
        self.link.set(link);
        self.kind.set(kind);
        drop(old);
    }

    /// A new reference to the object of that kind.
    #[inline]
    fn linked(&self, kind: Kind) -> Option<Object> {
        // SAFETY: of the object kinds the link is an object that the waiter owns.
        (self.kind.get() == kind).then(|| unsafe { Object::borrow(self.link.get().cast()) })
    }

    /// The loop's address, or null; borrowed.
    #[inline]
    fn loop_address(&self) -> *mut ffi::PyObject {
        let link: *mut ffi::PyObject = self.link.get().cast();
        match self.kind.get() {
            Kind::Loop => link,
            // SAFETY: a native task, which the waiter keeps alive.
            Kind::Task => unsafe { tasks::state_of(link) }.future.home().as_ptr(),
            Kind::Extras => self.extras().map_or(ptr::null_mut(), |extras| extras.event_loop.as_ptr()),
            Kind::Nothing | Kind::Pending => ptr::null_mut(),
        }
    }

    #[inline]
    pub(crate) fn event_loop(&self) -> Option<Object> {
        // SAFETY: null, or a loop that is kept alive as `loop_address` says.
        unsafe { Object::borrow_opt(self.loop_address()) }
    }

    #[inline]
    pub(crate) fn is_on(&self, event_loop: &Slot) -> bool {
        self.loop_address() == event_loop.as_ptr()
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.phase.get() == Phase::Pending
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.phase.get() == Phase::Cancelled
    }

    /// The extras, where there are any. They are never taken away from a live waiter, so the borrow stays good.
    #[inline]
    pub(super) fn extras(&self) -> Option<&Extras> {
        // SAFETY: of this kind the link is a box that the waiter owns, which does not move.
        (self.kind.get() == Kind::Extras).then(|| unsafe { &*self.link.get().cast::<Extras>() })
    }

    #[cold]
    pub(super) fn extras_or_new(&self) -> &Extras {
        if self.kind.get() != Kind::Extras {
            let extras = Extras::instead_of(self.take_link());
            self.set_link(Link::Extras(extras));
        }
        self.extras().expect("made above")
    }

    /// What the operation waits on, unless that is itself.
    #[inline]
    pub(super) fn pending_object(&self) -> Option<Object> {
        match self.extras() {
            None => self.linked(Kind::Pending),
            Some(extras) => extras.pending.get(),
        }
    }

    #[inline]
    pub(super) fn take_pending_object(&self) -> Option<Object> {
        match self.kind.get() {
            Kind::Pending => match self.take_link() {
                Link::Pending(object) => Some(object),
                _ => None,
            },
            _ => self.extras()?.pending.take(),
        }
    }

    /// Where somebody is registered still, that is kept as well.
    #[inline]
    pub(super) fn set_pending_object(&self, object: Object) {
        match self.kind.get() {
            Kind::Nothing | Kind::Pending => self.set_link(Link::Pending(object)),
            Kind::Loop if !self.is_pending() => self.set_link(Link::Pending(object)),
            Kind::Loop | Kind::Task | Kind::Extras => self.extras_or_new().pending.put(object),
        }
    }

    /// Has the native `task`, of the same loop, woken when the waiter is done.
    #[inline]
    pub(crate) fn register(&self, this: &Object, task: &Object) -> Result<()> {
        if !self.is_pending() {
            return callbacks::schedule(this, self, Callback::Wake(task.clone()));
        }
        if self.kind.get() == Kind::Loop {
            self.set_link(Link::Task(task.clone()));
        } else {
            self.add(Callback::Wake(task.clone()));
        }
        Ok(())
    }

    /// Adds a callback of the general kind.
    pub(super) fn add(&self, callback: Callback) {
        self.extras_or_new().callbacks.push(callback);
    }

    /// Every callback, the task first.
    pub(super) fn entries(&self) -> Vec<Callback> {
        match self.extras() {
            None => self.linked(Kind::Task).map(Callback::Wake).into_iter().collect(),
            Some(extras) => extras.callbacks.snapshot(),
        }
    }

    /// Removes the callbacks equal to `function`, and counts them.
    pub(super) fn remove(&self, function: &Object) -> Result<usize> {
        if self.entries().is_empty() {
            return Ok(0);
        }
        self.extras_or_new().callbacks.remove(function)
    }

    /// Ends the wait: whoever waits will go on. Nothing for a waiter that is done already.
    #[inline]
    pub(crate) fn wake(&self, this: &Object) -> Result<()> {
        if self.is_pending() { self.settle(this, Phase::Finished) } else { Ok(()) }
    }

    /// As `wake`, with a result that is not None.
    pub(super) fn set_result(&self, this: &Object, result: Object) -> Result<()> {
        self.ensure_pending()?;
        if !result.is_none() {
            self.extras_or_new().result.put(result);
        }
        self.settle(this, Phase::Finished)
    }

    pub(super) fn set_exception(&self, this: &Object, exception: Object) -> Result<()> {
        self.ensure_pending()?;
        self.extras_or_new().exception.put(exception);
        self.settle(this, Phase::Finished)
    }

    fn ensure_pending(&self) -> Result<()> {
        if self.is_pending() {
            return Ok(());
        }
        Err(raise(&stdlib().invalid_state_error, "invalid state".into()))
    }

    /// `cancel(msg=message)`: whether the waiter was pending.
    #[inline]
    pub(crate) fn cancel(&self, this: &Object, message: Option<Object>) -> Result<bool> {
        if !self.is_pending() {
            return Ok(false);
        }
        if let Some(message) = message.filter(|message| !message.is_none()) {
            self.extras_or_new().message.put(message);
        }
        self.settle(this, Phase::Cancelled)?;
        Ok(true)
    }

    #[inline]
    fn settle(&self, this: &Object, phase: Phase) -> Result<()> {
        self.phase.set(phase);
        match self.kind.get() {
            Kind::Task => {
                let Link::Task(task) = self.take_link() else { return Ok(()) };
                if let Some(event_loop) = loop_of(&task) {
                    self.set_link(Link::Loop(event_loop));
                }
                callbacks::schedule(this, self, Callback::Wake(task))
            }
            Kind::Extras => self.extras().map_or(Ok(()), |extras| extras.callbacks.schedule_all(this, self)),
            Kind::Nothing | Kind::Loop | Kind::Pending => Ok(()),
        }
    }

    /// What `await waiter` would raise, now; nothing where there is a result.
    #[inline]
    pub(crate) fn outcome(&self) -> Result<()> {
        match self.phase.get() {
            Phase::Finished if self.kind.get() != Kind::Extras => Ok(()),
            Phase::Pending => {
                Err(pyo3::exceptions::PyRuntimeError::with_text("await wasn't used with future").into())
            }
            _ => match self.failure()? {
                Some(exception) => Err(Raised::from_object(&exception)),
                None => Ok(()),
            },
        }
    }

    /// The exception that a task which waited here is to be thrown, if any.
    #[inline]
    pub(crate) fn failure(&self) -> Result<Option<Object>> {
        match self.phase.get() {
            Phase::Cancelled => self.cancelled_error().map(Some),
            _ => Ok(self.extras().and_then(|extras| extras.exception.get())),
        }
    }

    pub(super) fn value(&self) -> Object {
        self.extras().map_or_else(Object::none, |extras| extras.result.or_none())
    }

    pub(super) fn cancelled_error(&self) -> Result<Object> {
        let class = &stdlib().cancelled_error;
        match self.extras().and_then(|extras| extras.message.get()) {
            Some(message) => call::call1(class, &message),
            None => call::call0(class),
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        match self.extras() {
            None => visit(self.link.get().cast()),
            Some(extras) => {
                extras.callbacks.visit(visit);
                extras.slots().into_iter().for_each(|slot| visit(slot.as_ptr()));
            }
        }
    }

    /// Gives every reference up.
    #[inline]
    pub(super) fn clear(&self) {
        drop(self.take_link());
    }
}

impl OnLoop for Waiter {
    #[inline]
    fn direct(&self) -> Option<&Core> {
        let event_loop = self.loop_address();
        if event_loop.is_null() {
            return None;
        }
        // SAFETY: kept alive as `loop_address` says.
        unsafe { Core::at(event_loop) }.filter(|core| core.is_direct())
    }

    fn event_loop(&self) -> Object {
        Waiter::event_loop(self).unwrap_or_else(Object::none)
    }
}

/// The time of a waiting operation has come.
#[inline]
pub(crate) fn expire(waiter: &Object) -> Result<()> {
    // SAFETY: timers are set for waiters only.
    unsafe { Waiter::of(waiter.as_ptr()) }.wake(waiter)
}
