//! The epoll driver.
//!
//! Kernel facts it rests on. epoll watches open file descriptions: closing the last descriptor of one removes
//! it from the set, but a duplicate keeps it there, under the token it was added with; that is why tokens
//! have generations. `EPOLLERR` and `EPOLLHUP` are reported whether asked for or not, even with an empty
//! mask; so "no interest" must take the descriptor out of the set, or a hung-up peer would spin the loop.
//! Level-triggered is the default. Of what has been reported that way the next wait asks once more, only to find
//! nothing mostly; edges save that, some 6 per cent of an echo, where a consumer can say that it has read all.
//!
//! The wake-up descriptor is an eventfd, watched edge-triggered: every write is a new edge, so nobody needs
//! to read it back, which saves a system call per wake-up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use super::{Completion, Driver, Interest, Readiness, Token};
use crate::inject::Notify;
use crate::sys;

/// What the wake-up descriptor is registered under; no `Token` has this number.
const NOTIFIER: u64 = u64::MAX;

/// Events taken from the kernel at once. What does not fit comes with the next call: the kernel hands out in
/// turns. 1024 events are 12 KiB; libuv takes as many.
const EVENTS_AT_ONCE: usize = 1024;

/// The events of one wait, in the kernel's layout.
#[derive(Default)]
pub struct EpollEvents(Vec<libc::epoll_event>);

impl std::fmt::Debug for EpollEvents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(Epoll::completions(self)).finish()
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll {
    /// The instance.
    epoll: OwnedFd,
    /// Whether the kernel has `epoll_pwait2`, as far as we know. A hint: two threads may find out at once.
    has_nanoseconds: AtomicBool,
}

impl Epoll {
    /// Adds, changes or removes one descriptor.
    fn control(&self, operation: libc::c_int, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let event = libc::epoll_event { events: event_mask(interest), u64: token.to_bits() };
        sys::epoll_ctl(self.epoll.as_fd(), operation, fd, event)
    }
}

impl Driver for Epoll {
    type Notifier = EventFd;
    type Events = EpollEvents;
    const NAME: &'static str = "epoll";

    fn open() -> io::Result<(Self, EventFd)> {
        let epoll = sys::epoll_create()?;
        let notifier = EventFd::new()?;
        let event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: NOTIFIER };
        sys::epoll_ctl(epoll.as_fd(), libc::EPOLL_CTL_ADD, notifier.fd(), event)?;
        Ok((Self { epoll, has_nanoseconds: AtomicBool::new(true) }, notifier))
    }

    fn watch(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    fn rewatch(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn unwatch(&self, fd: RawFd, token: Token) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, token, Interest::NONE)
    }

    fn wait(&self, events: &mut EpollEvents, timeout: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        events.0.reserve_exact(EVENTS_AT_ONCE);
        let (epoll, events) = (self.epoll.as_fd(), &mut events.0);
        let timeout = match timeout {
            None => return sys::epoll_wait(epoll, events, -1),
            Some(Duration::ZERO) => return sys::epoll_wait(epoll, events, 0),
            Some(timeout) => timeout,
        };
        if self.has_nanoseconds.load(Ordering::Relaxed) {
            match sys::epoll_pwait2(epoll, events, timeout) {
                // ENOSYS: a kernel before 5.11. EPERM: a container whose filter does not know the call.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    self.has_nanoseconds.store(false, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
        sys::epoll_wait(epoll, events, milliseconds_rounded_up(timeout))
    }

    fn has_news(&self) -> bool {
        // What cannot be asked is for `wait` to report.
        sys::epoll_has_events(self.epoll.as_fd()).unwrap_or(true)
    }

    fn completions(events: &EpollEvents) -> impl Iterator<Item = Completion> {
        // By value: the kernel's struct is packed, so a reference to a field would be unaligned.
        let events = events.0.iter().map(|&event| (event.u64, event.events));
        events
            .filter(|&(bits, _)| bits != NOTIFIER)
            .map(|(bits, mask)| Completion { token: Token::from_bits(bits), readiness: readiness(mask) })
    }

    fn fileno(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// Wakes a thread blocked in [`Epoll`]'s wait.
#[derive(Debug)]
pub struct EventFd(AtomicI32);

/// In the place of a descriptor that is closed.
const CLOSED: RawFd = -1;

impl EventFd {
    fn new() -> io::Result<Self> {
        Ok(Self(AtomicI32::new(sys::eventfd()?.into_raw_fd())))
    }

    fn fd(&self) -> RawFd {
        self.0.load(Ordering::Relaxed)
    }

    /// Closes the descriptor. Whoever calls `notify` meanwhile might write to another file, so there must be nobody.
    pub fn close(&self) {
        let fd = self.0.swap(CLOSED, Ordering::Relaxed);
        if fd != CLOSED {
            sys::eventfd_close(fd);
        }
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        self.close();
    }
}

impl Notify for EventFd {
    fn notify(&self) {
        let fd = self.fd();
        // The counter overflows after 2^64 wake-ups that nobody read back; then start over. Any other failure
        // would mean that our own descriptor was closed behind our back, and there is nobody to tell.
        if sys::eventfd_add(fd).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let _ = sys::eventfd_reset(fd);
            let _ = sys::eventfd_add(fd);
        }
    }
}

/// What to ask epoll for. The peer's half-close is asked for only with edges: with levels it would be
/// reported for ever to a consumer that only writes, while a level-triggered reader sees it as readable
/// anyway. Likewise what is urgent, which stays until it has been read past.
fn event_mask(interest: Interest) -> u32 {
    let mut mask = 0;
    if interest.is_readable() {
        mask |= libc::EPOLLIN;
    }
    if interest.is_writable() {
        mask |= libc::EPOLLOUT;
    }
    if interest.is_edge() {
        mask |= libc::EPOLLET | libc::EPOLLRDHUP | libc::EPOLLPRI;
    }
    mask as u32
}

/// What an event means: an error and a hang-up are both "readable" and "writable". An urgent byte is neither: it is not
/// read before there is something behind it.
fn readiness(mask: u32) -> Readiness {
    let mut readiness = Readiness::NONE;
    if mask & !((libc::EPOLLOUT | libc::EPOLLPRI) as u32) != 0 {
        readiness = readiness | Readiness::READABLE;
    }
    if mask & !((libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32) != 0 {
        readiness = readiness | Readiness::WRITABLE;
    }
    if mask & !((libc::EPOLLIN | libc::EPOLLOUT) as u32) != 0 {
        readiness = readiness | Readiness::BEHIND_DATA;
    }
    readiness
}

/// Milliseconds, rounded up: a timer may be late by what the kernel can express, never early.
fn milliseconds_rounded_up(timeout: Duration) -> libc::c_int {
    libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_timeouts_round_up() {
        assert_eq!(milliseconds_rounded_up(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds_rounded_up(Duration::from_millis(7)), 7);
        assert_eq!(milliseconds_rounded_up(Duration::MAX), libc::c_int::MAX);
    }

    #[test]
    fn pure_errors_and_hang_ups_are_both_directions() {
        for mask in [libc::EPOLLERR, libc::EPOLLHUP, libc::EPOLLERR | libc::EPOLLIN] {
            let readiness = readiness(mask as u32);
            assert!(readiness.is_readable() && readiness.is_writable(), "{mask:#x}");
        }
        assert_eq!(readiness(libc::EPOLLIN as u32), Readiness::READABLE);
        assert_eq!(readiness(libc::EPOLLOUT as u32), Readiness::WRITABLE);
    }

    #[test]
    fn pure_only_edges_ask_for_what_is_behind_the_data() {
        assert_eq!(event_mask(Interest::READABLE), libc::EPOLLIN as u32);
        let edge = event_mask(Interest::READABLE | Interest::EDGE);
        assert_eq!(edge, (libc::EPOLLIN | libc::EPOLLET | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32);
        for mask in [libc::EPOLLRDHUP, libc::EPOLLPRI] {
            let readiness = readiness((libc::EPOLLIN | mask) as u32);
            assert_eq!(readiness, Readiness::READABLE | Readiness::BEHIND_DATA, "{mask:#x}");
        }
        assert!(readiness(libc::EPOLLPRI as u32).is_none());
    }
}
