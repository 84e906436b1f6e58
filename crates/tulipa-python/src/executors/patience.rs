//! `Patience`: whether a worker without work looks out for more before it sleeps.
//!
//! To wake a thread on a processor that has gone idle takes some 20 microseconds. Where a program awaits one
//! call after the other, the next comes within about that time, so that looking out for it halves the round trip. Where
//! calls are rare it would only burn the processor; so what happened lately decides, and a pool whose calls come far
//! apart looks out once in a long while.
//!
//! Called by the work queue, under its lock but for the looking out itself. It never sleeps.

use std::hint;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long to look out at most: what the loop needs to wake, to resume a task, and to leave the next call.
const BUDGET: Duration = Duration::from_micros(50);
/// How many looks there are for each at the clock.
const LOOKS: u32 = 16;
/// How many times in a row it may be in vain before it is given up.
const CREDIT: u8 = 4;
/// How many times a worker then sleeps at once before it is tried again.
const ABSTENTIONS: u8 = 64;

/// What happened lately.
#[derive(Debug)]
pub(super) struct Patience {
    /// How many more times it may be in vain.
    credit: u8,
    /// How many more times to sleep at once, when there is no credit.
    abstentions: u8,
}

impl Default for Patience {
    fn default() -> Self {
        Self { credit: 1, abstentions: 0 }
    }
}

impl Patience {
    /// Whether to look out now.
    pub(super) fn is_worth_it(&mut self) -> bool {
        self.is_due() && has_processors()
    }

    fn is_due(&mut self) -> bool {
        if self.credit == 0 && self.abstentions > 0 {
            self.abstentions -= 1;
            return false;
        }
        true
    }

    /// Notes whether something came.
    pub(super) fn learn(&mut self, came: bool) {
        if came {
            self.credit = CREDIT;
            return;
        }
        self.credit = self.credit.saturating_sub(1);
        if self.credit == 0 {
            self.abstentions = ABSTENTIONS;
        }
    }

    /// Looks until `has_come`, or the time is over. Says which.
    pub(super) fn look_out(has_come: impl Fn() -> bool) -> bool {
        let end = Instant::now() + BUDGET;
        loop {
            for _ in 0..LOOKS {
                if has_come() {
                    return true;
                }
                hint::spin_loop();
            }
            if Instant::now() >= end {
                return has_come();
            }
        }
    }
}

/// Whether the loop can run while a worker looks out for what it does.
fn has_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|processors| processors.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_success_gives_credit_for_several_failures() {
        let mut patience = Patience::default();
        patience.learn(true);
        for _ in 0..CREDIT {
            assert!(patience.is_due());
            patience.learn(false);
        }
        assert!(!patience.is_due());
    }

    #[test]
    fn pure_without_success_it_is_tried_once_in_a_long_while() {
        let mut patience = Patience::default();
        let mut tries = 0;
        for _ in 0..10 * (usize::from(ABSTENTIONS) + 1) {
            if patience.is_due() {
                tries += 1;
                patience.learn(false);
            }
        }
        assert_eq!(tries, 10);
    }

    #[test]
    fn what_comes_is_seen_and_what_does_not_is_not_waited_for() {
        assert!(Patience::look_out(|| true));
        assert!(!Patience::look_out(|| false));
    }
}
