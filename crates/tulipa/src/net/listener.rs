//! A listening TCP socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::socket::Socket;
use super::stream::TcpStream;
use super::watch::Direction;
use crate::sys;

/// Connections that may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 1024;

/// Accepts TCP connections.
///
/// # Examples
///
/// ```
/// use tulipa::{TcpListener, TcpStream};
///
/// tulipa::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let served = listener.accept().await?;
///     served.write_all(b"hello").await?;
///     let mut greeting = [0; 5];
///     client.read_exact(&mut greeting).await?;
///     assert_eq!(&greeting, b"hello");
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    /// The socket.
    socket: Socket,
}

impl TcpListener {
    /// Listens on `address`, on the current loop; port 0 takes a free one. The address may be reused at once
    /// after a server has ended.
    ///
    /// # Errors
    ///
    /// What `bind(2)` and `listen(2)` say, or that no loop runs on this thread.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = RawSocket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket: Socket::new(socket.into(), true)? })
    }

    /// The next connection. Several tasks may wait for one each.
    ///
    /// # Errors
    ///
    /// What `accept4(2)` says. `EMFILE` and `ENFILE` leave the connection in the queue: close something, or
    /// wait, before calling again.
    ///
    /// # Cancellation
    ///
    /// No connection is lost.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        let connection = self.socket.perform(Direction::Read, sys::accept).await?;
        TcpStream::from_connected(connection)
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.socket).local_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}
