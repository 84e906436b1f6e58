//! What `get_extra_info` knows: the socket and the addresses, made into Python objects when somebody asks.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use pyo3::prelude::*;
use socket2::SockRef;
use tulipa::stream::WriteQueue;

use super::address::Address;
use super::datagram::{Datagram, HEADER, Peer};
use super::opening::{Opening, open};
use super::stream::Stream;
use super::{class, writing};
use crate::event_loop::sock;
use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Result};
use crate::stdlib::stdlib;

/// Lends an open descriptor.
fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: callers hold an open descriptor, and use the result within one expression.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Closes a descriptor that no Python socket owns.
pub(super) fn close(fd: RawFd) {
    // SAFETY: the stream owned it, and has forgotten it just before.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Small packets go out at once, also on sockets that were made without naming TCP, where asyncio forgets it. Says
/// whether it is TCP: a socket of another kind refuses.
pub(super) fn set_no_delay(fd: RawFd) -> bool {
    SockRef::from(&borrow(fd)).set_tcp_nodelay(true).is_ok()
}

/// Before the descriptor goes: its own address, unless everything was asked for already.
pub(super) fn remember_addresses(stream: &Stream) {
    if stream.extra.is_empty() {
        stream.local.set(Address::local(stream.fd.get()));
    }
}

/// The dictionary of `get_extra_info`.
pub(super) fn extra(py: Python<'_>, stream: &Stream) -> Result<Object> {
    // Who asks may go on with the socket by himself; by asyncio what was written has been sent before.
    if !stream.blocked.get() && !stream.queue.borrow().is_empty() {
        // SAFETY: alive, as its extension is.
        let transport = unsafe { Object::borrow(class::transport_of(stream).as_ptr()) };
        writing::flush(&transport, stream)?;
    }
    if let Some(extra) = stream.extra.get() {
        return Ok(extra);
    }
    let socket = python_socket(py, stream)?;
    let fd = stream.fd.get();
    let local = if fd < 0 { stream.local.take() } else { Address::local(fd) };
    let extra = make::dict(py)?;
    extra.set_item(Text("socket"), stdlib().transport_socket.bound(py).call1((socket.bound(py),))?)?;
    extra.set_item(Text("sockname"), address(py, local.as_ref())?)?;
    extra.set_item(Text("peername"), address(py, stream.peer.take().as_ref())?)?;
    stream.extra.put(extra.into_any().into());
    Ok(stream.extra.or_none())
}

/// The Python socket of the connection: the one it was made from, or one made now, which then owns the descriptor.
pub(super) fn python_socket(py: Python<'_>, stream: &Stream) -> Result<Object> {
    if let Some(socket) = stream.socket.get() {
        return Ok(socket);
    }
    let fd = stream.fd.get();
    let socket = if fd < 0 {
        // Closed before anybody asked: a closed socket stands for it.
        let socket = stdlib().socket.bound(py).call0()?;
        socket.call_method0(Text("close"))?;
        socket
    } else {
        sock::adopt(py, fd, ())?
    };
    stream.socket.put(socket.into());
    Ok(stream.socket.or_none())
}

/// Fills in what asyncio knows of a socket that a program brought along.
pub(crate) fn describe(
    stream: &Stream,
    socket: &Bound<'_, PyAny>,
    given: Option<&Bound<'_, PyAny>>,
) -> Result<()> {
    let py = socket.py();
    let extra = make::dict(py)?;
    if let Some(given) = given.filter(|given| !given.is_none()) {
        extra.update(given.cast().map_err(PyErr::from)?)?;
    }
    extra.set_item(Text("socket"), stdlib().transport_socket.bound(py).call1((socket,))?)?;
    extra.set_item(Text("sockname"), name_or_none(socket, "getsockname")?)?;
    if !extra.contains(Text("peername"))? {
        extra.set_item(Text("peername"), name_or_none(socket, "getpeername")?)?;
    }
    stream.socket.put(Object::from_bound(socket));
    stream.extra.put(extra.into_any().into());
    Ok(())
}

/// Makes the transport of a datagram socket that a program brought along, or that was made for it.
pub(crate) fn open_datagrams(
    opening: Opening<'_>,
    socket: &Bound<'_, PyAny>,
    address: Option<&Bound<'_, PyAny>>,
    given: Option<&Bound<'_, PyAny>>,
) -> Result<Object> {
    let fd = number(socket)?;
    let address = address.map_or(Ok(None), |address| {
        Ok::<_, PyErr>(address.is_truthy()?.then(|| Object::from_bound(address)))
    })?;
    open(opening, fd, |stream| {
        describe(stream, socket, given)?;
        let peer = Peer::of(&stream.extra.or_none().bound(socket.py()).get_item(Text("peername"))?)?;
        let family = sock::family(&Object::from_bound(socket));
        stream.queue.replace(WriteQueue::of_messages(HEADER));
        let _ = stream.datagram.set(Box::new(Datagram::new(address, peer, family)));
        Ok(())
    })
}

/// An address by one of the socket's methods; None where the kernel has none.
fn name_or_none(socket: &Bound<'_, PyAny>, method: &str) -> PyResult<Py<PyAny>> {
    let py = socket.py();
    match socket.call_method0(Text(method)) {
        Ok(name) => Ok(name.unbind()),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => Ok(py.None()),
        Err(error) => Err(error),
    }
}

/// An address as Python's socket module writes it.
fn address<'py>(py: Python<'py>, address: Option<&Address>) -> PyResult<Bound<'py, PyAny>> {
    address.map_or_else(|| Ok(py.None().into_bound(py)), |address| address.to_python(py))
}

/// The number of a Python socket's descriptor.
pub(crate) fn number(socket: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    socket.call_method0(Text("fileno"))?.extract()
}
