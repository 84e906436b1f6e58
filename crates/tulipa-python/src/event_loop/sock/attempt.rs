//! One attempt at each operation: the system call, and its answer as the socket's own method would give it.
//!
//! The descriptor is asked for anew each time, since the program may have closed its socket while the operation
//! waited: then the number may be another's by now.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use pyo3::exceptions::PyOSError;
use pyo3::ffi;
use pyo3::prelude::*;
use socket2::SockAddr;
use tulipa::sys;

use super::super::core::Core;
use super::family;
use super::operation::{Kind, SocketOperation};
use crate::addresses;
use crate::errors::os_error;
use crate::ffi::buffer::{Buffer, bytes_of, is_bytes, new_bytes};
use crate::ffi::make::{self, Exception, Int, Text};
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::stdlib;

/// What came of an attempt.
pub(super) enum Performed {
    Done(Object),
    /// The descriptor is to be watched.
    NotReady(RawFd),
}

/// Tries the operation.
#[inline]
pub(super) fn perform(core: &Core, operation: &SocketOperation) -> Result<Performed> {
    let fd = descriptor(operation)?;
    let answer = match operation.kind {
        Kind::Receive => receive(core, fd, operation.size.get()),
        Kind::ReceiveInto => receive_into(fd, operation),
        Kind::ReceiveFrom => receive_from(core, fd, operation.size.get()),
        Kind::ReceiveFromInto => receive_from_into(fd, operation),
        Kind::SendAll => send_all(fd, operation),
        Kind::SendTo => send_to(fd, operation),
        Kind::Connect => connect(fd, operation),
        Kind::Accept => accept(fd, operation),
    };
    Ok(answer?.map_or(Performed::NotReady(fd), Performed::Done))
}

/// The number of the socket's descriptor, -1 once it is closed.
fn descriptor(operation: &SocketOperation) -> Result<RawFd> {
    let number = call::call1(&stdlib().behaviour.socket.fileno, &operation.socket.or_none())?;
    // SAFETY: the method returns an integer, which fits.
    Ok(unsafe { ffi::PyLong_AsLong(number.as_ptr()) } as RawFd)
}

/// The kernel's answer; `None` where the operation must wait.
#[inline]
fn answered<T>(answer: io::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if must_wait(&error) => Ok(None),
        Err(error) => Err(os_error(error).into()),
    }
}

/// The errors that Python raises as BlockingIOError and InterruptedError.
fn must_wait(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EALREADY | libc::EINPROGRESS | libc::EINTR))
}

fn number(value: usize) -> Result<Object> {
    // SAFETY: a new reference or null.
    unsafe { Object::steal(ffi::PyLong_FromSize_t(value)) }
}

fn pair(first: &Object, second: &Object) -> Result<Object> {
    // SAFETY: two live objects; the result is new or null.
    unsafe { Object::steal(ffi::PyTuple_Pack(2, first.as_ptr(), second.as_ptr())) }
}

fn receive(core: &Core, fd: RawFd, size: usize) -> Result<Option<Object>> {
    if size == 0 {
        // Python's own method does not ask the kernel for nothing.
        return new_bytes(&[]).map(Some);
    }
    let received = core.with_receive_buffer(size, |buffer| {
        let received = sys::recv(fd, buffer)?;
        Ok(new_bytes(&buffer[..received]))
    });
    answered(received)?.transpose()
}

fn receive_from(core: &Core, fd: RawFd, size: usize) -> Result<Option<Object>> {
    let received = core.with_receive_buffer(size, |buffer| {
        let (received, sender) = sys::recv_from(fd, buffer)?;
        Ok((new_bytes(&buffer[..received]), sender))
    });
    let Some((bytes, sender)) = answered(received)? else { return Ok(None) };
    pair(&bytes?, &addresses::to_python(&sender)?).map(Some)
}

/// The program's buffer; if it lends itself no more, the socket's method says so.
fn writable(operation: &SocketOperation) -> Result<Buffer> {
    let object = operation.buffer.or_none();
    Buffer::writable(&object).map_err(|raised| {
        raised.clear();
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let method = operation.kind.socket_method();
        let complaint = operation.socket.or_none().bound(py).call_method1(Text(method), (object.bound(py),));
        complaint.map_or_else(Raised::from, |_| PyOSError::with_text("the buffer has changed").into())
    })
}

fn receive_into(fd: RawFd, operation: &SocketOperation) -> Result<Option<Object>> {
    let mut buffer = writable(operation)?;
    let bytes = buffer.bytes_mut();
    let received = if bytes.is_empty() { Ok(0) } else { sys::recv(fd, bytes) };
    drop(buffer);
    answered(received)?.map(number).transpose()
}

fn receive_from_into(fd: RawFd, operation: &SocketOperation) -> Result<Option<Object>> {
    let mut buffer = writable(operation)?;
    let bytes = buffer.bytes_mut();
    let size = operation.size.get().min(bytes.len());
    let received = sys::recv_from(fd, &mut bytes[..size]);
    drop(buffer);
    let Some((received, sender)) = answered(received)? else { return Ok(None) };
    pair(&number(received)?, &addresses::to_python(&sender)?).map(Some)
}

/// One `send` of what is left, as asyncio does it for each event.
fn send_all(fd: RawFd, operation: &SocketOperation) -> Result<Option<Object>> {
    let data = operation.buffer.or_none();
    let (sent, all) = if is_bytes(&data) {
        send_rest(fd, bytes_of(&data), operation.size.get())
    } else {
        send_rest(fd, Buffer::readable(&data)?.bytes(), operation.size.get())
    };
    let sent = answered(sent)?.unwrap_or(0);
    operation.size.set(operation.size.get() + sent);
    if operation.size.get() == all {
        return Ok(Some(Object::none()));
    }
    hold(operation, &data)?;
    Ok(None)
}

fn send_rest(fd: RawFd, bytes: &[u8], sent: usize) -> (io::Result<usize>, usize) {
    (sys::send(fd, &bytes[sent.min(bytes.len())..]), bytes.len())
}

/// While the operation waits, what is sent must keep its size, as it does under asyncio's memoryview.
fn hold(operation: &SocketOperation, data: &Object) -> Result<()> {
    // SAFETY: reads the object's class.
    let is_view = unsafe { ffi::PyMemoryView_Check(data.as_ptr()) } != 0;
    if !is_view && !is_bytes(data) {
        // SAFETY: a live object; the result is new or null.
        operation.buffer.put(unsafe { Object::steal(ffi::PyMemoryView_FromObject(data.as_ptr())) }?);
    }
    Ok(())
}

fn send_to(fd: RawFd, operation: &SocketOperation) -> Result<Option<Object>> {
    audit(c"socket.sendto", operation)?;
    let data = operation.buffer.or_none();
    let buffer = Buffer::readable(&data)?;
    let sent = with_target(operation, |target| sys::send_to(fd, buffer.bytes(), target));
    drop(buffer);
    answered(sent)?.map(number).transpose()
}

fn with_target<T>(
    operation: &SocketOperation,
    use_it: impl FnOnce(&SockAddr) -> io::Result<T>,
) -> io::Result<T> {
    let Some(target) = operation.target.take() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let answer = use_it(&target);
    operation.target.set(Some(target));
    answer
}

/// Starts the attempt, then asks what has become of it.
fn connect(fd: RawFd, operation: &SocketOperation) -> Result<Option<Object>> {
    if operation.connecting.get() {
        return match answered(sys::socket_error(fd))? {
            Some(None) => Ok(Some(Object::none())),
            Some(Some(error)) => Err(connect_failed(&error, operation)),
            None => Ok(None),
        };
    }
    audit(c"socket.connect", operation)?;
    let started = answered(with_target(operation, |target| sys::connect(fd, target)))?;
    operation.connecting.set(true);
    Ok(started.map(|()| Object::none()))
}

#[cold]
fn connect_failed(error: &io::Error, operation: &SocketOperation) -> Raised {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    match operation.address.or_none().bound(py).str() {
        Ok(address) => {
            let text = make::text(py, &format!("Connect call failed {address}"));
            let number = error.raw_os_error().unwrap_or_default();
            text.and_then(|text| crate::errors::os_error_of(py, number, &text))
                .unwrap_or_else(|error| error)
                .into()
        }
        Err(error) => error.into(),
    }
}

/// Tells the interpreter's audit hooks what the socket's method would tell them.
fn audit(event: &std::ffi::CStr, operation: &SocketOperation) -> Result<()> {
    let (socket, address) = (operation.socket.or_none(), operation.address.or_none());
    crate::ffi::audit::tell(event, &socket, &address)
}

fn accept(fd: RawFd, operation: &SocketOperation) -> Result<Option<Object>> {
    let Some((connection, peer)) = answered(sys::accept_from(fd))? else { return Ok(None) };
    let socket = python_socket(&operation.socket.or_none(), connection)?;
    pair(&socket, &addresses::to_python(&peer)?).map(Some)
}

/// The socket object of a connection: of the plain class, whatever the listening one's is, and non-blocking.
fn python_socket(listening: &Object, connection: OwnedFd) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let kind = (Int(family(listening)), Int(super::kind(listening)), Int(super::protocol(listening)));
    let socket = super::adopt(py, connection.as_raw_fd(), kind)?;
    // The socket owns it now.
    let _ = connection.into_raw_fd();
    Ok(socket.into())
}
