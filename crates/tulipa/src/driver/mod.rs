//! Drivers: what turns kernel events into completions.
//!
//! A driver is given operations, each under a [`Token`], and yields [`Completion`]s. There is one kind of
//! operation, the repeated poll: "tell me, again and again, when this descriptor is ready". The consumer then
//! moves the bytes itself (`sys::recv` and its sisters), within a budget of its own. Operations in which the
//! kernel moves the bytes would be further kinds of completion under the same tokens. Sending needs none: a
//! [`SendRing`] makes one call of many sends, and is done when that returns.
//!
//! The loop knows [`SystemDriver`] only. Another driver is a file beside `epoll.rs`, and another name there.
//!
//! # What a backend must define
//!
//! 1. `open`: the kernel object, with its own wake-up descriptor inside, so that its notifier works from the
//!    start.
//! 2. The notifier that `open` gives out: any thread, or a signal handler, may use it to end a `wait`.
//! 3. `watch`, `rewatch`, `unwatch`: start, change and end the repeated poll of a descriptor.
//!    Level-triggered: a consumer that stops early is told again, unless the interest says
//!    [`Interest::EDGE`]; then it is after `rewatch`, also with the same interest. What the kernel refuses
//!    (`EPERM` for a plain file, `EBADF`, `EEXIST`) is returned as it is.
//! 4. `wait`: block until something completes, at most for the timeout, and never return early by rounding
//!    the timeout down. It may be called on a thread that holds no lock, while other threads call the methods
//!    of point 3.
//! 5. `has_news`: whether a `wait` would return at once, for who looks out before it sleeps.
//! 6. `completions`: what the last `wait` brought, in the kernel's order. A completion whose token is stale
//!    is the loop's to recognise, not the driver's: it compares generations.
//!
//! A driver never calls out, runs no job, and knows no source.

mod epoll;
mod send_ring;

use std::io;
use std::ops::BitOr;
use std::os::fd::RawFd;
use std::time::Duration;

pub use epoll::{Epoll, EpollEvents, EventFd};
pub use send_ring::{MAX_SENDS, Outgoing, SendRing};

use crate::inject::Notify;
use crate::slab::Key;

/// The driver of the loops on this system.
pub type SystemDriver = Epoll;
/// What wakes [`SystemDriver`].
pub type SystemNotifier = <SystemDriver as Driver>::Notifier;
/// What [`SystemDriver`] puts its news into.
pub type SystemEvents = <SystemDriver as Driver>::Events;

/// Names one registration: its slot and which of the slot's tenants it is. Stale after `deregister`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub(crate) Key);

impl Token {
    /// The token as one number, as the kernel carries it.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The token that [`Token::to_bits`] gave; any other number names no registration.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }
}

/// Which directions of a descriptor to watch, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: the registration keeps its slot, the kernel is not asked.
    pub const NONE: Self = Self(0);
    /// When there is something to read, to accept, or the end of the stream.
    pub const READABLE: Self = Self(1);
    /// When there is room to write, or a connection attempt has ended.
    pub const WRITABLE: Self = Self(2);
    /// Tell changes only. The consumer must remember readiness and use it up until `WouldBlock`, or a short read where
    /// nothing is [behind the data](Readiness::is_behind_data), or ask anew by [`Driver::rewatch`].
    pub const EDGE: Self = Self(4);
    /// Watched while the loop sleeps, but no reason to ask the kernel in a turn that does not: for wake-up
    /// descriptors whose news a busy loop learns by other means.
    pub const BACKGROUND: Self = Self(8);

    /// Whether reading is of interest.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// Whether writing is of interest.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    /// Whether only changes are reported.
    #[inline]
    pub const fn is_edge(self) -> bool {
        self.0 & Self::EDGE.0 != 0
    }

    /// Whether only a sleeping loop watches.
    #[inline]
    pub const fn is_background(self) -> bool {
        self.0 & Self::BACKGROUND.0 != 0
    }

    /// Whether neither direction is of interest.
    #[inline]
    pub const fn is_none(self) -> bool {
        !self.is_readable() && !self.is_writable()
    }

    /// This interest without what `other` names.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a descriptor is ready for. An error or a hang-up counts as both directions, as in Python's selectors,
/// so that whoever waits finds out by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Ready for nothing.
    pub const NONE: Self = Self(0);
    /// Reading will not block.
    pub const READABLE: Self = Self(1);
    /// Writing will not block.
    pub const WRITABLE: Self = Self(2);
    /// There is more than data to find: the peer's end, an error, or what it has sent as urgent, at which a read
    /// stops. A short read does not mean that all has been read then. Errors and hang-ups are always told, the rest
    /// with edges only.
    pub const BEHIND_DATA: Self = Self(4);
    /// Both directions.
    pub const BOTH: Self = Self(3);

    /// Whether reading will not block.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// Whether writing will not block.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    /// Whether there is more than data to find, so that a short read proves nothing.
    #[inline]
    pub const fn is_behind_data(self) -> bool {
        self.0 & Self::BEHIND_DATA.0 != 0
    }

    /// Whether neither direction is ready.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 & Self::BOTH.0 == 0
    }

    /// Only the directions that `interest` wants.
    #[inline]
    #[must_use]
    pub const fn wanted_by(self, interest: Interest) -> Self {
        let unwanted = Self::BOTH.0 & !interest.0;
        Self(self.0 & !unwanted)
    }
}

impl BitOr for Readiness {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One piece of news from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which registration it is about.
    pub token: Token,
    /// What its descriptor is ready for.
    pub readiness: Readiness,
}

/// The interface between the loop and a kernel mechanism; the module's page lists what a backend must define.
pub trait Driver: Sized + Sync {
    /// Wakes a thread blocked in [`Driver::wait`].
    type Notifier: Notify + Send + Sync;
    /// Where `wait` puts what the kernel says; reused from turn to turn.
    type Events: Default + Send;
    /// The mechanism's name, for people.
    const NAME: &'static str;

    /// Opens the mechanism.
    ///
    /// # Errors
    ///
    /// When there are no descriptors or no memory left for it.
    fn open() -> io::Result<(Self, Self::Notifier)>;

    /// Starts polling `fd`, which `interest` wants in at least one direction.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EBADF` for what is not open, `EPERM` for what cannot be polled, `EEXIST` for what is
    /// polled already.
    fn watch(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()>;

    /// Changes what is wanted of `fd`.
    ///
    /// # Errors
    ///
    /// What the kernel says: `ENOENT` for what is not polled, `EBADF` for what was closed meanwhile.
    fn rewatch(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()>;

    /// Stops polling `fd`.
    ///
    /// # Errors
    ///
    /// As of [`Driver::rewatch`].
    fn unwatch(&self, fd: RawFd, token: Token) -> io::Result<()>;

    /// Blocks until something completes or `timeout` (none: for ever) has passed.
    ///
    /// # Errors
    ///
    /// `Interrupted` when a signal came; else what the kernel says, as when another thread has closed the driver.
    fn wait(&self, events: &mut Self::Events, timeout: Option<Duration>) -> io::Result<()>;

    /// Whether `wait` would find something at once. Takes nothing out.
    fn has_news(&self) -> bool;

    /// What the last `wait` on `events` brought, without the notifier's own wake-ups.
    fn completions(events: &Self::Events) -> impl Iterator<Item = Completion>;

    /// The descriptor of the mechanism itself.
    fn fileno(&self) -> RawFd;
}
