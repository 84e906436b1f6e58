//! Pipes and other descriptors that are not sockets: moving bytes, and asking what they are.
//!
//! Each function is one system call, `set_nonblocking` two. What is said of `WouldBlock` and `EINTR` in `socket.rs`
//! holds here too.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::{check, check_len};

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A pipe, with or without a name.
    Pipe,
    /// A socket of any family.
    Socket,
    /// A character device: a terminal, `/dev/null`.
    CharacterDevice,
    /// A plain file, a folder, a block device: what is always ready, and cannot be watched.
    Other,
}

/// Reads into `buffer`; 0 is the end (or an empty buffer).
///
/// # Errors
///
/// What `read(2)` says.
#[inline]
pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length.
    check_len(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// How many bytes can be read from a pipe or stream socket right now.
///
/// # Errors
///
/// What `ioctl(2)` says of `FIONREAD`.
pub fn readable_bytes(fd: RawFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes one int there.
    check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Writes as much of `bytes` as fits. The process must ignore `SIGPIPE`, as both Rust's and Python's start-up arrange.
///
/// # Errors
///
/// What `write(2)` says.
#[inline]
pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is readable for its length.
    check_len(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Sends up to `count` bytes of `file`, from `offset` on, through `socket`; 0 is the file's end. The file's own position
/// stays.
///
/// # Errors
///
/// What `sendfile(2)` says; among them `EINVAL` for a file that is no plain one.
pub fn sendfile(socket: RawFd, file: RawFd, offset: u64, count: usize) -> io::Result<usize> {
    let mut offset =
        libc::off64_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: `offset` is valid for the length of the call.
    check_len(unsafe { libc::sendfile64(socket, file, &raw mut offset, count) })
}

/// Moves the position of `file` to `offset`.
///
/// # Errors
///
/// What `lseek(2)` says.
pub fn seek(file: RawFd, offset: u64) -> io::Result<()> {
    let offset =
        libc::off64_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: no pointers are passed.
    match unsafe { libc::lseek64(file, offset, libc::SEEK_SET) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What `fd` stands for.
///
/// # Errors
///
/// What `fstat(2)` says.
pub fn file_kind(fd: RawFd) -> io::Result<FileKind> {
    // SAFETY: all zero is a valid `stat`, which the call overwrites.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is valid for the length of the call.
    check(unsafe { libc::fstat(fd, &raw mut status) })?;
    Ok(match status.st_mode & libc::S_IFMT {
        libc::S_IFIFO => FileKind::Pipe,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFCHR => FileKind::CharacterDevice,
        _ => FileKind::Other,
    })
}

/// Makes operations on `fd` answer `WouldBlock` instead of waiting.
///
/// # Errors
///
/// What `fcntl(2)` says.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

/// Another descriptor of the same open file, closed on exec.
///
/// # Errors
///
/// What `fcntl(2)` says.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let (reader, _writer) = io::pipe().unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let device = File::open("/dev/null").unwrap();
        let folder = File::open("/").unwrap();
        assert_eq!(file_kind(reader.as_raw_fd()).unwrap(), FileKind::Pipe);
        assert_eq!(file_kind(socket.as_raw_fd()).unwrap(), FileKind::Socket);
        assert_eq!(file_kind(device.as_raw_fd()).unwrap(), FileKind::CharacterDevice);
        assert_eq!(file_kind(folder.as_raw_fd()).unwrap(), FileKind::Other);
        assert_eq!(file_kind(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn bytes_go_through_a_pipe_and_its_duplicate() {
        let (reader, writer) = io::pipe().unwrap();
        set_nonblocking(reader.as_raw_fd()).unwrap();
        let mut buffer = [0; 8];
        let empty = read(reader.as_raw_fd(), &mut buffer).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let other = duplicate(writer.as_raw_fd()).unwrap();
        drop(writer);
        assert_eq!(write(other.as_raw_fd(), b"bytes").unwrap(), 5);
        assert_eq!(read(reader.as_raw_fd(), &mut buffer).unwrap(), 5);
        drop(other);
        assert_eq!(read(reader.as_raw_fd(), &mut buffer).unwrap(), 0);
    }
}
