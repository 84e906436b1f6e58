//! The end of a loop: everything in it is handed back, because dropping a job or a source may run foreign
//! code, and that must not happen under a borrow of the loop.

use super::{Host, Loop};
use crate::task::OwnedTask;

/// What a closed loop still held. Dropping it drops the lot; take the parts out to choose the order.
#[must_use = "dropping this runs the destructors of everything the loop held"]
pub struct Drained<H: Host> {
    /// Ready jobs, oldest first, then those other threads had sent.
    pub ready: Vec<H::Job>,
    /// Jobs of pending timers, nearest deadline first.
    pub timers: Vec<H::Job>,
    /// Sources of watched descriptors.
    pub sources: Vec<H::Source>,
    /// Rust tasks; dropping them drops their futures.
    pub tasks: DrainedTasks,
}

/// The unfinished Rust tasks of a closed loop. Dropping it drops their futures, and their handles give
/// [`JoinError::Aborted`](crate::JoinError).
#[derive(Debug)]
pub struct DrainedTasks(Vec<OwnedTask>);

impl DrainedTasks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<H: Host> Loop<H> {
    /// Closes the loop: no job comes in from other threads any more, the driver's descriptors are closed, all
    /// tokens and timer keys go stale. What was inside is handed back. Closing again finds nothing.
    ///
    /// If another thread is just about to wake the loop, the descriptor for that is closed with the last reference to
    /// it, the loop's or a [`Remote`](super::Remote)'s.
    pub fn close(&self) -> Drained<H> {
        let mut ready = self.ready.borrow_mut().take_all();
        ready.extend(self.inbox.close());
        let timers = self.timers.borrow_mut().take_all();
        let sources = self.sources.borrow_mut().take_all();
        self.driver.borrow_mut().take();
        if let Some(notifier) = self.inbox.idle_notifier() {
            notifier.close();
        }
        let tasks = DrainedTasks(self.tasks.borrow_mut().take_all());
        Drained { ready: ready.into(), timers, sources, tasks }
    }

    /// Whether [`Loop::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.driver.borrow().is_none()
    }
}

impl<H: Host> Drop for Loop<H> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl<H: Host> std::fmt::Debug for Drained<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Drained")
            .field("ready", &self.ready.len())
            .field("timers", &self.timers.len())
            .field("sources", &self.sources.len())
            .field("tasks", &self.tasks.len())
            .finish()
    }
}
