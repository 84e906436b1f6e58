//! Sleeping, and giving up in time.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, RawWakerVTable, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::clock::Instant;
use crate::task::{LoopId, RustJob, with_loop};
use crate::timers::TimerKey;

/// Waits until `delay` from now has passed: never less, and at least until the next turn of the loop.
///
/// # Cancellation
///
/// Dropping it takes the timer out of the loop at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// tulipa::run(async {
///     tulipa::sleep(Duration::from_millis(1)).await;
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn sleep(delay: Duration) -> Sleep {
    sleep_until(Instant::now() + delay)
}

/// Waits until `deadline`.
pub const fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None, stays: PhantomData }
}

/// The future of [`sleep`]. Stays on its loop's thread.
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Sleep {
    /// When it ends.
    deadline: Instant,
    /// The pending timer, once polled.
    timer: Option<Timer>,
    /// Its loop is on this thread only.
    stays: PhantomData<Rc<()>>,
}

/// The timer of a sleep.
#[derive(Debug)]
struct Timer {
    /// The loop that it is on.
    loop_id: LoopId,
    /// Its name there.
    key: TimerKey,
    /// Whom it wakes, by address: the timer's job holds the waker itself, so the address is not reused
    /// meanwhile.
    target: (*const (), *const RawWakerVTable),
}

impl Timer {
    /// Whether the time is up; `None` where its loop cannot tell: it is not the one that polls, or is closed.
    fn has_fired(&self) -> Option<bool> {
        with_loop(Some(self.loop_id), |carrier| {
            carrier.filter(|carrier| !carrier.is_closed()).map(|carrier| !carrier.is_timer_pending(self.key))
        })
    }
}

impl Future for Sleep {
    type Output = ();

    /// # Panics
    ///
    /// When no Tulipa loop runs on this thread.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &self.timer {
            match timer.has_fired() {
                Some(true) => return Poll::Ready(()),
                Some(false) if timer.target == address(context.waker()) => return Poll::Pending,
                None if Instant::now() >= self.deadline => return Poll::Ready(()),
                _ => {} // for another waker, or on another loop
            }
        }
        self.start(context.waker().clone());
        Poll::Pending
    }
}

impl Sleep {
    /// Starts the timer, or starts it anew for another waker.
    fn start(&mut self, waker: Waker) {
        self.cancel();
        let target = address(&waker);
        self.timer = with_loop(None, |carrier| {
            let carrier = carrier.expect("sleep: no Tulipa loop runs on this thread");
            let key = carrier.schedule_at(self.deadline, RustJob::Wake(waker));
            Some(Timer { loop_id: carrier.id(), key, target })
        });
    }

    /// Takes the timer out. Outside its loop that cannot be done; then it wakes somebody for nothing.
    fn cancel(&mut self) {
        let Some(timer) = self.timer.take() else { return };
        with_loop(Some(timer.loop_id), |carrier| {
            if let Some(carrier) = carrier {
                carrier.cancel_timer(timer.key);
            }
        });
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// What makes two wakers the same.
fn address(waker: &Waker) -> (*const (), *const RawWakerVTable) {
    (waker.data(), waker.vtable())
}

/// Waits for `future`, but no longer than `delay` from now.
///
/// # Errors
///
/// [`Elapsed`] when the time is up first. A future that is ready at its last chance wins.
///
/// # Cancellation
///
/// When the time is up `future` is dropped.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let outcome = tulipa::run(async {
///     tulipa::timeout(Duration::from_millis(1), std::future::pending::<()>()).await
/// })?;
/// assert!(outcome.is_err());
/// # std::io::Result::Ok(())
/// ```
pub fn timeout<F: Future>(delay: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(delay) }
}

pin_project! {
    /// The future of [`timeout`]. Stays on its loop's thread.
    #[must_use = "futures do nothing unless awaited"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        // What is waited for.
        #[pin]
        future: F,
        // How long.
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    /// # Panics
    ///
    /// When no Tulipa loop runs on this thread, and `future` is not ready at once.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => this.sleep.poll(context).map(|()| Err(Elapsed)),
        }
    }
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the time was up")
    }
}

impl Error for Elapsed {}
