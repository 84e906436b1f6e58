//! An observer that is told once at a time of the loop's clock: a timer of the engine's own, without a TimerHandle.
//!
//! A loop that is not Tulipa's, is in debug mode, or whose clock or timers a program has replaced, is asked by
//! `call_at` and `call_soon`, as asyncio's code asks it.

use std::cell::Cell;

use tulipa::TimerKey;

use super::Due;
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::event_loop::timers;
use crate::ffi::{Object, Result, Slot, call};
use crate::futures::observers::{Kind, always, observer_kind};
use crate::operations::Waiter;
use crate::stdlib::stdlib;

/// Whom an alarm tells, how, and of what.
type Told = (Object, &'static Kind, Object);

/// One alarm. It may ring once more after it was cancelled, when its job was queued already: whoever is told must know.
pub(crate) struct Alarm {
    timer: Cell<Option<TimerKey>>,
    /// What the loop gave where it was asked.
    handle: Slot,
}

impl Alarm {
    pub(crate) const fn new() -> Self {
        Self { timer: Cell::new(None), handle: Slot::empty() }
    }

    pub(crate) fn handle(&self) -> &Slot {
        &self.handle
    }

    /// Has `kind` tell `observer` of `subject` at `when`, on the next turn if that is past.
    pub(crate) fn set(&self, event_loop: &Object, when: &Due, told: Told) -> Result<()> {
        if when.is_past(event_loop)? {
            return self.set_soon(event_loop, told);
        }
        self.set_timer(event_loop, when, told)
    }

    fn set_soon(&self, event_loop: &Object, (observer, kind, subject): Told) -> Result<()> {
        if let Some(core) = Core::of(event_loop).filter(|core| core.is_direct()) {
            core.schedule(Job::Notify { observer, kind, future: subject });
            return Ok(());
        }
        self.ask(event_loop, &stdlib().names.call_soon, &[&kind.callable(&observer)?, &subject])
    }

    /// Whether the loop is asked for its timers, and so sees each.
    #[inline]
    pub(crate) fn asks(event_loop: &Object) -> bool {
        Core::of(event_loop).is_none_or(|core| !core.has_plain_timers())
    }

    fn set_timer(&self, event_loop: &Object, when: &Due, (observer, kind, subject): Told) -> Result<()> {
        let Some(core) = Core::of(event_loop).filter(|core| core.has_plain_timers()) else {
            let name = &stdlib().names.call_at;
            return self.ask(event_loop, name, &[&when.to_object()?, &kind.callable(&observer)?, &subject]);
        };
        core.ensure_open()?;
        let due = timers::deadline(when.seconds()?);
        let job = Job::Notify { observer, kind, future: subject };
        self.timer.set(Some(core.engine.schedule_at(due, job)));
        Ok(())
    }

    /// Has `kind` tell `observer` of `subject` in `delay` seconds, by a timer, which comes behind what is ready even if
    /// it is due.
    pub(crate) fn set_later(&self, event_loop: &Object, delay: &Object, told: Told) -> Result<()> {
        if Self::asks(event_loop) {
            let (observer, kind, subject) = told;
            let arguments = [delay, &kind.callable(&observer)?, &subject];
            return self.ask(event_loop, &stdlib().names.call_later, &arguments);
        }
        self.set_timer(event_loop, &Due::later(event_loop, delay)?, told)
    }

    #[cold]
    fn ask(&self, event_loop: &Object, method: &Object, arguments: &[&Object]) -> Result<()> {
        let arguments: Vec<_> =
            std::iter::once(event_loop).chain(arguments.iter().copied()).map(Object::as_ptr).collect();
        self.handle.put(call::vectorcall_method(&arguments, method, std::ptr::null_mut())?);
        Ok(())
    }

    pub(crate) fn cancel(&self, event_loop: &Object) -> Result<()> {
        if let (Some(key), Some(core)) = (self.timer.take(), Core::of(event_loop)) {
            drop(core.engine.cancel_timer(key));
        }
        match self.handle.take() {
            Some(handle) => call::method0(&handle, &stdlib().names.cancel).map(drop),
            None => Ok(()),
        }
    }

    /// It has rung.
    pub(crate) fn forget(&self) {
        self.timer.set(None);
        self.handle.set(None);
    }
}

observer_kind!(
    /// A waiter is told of the end of a future, or of the time.
    pub(crate) static RELEASE, c"_release_waiter", always, release
);

fn release(waiter: &Object, _future: &Object) -> Result<()> {
    // SAFETY: observers of this kind are waiters.
    unsafe { Waiter::of(waiter.as_ptr()) }.wake(waiter)
}
