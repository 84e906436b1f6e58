//! The Send half of a loop.

use std::sync::Arc;

use crate::driver::SystemNotifier;
use crate::inject::Inbox;

/// Sends jobs to a loop from any thread. Outlives the loop: then every job comes back.
#[derive(Debug)]
pub struct Remote<J> {
    /// Shared with the loop and with every clone.
    inbox: Arc<Inbox<J, SystemNotifier>>,
}

impl<J> Remote<J> {
    /// For [`super::Loop::remote`].
    pub(super) const fn new(inbox: Arc<Inbox<J, SystemNotifier>>) -> Self {
        Self { inbox }
    }

    /// Has `job` run on the loop's thread, after the jobs sent before it, and wakes the loop if it sleeps.
    ///
    /// # Errors
    ///
    /// Hands the job back when the loop is closed.
    pub fn schedule(&self, job: J) -> Result<(), J> {
        self.inbox.push(job)
    }

    /// As [`Remote::schedule`], but leaves waking the loop to a [`Remote::notify`] that must follow: a thread
    /// that first lets go of a lock which the loop will want spares both a wait for it.
    ///
    /// # Errors
    ///
    /// Hands the job back when the loop is closed.
    pub fn schedule_silently(&self, job: J) -> Result<(), J> {
        self.inbox.push_silently(job)
    }

    /// Whether [`Remote::notify`] would change nothing, for a thread that excludes the loop by a lock which the
    /// loop lets go of only to sleep.
    #[inline]
    pub fn is_notified(&self) -> bool {
        self.inbox.is_notified()
    }

    /// Wakes the loop if it sleeps. Takes no lock and does not allocate: a signal handler may call it.
    pub fn notify(&self) {
        self.inbox.notify();
    }
}

impl<J> Clone for Remote<J> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox) }
    }
}

/// Promised to users, so checked here.
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Remote<Box<dyn Send>>>();
};
