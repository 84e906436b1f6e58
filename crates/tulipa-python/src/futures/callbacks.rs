//! What waits for a future: done-callbacks in the order they were added, the first one without an allocation.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr;

use pyo3::ffi;

use super::observers::Kind;
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::{Object, Result, call, context};
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
                observer.is(other.as_ptr()) && ptr::eq(*kind, *other_kind)
            }
            (Self::Call { function, context }, Self::Call { function: other, context: other_context }) => {
                function.is(other.as_ptr()) && context.object().is(other_context.object().as_ptr())
            }
            _ => false,
        }
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
    fn event_loop(&self) -> Object;
}

/// The callbacks of one future: two words, of which the second says by its lowest bits what both are.
///
/// | second word             | first word                   |
/// |-------------------------|------------------------------|
/// | `WAKE`                  | null for none, or the task   |
/// | kind, `NOTIFY`          | the observer                 |
/// | own context, `CALL`     | the function                 |
/// | template, `SHARED_CALL` | the function                 |
/// | `MANY`                  | a boxed vector of entries    |
pub(crate) struct Callbacks {
    subject: Cell<*mut ()>,
    detail: Cell<*mut ()>,
}

const WAKE: usize = 0;
const NOTIFY: usize = 1;
const CALL: usize = 2;
const SHARED_CALL: usize = 3;
const MANY: usize = 4;

/// The bits that the addresses of objects and statics leave free.
const TAG: usize = 7;
const _: () = assert!(align_of::<Kind>() > TAG, "a kind's address must leave the tag's bits free");

/// What the two words mean.
enum Held {
    None,
    One(Callback),
    #[allow(clippy::box_collection, reason = "one word")]
    Many(Box<Vec<Callback>>),
}

impl Held {
    /// What the words mean, as if they were moved.
    ///
    /// # Safety
    /// `words` made them, and at most one meaning of theirs is dropped.
    #[inline]
    unsafe fn read(subject: *mut (), detail: *mut ()) -> Self {
        if subject.is_null() {
            return Self::None;
        }
        // SAFETY: the words' maker gave up a reference; of a vector's address nothing is made here.
        let object = || unsafe { Object::owned(subject.cast()) };
        let plain = detail.map_addr(|address| address & !TAG);
        match detail.addr() & TAG {
            WAKE => Self::One(Callback::Wake(object())),
            NOTIFY => {
                // SAFETY: the address of a static.
                let kind = unsafe { &*plain.cast::<Kind>() };
                Self::One(Callback::Notify { observer: object(), kind })
            }
            tag @ (CALL | SHARED_CALL) => {
                // SAFETY: as for the subject.
                let context = unsafe { Object::owned(plain.cast()) };
                let context = if tag == CALL { Context::Own(context) } else { Context::Shared(context) };
                Self::One(Callback::Call { function: object(), context })
            }
            // SAFETY: the words' maker gave up the box.
            _ => Self::Many(unsafe { Box::from_raw(subject.cast()) }),
        }
    }

    /// The words, which own what this did.
    #[inline]
    fn words(self) -> (*mut (), *mut ()) {
        let tagged = |detail: *mut (), tag: usize| detail.map_addr(|address| address | tag);
        match self {
            Self::None => (ptr::null_mut(), ptr::null_mut()),
            Self::One(Callback::Wake(task)) => (task.into_ptr().cast(), ptr::null_mut()),
            Self::One(Callback::Notify { observer, kind }) => {
                (observer.into_ptr().cast(), tagged(ptr::from_ref(kind).cast_mut().cast(), NOTIFY))
            }
            Self::One(Callback::Call { function, context }) => {
                let (context, tag) = match context {
                    Context::Own(context) => (context, CALL),
                    Context::Shared(template) => (template, SHARED_CALL),
                };
                (function.into_ptr().cast(), tagged(context.into_ptr().cast(), tag))
            }
            Self::Many(entries) => (Box::into_raw(entries).cast(), tagged(ptr::null_mut(), MANY)),
        }
    }

    fn entries(&self) -> &[Callback] {
        match self {
            Self::None => &[],
            Self::One(callback) => std::slice::from_ref(callback),
            Self::Many(entries) => entries,
        }
    }

    fn into_entries(self) -> Vec<Callback> {
        match self {
            Self::None => Vec::new(),
            Self::One(callback) => vec![callback],
            Self::Many(entries) => *entries,
        }
    }
}

impl Callbacks {
    pub(crate) const fn new() -> Self {
        Self { subject: Cell::new(ptr::null_mut()), detail: Cell::new(ptr::null_mut()) }
    }

    #[inline]
    fn put(&self, held: Held) {
        let (subject, detail) = held.words();
        self.subject.set(subject);
        self.detail.set(detail);
    }

    #[inline]
    fn take(&self) -> Held {
        let (subject, detail) = (self.subject.replace(ptr::null_mut()), self.detail.replace(ptr::null_mut()));
        // SAFETY: `put` stored them, and they are forgotten here.
        unsafe { Held::read(subject, detail) }
    }

    /// Shows the entries to `look`, which calls nobody (S1).
    fn with<R>(&self, look: impl FnOnce(&[Callback]) -> R) -> R {
        // SAFETY: `put` stored them, and what they mean is not dropped here.
        let held = ManuallyDrop::new(unsafe { Held::read(self.subject.get(), self.detail.get()) });
        look(held.entries())
    }

    #[inline]
    pub(crate) fn push(&self, callback: Callback) {
        self.put(match self.take() {
            Held::None => Held::One(callback),
            Held::One(first) => Held::Many(Box::new(vec![first, callback])),
            Held::Many(mut entries) => {
                entries.push(callback);
                Held::Many(entries)
            }
        });
    }

    /// Copies of all entries, for code that looks at them while they may change.
    pub(crate) fn snapshot(&self) -> Vec<Callback> {
        self.with(<[Callback]>::to_vec)
    }

    /// Gives every entry a context of its own, which somebody is about to see.
    pub(crate) fn own_contexts(&self) -> Result<()> {
        for callback in self.take().into_entries() {
            self.push(match callback {
                Callback::Call { function, context } => {
                    Callback::Call { function, context: Context::Own(context.into_own()?) }
                }
                other => other,
            });
        }
        Ok(())
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
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for callback in self.take().into_entries() {
            if is_doomed(&callback) { removed.push(callback) } else { kept.push(callback) }
        }
        for callback in kept {
            self.push(callback);
        }
        removed.len()
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        self.with(|entries| entries.iter().for_each(|callback| callback.visit(visit)));
    }

    /// Queues every callback, in order, and forgets them.
    #[inline]
    pub(crate) fn schedule_all(&self, future: &Object, state: &impl OnLoop) -> Result<()> {
        match self.take() {
            Held::None => Ok(()),
            Held::One(callback) => schedule(future, state, callback),
            Held::Many(entries) => {
                entries.into_iter().try_for_each(|callback| schedule(future, state, callback))
            }
        }
    }
}

impl Drop for Callbacks {
    #[inline]
    fn drop(&mut self) {
        self.clear();
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
            Job::Call { function, argument: Some(future.clone()), context: context.or_current()? }
        }
    });
    Ok(())
}

/// The way that works on any loop: `loop.call_soon(callback, future, context=context)`.
#[cold]
fn schedule_by_call(future: &Object, state: &impl OnLoop, callback: &Callback) -> Result<()> {
    let (function, context) = callback.visible()?;
    tasks::call_soon(&state.event_loop(), &function, Some(future), &context)
}
