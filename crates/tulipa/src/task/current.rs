//! Which loop runs on this thread, for `spawn`, `sleep` and sockets, which are not told.
//!
//! The handle is type-erased, because those functions serve any host. [`enter`] sets it for the length of a
//! closure, not by a guard that safe code could forget: the pointer never outlives the loop it points to
//! (T4).

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::job::RustJob;
use super::join::JoinHandle;
use super::raw::{self, OwnedTask};
use crate::clock::Instant;
use crate::driver::{Interest, Token};
use crate::net::RustSource;
use crate::slab::Key;
use crate::timers::TimerKey;

/// Tells loops apart, also those that are gone: never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoopId(u64);

impl LoopId {
    /// A number that no loop has had.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What Rust tasks need of the loop that carries them, without its host's type.
pub(crate) trait Carrier {
    /// The loop's number.
    fn id(&self) -> LoopId;
    /// Whether it was closed: it turns no more.
    fn is_closed(&self) -> bool;
    /// Puts a job at the end of the ready queue.
    fn schedule(&self, job: RustJob);
    /// Has a job become ready at `deadline`.
    fn schedule_at(&self, deadline: Instant, job: RustJob) -> TimerKey;
    /// Whether the timer has neither fired nor been cancelled.
    fn is_timer_pending(&self, key: TimerKey) -> bool;
    /// Drops a timer and its job.
    fn cancel_timer(&self, key: TimerKey);
    /// Watches a descriptor.
    fn register(&self, fd: RawFd, interest: Interest, source: RustSource) -> io::Result<Token>;
    /// Stops watching it.
    fn deregister(&self, token: Token);
    /// Keeps a task until it is done, or the loop is closed.
    fn adopt(&self, task: OwnedTask) -> Key;
    /// Where wake-ups from other threads go.
    fn sink(&self) -> Arc<dyn Sink>;
}

/// Takes jobs from any thread to the loop's.
pub(crate) trait Sink: Send + Sync {
    /// Leaves a job with the loop. `false`: it is closed, and the job was dropped.
    fn inject(&self, job: RustJob) -> bool;
}

/// The loop entered on a thread.
#[derive(Clone, Copy)]
struct Current {
    /// Its number, to recognise it without following the pointer.
    id: LoopId,
    /// The loop itself; valid while entered (T4).
    carrier: NonNull<dyn Carrier>,
}

thread_local! {
    /// The innermost loop entered on this thread.
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// Makes `carrier` the current loop while `f` runs.
pub(crate) fn enter<R>(carrier: &(dyn Carrier + 'static), f: impl FnOnce() -> R) -> R {
    /// Puts the outer loop back, also when `f` unwinds.
    struct Restore(Option<Current>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let entered = Current { id: carrier.id(), carrier: NonNull::from(carrier) };
    let _restore = Restore(CURRENT.replace(Some(entered)));
    f()
}

/// Shows `f` the current loop, if there is one and (when `id` is given) it is that one.
#[inline]
pub(crate) fn with_loop<R>(id: Option<LoopId>, f: impl FnOnce(Option<&dyn Carrier>) -> R) -> R {
    let current = CURRENT.get().filter(|current| id.is_none_or(|id| id == current.id));
    // SAFETY: the pointer is there only while `enter`, below us on the stack, holds the reference it was made
    // of, and `f` cannot keep what it is lent (T4).
    f(current.map(|current| unsafe { current.carrier.as_ref() }))
}

/// Starts a task on the current loop. It runs from the next batch on, also if its handle is dropped.
///
/// A panic in it ends that task only, and is the error of its handle.
///
/// # Panics
///
/// When no Tulipa loop runs on this thread.
///
/// # Cancellation
///
/// Dropping the handle leaves the task alone; [`JoinHandle::abort`] ends it. Closing the loop ends all its
/// tasks; on a closed loop, where only destructors still run, `future` is dropped in here.
///
/// # Examples
///
/// ```
/// let answer = tulipa::run(async { tulipa::spawn(async { 6 * 7 }).await })?;
/// assert_eq!(answer.unwrap(), 42);
/// # std::io::Result::Ok(())
/// ```
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    with_loop(None, |carrier| raw::spawn(future, carrier.expect("spawn: no Tulipa loop runs on this thread")))
}
