//! `Owed`: how many answers the workers of a loop's own pool owe it, so that it knows when one may come any moment.

use std::sync::Arc;

/// A loop's count, which is how many share it. Nothing depends on it but how the loop waits, so it orders nothing else.
#[derive(Debug, Default)]
pub(crate) struct Owed(Arc<()>);

impl Owed {
    /// One more answer is owed, until the promise is dropped.
    pub(super) fn promise(&self) -> Promise {
        Promise { _owed: Arc::clone(&self.0) }
    }

    #[inline]
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Goes with a piece of work, and is dropped once the loop has been told.
#[derive(Debug)]
pub(super) struct Promise {
    _owed: Arc<()>,
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
