//! An event counter: the descriptor that other threads wake the loop with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::{check, check_len};

/// A new counter at zero: non-blocking, closed on exec.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to the counter, which makes it readable. `WouldBlock` when the counter is full.
pub(crate) fn eventfd_add(fd: RawFd) -> io::Result<()> {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: `one` is eight readable bytes.
    check_len(unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) })?;
    Ok(())
}

/// Takes the counter back to zero. `WouldBlock` when it is there already.
pub(crate) fn eventfd_reset(fd: RawFd) -> io::Result<()> {
    let mut count = [0_u8; 8];
    // SAFETY: `count` is eight writable bytes.
    check_len(unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) })?;
    Ok(())
}

/// Closes a counter.
pub(crate) fn eventfd_close(fd: RawFd) {
    // SAFETY: no pointers are passed. All that could be reported is that the number was closed already.
    unsafe { libc::close(fd) };
}
