//! `Bare`: a queued callback whose Handle nobody has kept, which is nearly every one.
//!
//! `call_soon` must return a Handle, and most callers drop it at once. From then on only the ready queue holds it, so
//! nobody can see any more whether it exists. When a queue has become long, the callback queued last gives its Handle up
//! to the next one. Thirty thousand pending callbacks (what a thread leaves in the interpreter's switch interval) are
//! then one array and no work for the collector. Where a Handle is asked for after all, to report a failure, one is made
//! again.
//!
//! Called by `handles` when it wants a Handle for the queue, and by `host`, which runs what is queued; all of it between
//! calls into Python (S1).

use pyo3::ffi;
use tulipa::ready::ReadyQueue;

use super::contexts::Context;
use super::core::Core;
use super::handles;
use super::job::Job;
use crate::ffi::{Object, Raised, Result, call};
use crate::gc;

/// How long a queue is short. The interpreter keeps the memory of 255 contexts for the next.
const FEW: usize = 200;

/// What a Handle was.
pub(crate) struct Bare {
    pub(super) callback: Object,
    /// A tuple.
    pub(super) arguments: Object,
    context: Object,
    /// Whether the context is a template. Apart from it, since that makes a queued job shorter.
    shared: bool,
    /// Whether it was a Handle of `call_soon_threadsafe`, where that has a class of its own.
    pub(super) thread_safe: bool,
}

impl Bare {
    pub(super) fn new(callback: Object, arguments: Object, context: Context, thread_safe: bool) -> Self {
        let (shared, context) = context.split();
        Self { callback, arguments, context, shared, thread_safe }
    }

    /// Runs the callback. Where it fails, hands everything back, with the context that it ran in.
    #[inline]
    pub(super) fn run(self, core: &Core) -> std::result::Result<(), (Raised, Self)> {
        let Self { callback, arguments, context, shared, thread_safe } = self;
        let body = || call::call_tuple(&callback, arguments.as_ptr()).map(drop);
        let outcome = core
            .contexts
            .run(Context::join(shared, context), body)
            .or_else(|failure| handles::call_by_context(failure, &callback, &arguments));
        outcome.map_err(|(raised, context)| {
            (raised, Self { callback, arguments, context, shared: false, thread_safe })
        })
    }

    /// The context, for a Handle that is made again.
    pub(super) fn own_context(&self) -> Result<Object> {
        Context::join(self.shared, self.context.clone()).into_own()
    }

    pub(super) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        [&self.callback, &self.arguments, &self.context].into_iter().for_each(see);
    }
}

/// Takes the Handle from the youngest callback in a long queue, if only the queue has it. It is left without callback,
/// arguments and context.
#[inline]
pub(super) fn take_last_handle(event_loop: *mut ffi::PyObject, core: &Core) -> Option<Object> {
    if core.engine.ready_len() <= FEW {
        return None;
    }
    core.engine.with_ready(|ready| strip_last(ready, event_loop))
}

fn strip_last(ready: &mut ReadyQueue<Job>, event_loop: *mut ffi::PyObject) -> Option<Object> {
    let last = ready.last_mut()?;
    let Job::Handle(handle) = &*last else { return None };
    let bare = handles::take_parts(handle, event_loop)?;
    match std::mem::replace(last, Job::Bare(bare)) {
        Job::Handle(handle) => Some(handle),
        _ => unreachable!("it was a Handle above"),
    }
}

/// Whether there is no other reference to the object.
#[inline]
pub(super) fn is_sole(object: &Object) -> bool {
    // SAFETY: a live object.
    !cfg!(Py_GIL_DISABLED) && unsafe { ffi::Py_REFCNT(object.as_ptr()) } == 1
}

/// Whether there is no weak reference to the object.
#[inline]
pub(super) fn is_unobserved(object: &Object) -> bool {
    // SAFETY: a live object.
    !unsafe { gc::is_weakly_referenced(object.as_ptr()) }
}
