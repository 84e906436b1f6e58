//! What a future or task knows by one bit each, in one byte of its state.

use std::cell::Cell;

/// One of them.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Bit {
    /// A task waits through the iterator: the protocol between futures and tasks.
    Blocking = 1,
    /// An exception was set that nobody has looked at.
    LogTraceback = 1 << 1,
    /// What the future ended with is an exception.
    Failed = 1 << 2,
    /// The loop is a Tulipa loop.
    OnTulipa = 1 << 3,
    /// A cancellation that the task's next step throws into the coroutine.
    MustCancel = 1 << 4,
    /// Being destroyed while pending is reported; not for a task that never had a coroutine.
    LogDestroyPending = 1 << 5,
    /// The task's context is a template, which others share.
    SharedContext = 1 << 6,
    /// A step of the task was made in a context lent for it.
    HasBorrowed = 1 << 7,
}

/// A set of them.
pub(crate) struct Bits(Cell<u8>);

impl Bits {
    pub(crate) const fn none() -> Self {
        Self(Cell::new(0))
    }

    #[inline]
    pub(crate) fn has(&self, bit: Bit) -> bool {
        self.0.get() & bit as u8 != 0
    }

    #[inline]
    pub(crate) fn set(&self, bit: Bit, value: bool) {
        let others = self.0.get() & !(bit as u8);
        self.0.set(if value { others | bit as u8 } else { others });
    }

    /// Sets one, and says what it was.
    #[inline]
    pub(crate) fn replace(&self, bit: Bit, value: bool) -> bool {
        let old = self.has(bit);
        self.set(bit, value);
        old
    }

    pub(crate) fn clear(&self) {
        self.0.set(0);
    }
}
