//! `getaddrinfo` and `getnameinfo`: the resolver asked by a worker thread that never takes the interpreter.
//!
//! Three ways, cheapest first. An address that is a literal, with a kind of socket, is answered on the spot; other
//! questions that the C library answers without asking anybody are put to it at once; the rest goes to the loop's own
//! thread pool. Anything unusual in the arguments is left to asyncio's way through the socket module, so that
//! conversions and complaints are that module's. Python code calls this only while `socket.getaddrinfo` and
//! `socket.getnameinfo` are the original ones.

use std::ffi::{CString, c_char, c_int};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use pyo3::exceptions::PyOSError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use tulipa::sys::{self, Query, ResolveError};

use crate::errors::os_error;
use crate::event_loop::EventLoop;
use crate::executors::{self, Outcome};
use crate::ffi::make::{self, Exception, Int, Text};
use crate::ffi::{Object, Raised};
use crate::stdlib::stdlib;

/// A question for the resolver.
pub(crate) enum Lookup {
    Addresses(Query),
    Names(SocketAddr, c_int),
}

/// Its answer, still without Python objects.
pub(crate) enum Found {
    Addresses(Result<Vec<sys::Found>, ResolveError>),
    Names(Result<(CString, CString), ResolveError>),
}

impl Lookup {
    /// Asks; blocks.
    pub(crate) fn run(self) -> Found {
        match self {
            Self::Addresses(query) => Found::Addresses(sys::addresses_of(&query)),
            Self::Names(address, flags) => Found::Names(sys::names_of(address, flags)),
        }
    }
}

impl Found {
    pub(crate) fn into_outcome(self) -> Outcome {
        // SAFETY: called on the loop's thread, attached.
        let py = unsafe { Python::assume_attached() };
        let answer = self.into_object(py).map(|answer| Object::from_bound(answer.bind(py)));
        answer.map_err(Raised::from).into()
    }

    /// What the socket module returns, or raises.
    fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Addresses(found) => {
                let found = found.map_err(|error| complaint(py, error))?;
                let entries = found.iter().map(|found| entry(py, found)).collect::<PyResult<Vec<_>>>()?;
                Ok(make::list_of(py, entries)?.into_any().unbind())
            }
            Self::Names(names) => {
                let (host, service) = names.map_err(|error| complaint(py, error))?;
                // SAFETY: a C string; the result is new or null.
                let host = unsafe { Object::steal(ffi::PyUnicode_DecodeFSDefault(host.as_ptr())) };
                let service = make::object(py, Text(service.to_string_lossy()))?;
                Ok(make::tuple(py, [host.map_err(PyErr::from)?.bound(py), service])?.into_any().unbind())
            }
        }
    }
}

fn complaint(py: Python<'_>, error: ResolveError) -> PyErr {
    match error {
        ResolveError::System(error) => os_error(error),
        ResolveError::Resolver(number) => {
            match stdlib().gaierror.bound(py).call1((Int(number), Text(sys::resolver_text(number)))) {
                Ok(error) => PyErr::from_value(error),
                Err(error) => error,
            }
        }
    }
}

/// One line of `socket.getaddrinfo`'s answer.
fn entry<'py>(py: Python<'py>, found: &sys::Found) -> PyResult<Bound<'py, PyTuple>> {
    let name = found.canonical_name.as_deref().unwrap_or_default().to_string_lossy();
    let (family, kind) = (family(py, found.family)?, kind(py, found.kind)?);
    let (protocol, name) = (make::object(py, Int(found.protocol))?, make::object(py, Text(name))?);
    make::tuple(py, [family, kind, protocol, name, crate::addresses::internet(py, found.address)?])
}

fn family(py: Python<'_>, number: c_int) -> PyResult<Bound<'_, PyAny>> {
    match number {
        libc::AF_INET => Ok(stdlib().af_inet.bound(py)),
        libc::AF_INET6 => Ok(stdlib().af_inet6.bound(py)),
        other => stdlib().to_enum.bound(py).call1((Int(other), stdlib().address_family.bound(py))),
    }
}

fn kind(py: Python<'_>, number: c_int) -> PyResult<Bound<'_, PyAny>> {
    match number {
        libc::SOCK_STREAM => Ok(stdlib().sock_stream.bound(py)),
        libc::SOCK_DGRAM => Ok(stdlib().sock_dgram.bound(py)),
        other => stdlib().to_enum.bound(py).call1((Int(other), stdlib().socket_kind.bound(py))),
    }
}

/// `_getaddrinfo`.
pub(crate) fn addresses(
    slf: &Bound<'_, EventLoop>,
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    numbers: [&Bound<'_, PyAny>; 4],
) -> PyResult<Option<Py<PyAny>>> {
    let py = slf.py();
    if !slf.get().core.is_direct() {
        return Ok(None);
    }
    let [Some(family), Some(kind), Some(protocol), Some(flags)] = numbers.map(plain_int) else {
        return Ok(None);
    };
    let literal = literal_of(host);
    if let Some(literal) = literal
        && let Some(found) = at_once(literal, port, [family, kind, protocol, flags])
    {
        audit_addresses(host, port, [family, kind, protocol])?;
        return Ok(Some(make::list_of(py, [entry(py, &found)?])?.into_any().unbind()));
    }
    let (Ok(host_text), Ok(service)) = (host_text(host), service_text(port)) else { return Ok(None) };
    let numeric = service.as_ref().is_none_or(|text| text.as_bytes().iter().all(u8::is_ascii_digit));
    let query = Query { host: host_text, service, family, kind, protocol, flags };
    let nobody_is_asked =
        numeric && (host.is_none() || literal.is_some()) && flags & libc::AI_ADDRCONFIG == 0;
    let lookup = Lookup::Addresses(query);
    if nobody_is_asked {
        audit_addresses(host, port, [family, kind, protocol])?;
        return lookup.run().into_object(py).map(Some);
    }
    ask(slf, lookup, || audit_addresses(host, port, [family, kind, protocol]))
}

/// The one answer for a literal address and a port, where it is plain that there is one.
fn at_once(
    literal: IpAddr,
    port: &Bound<'_, PyAny>,
    [family, kind, protocol, flags]: [c_int; 4],
) -> Option<sys::Found> {
    const HARMLESS: c_int = libc::AI_NUMERICHOST | libc::AI_NUMERICSERV | libc::AI_PASSIVE;
    let own_family = if literal.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let usual = match kind {
        libc::SOCK_STREAM => libc::IPPROTO_TCP,
        libc::SOCK_DGRAM => libc::IPPROTO_UDP,
        _ => return None,
    };
    let plain = [0, own_family].contains(&family) && [0, usual].contains(&protocol) && flags & !HARMLESS == 0;
    let port = match port {
        none if none.is_none() => 0,
        number if number.is_exact_instance_of::<PyInt>() => number.extract::<u16>().ok()?,
        _ => return None,
    };
    plain.then(|| sys::Found {
        family: own_family,
        kind,
        protocol: usual,
        canonical_name: None,
        address: SocketAddr::new(literal, port),
    })
}

/// `_getnameinfo`.
pub(crate) fn names(
    slf: &Bound<'_, EventLoop>,
    sockaddr: &Bound<'_, PyAny>,
    flags: &Bound<'_, PyAny>,
) -> PyResult<Option<Py<PyAny>>> {
    const NUMBERS: c_int = libc::NI_NUMERICHOST | libc::NI_NUMERICSERV;
    let (true, Some(address), Some(flags)) =
        (slf.get().core.is_direct(), plain_sockaddr(sockaddr), plain_int(flags))
    else {
        return Ok(None);
    };
    let lookup = Lookup::Names(address, flags);
    let told = || {
        audit(c"socket.getnameinfo", c"(O)", |name, format| {
            // SAFETY: one live object for the one place of the format.
            unsafe { PySys_Audit(name, format, sockaddr.as_ptr()) }
        })
    };
    if flags & NUMBERS == NUMBERS {
        told()?;
        return lookup.run().into_object(slf.py()).map(Some);
    }
    ask(slf, lookup, told)
}

/// Has a worker of the loop's own pool ask. None where the pool is another, or has ended.
fn ask(
    slf: &Bound<'_, EventLoop>,
    lookup: Lookup,
    told: impl FnOnce() -> PyResult<()>,
) -> PyResult<Option<Py<PyAny>>> {
    let executor = executors::default_executor(slf)?;
    if slf.get().core.work_queue.is_empty() {
        return Ok(None);
    }
    told()?;
    let future = executors::look_up(slf, &executor, lookup)?;
    Ok(future.map(|future| future.bound(slf.py()).unbind()))
}

/// The value of an `int` that fits C's; enumerations count.
fn plain_int(value: &Bound<'_, PyAny>) -> Option<c_int> {
    value.is_instance_of::<PyInt>().then(|| value.extract().ok())?
}

/// The address that a host's text is, in the one way of writing it on which all parsers agree.
fn literal_of(host: &Bound<'_, PyAny>) -> Option<IpAddr> {
    host.cast_exact::<PyString>().ok()?.to_str().ok()?.parse().ok()
}

/// Something that the socket module should look at itself, and complain of if need be.
struct Unusual;

/// A host for the C library, encoded as the socket module does it.
fn host_text(host: &Bound<'_, PyAny>) -> Result<Option<CString>, Unusual> {
    if host.is_none() {
        return Ok(None);
    }
    let is_text = host.is_exact_instance_of::<PyString>();
    let encoded = if is_text { host.call_method1(Text("encode"), (Text("idna"),)) } else { Ok(host.clone()) };
    let encoded = encoded.map_err(|_| Unusual)?;
    let bytes = encoded.cast_exact::<PyBytes>().map_err(|_| Unusual)?;
    CString::new(bytes.as_bytes()).map(Some).map_err(|_| Unusual)
}

/// A port or service likewise.
fn service_text(port: &Bound<'_, PyAny>) -> Result<Option<CString>, Unusual> {
    if port.is_none() {
        return Ok(None);
    }
    let text = if port.is_exact_instance_of::<PyInt>() {
        // Within what every Python hands on as it is.
        port.extract::<u16>().map_err(|_| Unusual)?.to_string().into_bytes()
    } else if let Ok(text) = port.cast_exact::<PyString>() {
        text.to_str().map_err(|_| Unusual)?.as_bytes().to_vec()
    } else {
        port.cast_exact::<PyBytes>().map_err(|_| Unusual)?.as_bytes().to_vec()
    };
    CString::new(text).map(Some).map_err(|_| Unusual)
}

/// A socket address whose host is a literal and whose numbers are in range.
fn plain_sockaddr(sockaddr: &Bound<'_, PyAny>) -> Option<SocketAddr> {
    let sockaddr = sockaddr.cast_exact::<PyTuple>().ok()?;
    let item = |index: usize| sockaddr.get_item(index).ok();
    let (host, port) = (literal_of(&item(0)?)?, item(1)?.extract::<u16>().ok()?);
    match (host, sockaddr.len()) {
        (IpAddr::V4(_), 2) => Some(SocketAddr::new(host, port)),
        (IpAddr::V6(host), 2) => Some(SocketAddrV6::new(host, port, 0, 0).into()),
        (IpAddr::V6(host), 4) => {
            let (flow, scope) = (item(2)?.extract::<u32>().ok()?, item(3)?.extract().ok()?);
            (flow <= 0xf_ffff).then(|| SocketAddrV6::new(host, port, flow.to_be(), scope).into())
        }
        _ => None,
    }
}

fn audit_addresses(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    [family, kind, protocol]: [c_int; 3],
) -> PyResult<()> {
    audit(c"socket.getaddrinfo", c"OOiii", |name, format| {
        // SAFETY: two live objects and three numbers, as the format says.
        unsafe { PySys_Audit(name, format, host.as_ptr(), port.as_ptr(), family, kind, protocol) }
    })
}

/// Tells audit hooks what the socket module would tell them.
fn audit(
    name: &std::ffi::CStr,
    format: &std::ffi::CStr,
    tell: impl FnOnce(*const c_char, *const c_char) -> c_int,
) -> PyResult<()> {
    if tell(name.as_ptr(), format.as_ptr()) < 0 {
        // SAFETY: attached.
        return Err(PyErr::take(unsafe { Python::assume_attached() })
            .unwrap_or_else(|| PyOSError::with_text("an audit hook failed without an exception")));
    }
    Ok(())
}

unsafe extern "C" {
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}
