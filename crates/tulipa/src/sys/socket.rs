//! Moving bytes over a non-blocking descriptor, and accepting connections.
//!
//! Each function is one system call. `WouldBlock` means: wait for readiness. `EINTR` cannot happen, because
//! calls on non-blocking descriptors do not sleep; if a caller passes a blocking one, `Interrupted` is its
//! own to handle.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use socket2::{SockAddr, SockAddrStorage, socklen_t};

use super::{check, check_len};

/// Receives into `buffer`; 0 is the end of the stream (or an empty buffer).
///
/// # Errors
///
/// What `recv(2)` says.
#[inline]
pub fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length.
    check_len(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Sends as much of `bytes` as fits. A connection that the peer has closed is `BrokenPipe`, never a
/// `SIGPIPE`.
///
/// # Errors
///
/// What `send(2)` says.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is readable for its length.
    check_len(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// The most slices that the kernel takes at once.
pub const MAX_SLICES: usize = libc::UIO_MAXIOV as usize;

/// Sends as much of `slices`, in order, as fits. A connection that the peer has closed is `BrokenPipe`, never a
/// `SIGPIPE`.
///
/// # Errors
///
/// What `sendmsg(2)` says; `EMSGSIZE` for more slices than [`MAX_SLICES`].
#[inline]
pub fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all zeros is a message without address, slices and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: an `IoSlice` has the layout of an `iovec`, each describes readable memory, and sending writes to none.
    check_len(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
}

/// Writes as much of `slices`, in order, as fits. For pipes; the process must ignore `SIGPIPE`, as both Rust's and
/// Python's start-up arrange.
///
/// # Errors
///
/// What `writev(2)` says; `EINVAL` for more slices than [`MAX_SLICES`].
#[inline]
pub fn writev(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = libc::c_int::try_from(slices.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: an `IoSlice` has the layout of an `iovec`, and each describes readable memory.
    check_len(unsafe { libc::writev(fd, slices.as_ptr().cast(), count) })
}

/// Accepts one connection: non-blocking, closed on exec.
///
/// # Errors
///
/// What `accept4(2)` says; among them `EMFILE`, which the caller must answer by waiting, not by asking again.
pub fn accept(fd: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null address pointers ask the kernel not to report the peer's address.
    let connection = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    let connection = check(connection)?;
    // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(connection) })
}

/// The same with the peer's address, of whatever family.
///
/// # Errors
///
/// As for [`accept`].
pub fn accept_from(fd: RawFd) -> io::Result<(OwnedFd, SockAddr)> {
    let accept_into = |storage: *mut SockAddrStorage, length: *mut socklen_t| {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: storage and length describe room for any address.
        let connection = check(unsafe { libc::accept4(fd, storage.cast(), length, flags) })?;
        // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(connection) })
    };
    // SAFETY: accept4 writes an address and its length on success.
    unsafe { SockAddr::try_init(accept_into) }
}

/// Starts to connect. `InProgress`, or `WouldBlock` for a Unix socket: wait until it is writable, then ask
/// [`socket_error`].
///
/// # Errors
///
/// What `connect(2)` says.
pub fn connect(fd: RawFd, address: &SockAddr) -> io::Result<()> {
    // SAFETY: the address is readable for its length.
    check(unsafe { libc::connect(fd, address.as_ptr().cast(), address.len()) })?;
    Ok(())
}

/// The error that the socket has latched, which this clears: a connection attempt that failed, for one.
///
/// # Errors
///
/// What `getsockopt(2)` says, which is not the latched error.
pub fn socket_error(fd: RawFd) -> io::Result<Option<io::Error>> {
    let mut number: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let place = (&raw mut number).cast();
    // SAFETY: a place for an integer, and its size.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &raw mut length) })?;
    Ok((number != 0).then(|| io::Error::from_raw_os_error(number)))
}

/// Ends one or both directions of a connection.
///
/// # Errors
///
/// What `shutdown(2)` says.
pub fn shutdown(fd: RawFd, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: no pointers are passed.
    check(unsafe { libc::shutdown(fd, how) })?;
    Ok(())
}
