//! `Owed`: how many answers the workers of a loop's own pool owe it, so that it knows when one may come any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A loop's count. Nothing depends on it but how the loop waits, so it orders nothing else.
#[derive(Debug, Default)]
pub(crate) struct Owed(Arc<AtomicUsize>);

impl Owed {
    /// One more answer is owed, until the promise is dropped.
    pub(super) fn promise(&self) -> Promise {
        self.0.fetch_add(1, Ordering::Relaxed);
        Promise(Arc::clone(&self.0))
    }

    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Goes with a piece of work, and is dropped once the loop has been told.
#[derive(Debug)]
pub(super) struct Promise(Arc<AtomicUsize>);

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_an_answer_is_owed_until_its_promise_is_dropped() {
        let owed = Owed::default();
        assert!(!owed.any());
        let (first, second) = (owed.promise(), owed.promise());
        drop(first);
        assert!(owed.any());
        drop(second);
        assert!(!owed.any());
    }
}
