//! Where a server listens, and connecting to it: over TCP, or over a Unix socket.
//!
//! Called by `connect`. Whatever the address, the result is a `TcpStream`: to the kernel, and to what the driver does
//! with it, a connected socket is a connected socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// Of a TCP port.
    Internet(SocketAddr),
    /// Of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// A blocking connection that sends small messages at once.
    ///
    /// # Errors
    /// What the sockets say.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        match self {
            Self::Internet(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
            Self::Unix(path) => Ok(TcpStream::from(OwnedFd::from(UnixStream::connect(path)?))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(formatter),
            Self::Unix(path) => path.display().fmt(formatter),
        }
    }
}
