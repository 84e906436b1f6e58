//! What waits for a future: done-callbacks in the order they were added, the first one without an allocation.

use std::cell::{Cell, UnsafeCell};

use pyo3::ffi;

use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::{Object, Result, Slot, call};
use crate::tasks;

/// One entry. Without a context it is a native task, to be woken by one push on the ready queue.
#[derive(Clone)]
pub(crate) struct Callback {
    pub(crate) function: Object,
    pub(crate) context: Option<Object>,
}

impl Callback {
    pub(crate) fn wake(task: Object) -> Self {
        Self { function: task, context: None }
    }

    /// The callable and the context, as Python code may see them.
    pub(crate) fn visible(&self) -> Result<(Object, Object)> {
        match &self.context {
            Some(context) => Ok((self.function.clone(), context.clone())),
            None => Ok((tasks::wakeup_callable(&self.function)?, tasks::context_of(&self.function))),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let address = |context: &Option<Object>| context.as_ref().map(Object::as_ptr);
        self.function.is(other.function.as_ptr()) && address(&self.context) == address(&other.context)
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
        let (first, rest) = self.take();
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for callback in first.into_iter().chain(rest) {
            let gone = doomed.iter().any(|other| other.is_same(&callback));
            if gone { removed.push(callback) } else { kept.push(callback) }
        }
        for callback in kept {
            self.push(callback);
        }
        Ok(removed.len())
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        let mut each = |callback: &Callback| {
            visit(callback.function.as_ptr());
            visit(callback.context.as_ref().map_or(std::ptr::null_mut(), Object::as_ptr));
        };
        let first = self.first.take();
        if let Some(callback) = &first {
            each(callback);
        }
        self.first.set(first);
        // SAFETY: S1: visiting reads addresses only.
        unsafe { (*self.rest.get()).iter() }.for_each(each);
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
    core.schedule(match callback.context {
        None => Job::Wakeup { task: callback.function, future: future.clone() },
        Some(context) => Job::Call { function: callback.function, argument: Some(future.clone()), context },
    });
    Ok(())
}

/// The way that works on any loop: `loop.call_soon(callback, future, context=context)`.
#[cold]
fn schedule_by_call(future: &Object, state: &impl OnLoop, callback: &Callback) -> Result<()> {
    let (function, context) = callback.visible()?;
    tasks::call_soon(&state.event_loop().or_none(), &function, Some(future), &context)
}
