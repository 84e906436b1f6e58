//! Addresses of sockets, kept small until somebody asks to see them as Python writes them.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use socket2::{SockAddr, SockRef};

use crate::addresses;
use crate::ffi::make;

/// Where a socket is bound, or connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Internet(SocketAddr),
    /// A path, or nothing where the socket was never bound.
    Path(Box<Path>),
    /// A name in Linux's own space, without the null byte before it.
    Abstract(Box<[u8]>),
}

impl Address {
    /// `None` for families that streams do not have here.
    pub(super) fn new(address: &SockAddr) -> Option<Self> {
        if let Some(address) = address.as_socket() {
            return Some(Self::Internet(address));
        }
        if let Some(name) = address.as_abstract_namespace() {
            return Some(Self::Abstract(name.into()));
        }
        let path = address.as_pathname().unwrap_or(Path::new(""));
        address.is_unix().then(|| Self::Path(path.into()))
    }

    /// Where the socket `fd` is bound.
    pub(super) fn local(fd: RawFd) -> Option<Self> {
        // SAFETY: the descriptor is the caller's own, and lent for this function.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        SockRef::from(&fd).local_addr().ok().as_ref().and_then(Self::new)
    }

    /// As Python's socket module writes it.
    pub(super) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Internet(address) => addresses::internet(py, *address),
            Self::Path(path) => path.as_os_str().into_bound_py_any(py),
            Self::Abstract(name) => Ok(make::bytes(py, &[b"\0", &name[..]].concat())?.into_any()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_apart() {
        let unix = |name: &str| Address::new(&SockAddr::unix(name).unwrap()).unwrap();
        assert_eq!(unix("/run/it"), Address::Path(Path::new("/run/it").into()));
        assert_eq!(unix("\0it\0"), Address::Abstract((*b"it\0").into()));
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let unnamed = Address::local(std::os::fd::AsRawFd::as_raw_fd(&socket));
        assert_eq!(unnamed, Some(Address::Path(Path::new("").into())));
        let internet: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(Address::new(&internet.into()), Some(Address::Internet(internet)));
    }
}
