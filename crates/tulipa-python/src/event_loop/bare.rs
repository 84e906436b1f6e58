//! `Bare`: a queued callback whose Handle nobody has kept, which is nearly every one.
//!
//! `call_soon` must return a Handle, and most callers drop it at once. From then on only the ready queue holds it, so
//! nobody can see any more whether it exists. When a queue has become long, the callback queued last gives its Handle up
//! to the next one; and callbacks that were scheduled under the same context variables share one context, of which each
//! gets a copy of its own when it runs. Thirty thousand pending callbacks (what a thread leaves in the interpreter's
//! switch interval) are then one array and no work for the collector. Where a Handle is asked for after all, to report a
//! failure, one is made again.
//!
//! Called by `handles` when it wants a Handle for the queue, and by `host`, which runs what is queued; all of it between
//! calls into Python (S1).

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;
use tulipa::ready::ReadyQueue;

use super::core::Core;
use super::handles;
use super::job::Job;
use crate::ffi::{Object, Result, call, context};
use crate::gc;

/// How long a queue is short. The interpreter keeps the memory of 255 contexts for the next.
const FEW: usize = 200;

/// What a Handle was.
pub(crate) struct Bare {
    pub(super) callback: Object,
    /// A tuple.
    pub(super) arguments: Object,
    pub(super) context: Object,
    /// Whether other callbacks in the queue may have the same context, so that none may run in it but the last.
    shared: bool,
    /// Whether it was a Handle of `call_soon_threadsafe`, where that has a class of its own.
    pub(super) thread_safe: bool,
}

impl Bare {
    pub(super) const fn new(callback: Object, arguments: Object, context: Object, thread_safe: bool) -> Self {
        Self { callback, arguments, context, shared: false, thread_safe }
    }

    /// Runs the callback in a context of its own.
    #[inline]
    pub(super) fn run(&mut self) -> Result<()> {
        if self.shared && !is_sole(&self.context) {
            self.context = context::copy(&self.context)?;
        }
        context::run_in(&self.context, || call::call_tuple(&self.callback, self.arguments.as_ptr()).map(drop))
    }

    pub(super) fn visit(&self, see: &mut dyn FnMut(&Object)) {
        [&self.callback, &self.arguments, &self.context].into_iter().for_each(see);
    }

    /// Takes over the context of the callback before, if nothing tells the two apart. The one that is not needed any
    /// more is handed back.
    fn share(&mut self, before: &mut Self) -> Option<Object> {
        let is_common = before.shared || is_private(&before.context);
        if !is_common || !is_private(&self.context) || !has_same_variables(&before.context, &self.context) {
            return None;
        }
        (before.shared, self.shared) = (true, true);
        Some(std::mem::replace(&mut self.context, before.context.clone()))
    }
}

/// Takes the Handle from the youngest callback in a long queue, if only the queue has it. It is left without callback,
/// arguments and context.
#[inline]
pub(super) fn take_last_handle(event_loop: *mut ffi::PyObject, core: &Core) -> Option<Object> {
    if core.engine.ready_len() <= FEW {
        return None;
    }
    // A context that is not needed any more is dropped when the queue is not borrowed.
    core.engine.with_ready(|ready| strip_last(ready, event_loop)).map(|(handle, _context)| handle)
}

fn strip_last(
    ready: &mut ReadyQueue<Job>,
    event_loop: *mut ffi::PyObject,
) -> Option<(Object, Option<Object>)> {
    let [before, last] = ready.last_two();
    let last = last?;
    let Job::Handle(handle) = &*last else { return None };
    let mut bare = handles::take_parts(handle, event_loop)?;
    let context = match before {
        Some(Job::Bare(before)) => bare.share(before),
        _ => None,
    };
    match std::mem::replace(last, Job::Bare(bare)) {
        Job::Handle(handle) => Some((handle, context)),
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

/// Whether it is a context that nobody else can come by, and so one that was never entered.
#[inline]
fn is_private(context: &Object) -> bool {
    is_sole(context) && context::is_context(context) && is_unobserved(context)
}

/// Whether both contexts have the very same table of variables. A context that is not entered refers to that alone,
/// which it says when the collector asks.
#[inline]
fn has_same_variables(one: &Object, other: &Object) -> bool {
    let table = only_referent(one);
    !table.is_null() && table == only_referent(other)
}

/// What the object shows the collector; null if that is not one object.
fn only_referent(object: &Object) -> *mut ffi::PyObject {
    unsafe extern "C" fn note(object: *mut ffi::PyObject, data: *mut c_void) -> c_int {
        // SAFETY: `data` is the cell below.
        let seen = unsafe { &mut *data.cast::<(*mut ffi::PyObject, u32)>() };
        *seen = (object, seen.1 + 1);
        0
    }
    let mut seen = (ptr::null_mut::<ffi::PyObject>(), 0_u32);
    // SAFETY: a live class.
    if let Some(traverse) = unsafe { (*object.class()).tp_traverse } {
        // SAFETY: a live object, and a visitor that only notes addresses.
        unsafe { traverse(object.as_ptr(), note, (&raw mut seen).cast()) };
    }
    if seen.1 == 1 { seen.0 } else { ptr::null_mut() }
}
