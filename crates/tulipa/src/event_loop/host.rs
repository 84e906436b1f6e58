//! What an embedder says about itself. The loop is generic over it, so that a job is an enum value of the
//! embedder's own and running it is a direct call: no trait objects, no boxes.

use std::io;
use std::ops::ControlFlow;

use super::Loop;
use crate::clock::Instant;
use crate::driver::{Readiness, Token};

/// An embedder of the loop.
///
/// Every method but [`Host::dispatch`] is called with nothing of the loop borrowed, and may call any of its
/// methods.
pub trait Host: Sized {
    /// One item of the ready queue.
    type Job;
    /// What the loop keeps for a watched descriptor.
    type Source;
    /// Why a turn must end before its batch is done; Python: an exception that leaves `run_forever`.
    type Break;

    /// The time that timers are compared with.
    ///
    /// # Errors
    ///
    /// When the embedder's clock can fail: an overridden `loop.time()` may raise.
    #[inline]
    fn now(&self) -> Result<Instant, Self::Break> {
        Ok(Instant::now())
    }

    /// Whether `deadline` lies ahead for certain, so that a turn need not read the clock. A host whose clock is the
    /// engine's asks [`Instant::is_far`]; nothing is certain of another.
    #[inline]
    fn is_far(&self, deadline: Instant) -> bool {
        let _ = deadline;
        false
    }

    /// Turns the readiness of a watched descriptor into ready jobs, the reader's before the writer's. Both
    /// the table of sources and the ready queue are borrowed: it may clone references and `push`, but must
    /// not call out, nor drop what may run foreign code. `readiness` names wanted directions only.
    fn dispatch(source: &Self::Source, token: Token, readiness: Readiness, push: &mut impl FnMut(Self::Job));

    /// Runs one job. `Break` ends the turn at once; the jobs behind stay queued, in order.
    fn run(&self, event_loop: &Loop<Self>, job: Self::Job) -> ControlFlow<Self::Break>;

    /// Calls `wait`, which blocks in the kernel. The embedder lets go of its own lock around it.
    #[inline]
    fn park<R: Send>(&self, wait: impl FnOnce() -> R + Send) -> R {
        wait()
    }

    /// Calls `ask`, which does not wait, in a turn that has jobs already. An embedder with a lock of its own may let go of
    /// it around that: else nobody else would have it for as long as the loop is busy.
    #[inline]
    fn pass<R: Send>(&self, ask: impl FnOnce() -> R + Send) -> R {
        ask()
    }

    /// Whether another thread of the process is at work for this loop, so that its news may come any moment: then the
    /// loop may look out for it shortly before it sleeps.
    #[inline]
    fn expects_news(&self) -> bool {
        false
    }

    /// A signal ended the wait: the time to run signal handlers.
    fn interrupted(&self) -> ControlFlow<Self::Break> {
        ControlFlow::Continue(())
    }

    /// The wait failed with something other than a signal, which leaves the loop without ears. Says what to
    /// break the turn with.
    fn wait_failed(&self, error: io::Error) -> Self::Break;

    /// The batch is over, also when it broke: what was written during the turn goes out now. `Break` ends the turns
    /// as one of a job's does; after a batch that broke, the batch's own reason wins.
    #[inline]
    fn flush(&self, event_loop: &Loop<Self>) -> ControlFlow<Self::Break> {
        let _ = event_loop;
        ControlFlow::Continue(())
    }
}
