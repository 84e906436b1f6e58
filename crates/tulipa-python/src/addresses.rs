//! Addresses of sockets as Python's socket module writes and reads them: internet and Unix ones.
//!
//! What it reads without a look-up of names is read here; all else is `None`, which means that the socket's own
//! methods must be asked, as they must for other families.

mod cache;

use std::ffi::c_long;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;

use pyo3::ffi;
use pyo3::prelude::*;
use socket2::SockAddr;
use tulipa::sys;

pub(crate) use cache::Cache;

use crate::ffi::buffer::{bytes_of, is_bytes, new_bytes};
use crate::ffi::make::{self, Int, Text};
use crate::ffi::{Object, Raised, Result};

/// Whether addresses of the family are known here.
pub(crate) fn is_known(family: i32) -> bool {
    matches!(family, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX)
}

/// The address that `address` is to a socket of `family`. Raises nothing: what is wrong with an address that is not
/// read here, the socket module says best.
pub(crate) fn from_python(family: i32, address: &Object) -> Option<SockAddr> {
    match family {
        libc::AF_INET => ipv4(address).map(|address| SockAddr::from(SocketAddr::V4(address))),
        libc::AF_INET6 => ipv6(address).map(|address| SockAddr::from(SocketAddr::V6(address))),
        libc::AF_UNIX => unix(address),
        _ => None,
    }
}

fn ipv4(address: &Object) -> Option<SocketAddrV4> {
    let [host, port] = items(address)? else { return None };
    Some(SocketAddrV4::new(text(host)?.parse::<Ipv4Addr>().ok()?, u16::try_from(integer(port)?).ok()?))
}

fn ipv6(address: &Object) -> Option<SocketAddrV6> {
    let items = items(address)?;
    let ([host, port], rest) = items.split_first_chunk::<2>()?;
    let number = |place: usize| rest.get(place).map_or(Some(0), |item| u32::try_from(integer(item)?).ok());
    let (flow, scope) = (number(0)?, number(1)?);
    if rest.len() > 2 || flow > 0xf_ffff {
        return None;
    }
    let (host, port) = (text(host)?.parse::<Ipv6Addr>().ok()?, u16::try_from(integer(port)?).ok()?);
    Some(SocketAddrV6::new(host, port, flow.to_be(), scope))
}

fn unix(address: &Object) -> Option<SockAddr> {
    // SAFETY: reads the object's class.
    let path = if unsafe { ffi::PyUnicode_CheckExact(address.as_ptr()) } != 0 {
        // SAFETY: a string.
        let encoded = unsafe { Object::steal(ffi::PyUnicode_EncodeFSDefault(address.as_ptr())) };
        // The socket module says what cannot be encoded.
        encoded.map_err(Raised::clear).ok()?
    } else {
        address.clone()
    };
    if !is_bytes(&path) {
        return None;
    }
    let bytes = bytes_of(&path);
    // Python's empty name and embedded zeroes are things of their own.
    if bytes.is_empty() || bytes[1..].contains(&0) {
        return None;
    }
    SockAddr::unix(std::ffi::OsStr::from_bytes(bytes)).ok()
}

/// The items of exactly a tuple, borrowed from it.
fn items(address: &Object) -> Option<&[Object]> {
    let tuple = address.as_ptr();
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyTuple_CheckExact(tuple) } == 0 {
        return None;
    }
    // SAFETY: a tuple.
    let count = unsafe { ffi::PyTuple_GET_SIZE(tuple) }.cast_unsigned();
    // SAFETY: a tuple's items lie side by side from its first on, and live as long as the tuple.
    Some(unsafe {
        let first = (&raw mut (*tuple.cast::<ffi::PyTupleObject>()).ob_item).cast::<*mut ffi::PyObject>();
        Object::borrow_all(std::slice::from_raw_parts(first, count))
    })
}

/// Exactly a string.
fn text(object: &Object) -> Option<&str> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyUnicode_CheckExact(object.as_ptr()) } == 0 {
        return None;
    }
    let mut length = 0;
    // SAFETY: a string; it keeps its text as UTF-8 for as long as it lives.
    let start = unsafe { ffi::PyUnicode_AsUTF8AndSize(object.as_ptr(), &raw mut length) };
    if start.is_null() {
        Raised.clear(); // a lone surrogate
        return None;
    }
    // SAFETY: readable memory of that length.
    std::str::from_utf8(unsafe { std::slice::from_raw_parts(start.cast(), length.cast_unsigned()) }).ok()
}

/// Exactly an integer, of those that could be meant.
pub(crate) fn integer(object: &Object) -> Option<c_long> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyLong_CheckExact(object.as_ptr()) } == 0 {
        return None;
    }
    let mut overflow = 0;
    // SAFETY: an integer.
    let value = unsafe { ffi::PyLong_AsLongAndOverflow(object.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// The address as Python's socket module writes it; `None` (Python's) for one without a length.
pub(crate) fn to_python(address: &SockAddr) -> Result<Object> {
    if address.len() == 0 {
        return Ok(Object::none());
    }
    // SAFETY: attached, as whoever makes Python objects is.
    let py = unsafe { Python::assume_attached() };
    match address.as_socket() {
        Some(address) => Ok(internet(py, address)?.into()),
        None => unix_name(address),
    }
}

/// An internet address likewise.
pub(crate) fn internet(py: Python<'_>, address: SocketAddr) -> PyResult<Bound<'_, PyAny>> {
    let text = sys::address_text(address);
    match address {
        SocketAddr::V4(v4) => pair(py, &text, v4),
        SocketAddr::V6(v6) => quadruple(py, &text, v6),
    }
}

/// Host and port.
fn pair<'py>(py: Python<'py>, host: &str, address: SocketAddrV4) -> PyResult<Bound<'py, PyAny>> {
    let (host, port) = (make::object(py, Text(host))?, make::object(py, Int(address.port()))?);
    make::tuple(py, [host, port]).map(Bound::into_any)
}

/// Host, port, flow and scope.
fn quadruple<'py>(py: Python<'py>, host: &str, address: SocketAddrV6) -> PyResult<Bound<'py, PyAny>> {
    let number = |number| make::object(py, Int(number));
    let (port, flow) = (number(address.port().into())?, number(u32::from_be(address.flowinfo()))?);
    let host = make::object(py, Text(host))?;
    make::tuple(py, [host, port, flow, number(address.scope_id())?]).map(Bound::into_any)
}

/// A path as text, or the name in Linux's own space as bytes, its leading zero included.
fn unix_name(address: &SockAddr) -> Result<Object> {
    let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
    let length = (address.len() as usize).saturating_sub(start);
    // SAFETY: an address is readable for its length.
    let name = unsafe {
        std::slice::from_raw_parts(
            address.as_ptr().cast::<u8>().add(start.min(address.len() as usize)),
            length,
        )
    };
    if name.first() == Some(&0) {
        return new_bytes(name);
    }
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(length);
    // SAFETY: as above.
    unsafe { Object::steal(ffi::PyUnicode_DecodeFSDefaultAndSize(name.as_ptr().cast(), end.cast_signed())) }
}
