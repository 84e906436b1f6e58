//! Sharing the interpreter while a loop is busy.
//!
//! A thread that wants the interpreter of another one asks for it after the switch interval, 5 milliseconds. A loop that
//! has jobs in every turn would keep its own executor's threads, and those that wait for its answers, waiting so long
//! again and again. So it lets go between turns, as asyncio does by asking its selector in each; and where that woke
//! somebody, it waits until he has had the time to take it, which asyncio leaves to luck.
//!
//! Afterwards the loop has the interpreter for as long as others had it: a thread that computes all the time gets its
//! half of it, and not all but one turn in 5 milliseconds.

use std::cell::Cell;
use std::hint;
use std::thread;
use std::time::Duration;

use tulipa::Instant;

use super::attached::{self, Detached};

/// Letting go takes some 30 nanoseconds where nobody waits, and more than this where somebody has to be woken.
const WAKING: Duration = Duration::from_nanos(700);
/// What a thread needs to wake up.
const TIME_TO_WAKE: Duration = Duration::from_micros(50);
/// How long the loop keeps the interpreter at least: what letting go costs is little beside that.
const AT_LEAST: Duration = Duration::from_micros(5);
/// In how many turns a thread that was alone takes it that it still is: asking costs as much as a small turn's tenth.
const TURNS_ALONE: u8 = 8;
/// A job that another thread left runs in the turn after this one at the latest; then its answer is there.
const TURNS_TO_ANSWER: u8 = 2;

/// When a loop lets go of the interpreter next.
pub(crate) struct Sharing {
    not_before: Cell<Instant>,
    /// The turns until it is asked again whether there are other threads.
    alone: Cell<u8>,
    /// The turns in which another thread's job may have been answered.
    answers: Cell<u8>,
}

impl Sharing {
    pub(crate) const fn new() -> Self {
        Self { not_before: Cell::new(Instant::from_nanos(0)), alone: Cell::new(0), answers: Cell::new(0) }
    }

    /// Another thread has left a job, and may wait for what comes of it.
    #[inline]
    pub(crate) fn expect_answer(&self) {
        self.answers.set(TURNS_TO_ANSWER);
    }

    /// Others could have the interpreter just now, while the loop waited.
    #[inline]
    pub(crate) fn has_let_go(&self) {
        self.not_before.set(Instant::now() + AT_LEAST);
    }

    /// Runs `body`, which does not take long, and lets other threads have the interpreter meanwhile if it is their turn.
    ///
    /// # Safety
    /// As for `attached::release`.
    #[inline]
    pub(crate) unsafe fn pass<T>(&self, body: impl FnOnce() -> T) -> T {
        let alone = self.alone.get();
        if alone > 0 {
            self.alone.set(alone - 1);
            return body();
        }
        if attached::is_alone() {
            self.alone.set(TURNS_ALONE);
            return body();
        }
        // SAFETY: passed on.
        unsafe { self.pass_among_others(body) }
    }

    unsafe fn pass_among_others<T>(&self, body: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        if began < self.not_before.get() {
            return body();
        }
        // SAFETY: passed on.
        let detached = unsafe { Detached::new() };
        let let_go = Instant::now();
        let result = body();
        let woken = let_go.saturating_duration_since(began) > WAKING;
        // Who was woken on this very processor gets no further while this thread occupies it.
        if woken || self.is_answering() {
            thread::yield_now();
        }
        while woken && Instant::now() < let_go + TIME_TO_WAKE {
            hint::spin_loop();
        }
        drop(detached);
        let back = Instant::now();
        self.not_before.set(back + back.saturating_duration_since(began).max(AT_LEAST));
        result
    }

    fn is_answering(&self) -> bool {
        let answers = self.answers.get();
        self.answers.set(answers.saturating_sub(1));
        answers > 0
    }
}
