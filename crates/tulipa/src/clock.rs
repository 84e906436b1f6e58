//! The clock: the only place in the engine that reads the time which the loop goes by.
//!
//! An [`Instant`] counts nanoseconds of `CLOCK_MONOTONIC`, the clock behind Python's `time.monotonic()`, so
//! that a deadline computed on the Python side means the same here. Everything else takes `now` as an
//! argument and can be tested on a virtual clock. `std::time::Instant` is not used because it hides its
//! number; it can be turned into ours.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::sys;

/// A point on the monotonic clock, in nanoseconds. Arithmetic saturates: [`Instant::MAX`] means "never".
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tulipa::Instant;
///
/// let start = Instant::from_nanos(5);
/// assert_eq!((start + Duration::from_nanos(3)).as_nanos(), 8);
/// assert_eq!(Instant::MAX + Duration::from_secs(1), Instant::MAX);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// In nanoseconds; more than [`Instant::recent`] is ever behind.
const FAR: u64 = 1_000_000_000;

impl Instant {
    /// The end of time: a deadline that is never reached (584 years after boot).
    pub const MAX: Self = Self(u64::MAX);

    /// Reads the clock.
    #[inline]
    pub fn now() -> Self {
        Self(sys::monotonic_nanos())
    }

    /// An instant that is not after now, and mostly some milliseconds before it, read in a fraction of the time.
    #[inline]
    fn recent() -> Self {
        Self(sys::coarse_monotonic_nanos())
    }

    /// Whether this lies so far ahead, as limits mostly do, that the clock need not be read to know it: by a second or
    /// more.
    #[inline]
    pub fn is_far(self) -> bool {
        self.0 > Self::recent().0.saturating_add(FAR)
    }

    /// The instant `nanos` nanoseconds after the clock's zero.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[inline]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::MAX`]: a deadline beyond the end of time is "never", not an overflow.
    #[inline]
    fn add(self, delay: Duration) -> Self {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the clock's zero.
    #[inline]
    fn sub(self, delay: Duration) -> Self {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// As [`Instant::saturating_duration_since`].
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl From<std::time::Instant> for Instant {
    /// The same point, or later by as long as reading both clocks takes: as a deadline it is never early.
    fn from(instant: std::time::Instant) -> Self {
        let theirs = std::time::Instant::now();
        match instant.checked_duration_since(theirs) {
            Some(ahead) => Self::now() + ahead,
            None => Self::now() - theirs.duration_since(instant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_addition_saturates_at_never() {
        assert_eq!(Instant::from_nanos(1) + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::from_nanos(1) + Duration::from_nanos(2), Instant::from_nanos(3));
    }

    #[test]
    fn pure_a_difference_is_never_negative() {
        let (early, late) = (Instant::from_nanos(3), Instant::from_nanos(10));
        assert_eq!(late.saturating_duration_since(early), Duration::from_nanos(7));
        assert_eq!(early.saturating_duration_since(late), Duration::ZERO);
    }

    #[test]
    fn std_instants_become_ours_and_not_earlier() {
        let (theirs, ours) = (std::time::Instant::now(), Instant::now());
        let hour = Duration::from_secs(3600);
        assert!(Instant::from(theirs + hour) - ours > Duration::from_secs(3540));
        assert!(Instant::from(theirs + hour) >= Instant::from(theirs) && Instant::from(theirs) - hour < ours);
        assert_eq!(Instant::from_nanos(1) - Duration::MAX, Instant::from_nanos(0));
    }

    #[test]
    fn recent_is_before_now() {
        let recent = Instant::recent();
        assert!(Instant::now() >= recent);
    }

    #[test]
    fn far_is_a_second_and_more_ahead() {
        let now = Instant::now();
        assert!(Instant::MAX.is_far() && (now + Duration::from_secs(60)).is_far());
        assert!(
            !now.is_far() && !(now + Duration::from_millis(900)).is_far() && !Instant::from_nanos(0).is_far()
        );
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = Instant::now();
        assert!(Instant::now() >= first);
    }
}
