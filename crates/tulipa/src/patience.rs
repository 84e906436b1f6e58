//! `Patience`: whether a thread that waits for another one looks out for it before it sleeps (adaptive spinning).
//!
//! To wake a thread on a processor that has gone idle takes some 20 microseconds, on virtual machines more. Where a
//! program awaits one call after the other in another thread, each side hears of the other within about that time, so
//! that looking out saves most of the round trip. Where news is rare it would only burn the processor; so what happened
//! lately decides, and who waits in vain looks out once in a long while.
//!
//! It never sleeps, and belongs to one thread, or to a lock.

use std::hint;
use std::num::NonZero;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long to look out at most: what the other side needs to wake, to do something short, and to tell.
pub const BUDGET: Duration = Duration::from_micros(50);
/// How many looks there are for each at the clock.
const LOOKS: u32 = 16;
/// How many times in a row it may be in vain before it is given up.
const CREDIT: u8 = 4;
/// How many times one then sleeps at once before it is tried again.
const ABSTENTIONS: u8 = 64;

/// What happened lately.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How many more times it may be in vain.
    credit: u8,
    /// How many more times to sleep at once, when there is no credit.
    abstentions: u8,
    /// Whether the other side can run meanwhile.
    several_processors: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

impl Patience {
    /// Of one who has not waited yet.
    pub fn new() -> Self {
        // Asking the system takes some 50 microseconds.
        static PROCESSORS: OnceLock<usize> = OnceLock::new();
        let ask = || thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_processors(*PROCESSORS.get_or_init(ask))
    }

    fn with_processors(processors: usize) -> Self {
        Self { credit: 1, abstentions: 0, several_processors: processors > 1 }
    }

    /// Whether to look out now.
    pub fn is_worth_it(&mut self) -> bool {
        if !self.several_processors {
            return false;
        }
        if self.credit == 0 && self.abstentions > 0 {
            self.abstentions -= 1;
            return false;
        }
        true
    }

    /// Notes whether something came.
    pub fn learn(&mut self, came: bool) {
        if came {
            self.credit = CREDIT;
            return;
        }
        self.credit = self.credit.saturating_sub(1);
        if self.credit == 0 {
            self.abstentions = ABSTENTIONS;
        }
    }

    /// Looks until `has_come`, or the time is over; `has_else_come` is dearer and asked less often. Says whether
    /// anything came.
    pub fn look_out(has_come: impl Fn() -> bool, has_else_come: impl Fn() -> bool) -> bool {
        let end = Instant::now() + BUDGET;
        loop {
            for _ in 0..LOOKS {
                if has_come() {
                    return true;
                }
                hint::spin_loop();
            }
            if has_else_come() {
                return true;
            }
            if Instant::now() >= end {
                return has_come();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_success_gives_credit_for_several_failures() {
        let mut patience = Patience::with_processors(2);
        patience.learn(true);
        for _ in 0..CREDIT {
            assert!(patience.is_worth_it());
            patience.learn(false);
        }
        assert!(!patience.is_worth_it());
    }

    #[test]
    fn pure_without_success_it_is_tried_once_in_a_long_while() {
        let mut patience = Patience::with_processors(2);
        let mut tries = 0;
        for _ in 0..10 * (usize::from(ABSTENTIONS) + 1) {
            if patience.is_worth_it() {
                tries += 1;
                patience.learn(false);
            }
        }
        assert_eq!(tries, 10);
    }

    #[test]
    fn pure_on_one_processor_it_is_never_tried() {
        assert!(!Patience::with_processors(1).is_worth_it());
    }

    #[test]
    fn what_comes_is_seen_and_what_does_not_is_not_waited_for() {
        assert!(Patience::look_out(|| true, || false));
        assert!(Patience::look_out(|| false, || true));
        assert!(!Patience::look_out(|| false, || false));
    }
}
