//! A TCP connection.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::socket::Socket;
use super::watch::Direction;
use crate::sys;

/// A TCP connection. All methods take `&self`, so that one task may read while another writes, without
/// splitting. Of several tasks that read at once each gets a part of what comes.
#[derive(Debug)]
pub struct TcpStream {
    /// The socket.
    socket: Socket,
}

impl TcpStream {
    /// Connects to `address` on the current loop.
    ///
    /// # Errors
    ///
    /// What `connect(2)` says, at once or in the end; or that no loop runs on this thread.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up and the socket closed.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = RawSocket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        let connected = socket.connect(&address.into());
        match connected {
            Ok(()) => return Self::from_connected(socket.into()),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = Socket::new(socket.into(), false)?;
        socket.ready(Direction::Write).await?;
        match SockRef::from(&socket).take_error()? {
            Some(error) => Err(error),
            None => Ok(Self { socket }),
        }
    }

    /// Registers a connected, non-blocking socket with the current loop.
    pub(super) fn from_connected(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(fd, true)? })
    }

    /// Reads what there is, at most `buffer.len()` bytes; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// What `recv(2)` says.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        self.socket.transfer(Direction::Read, room, |fd| sys::recv(fd, buffer)).await
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the stream ends before; otherwise what `recv(2)` says.
    ///
    /// # Cancellation
    ///
    /// What was read so far is in `buffer`, but how much is not known.
    pub async fn read_exact(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let received = self.read(buffer).await?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[received..];
        }
        Ok(())
    }

    /// Writes as much of `bytes` as the kernel takes: at least one, if there is any.
    ///
    /// # Errors
    ///
    /// What `send(2)` says; `BrokenPipe` when the peer is gone.
    ///
    /// # Cancellation
    ///
    /// Then nothing was written.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.transfer(Direction::Write, bytes.len(), |fd| sys::send(fd, bytes)).await
    }

    /// Writes as much of `slices`, in order, as the kernel takes, and of no more than 1024 of them.
    ///
    /// # Errors
    ///
    /// What `sendmsg(2)` says; `BrokenPipe` when the peer is gone.
    ///
    /// # Cancellation
    ///
    /// Then nothing was written.
    pub async fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(sys::MAX_SLICES)];
        let room = slices.iter().map(|slice| slice.len()).sum();
        self.socket.transfer(Direction::Write, room, |fd| sys::send_vectored(fd, slices)).await
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// What `send(2)` says.
    ///
    /// # Cancellation
    ///
    /// A part may have been written.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Ends one or both directions: after `Write` the peer reads the end of the stream.
    ///
    /// # Errors
    ///
    /// What `shutdown(2)` says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        sys::shutdown(self.socket.fd(), how)
    }

    /// Whether small writes go out at once instead of being gathered (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(&self.socket).set_tcp_nodelay(nodelay)
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.socket).local_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The other end's address.
    ///
    /// # Errors
    ///
    /// What `getpeername(2)` says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.socket).peer_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}
