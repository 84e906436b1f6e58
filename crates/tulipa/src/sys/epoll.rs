//! The epoll calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::check;

/// A new epoll instance, closed on exec.
pub(crate) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds, changes or removes (`operation`) what `epoll` watches of `fd`.
pub(crate) fn epoll_ctl(
    epoll: BorrowedFd<'_>,
    operation: libc::c_int,
    fd: RawFd,
    mut event: libc::epoll_event,
) -> io::Result<()> {
    // SAFETY: `event` is valid for the length of the call; the kernel copies it.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) })?;
    Ok(())
}

/// Whether a wait would find events at once. Takes none out, of those that are told once neither.
pub(crate) fn epoll_has_events(epoll: BorrowedFd<'_>) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: epoll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, for as long as the call takes.
    check(unsafe { libc::poll(&raw mut asked, 1, 0) }).map(|count| count > 0)
}

/// Waits for events with a timeout in milliseconds (-1: none) and fills `events` anew, up to its capacity.
pub(crate) fn epoll_wait(
    epoll: BorrowedFd<'_>,
    events: &mut Vec<libc::epoll_event>,
    milliseconds: libc::c_int,
) -> io::Result<()> {
    events.clear();
    let room = libc::c_int::try_from(events.capacity()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the vector's spare memory has room for `room` events and outlives the call.
    let result = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, milliseconds) };
    let filled = check(result)? as usize;
    // SAFETY: the kernel has written the first `filled` events, and `filled` is at most the capacity (E1).
    unsafe { events.set_len(filled) };
    Ok(())
}

/// The same with a timeout in nanoseconds; Linux 5.11. Called by number, because older C libraries lack the
/// wrapper.
pub(crate) fn epoll_pwait2(
    epoll: BorrowedFd<'_>,
    events: &mut Vec<libc::epoll_event>,
    timeout: Duration,
) -> io::Result<()> {
    events.clear();
    let room = libc::c_int::try_from(events.capacity()).unwrap_or(libc::c_int::MAX);
    // The kernel's own timespec is 64-bit on every architecture, whatever the C library's is.
    let timeout = [i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX), i64::from(timeout.subsec_nanos())];
    // SAFETY: the vector's spare memory has room for `room` events, `timeout` is two 64-bit words as the
    // kernel's timespec, both outlive the call; a null mask leaves signals alone.
    let result = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            room,
            timeout.as_ptr(),
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    let filled = check(result as libc::c_int)? as usize;
    // SAFETY: as in `epoll_wait` (E1).
    unsafe { events.set_len(filled) };
    Ok(())
}
