//! What the descriptor under a transport is: a connection, one end of a pipe, or a socket of datagrams.
//!
//! The kinds differ in the system calls that move bytes and in what asyncio says of failures. All else about a stream
//! is the same for all of them, and lies in the files beside this one.

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::sys;

use crate::ffi::Object;
use crate::ffi::make::Text;

/// The kinds of transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads and writes.
    Socket,
    /// The end to read from: of a pipe or FIFO, or a socket or device taken for one.
    ReadPipe,
    /// The end to write to. It becomes readable when nobody is left to read.
    WritePipe,
    /// A device to write to. That it is readable means nothing, so it is never watched for that.
    WriteDevice,
    /// Sends and receives whole messages.
    Datagram,
}

impl Kind {
    #[inline]
    pub(super) fn is_pipe(self) -> bool {
        !matches!(self, Self::Socket | Self::Datagram)
    }

    /// Whether bytes only leave through the descriptor.
    #[inline]
    pub(super) fn only_writes(self) -> bool {
        matches!(self, Self::WritePipe | Self::WriteDevice)
    }

    #[inline]
    pub(super) fn receive(self, fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_pipe() { sys::read(fd, buffer) } else { sys::recv(fd, buffer) }
    }

    #[inline]
    pub(super) fn send(self, fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [only] if self.is_pipe() => sys::write(fd, only),
            [only] => sys::send(fd, only),
            several if self.is_pipe() => sys::writev(fd, several),
            several => sys::send_vectored(fd, several),
        }
    }

    /// Whether an error is the way of such descriptors, and only debug mode speaks of it: any of the operating system
    /// where bytes are written, and the end of a terminal where they are only read.
    pub(super) fn is_usual(self, exception: &Object) -> bool {
        // SAFETY: the class lives as long as the interpreter.
        if !exception.is_instance_of(unsafe { ffi::PyExc_OSError }.cast()) {
            return false;
        }
        // SAFETY: attached.
        let exception = exception.bound(unsafe { Python::assume_attached() });
        let number = || exception.getattr(Text("errno")).ok()?.extract::<i32>().ok();
        self != Self::ReadPipe || number() == Some(libc::EIO)
    }

    pub(super) fn read_failure(self) -> &'static str {
        match self {
            Self::Socket => "Fatal read error on socket transport",
            Self::Datagram => "Fatal read error on datagram transport",
            Self::ReadPipe | Self::WritePipe | Self::WriteDevice => "Fatal read error on pipe transport",
        }
    }

    pub(super) fn write_failure(self) -> &'static str {
        match self {
            Self::Socket => "Fatal write error on socket transport",
            Self::Datagram => "Fatal write error on datagram transport",
            Self::ReadPipe | Self::WritePipe | Self::WriteDevice => "Fatal write error on pipe transport",
        }
    }

    /// What the log says of writes to a lost connection.
    pub(super) fn futile_write(self) -> &'static str {
        if self.is_pipe() {
            "pipe closed by peer or os.write(pipe, data) raised exception."
        } else {
            "socket.send() raised exception."
        }
    }
}
