//! The system calls, each behind a safe function. Linux.
//!
//! File descriptors are plain numbers here, because that is what Python hands over: a number that is not
//! open makes the kernel answer `EBADF`, which is an error to report, not a broken promise. What the engine
//! owns itself is an `OwnedFd`. Nothing here retries on `EINTR` or decides anything: the callers
//! do. Nothing keeps state, but for the memory that a [`Burst`] of messages uses again.

mod clock;
mod datagram;
mod epoll;
mod eventfd;
mod file;
mod names;
mod socket;

use std::io;

pub(crate) use clock::{coarse_monotonic_nanos, monotonic_nanos};
pub use datagram::{Burst, recv_from, send_each, send_to};
pub(crate) use epoll::{epoll_create, epoll_ctl, epoll_has_events, epoll_pwait2, epoll_wait};
pub(crate) use eventfd::{eventfd, eventfd_add, eventfd_close, eventfd_reset};
pub use file::{
    FileKind, duplicate, file_kind, read, readable_bytes, seek, sendfile, set_nonblocking, write,
};
pub use names::{Found, Query, ResolveError, address_text, addresses_of, names_of, resolver_text};
pub use socket::{
    MAX_SLICES, accept, accept_from, connect, recv, send, send_vectored, shutdown, socket_error, writev,
};

/// The kernel's answer to a call that returns -1 on failure.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that return a byte count.
fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
