//! What the ready queue holds for Rust.

use std::task::Waker;

use super::current::{LoopId, with_loop};
use super::raw::TaskRef;
use crate::slab::Key;

/// A piece of Rust work, as a host's job carries it. Run it with [`Loop::run_rust`](crate::Loop::run_rust).
#[derive(Debug)]
pub enum RustJob {
    /// A task that was woken.
    Run(Runnable),
    /// A waker whose timer fired or whose descriptor is ready. Calling a waker is calling out, so it is left
    /// to the batch. If it turns out to wake a task of this very loop, the task runs in its place, without
    /// another turn.
    Wake(Waker),
}

/// A task in the ready queue, or on its way there: at most one per task exists. Dropping it instead of
/// running it leaves the task asleep for good, until its loop is closed.
#[derive(Debug)]
pub struct Runnable(TaskRef);

impl Runnable {
    /// The task behind `waker`, if it is a Tulipa task.
    pub(crate) fn claim(waker: Waker) -> Claim {
        match TaskRef::from_waker(waker) {
            Ok(task) if task.mark_scheduled() => Claim::Task(Self(task)),
            Ok(_) => Claim::AlreadyScheduled,
            Err(waker) => Claim::Foreign(waker),
        }
    }

    /// For a task that was just marked scheduled.
    pub(super) const fn new(task: TaskRef) -> Self {
        Self(task)
    }

    /// The loop that the task belongs to.
    pub(crate) fn loop_id(&self) -> LoopId {
        self.0.loop_id()
    }

    /// Polls the task once. When that was the last time: the key under which the loop keeps it.
    ///
    /// # Safety
    ///
    /// On the thread of the task's own loop (T1).
    pub(crate) unsafe fn run(self) -> Option<Key> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.run() }
    }

    /// Puts the task on its loop's ready queue: directly on the loop's own thread, through the inbox
    /// elsewhere.
    pub(crate) fn schedule(self) {
        let id = self.0.loop_id();
        let elsewhere = with_loop(Some(id), |carrier| match carrier {
            Some(carrier) => {
                carrier.schedule(RustJob::Run(self));
                None
            }
            None => Some(self),
        });
        if let Some(runnable) = elsewhere {
            // The sink must outlive the call, in the middle of which the task may be run and freed by its
            // loop (T5).
            let sink = runnable.0.sink();
            // A closed loop refuses, and that is fine: it has dropped the future already, or is about to.
            let _accepted = sink.inject(RustJob::Run(runnable));
        }
    }
}

/// What a waker turned out to be.
pub(crate) enum Claim {
    /// A Tulipa task, now marked scheduled.
    Task(Runnable),
    /// A Tulipa task that will run anyway.
    AlreadyScheduled,
    /// Somebody else's.
    Foreign(Waker),
}
