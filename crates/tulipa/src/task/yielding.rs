//! Giving way to the other tasks.

use std::future::poll_fn;
use std::task::Poll;

/// Lets every other ready job run once, then continues; asyncio's `sleep(0)`.
///
/// # Cancellation
///
/// Safe to drop at any time.
///
/// # Examples
///
/// ```
/// tulipa::run(async {
///     tulipa::yield_now().await;
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
