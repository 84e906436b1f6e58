//! The I/O budget of one poll.
//!
//! A task whose socket always has data would never return to the loop: `read().await` is ready each time. So
//! every poll of a task is granted a number of I/O operations; when they are spent the next one reports "not
//! yet" and wakes the task at once, which puts it behind everybody else.

use std::cell::Cell;
use std::task::{Context, Poll};

/// Operations granted per poll: tokio's number. At 5 us per message it bounds a task's stretch to some 0.6
/// ms.
const OPERATIONS_PER_POLL: u8 = 128;

thread_local! {
    /// Operations left for the task being polled on this thread.
    static LEFT: Cell<u8> = const { Cell::new(OPERATIONS_PER_POLL) };
}

/// A task's poll begins.
pub(crate) fn refill_budget() {
    LEFT.set(OPERATIONS_PER_POLL);
}

/// Takes one operation from the budget; pending, with the task woken already, when none is left.
pub(crate) fn spend_budget(context: &Context<'_>) -> Poll<()> {
    if let Some(left) = LEFT.get().checked_sub(1) {
        LEFT.set(left);
        return Poll::Ready(());
    }
    context.waker().wake_by_ref();
    Poll::Pending
}
