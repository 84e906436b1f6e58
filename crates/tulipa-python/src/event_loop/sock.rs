//! `sock_recv` and its seven sisters: one operation on a socket of the program's own.
//!
//! The usual call (a plain, non-blocking socket, arguments of the usual types, no debug mode) gives an
//! `Operation` (see `operations`), which behaves as the coroutine that asyncio's method is. Any other call goes to that
//! very method: it says what is wrong with arguments, resolves names, calls the methods of the program's own socket
//! classes, checks in debug mode and remembers who called. `attempt` performs an operation once, `waiting` has it wait
//! in the driver, `holding` keeps the socket open meanwhile. An operation is performed when its task runs, never
//! before, so cancelling a task that waits loses nothing.

mod attempt;
mod holding;
mod operation;
mod waiting;

use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;

use pyo3::call::PyCallArgs;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(super) use operation::abandon;
pub(crate) use waiting::{Resting, forget_resting, give_way};
pub(super) use waiting::{ready, settle};

use self::operation::{Kind, Parts};
use super::core::Core;
use crate::addresses;
use crate::ffi::args::Args;
use crate::ffi::buffer::{Buffer, is_bytes};
use crate::ffi::class::{add_methods, fastcall, member_offset};
use crate::ffi::make::{self, Int, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::stdlib;

/// Puts the methods into the loop's class; called by the module's initialisation.
pub(crate) fn add_to(class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: the table is static, and its functions take loops.
    unsafe { add_methods(class, &raw mut METHODS) }
}

/// Defines the entry point of a method: `body` makes the operation's parts of its positional arguments behind the
/// socket, `None` for what is not the usual case.
macro_rules! method {
    ($name:ident, $kind:ident, $body:expr) => {
        unsafe extern "C" fn $name(
            object: *mut ffi::PyObject,
            arguments: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            enter(|_| {
                // SAFETY: called on a loop, with this call's arguments.
                let (core, args) = unsafe { (Core::inside(object), Args::new(arguments, count, names)) };
                // SAFETY: called on a loop.
                let event_loop = unsafe { Object::borrow(object) };
                let body: fn(&Object, &[Object]) -> Option<Parts> = $body;
                if let Some(operation) = usual(core, &event_loop, Kind::$kind, &args, body)? {
                    return Ok(operation);
                }
                args.forward(&call::getattr(&stdlib().selector_event_loop, Kind::$kind.name())?, &event_loop)
            })
        }
    };
}

/// The native operation of a usual call.
#[inline]
fn usual(
    core: &Core,
    event_loop: &Object,
    kind: Kind,
    args: &Args<'_>,
    body: fn(&Object, &[Object]) -> Option<Parts>,
) -> Result<Option<Object>> {
    // SAFETY: arguments live for the call.
    let given = unsafe { Object::borrow_all(args.positional) };
    let Some((socket, rest)) = given.split_first() else { return Ok(None) };
    if core.is_debug() || args.has_names() {
        return Ok(None);
    }
    if !is_plain(socket, kind) || !is_non_blocking(socket)? {
        return Ok(None);
    }
    let Some(parts) = body(socket, rest) else { return Ok(None) };
    operation::new(event_loop, kind, socket.clone(), parts).map(Some)
}

/// Whether the socket does what the standard library's does: its class is that one, or leaves the methods alone.
#[inline]
fn is_plain(socket: &Object, kind: Kind) -> bool {
    let plain = stdlib().socket.as_ptr();
    if socket.class() == plain.cast() {
        return true;
    }
    socket.is_instance_of(plain.cast()) && leaves_alone(socket, kind)
}

#[cold]
fn leaves_alone(socket: &Object, kind: Kind) -> bool {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let (class, plain) = (socket.bound(py).get_type(), stdlib().socket.bound(py));
    let same = |name: &str| {
        class.getattr(Text(name)).is_ok_and(|own| plain.getattr(Text(name)).is_ok_and(|usual| own.is(&usual)))
    };
    ["fileno", "gettimeout", kind.socket_method()].into_iter().all(same)
}

/// Whether the socket's methods would not block. One with a timeout blocks, in asyncio too.
#[inline]
fn is_non_blocking(socket: &Object) -> Result<bool> {
    let timeout = call::call1(&stdlib().behaviour.socket.timeout, socket)?;
    // SAFETY: reads the object's class; a float's value is read without running code.
    Ok(unsafe {
        ffi::PyFloat_CheckExact(timeout.as_ptr()) != 0 && ffi::PyFloat_AS_DOUBLE(timeout.as_ptr()) == 0.0
    })
}

/// The C part of a socket: two methods, and where it keeps what its Python class would make members of enumerations
/// of.
pub(crate) struct Members {
    pub(super) fileno: Object,
    timeout: Object,
    family: usize,
    kind: usize,
    protocol: usize,
}

impl Members {
    pub(crate) fn find(py: Python<'_>) -> PyResult<Self> {
        let class = Object::from_bound(&py.import(Text("_socket"))?.getattr(Text("socket"))?);
        let offset = |name: &str| member_offset(&class, &make::text(py, name)?.into_any().into());
        Ok(Self {
            fileno: call::getattr(&class, &make::text(py, "fileno")?.into_any().into())?,
            timeout: call::getattr(&class, &make::text(py, "gettimeout")?.into_any().into())?,
            family: offset("family")?,
            kind: offset("type")?,
            protocol: offset("proto")?,
        })
    }
}

fn member(socket: &Object, offset: usize) -> c_int {
    // SAFETY: callers pass an instance of the socket class, whose C part has an integer there.
    unsafe { *socket.as_ptr().byte_add(offset).cast::<c_int>() }
}

/// The family of addresses of an instance of the socket class.
pub(crate) fn family(socket: &Object) -> c_int {
    member(socket, stdlib().behaviour.socket.family)
}

fn kind(socket: &Object) -> c_int {
    member(socket, stdlib().behaviour.socket.kind)
}

fn protocol(socket: &Object) -> c_int {
    member(socket, stdlib().behaviour.socket.protocol)
}

/// Makes a non-blocking Python socket of a descriptor. `kind` is empty, which has the socket find out by itself, or its
/// family, type and protocol. Where that fails, for an interrupt for one, the descriptor stays the caller's.
pub(crate) fn adopt<'py>(
    py: Python<'py>,
    fd: RawFd,
    kind: impl PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = stdlib().socket.bound(py);
    let socket = class.call_method1(Text("__new__"), (&class,))?;
    let keywords = make::dict(py)?;
    keywords.set_item(Text("fileno"), Int(fd))?;
    let made = socket
        .getattr(Text("__init__"))?
        .call(kind, Some(&keywords))
        .and_then(|_| socket.call_method1(Text("setblocking"), (false,)));
    if let Err(error) = made {
        socket.call_method0(Text("detach"))?;
        return Err(error);
    }
    Ok(socket)
}

/// A size that is surely meant: no more than fits, not less than nothing.
fn size(object: &Object) -> Option<usize> {
    usize::try_from(addresses::integer(object)?).ok().filter(|&size| size <= c_int::MAX as usize)
}

/// A buffer of the usual kind, in which one item is one byte: its length.
fn length(object: &Object, writable: bool) -> Option<usize> {
    let buffer = if writable { Buffer::writable(object) } else { Buffer::readable(object) };
    let bytes = buffer.map(|buffer| buffer.bytes().len());
    let items = bytes.and_then(|bytes| Ok((bytes, call::length(object)?)));
    // asyncio's own method is called then, and says what is wrong.
    let (bytes, items) = items.map_err(Raised::clear).ok()?;
    (bytes == items).then_some(bytes)
}

method!(sock_recv, Receive, |_, args| match args {
    [count] => Some(Parts { size: size(count)?, ..Parts::default() }),
    _ => None,
});

method!(sock_recv_into, ReceiveInto, |_, args| {
    let [buffer] = args else { return None };
    length(buffer, true)?;
    Some(Parts { buffer: Some(buffer.clone()), ..Parts::default() })
});

method!(sock_recvfrom, ReceiveFrom, |socket, args| match args {
    [count] if addresses::is_known(family(socket)) => Some(Parts { size: size(count)?, ..Parts::default() }),
    _ => None,
});

method!(sock_recvfrom_into, ReceiveFromInto, |socket, args| {
    let (buffer, rest) = args.split_first()?;
    let length = length(buffer, true)?;
    let size = match rest {
        [] => length,
        [count] => Some(size(count)?).filter(|&count| count > 0).unwrap_or(length),
        _ => return None,
    };
    let usual = size <= length && addresses::is_known(family(socket));
    usual.then(|| Parts { buffer: Some(buffer.clone()), size, ..Parts::default() })
});

method!(sock_sendall, SendAll, |_, args| {
    let [data] = args else { return None };
    if !is_bytes(data) {
        length(data, false)?;
    }
    Some(Parts { buffer: Some(data.clone()), ..Parts::default() })
});

method!(sock_sendto, SendTo, |socket, args| {
    let [data, address] = args else { return None };
    length(data, false)?;
    let target = addresses::from_python(family(socket), address)?;
    let (buffer, address) = (Some(data.clone()), Some(address.clone()));
    Some(Parts { buffer, address, target: Some(target), ..Parts::default() })
});

method!(sock_connect, Connect, |socket, args| {
    let [address] = args else { return None };
    let target = addresses::from_python(family(socket), address)?;
    Some(Parts { address: Some(address.clone()), target: Some(target), ..Parts::default() })
});

method!(sock_accept, Accept, |socket, args| {
    (args.is_empty() && addresses::is_known(family(socket))).then(Parts::default)
});

static mut METHODS: [ffi::PyMethodDef; 8] = [
    fastcall(c"sock_recv", sock_recv, c"sock_recv($self, sock, n)\n--\n\nReceive up to n bytes from the socket."),
    fastcall(c"sock_recv_into", sock_recv_into, INTO),
    fastcall(
        c"sock_recvfrom",
        sock_recvfrom,
        c"sock_recvfrom($self, sock, bufsize)\n--\n\nReceive a datagram of up to bufsize bytes: (bytes, address).",
    ),
    fastcall(
        c"sock_recvfrom_into",
        sock_recvfrom_into,
        c"sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nReceive a datagram into a buffer: (bytes received, address).",
    ),
    fastcall(
        c"sock_sendall",
        sock_sendall,
        c"sock_sendall($self, sock, data)\n--\n\nSend all of the data. Cancelled, it may have sent a part.",
    ),
    fastcall(
        c"sock_sendto",
        sock_sendto,
        c"sock_sendto($self, sock, data, address)\n--\n\nSend a datagram to an address; return how many bytes were sent.",
    ),
    fastcall(
        c"sock_connect",
        sock_connect,
        c"sock_connect($self, sock, address)\n--\n\nConnect the socket to an address.",
    ),
    fastcall(
        c"sock_accept",
        sock_accept,
        c"sock_accept($self, sock)\n--\n\nAccept a connection: (a new non-blocking socket, the peer's address).",
    ),
];

const INTO: &CStr =
    c"sock_recv_into($self, sock, buf)\n--\n\nReceive into a writable buffer; return how many bytes came.";
