//! The loop as a carrier of Rust tasks, for every host whose jobs and sources can hold Rust's.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Host, Loop};
use crate::clock::Instant;
use crate::driver::{Interest, SystemNotifier, Token};
use crate::inject::Inbox;
use crate::net::RustSource;
use crate::slab::Key;
use crate::task::{self, Carrier, Claim, LoopId, OwnedTask, Runnable, RustJob, Sink};
use crate::timers::TimerKey;

/// A host that carries Rust tasks among its own jobs. Implemented by itself, for every host that has a place
/// for [`RustJob`] in its job, which may cross threads, and for [`RustSource`] in its source.
///
/// Such a host passes a `RustJob` to [`Loop::run_rust`], passes the readiness of a `RustSource` to
/// [`RustSource::dispatch`], and turns the loop inside [`Loop::enter`].
pub trait TaskHost: Host<Job: From<RustJob> + Send, Source: From<RustSource>> + 'static {}

impl<H> TaskHost for H where H: Host<Job: From<RustJob> + Send, Source: From<RustSource>> + 'static {}

impl<H: TaskHost> Loop<H> {
    /// Makes this the loop that [`spawn`](crate::spawn), [`sleep`](crate::sleep()) and sockets use while `f`
    /// runs.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        task::enter(self, f)
    }
}

impl<H: Host> Loop<H> {
    /// Runs a Rust job: polls its task, or calls its waker.
    pub fn run_rust(&self, job: RustJob) {
        let runnable = match job {
            RustJob::Run(runnable) => runnable,
            RustJob::Wake(waker) => match Runnable::claim(waker) {
                Claim::Task(runnable) => runnable,
                Claim::AlreadyScheduled => return,
                Claim::Foreign(waker) => return waker.wake(),
            },
        };
        if runnable.loop_id() != self.id {
            // A task of another loop waited for something of ours.
            return runnable.schedule();
        }
        // SAFETY: the task is one of this loop's, which is not Send: this is its thread (T1).
        if let Some(key) = unsafe { runnable.run() } {
            let task = self.tasks.borrow_mut().remove(key);
            drop(task);
            self.tasks.borrow_mut().settle();
        }
    }
}

impl<H: TaskHost> Carrier for Loop<H> {
    fn id(&self) -> LoopId {
        self.id
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn schedule(&self, job: RustJob) {
        self.schedule(job.into());
    }

    fn schedule_at(&self, deadline: Instant, job: RustJob) -> TimerKey {
        self.schedule_at(deadline, job.into())
    }

    fn is_timer_pending(&self, key: TimerKey) -> bool {
        self.is_timer_pending(key)
    }

    fn cancel_timer(&self, key: TimerKey) {
        drop(self.cancel_timer(key)); // calls out: the job holds a waker
    }

    fn register(&self, fd: RawFd, interest: Interest, source: RustSource) -> io::Result<Token> {
        self.register(fd, interest, source.into()).map_err(|(error, _)| error)
    }

    fn deregister(&self, token: Token) {
        drop(self.deregister(token)); // calls out: the source holds wakers
    }

    fn adopt(&self, task: OwnedTask) -> Key {
        self.tasks.borrow_mut().insert(task)
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::<Inbox<H::Job, SystemNotifier>>::clone(&self.inbox)
    }
}

impl<J: From<RustJob> + Send> Sink for Inbox<J, SystemNotifier> {
    fn inject(&self, job: RustJob) -> bool {
        self.push(job.into()).is_ok()
    }
}
