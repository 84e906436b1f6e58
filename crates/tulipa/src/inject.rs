//! The inbox: how other threads put jobs on the ready queue, and how they wake a loop that sleeps.
//!
//! Two things are shared. A locked queue holds the jobs. One atomic says what the loop is doing, so that
//! waking it costs a system call only when it really sleeps:
//!
//! | state | meaning | `notify` does |
//! |---|---|---|
//! | `RUNNING` | the loop runs and will look at the inbox before it sleeps | sets `NOTIFIED` |
//! | `NOTIFIED` | it has been told already | nothing |
//! | `PARKED` | it sleeps, or is about to | sets `NOTIFIED`, one system call |
//!
//! Why no wake-up is lost: a job is in the queue before its `notify` swaps the state. Either the swap comes
//! before the loop's step from `RUNNING` to `PARKED`, which then fails, or after it, and then it sees
//! `PARKED` and signals the notifier, which stays signalled until the driver has reported it. The loom model
//! in `tests/loom_inbox.rs` walks every interleaving of this.
//!
//! Why the notifier can be closed with the loop: whoever calls it has made a step from `PARKED` to `NOTIFIED`, which the
//! loop finds and counts when it wakes, and counts the call itself when it is over. A loop that will not sleep any more,
//! and finds both counts the same, knows that nobody calls its notifier, nor ever will.
//!
//! The lock is held for a push or a swap of queues, never while a job is run or dropped.

use std::collections::VecDeque;

use crate::primitives::{AtomicU8, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::ready::ReadyQueue;

/// The loop runs.
const RUNNING: u8 = 0;
/// The loop sleeps in the driver, or is committed to.
const PARKED: u8 = 1;
/// Someone wants the loop's attention.
const NOTIFIED: u8 = 2;

/// Wakes a loop parked in a driver. The driver makes it; any thread may call it.
pub trait Notify {
    /// Makes the driver's wait return, now or at its next call. Must be safe to call from a signal handler.
    fn notify(&self);
}

/// What the lock guards.
#[derive(Debug)]
struct Queue<J> {
    /// Jobs in arrival order.
    jobs: VecDeque<J>,
    /// Whether the loop has gone for good.
    closed: bool,
}

/// The meeting point of a loop and the threads that feed it.
#[derive(Debug)]
pub struct Inbox<J, N> {
    /// `RUNNING`, `PARKED` or `NOTIFIED`.
    state: AtomicU8,
    /// How often the loop has found itself notified when it woke: calls of the notifier that were begun.
    begun: AtomicUsize,
    /// Calls of the notifier that are over.
    over: AtomicUsize,
    /// The jobs not yet moved to the ready queue.
    queue: Mutex<Queue<J>>,
    /// Wakes the loop out of its driver.
    notifier: N,
}

/// What of an inbox says whether its loop has been told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a>(&'a AtomicU8);

impl Watch<'_> {
    #[inline]
    pub(crate) fn is_notified(self) -> bool {
        self.0.load(Ordering::Relaxed) == NOTIFIED
    }
}

/// For any thread.
impl<J, N: Notify> Inbox<J, N> {
    /// An open, empty inbox that wakes its loop through `notifier`.
    pub fn new(notifier: N) -> Self {
        let queue = Queue { jobs: VecDeque::new(), closed: false };
        Self {
            state: AtomicU8::new(RUNNING),
            begun: AtomicUsize::new(0),
            over: AtomicUsize::new(0),
            queue: Mutex::new(queue),
            notifier,
        }
    }

    /// Leaves a job for the loop and wakes it if it sleeps.
    ///
    /// # Errors
    ///
    /// Hands the job back when the loop is closed.
    pub fn push(&self, job: J) -> Result<(), J> {
        self.push_silently(job)?;
        self.notify();
        Ok(())
    }

    /// Whether the loop has been told and has not looked yet, so that telling it again is no use. For a caller
    /// that excludes the loop by a lock of its own, which the loop lets go of only to sleep: to others the answer
    /// may be out of date.
    #[inline]
    pub fn is_notified(&self) -> bool {
        self.watch().is_notified()
    }

    /// To ask [`Inbox::is_notified`] with nothing else of the inbox at hand, which its jobs may tie to a thread.
    #[inline]
    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch(&self.state)
    }

    /// Leaves a job without waking the loop, for a thread that calls [`Inbox::notify`] itself soon after. The
    /// loop may find the job before that.
    ///
    /// # Errors
    ///
    /// Hands the job back when the loop is closed.
    pub fn push_silently(&self, job: J) -> Result<(), J> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(job);
        }
        queue.jobs.push_back(job);
        Ok(())
    }

    /// Wakes the loop if it sleeps; otherwise it looks at its inbox once more before it does. Takes no lock,
    /// so a signal handler may call it.
    pub fn notify(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            self.notifier.notify();
            self.over.fetch_add(1, Ordering::Release);
        }
    }

    /// The lock. A panic under it leaves the queue whole (only moves happen there), so poison is of no
    /// interest.
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// For the loop's own thread.
impl<J, N: Notify> Inbox<J, N> {
    /// Moves what has arrived behind the jobs in `ready`, and says whether there was a notification: it may
    /// have come without a job, and then the loop must not sleep on it either. One relaxed load when there
    /// was none.
    #[inline]
    pub fn drain_into(&self, ready: &mut ReadyQueue<J>) -> bool {
        let notified = self.state.load(Ordering::Relaxed) == NOTIFIED;
        if notified {
            self.drain_notified(ready);
        }
        notified
    }

    /// The state is reset before the queue is read: a push in between sets it again and is found next time,
    /// which is one look too many and never one too few.
    #[cold]
    fn drain_notified(&self, ready: &mut ReadyQueue<J>) {
        self.state.swap(RUNNING, Ordering::AcqRel);
        ready.append(&mut self.lock().jobs);
    }

    /// Announces that the loop is about to sleep. `false`: it must not, somebody has notified it since it
    /// last looked.
    #[must_use]
    pub fn begin_park(&self) -> bool {
        self.state.compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The loop woke up. A notification that came meanwhile stays on record for [`Inbox::drain_into`].
    pub fn end_park(&self) {
        // Failure means NOTIFIED, and that is the record.
        if self.state.compare_exchange(PARKED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Refuses jobs from now on and hands back those still waiting.
    pub fn close(&self) -> VecDeque<J> {
        let mut queue = self.lock();
        queue.closed = true;
        std::mem::take(&mut queue.jobs)
    }

    /// The notifier, unless somebody calls it at the moment, or may because the loop sleeps. If the loop will not sleep
    /// any more, nobody will call it again.
    pub fn idle_notifier(&self) -> Option<&N> {
        let sleeps = self.state.load(Ordering::Acquire) == PARKED;
        let is_idle = self.over.load(Ordering::Acquire) == self.begun.load(Ordering::Relaxed);
        (!sleeps && is_idle).then_some(&self.notifier)
    }

    /// Shows the waiting jobs to `visit`, unless another thread holds the lock at the moment.
    pub fn for_each(&self, visit: &mut dyn FnMut(&J)) {
        if let Ok(queue) = self.queue.try_lock() {
            queue.jobs.iter().for_each(visit);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts the system calls that a real notifier would make.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Notify for &Counter {
        fn notify(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn pure_only_a_parked_loop_costs_a_call_and_only_one() {
        let calls = Counter::default();
        let inbox = Inbox::new(&calls);
        inbox.push(1).unwrap();
        inbox.push(2).unwrap();
        assert_eq!(calls.0.load(Ordering::Relaxed), 0);

        assert!(!inbox.begin_park(), "a loop that was notified must not sleep");
        let mut ready = ReadyQueue::new();
        inbox.drain_into(&mut ready);
        assert!(inbox.begin_park());
        inbox.push(3).unwrap();
        inbox.push(4).unwrap();
        inbox.notify();
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);

        assert!(inbox.idle_notifier().is_none(), "the loop has not found the call yet");
        inbox.end_park();
        assert!(inbox.idle_notifier().is_some());
        inbox.drain_into(&mut ready);
        assert_eq!(ready.take_all(), [1, 2, 3, 4]);

        assert!(inbox.begin_park());
        assert!(inbox.idle_notifier().is_none(), "a loop that sleeps may be woken");
        inbox.end_park();
        assert!(inbox.idle_notifier().is_some());
    }

    #[test]
    fn pure_a_closed_inbox_hands_jobs_back() {
        let calls = Counter::default();
        let inbox = Inbox::new(&calls);
        inbox.push("waiting").unwrap();
        inbox.for_each(&mut |job| assert_eq!(*job, "waiting"));
        assert_eq!(inbox.close(), ["waiting"]);
        assert_eq!(inbox.push("late"), Err("late"));
        assert!(inbox.close().is_empty());
    }
}
