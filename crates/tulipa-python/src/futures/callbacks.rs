//! What waits for a future: done-callbacks in the order they were added, the first one without an allocation.

use std::cell::{Cell, UnsafeCell};

use pyo3::ffi;

use super::observers::Kind;
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::{Object, Result, Slot, call, context};
use crate::tasks;

/// One entry.
#[derive(Clone)]
pub(crate) enum Callback {
    /// A native task, to be woken by one push on the ready queue.
    Wake(Object),
    /// A native object, to be told by a Rust function.
    Notify { observer: Object, kind: &'static Kind },
    /// What `add_done_callback` was given.
    Call { function: Object, context: Context },
}

impl Callback {
    /// The callable and the context, as Python code may see them.
    pub(crate) fn visible(&self) -> Result<(Object, Object)> {
        match self {
            Self::Wake(task) => Ok((tasks::wakeup_callable(task)?, tasks::context_of(task)?)),
            Self::Notify { observer, kind } => Ok((kind.callable(observer)?, context::copy_current()?)),
            Self::Call { function, context } => Ok((function.clone(), context.clone().into_own()?)),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wake(task), Self::Wake(other)) => task.is(other.as_ptr()),
            (Self::Notify { observer, kind }, Self::Notify { observer: other, kind: other_kind }) => {
                observer.is(other.as_ptr()) && std::ptr::eq(*kind, *other_kind)
            }
            (Self::Call { function, context }, Self::Call { function: other, context: other_context }) => {
                function.is(other.as_ptr()) && context.object().is(other_context.object().as_ptr())
            }
            _ => false,
        }
    }

    pub(crate) fn wake(task: Object) -> Self {
        Self::Wake(task)
    }

    fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        match self {
            Self::Wake(object) | Self::Notify { observer: object, .. } => visit(object.as_ptr()),
            Self::Call { function, context } => {
                visit(function.as_ptr());
                visit(context.object().as_ptr());
            }
        }
    }
}

/// What has callbacks: a future of some kind, which belongs to a loop.
pub(crate) trait OnLoop {
    /// The loop's core, where jobs may be pushed past `call_soon`.
    fn direct(&self) -> Option<&Core>;
    fn event_loop(&self) -> &Slot;
}

/// The callbacks of one future.
pub(crate) struct Callbacks {
    first: Cell<Option<Callback>>,
    /// Those after the first; S1 of the slots holds for it too.
    rest: UnsafeCell<Vec<Callback>>,
}

impl Callbacks {
    pub(crate) const fn new() -> Self {
        Self { first: Cell::new(None), rest: UnsafeCell::new(Vec::new()) }
    }

    #[inline]
    pub(crate) fn push(&self, callback: Callback) {
        match self.first.take() {
            None => self.first.set(Some(callback)),
            Some(first) => {
                self.first.set(Some(first));
                // SAFETY: S1: pushing allocates from Rust's heap only and calls nobody.
                unsafe { (*self.rest.get()).push(callback) };
            }
        }
    }

    /// Copies of all entries, for code that looks at them while they may change.
    pub(crate) fn snapshot(&self) -> Vec<Callback> {
        let first = self.first.take();
        let copy = first.clone();
        self.first.set(first);
        // SAFETY: S1: cloning entries increments counts and calls nobody.
        let rest = unsafe { (*self.rest.get()).iter().cloned() };
        copy.into_iter().chain(rest).collect()
    }

    /// Gives every entry a context of its own, which somebody is about to see.
    pub(crate) fn own_contexts(&self) -> Result<()> {
        let (first, rest) = self.take();
        for callback in first.into_iter().chain(rest) {
            self.push(match callback {
                Callback::Call { function, context } => {
                    Callback::Call { function, context: Context::Own(context.into_own()?) }
                }
                other => other,
            });
        }
        Ok(())
    }

    fn take(&self) -> (Option<Callback>, Vec<Callback>) {
        // SAFETY: S1: the vector is moved out whole.
        (self.first.take(), unsafe { std::mem::take(&mut *self.rest.get()) })
    }

    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// Removes the entries equal to `function`, and counts them. Comparing may run Python code that adds or
    /// removes callbacks itself, so it happens on a snapshot.
    pub(crate) fn remove(&self, function: &Object) -> Result<usize> {
        let mut doomed = Vec::new();
        for callback in self.snapshot() {
            let (visible, _) = callback.visible()?;
            if call::equal(&visible, function)? {
                doomed.push(callback);
            }
        }
        Ok(self.discard(|callback| doomed.iter().any(|other| other.is_same(callback))))
    }

    /// Removes the entries of one observer.
    pub(crate) fn remove_observer(&self, observer: &Object, kind: &'static Kind) {
        let entry = Callback::Notify { observer: observer.clone(), kind };
        self.discard(|callback| callback.is_same(&entry));
    }

    /// Removes what `is_doomed` says, which calls nobody, and counts it.
    fn discard(&self, is_doomed: impl Fn(&Callback) -> bool) -> usize {
        let (first, rest) = self.take();
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for callback in first.into_iter().chain(rest) {
            if is_doomed(&callback) { removed.push(callback) } else { kept.push(callback) }
        }
        for callback in kept {
            self.push(callback);
        }
        removed.len()
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        let first = self.first.take();
        if let Some(callback) = &first {
            callback.visit(visit);
        }
        self.first.set(first);
        // SAFETY: S1: visiting reads addresses only.
        unsafe { (*self.rest.get()).iter() }.for_each(|callback| callback.visit(visit));
    }

    /// Queues every callback, in order, and forgets them.
    #[inline]
    pub(crate) fn schedule_all(&self, future: &Object, state: &impl OnLoop) -> Result<()> {
        let Some(first) = self.first.take() else { return Ok(()) };
        schedule(future, state, first)?;
        // SAFETY: S1: a length is read.
        if unsafe { (*self.rest.get()).is_empty() } {
            return Ok(());
        }
        let (_, rest) = self.take();
        rest.into_iter().try_for_each(|callback| schedule(future, state, callback))
    }
}

/// Queues one callback of a done future.
#[inline]
pub(crate) fn schedule(future: &Object, state: &impl OnLoop, callback: Callback) -> Result<()> {
    let Some(core) = state.direct() else { return schedule_by_call(future, state, &callback) };
    core.schedule(match callback {
        Callback::Wake(task) => Job::Wakeup { task, future: future.clone() },
        Callback::Notify { observer, kind } => {
            if !kind.note(&observer, future) {
                return Ok(());
            }
            Job::Notify { observer, kind, future: future.clone() }
        }
        Callback::Call { function, context } => {
            Job::Call { function, argument: Some(future.clone()), context }
        }
    });
    Ok(())
}

/// The way that works on any loop: `loop.call_soon(callback, future, context=context)`.
#[cold]
fn schedule_by_call(future: &Object, state: &impl OnLoop, callback: &Callback) -> Result<()> {
    let (function, context) = callback.visible()?;
    tasks::call_soon(&state.event_loop().or_none(), &function, Some(future), &context)
}
