//! The C library's resolver: names to addresses and back.
//!
//! Both calls may block for as long as a name server takes, and are made for worker threads. They say what the
//! library says and add nothing: the order of the answers, the error numbers and their texts are the system's.

use std::ffi::{CStr, CString, c_int};
use std::net::SocketAddr;
use std::{io, mem, ptr};

use socket2::SockAddr;

/// What to resolve. Zero stands for "any" in the numbers, as in C.
#[derive(Debug, Default)]
pub struct Query {
    /// The name, or an address as text.
    pub host: Option<CString>,
    /// The service's name, or a port as text.
    pub service: Option<CString>,
    /// `AF_INET` and so on.
    pub family: c_int,
    /// `SOCK_STREAM` and so on.
    pub kind: c_int,
    /// `IPPROTO_TCP` and so on.
    pub protocol: c_int,
    /// `AI_...`.
    pub flags: c_int,
}

/// One of the answers.
#[derive(Debug)]
pub struct Found {
    /// `AF_INET` and so on.
    pub family: c_int,
    /// `SOCK_STREAM` and so on.
    pub kind: c_int,
    /// `IPPROTO_TCP` and so on.
    pub protocol: c_int,
    /// The host's proper name, if that was asked for.
    pub canonical_name: Option<CString>,
    /// The address.
    pub address: SocketAddr,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ResolveError {
    /// An `EAI_...` number.
    Resolver(c_int),
    /// The system failed (`EAI_SYSTEM`).
    System(io::Error),
}

impl ResolveError {
    /// The error behind the number that a call of the resolver returned, just now and on this thread.
    fn new(number: c_int) -> Self {
        if number == libc::EAI_SYSTEM {
            return Self::System(io::Error::last_os_error());
        }
        Self::Resolver(number)
    }
}

/// What the C library says of an `EAI_...` number.
pub fn resolver_text(number: c_int) -> String {
    // SAFETY: any number has a text, which is static.
    let text = unsafe { CStr::from_ptr(libc::gai_strerror(number)) };
    text.to_string_lossy().into_owned()
}

/// Resolves a name. Answers of families other than IPv4 and IPv6 are left out; the library knows none.
///
/// # Errors
///
/// What `getaddrinfo(3)` says.
pub fn addresses_of(query: &Query) -> Result<Vec<Found>, ResolveError> {
    let text = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: a struct of numbers and nullable pointers.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = query.family;
    hints.ai_socktype = query.kind;
    hints.ai_protocol = query.protocol;
    hints.ai_flags = query.flags;
    let mut first = ptr::null_mut();
    // SAFETY: null or C strings, filled hints, and a place for the result.
    let number = unsafe {
        libc::getaddrinfo(text(&query.host), text(&query.service), &raw const hints, &raw mut first)
    };
    if number != 0 {
        return Err(ResolveError::new(number));
    }
    let mut found = Vec::new();
    let mut next = first;
    // SAFETY: null, or an entry of the list.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: an entry of the list, whose address and length belong together.
        found.extend(unsafe { read(entry) });
        next = entry.ai_next;
    }
    // SAFETY: the list that the call above made, freed once.
    unsafe { libc::freeaddrinfo(first) };
    Ok(found)
}

/// # Safety
/// An entry as `getaddrinfo` makes it.
unsafe fn read(entry: &libc::addrinfo) -> Option<Found> {
    let copy = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        let room = mem::size_of::<socket2::SockAddrStorage>();
        let count = (entry.ai_addrlen as usize).min(room);
        // SAFETY: the entry's address has that length, and the storage has room for it.
        unsafe { ptr::copy_nonoverlapping(entry.ai_addr.cast::<u8>(), storage.cast::<u8>(), count) };
        // SAFETY: `length` is the caller's.
        unsafe { *length = entry.ai_addrlen };
        Ok(())
    };
    // SAFETY: the closure writes an address and its length.
    let ((), address) = unsafe { SockAddr::try_init(copy) }.ok()?;
    let canonical_name = (!entry.ai_canonname.is_null())
        // SAFETY: a C string of the entry's.
        .then(|| unsafe { CStr::from_ptr(entry.ai_canonname) }.to_owned());
    Some(Found {
        family: entry.ai_family,
        kind: entry.ai_socktype,
        protocol: entry.ai_protocol,
        canonical_name,
        address: address.as_socket()?,
    })
}

/// The names of an address and of its port.
///
/// # Errors
///
/// What `getnameinfo(3)` says.
pub fn names_of(address: SocketAddr, flags: c_int) -> Result<(CString, CString), ResolveError> {
    // The sizes that <netdb.h> gives for the longest names.
    let (mut host, mut service) = ([0_u8; 1025], [0_u8; 32]);
    let address = SockAddr::from(address);
    // SAFETY: an address with its length, and two buffers with theirs.
    let number = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            host.as_mut_ptr().cast(),
            host.len() as libc::socklen_t,
            service.as_mut_ptr().cast(),
            service.len() as libc::socklen_t,
            flags,
        )
    };
    if number != 0 {
        return Err(ResolveError::new(number));
    }
    let text = |bytes: &[u8]| CStr::from_bytes_until_nul(bytes).map(CStr::to_owned).unwrap_or_default();
    Ok((text(&host), text(&service)))
}

/// An address as text, without its port, as the C library writes it: unlike Rust's, it still writes the address of an
/// IPv4 host inside the zeroes of IPv6 as one.
pub fn address_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if matches!(v6.ip().segments(), [0, 0, 0, 0, 0, 0, high, _] if high != 0) => {
            let [.., a, b, c, d] = v6.ip().octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        other => other.ip().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<CString> {
        CString::new(text).ok()
    }

    #[test]
    fn literals_are_found_in_the_librarys_order() {
        let query = Query { host: text("127.0.0.1"), service: text("80"), ..Query::default() };
        let found = addresses_of(&query).unwrap();
        let kinds: Vec<_> = found.iter().map(|found| (found.kind, found.protocol)).collect();
        assert_eq!(
            kinds,
            [
                (libc::SOCK_STREAM, libc::IPPROTO_TCP),
                (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
                (libc::SOCK_RAW, 0)
            ]
        );
        assert_eq!(found[0].address, "127.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn addresses_are_written_as_the_c_library_does() {
        for text in ["::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "fe80::1", "2001:db8:0:1::", "1:0:0:2::3"] {
            assert_eq!(address_text(SocketAddr::new(text.parse().unwrap(), 1)), text);
        }
    }

    #[test]
    fn an_error_is_the_librarys_number_and_text() {
        let query = Query { host: text("not a number"), flags: libc::AI_NUMERICHOST, ..Query::default() };
        let Err(ResolveError::Resolver(number)) = addresses_of(&query) else {
            panic!("found a name that is none")
        };
        assert_eq!(
            (number, resolver_text(number)),
            (libc::EAI_NONAME, "Name or service not known".to_owned())
        );
    }

    #[test]
    fn numbers_come_back_as_numbers() {
        let flags = libc::NI_NUMERICHOST | libc::NI_NUMERICSERV;
        let (host, service) = names_of("[::1]:80".parse().unwrap(), flags).unwrap();
        assert_eq!((host.as_c_str(), service.as_c_str()), (c"::1", c"80"));
    }
}
