//! What a queue does between waits: putting, taking, waking those who wait, counting what is unfinished.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::hooks::{Hook, Order, Overridden};
use super::items::Items;
use crate::ffi::make::{self, Exception};
use crate::ffi::{Object, Raised, Result, Slot, call, native};
use crate::locks::Event;
use crate::operations::{self, LoopBound, WaitList};
use crate::stdlib::stdlib;

/// The state of a queue, whatever its order.
pub(super) struct State {
    pub(super) bound_to: LoopBound,
    pub(super) items: Items,
    pub(super) order: Order,
    pub(super) overridden: Overridden,
    /// `maxsize`, as it was given.
    pub(super) max_size: Slot,
    /// The same as a number of items; zero for no limit.
    limit: Cell<usize>,
    pub(super) getters: WaitList,
    pub(super) putters: WaitList,
    pub(super) unfinished: Cell<i64>,
    /// `_finished`, made for the first who waits for it.
    finished: Slot,
    pub(super) is_shut_down: Cell<bool>,
}

impl State {
    pub(super) const fn new(order: Order, overridden: Overridden) -> Self {
        Self {
            bound_to: LoopBound::new(),
            items: Items::new(),
            order,
            overridden,
            max_size: Slot::empty(),
            limit: Cell::new(0),
            getters: WaitList::new(),
            putters: WaitList::new(),
            unfinished: Cell::new(0),
            finished: Slot::empty(),
            is_shut_down: Cell::new(false),
        }
    }

    pub(super) fn slots(&self) -> [&Slot; 5] {
        [self.bound_to.slot(), &self.max_size, self.getters.slot(), self.putters.slot(), &self.finished]
    }

    /// What `__init__` does but for the `_init` hook.
    pub(super) fn begin(&self, max_size: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_max_size(max_size)?;
        self.getters.reset();
        self.putters.reset();
        self.unfinished.set(0);
        self.finished.set(None);
        self.is_shut_down.set(false);
        Ok(())
    }

    pub(super) fn set_max_size(&self, max_size: &Bound<'_, PyAny>) -> PyResult<()> {
        self.limit.set(limit_of(max_size)?);
        self.max_size.put(Object::from_bound(max_size));
        Ok(())
    }

    #[inline]
    pub(super) fn is_empty(&self, this: &Object) -> Result<bool> {
        if self.overridden.has(Hook::Empty) {
            return call::truth(&call_hook(this, Hook::Empty, None)?);
        }
        self.items.is_empty()
    }

    #[inline]
    pub(super) fn is_full(&self, this: &Object) -> Result<bool> {
        if self.overridden.has(Hook::Full) {
            return call::truth(&call_hook(this, Hook::Full, None)?);
        }
        self.has_reached_limit(this)
    }

    /// `full()` itself, which goes by `qsize()`.
    #[inline]
    pub(super) fn has_reached_limit(&self, this: &Object) -> Result<bool> {
        if self.limit.get() == 0 {
            return Ok(false);
        }
        let size = if self.overridden.has(Hook::Size) {
            let size = call_hook(this, Hook::Size, None)?;
            // SAFETY: attached.
            size.bound(unsafe { Python::assume_attached() }).extract::<usize>()?
        } else {
            self.items.len()?
        };
        Ok(size >= self.limit.get())
    }

    #[inline]
    fn take(&self, this: &Object) -> Result<Object> {
        if self.overridden.has(Hook::Get) {
            return call_hook(this, Hook::Get, None);
        }
        self.items.pop(self.order)
    }

    #[inline]
    fn add(&self, this: &Object, item: Object) -> Result<()> {
        if self.overridden.has(Hook::Put) {
            return call_hook(this, Hook::Put, Some(&item)).map(drop);
        }
        self.items.push(self.order, item)
    }

    /// Has the first of `waiters` that still waits go on.
    #[inline]
    pub(super) fn wake_next(&self, this: &Object, waiters: &WaitList) -> Result<()> {
        if self.overridden.has(Hook::WakeNext) {
            return call_hook(this, Hook::WakeNext, Some(&waiters.get_or_new()?)).map(drop);
        }
        while let Some(waiter) = waiters.pop() {
            if operations::wake(&waiter, Object::none)? {
                break;
            }
        }
        Ok(())
    }

    fn wake_all(waiters: &WaitList) -> Result<()> {
        while let Some(waiter) = waiters.pop() {
            operations::wake(&waiter, Object::none)?;
        }
        Ok(())
    }

    /// `get_nowait()`, as a subclass has it.
    #[inline]
    pub(super) fn get_now(&self, this: &Object) -> Result<Object> {
        if self.overridden.has(Hook::GetNowait) {
            return call_hook(this, Hook::GetNowait, None);
        }
        self.get_nowait(this)
    }

    pub(super) fn get_nowait(&self, this: &Object) -> Result<Object> {
        if self.is_empty(this)? {
            let stdlib = stdlib();
            return Err(raise_class(if self.is_shut_down.get() {
                &stdlib.queue_shut_down
            } else {
                &stdlib.queue_empty
            }));
        }
        let item = self.take(this)?;
        self.wake_next(this, &self.putters)?;
        Ok(item)
    }

    /// `put_nowait(item)`, as a subclass has it.
    #[inline]
    pub(super) fn put_now(&self, this: &Object, item: Object) -> Result<Object> {
        if self.overridden.has(Hook::PutNowait) {
            return call_hook(this, Hook::PutNowait, Some(&item));
        }
        self.put_nowait(this, item)?;
        Ok(Object::none())
    }

    pub(super) fn put_nowait(&self, this: &Object, item: Object) -> Result<()> {
        if self.is_shut_down.get() {
            return Err(raise_class(&stdlib().queue_shut_down));
        }
        if self.is_full(this)? {
            return Err(raise_class(&stdlib().queue_full));
        }
        self.add(this, item)?;
        self.unfinished.set(self.unfinished.get() + 1);
        if let Some(finished) = self.finished.get() {
            event(&finished).lower();
        }
        self.wake_next(this, &self.getters)
    }

    pub(super) fn task_done(&self) -> Result<()> {
        let unfinished = self.unfinished.get();
        if unfinished <= 0 {
            return Err(PyValueError::with_text("task_done() called too many times").into());
        }
        self.unfinished.set(unfinished - 1);
        self.note_finished()
    }

    fn note_finished(&self) -> Result<()> {
        match self.finished.get() {
            Some(finished) if self.unfinished.get() == 0 => event(&finished).raise(),
            _ => Ok(()),
        }
    }

    pub(super) fn shut_down(&self, this: &Object, immediate: bool) -> Result<()> {
        self.is_shut_down.set(true);
        if immediate {
            while !self.is_empty(this)? {
                drop(self.take(this)?);
                self.unfinished.set((self.unfinished.get() - 1).max(0));
            }
            self.note_finished()?;
        }
        // Those who wait look again, and raise.
        Self::wake_all(&self.getters)?;
        Self::wake_all(&self.putters)
    }

    /// `_finished`: an Event that is set while nothing is unfinished.
    pub(super) fn finished(&self, py: Python<'_>) -> PyResult<Object> {
        if self.finished.is_empty() {
            let event = Event::unset();
            if self.unfinished.get() <= 0 {
                event.raise()?;
            }
            self.finished.put(Bound::new(py, event)?.into_any().into());
        }
        Ok(self.finished.or_none())
    }
}

/// What `_finished` is, with a reference of the caller's: telling those who wait runs Python code, which may have the
/// queue begin anew.
#[inline]
fn event(finished: &Object) -> &Event {
    // SAFETY: made as an Event, by `State::finished`.
    unsafe { native(finished.as_ptr()) }
}

/// Calls the version of a hook that a subclass has.
#[cold]
fn call_hook(this: &Object, hook: Hook, argument: Option<&Object>) -> Result<Object> {
    // SAFETY: attached.
    let name = Object::from(make::interned(unsafe { Python::assume_attached() }, hook.name())?.into_any());
    match argument {
        Some(argument) => call::method1(this, &name, argument),
        None => call::method0(this, &name),
    }
}

/// `raise class`.
#[cold]
pub(super) fn raise_class(class: &Object) -> Raised {
    match call::call0(class) {
        Ok(exception) => Raised::from_object(&exception),
        Err(raised) => raised,
    }
}

/// How many items `maxsize` allows; zero for any number. It may be a float, infinity too.
fn limit_of(max_size: &Bound<'_, PyAny>) -> PyResult<usize> {
    if max_size.le(0)? {
        return Ok(0);
    }
    if let Ok(limit) = max_size.extract::<usize>() {
        return Ok(limit);
    }
    // Rounded up: a queue with n items is full from the first n on that is not below it.
    Ok(max_size.extract::<f64>()?.ceil() as usize)
}
