//! The contexts of tasks: one for each that uses it, and one for all the others.
//!
//! A task runs in a copy of the context that it was made in. Nearly no task changes its copy, so of a crowd that was made
//! in one place each would keep the same variables in a context of its own. Tasks on a Tulipa loop therefore hold a
//! common **template**, which nobody ever enters; a step runs in the loop's **spare** copy of it. A task whose step has
//! changed the spare, or left a reference to it behind, keeps it, and the loop makes another for the next task.
//!
//! What can be told apart from outside is made first: whoever asks a task for its context gets one of its own (`own`).
//! Called by `class` when a task is made, and by `step`; works on slots only, and calls no Python code.

use super::TaskState;
use crate::event_loop::core::Core;
use crate::ffi::{Object, Result, Slot, context};
use crate::futures::Bit;

/// Of so many tasks with one template each gives its context back while it waits. For fewer it is not worth the while: a
/// task that is woken over and over, as by a queue, would take and give the spare each time.
const CROWD: isize = 1000;

/// Of so many tasks with one template each leaves its context to the next when it is done: tasks that end in their first
/// step, as many do that are gathered, then need one for all of them.
const SOME: isize = 64;

/// What a loop keeps for its tasks.
pub(crate) struct Contexts {
    /// What tasks that have no context of their own will run in a copy of.
    pub(crate) template: Slot,
    /// A copy of some template, not in use.
    pub(crate) spare: Slot,
}

impl Contexts {
    pub(crate) const fn new() -> Self {
        Self { template: Slot::empty(), spare: Slot::empty() }
    }

    /// Whether there is a template that no task needs any more. Asked once a turn.
    #[inline]
    pub(crate) fn are_idle(&self) -> bool {
        self.template.references() == Some(1)
    }

    /// Lets go of both, and with them of the variables' values.
    pub(crate) fn forget(&self) {
        self.template.set(None);
        self.spare.set(None);
    }
}

/// Gives a new task the variables of the current context.
#[inline]
pub(super) fn begin(state: &TaskState) -> Result<()> {
    let copy = context::copy_current()?;
    let Some(core) = state.future.core().filter(|core| core.is_direct() && context::can_compare()) else {
        state.context.put(copy);
        return Ok(());
    };
    let contexts = &core.contexts;
    state.future.bits.set(Bit::PlainContext, true);
    state.future.bits.set(Bit::SharedContext, true);
    match contexts.template.get() {
        Some(template) if context::have_same_variables(&template, &copy) => state.context.put(template),
        _ => {
            contexts.template.put(copy.clone());
            state.context.put(copy);
        }
    }
    Ok(())
}

/// The context that a task's step runs in: the task's own, from now on.
#[inline]
pub(super) fn enter(core: &Core, state: &TaskState) -> Result<Object> {
    let held = state.context.or_none();
    if !state.future.bits.has(Bit::SharedContext) {
        return Ok(held);
    }
    let own = match core.contexts.spare.take() {
        Some(spare) if context::have_same_variables(&spare, &held) => spare,
        other => {
            core.contexts.spare.set(other);
            // The loop's reference, the task's, and the one in hand.
            if context::references(&held) == 3 && core.contexts.template.as_ptr() == held.as_ptr() {
                // There is no other task that it would be a template for.
                core.contexts.template.set(None);
                state.future.bits.set(Bit::SharedContext, false);
                return Ok(held);
            }
            context::copy(&held)?
        }
    };
    state.future.bits.set(Bit::SharedContext, false);
    state.context.put(own.clone());
    Ok(own)
}

/// The step is over. A task that is done, and one of a crowd that waits, gives its context back if it is still as it was
/// and nobody else has it.
#[inline]
pub(super) fn leave(core: &Core, state: &TaskState, own: Object) {
    let Some(sharing) = core.contexts.template.references() else { return };
    let is_free =
        if state.future.is_pending() { sharing > CROWD && state.future.is_waiting() } else { sharing > SOME };
    if !is_free {
        return;
    }
    let template = core.contexts.template.or_none();
    // The task's reference, and the one in hand.
    if state.future.bits.has(Bit::PlainContext)
        && context::references(&own) == 2
        && state.context.as_ptr() == own.as_ptr()
        && context::have_same_variables(&own, &template)
    {
        state.context.put(template);
        state.future.bits.set(Bit::SharedContext, true);
        core.contexts.spare.put(own);
    }
}

/// The task's context as others may see and use it: its own, and never given back any more.
pub(crate) fn own(state: &TaskState) -> Result<Object> {
    state.future.bits.set(Bit::PlainContext, false);
    let held = state.context.or_none();
    if !state.future.bits.replace(Bit::SharedContext, false) {
        return Ok(held);
    }
    let own = context::copy(&held)?;
    state.context.put(own.clone());
    Ok(own)
}
