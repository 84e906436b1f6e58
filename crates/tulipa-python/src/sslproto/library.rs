//! The ssl module: what is needed of it, looked up when TLS is first used, and calls into its C part.
//!
//! The program's own SSLContext makes the session, so every setting of it holds. Data goes through the session's C
//! object where that is the standard library's, past the Python methods that only pass arguments on.

use std::sync::OnceLock;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::window::Windows;
use crate::ffi::make::{self, Exception, Int, Text};
use crate::ffi::{Method, Object, Raised, Result, call};
use crate::stdlib::stdlib;

/// Classes, functions and constants of `ssl`, `_ssl` and `asyncio`.
pub(super) struct Library {
    pub(super) error: Object,
    pub(super) certificate_error: Object,
    pub(super) states: Object,
    pub(super) create_context: Object,
    pub(super) flow_control: Object,
    pub(super) constants: Object,
    /// Both sides have said good-bye already.
    pub(super) zero_return: Object,
    want_read: Object,
    system_call: Object,
    memory_bio: Object,
    session: Object,
    /// `read` and `write` of `ssl.SSLObject`, to notice when somebody has put others in their place.
    session_methods: [Object; 2],
    c_session: Object,
    c_read: Method,
    c_write: Method,
    c_pending: Object,
    bio_read: Method,
    bio_write: Method,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// The library; a Python without the ssl module has none.
pub(super) fn library() -> Result<&'static Library> {
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    // SAFETY: attached.
    let library = Library::new(unsafe { Python::assume_attached() })?;
    Ok(LIBRARY.get_or_init(|| library))
}

impl Library {
    fn new(py: Python<'_>) -> Result<Self> {
        let sslproto = py.import(Text("asyncio.sslproto"))?;
        let ssl = sslproto.getattr(Text("ssl"))?;
        if ssl.is_none() {
            return Err(PyRuntimeError::with_text("stdlib ssl module not available").into());
        }
        let native = py.import(Text("_ssl"))?;
        let of = |owner: &Bound<'_, PyAny>, name: &str| -> Result<Object> {
            Ok(owner.getattr(Text(name))?.into())
        };
        let session = ssl.getattr(Text("SSLObject"))?;
        let memory_bio = ssl.getattr(Text("MemoryBIO"))?;
        let c_session = native.getattr(Text("_SSLSocket"))?;
        Ok(Self {
            error: of(&ssl, "SSLError")?,
            certificate_error: of(&ssl, "CertificateError")?,
            states: of(&sslproto, "SSLProtocolState")?,
            create_context: of(&sslproto, "_create_transport_context")?,
            flow_control: of(&sslproto, "add_flowcontrol_defaults")?,
            constants: py.import(Text("asyncio.constants"))?.into_any().into(),
            zero_return: of(&ssl, "SSLZeroReturnError")?,
            want_read: of(&ssl, "SSLWantReadError")?,
            system_call: of(&ssl, "SSLSyscallError")?,
            session_methods: [of(&session, "read")?, of(&session, "write")?],
            c_read: Method::new(of(&c_session, "read")?),
            c_write: Method::new(of(&c_session, "write")?),
            c_pending: of(&c_session, "pending")?,
            bio_read: Method::new(of(&memory_bio, "read")?),
            bio_write: Method::new(of(&memory_bio, "write")?),
            session: session.into(),
            memory_bio: memory_bio.into(),
            c_session: c_session.into(),
        })
    }

    /// A number from `asyncio.constants`, as it is now.
    pub(super) fn constant(&self, name: &str) -> Result<usize> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        Ok(self.constants.bound(py).getattr(Text(name))?.extract()?)
    }

    /// Whether an exception means "not yet", as asyncio sees it.
    pub(super) fn is_again(&self, raised: &Raised) -> bool {
        raised.matches(self.want_read.as_ptr()) || raised.matches(self.system_call.as_ptr())
    }
}

/// What became of a call that moves data.
pub(super) enum Moved {
    /// So many bytes; none mean that the peer has ended the session.
    Bytes(usize),
    /// More must come in first.
    Again,
}

/// One TLS session and its two buffers.
pub(super) struct Session {
    /// The `SSLObject`.
    pub(super) object: Object,
    pub(super) incoming: Object,
    pub(super) outgoing: Object,
    /// Its C object, where that may be used directly.
    c_object: Option<Object>,
}

impl Session {
    /// `context.wrap_bio` over two new buffers.
    pub(super) fn new(context: &Object, server_side: bool, server_hostname: &Object) -> Result<Self> {
        let library = library()?;
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let incoming = call::call0(&library.memory_bio)?;
        let outgoing = call::call0(&library.memory_bio)?;
        let keywords = make::dict(py)?;
        keywords.set_item(Text("server_side"), server_side)?;
        keywords.set_item(Text("server_hostname"), server_hostname.bound(py))?;
        let buffers = (incoming.bound(py), outgoing.bound(py));
        let object = context.bound(py).call_method(Text("wrap_bio"), buffers, Some(&keywords))?;
        let c_object = c_object_of(library, &object)?;
        Ok(Self { object: object.into(), incoming, outgoing, c_object })
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        [&self.object, &self.incoming, &self.outgoing].into_iter().chain(&self.c_object)
    }

    /// Puts ciphertext where the session finds it.
    pub(super) fn feed(&self, windows: &Windows, data: &[u8]) -> Result<()> {
        let library = library()?;
        // SAFETY: the buffer's C code reads `data` while it is borrowed here.
        unsafe {
            windows.lend(data.as_ptr().cast_mut(), data.len(), |window, _| {
                library.bio_write.call1(&self.incoming, window).map(drop)
            })
        }
    }

    /// What the session wants to be sent.
    pub(super) fn take_outgoing(&self) -> Result<Object> {
        library()?.bio_read.call0(&self.outgoing)
    }

    /// What was put in and not taken yet.
    pub(super) fn take_incoming(&self) -> Result<Object> {
        library()?.bio_read.call0(&self.incoming)
    }

    /// Reads data into `room`.
    ///
    /// # Safety
    /// `room` bytes at `start` are ours to write for the call.
    pub(super) unsafe fn read(&self, windows: &Windows, start: *mut u8, room: usize) -> Result<Moved> {
        let library = library()?;
        let Some(c_object) = &self.c_object else {
            // SAFETY: passed on.
            return unsafe { self.read_copied(start, room) };
        };
        // SAFETY: the memory is the caller's, and `_ssl` writes no more than the window shows.
        let count = unsafe {
            windows.lend(start, room, |_, arguments| library.c_read.call_tuple(c_object, arguments))
        };
        moved(library, count)
    }

    /// As `read`, by a program's own `read`, whose bytes are copied.
    unsafe fn read_copied(&self, start: *mut u8, room: usize) -> Result<Moved> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let data = match self.object.bound(py).call_method1(Text("read"), (Int(room),)) {
            Ok(data) => data,
            Err(error) => return again_or(library()?, error.into()),
        };
        let data = data.cast_into::<pyo3::types::PyBytes>().map_err(PyErr::from)?;
        let data = &data.as_bytes()[..data.as_bytes().len().min(room)];
        // SAFETY: the caller has `room` bytes there, and no more are copied.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), start, data.len()) };
        Ok(Moved::Bytes(data.len()))
    }

    /// Encrypts `data`, or its beginning.
    pub(super) fn write(&self, windows: &Windows, data: &[u8]) -> Result<Moved> {
        let library = library()?;
        let Some(c_object) = &self.c_object else { return self.write_copied(data) };
        // SAFETY: `_ssl` reads `data` while it is borrowed here.
        let count = unsafe {
            windows.lend(data.as_ptr().cast_mut(), data.len(), |window, _| {
                library.c_write.call1(c_object, window)
            })
        };
        moved(library, count)
    }

    /// As `write`, by a program's own `write`, which gets bytes. One that has taken more than there is has taken all, as
    /// in asyncio; one that has taken less than nothing would have asyncio encrypt the same for ever.
    fn write_copied(&self, data: &[u8]) -> Result<Moved> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let count = self.object.bound(py).call_method1(Text("write"), (make::bytes(py, data)?,));
        let moved = moved(library()?, count.map(Object::from).map_err(Raised::from))?;
        Ok(match moved {
            Moved::Bytes(count) => Moved::Bytes(count.min(data.len())),
            Moved::Again => Moved::Again,
        })
    }

    /// Data of a record that is read in part.
    pub(super) fn pending(&self) -> Result<usize> {
        let count = if let Some(c_object) = &self.c_object {
            call::call1(&library()?.c_pending, c_object)?
        } else {
            // SAFETY: attached.
            let py = unsafe { Python::assume_attached() };
            self.object.bound(py).call_method0(Text("pending"))?.into()
        };
        number(&count)
    }

    /// How much a buffer holds.
    pub(super) fn size_of(buffer: &Object) -> Result<usize> {
        number(&call::getattr(buffer, &stdlib().names.pending)?)
    }
}

/// The C object of a session whose Python methods do nothing but call it.
fn c_object_of(library: &Library, object: &Bound<'_, PyAny>) -> Result<Option<Object>> {
    let class = object.get_type();
    if !library.session.is(class.as_ptr()) {
        return Ok(None);
    }
    for (name, own) in ["read", "write"].into_iter().zip(&library.session_methods) {
        if !own.is(class.getattr(Text(name))?.as_ptr()) {
            return Ok(None);
        }
    }
    let c_object = Object::from(object.getattr(Text("_sslobj"))?);
    Ok((c_object.class().cast() == library.c_session.as_ptr()).then_some(c_object))
}

/// How many bytes a method says that there are; what no memory could hold is cut down.
fn number(object: &Object) -> Result<usize> {
    // SAFETY: a live object; without an exception for them, numbers that do not fit are cut down.
    let number = unsafe { ffi::PyNumber_AsSsize_t(object.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: attached.
    if number == -1 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
        return Err(Raised);
    }
    usize::try_from(number)
        .map_err(|_| PyValueError::with_text(format!("a number of bytes cannot be {number}")).into())
}

fn moved(library: &Library, count: Result<Object>) -> Result<Moved> {
    match count {
        Ok(count) => number(&count).map(Moved::Bytes),
        Err(raised) => again_or(library, raised),
    }
}

fn again_or(library: &Library, raised: Raised) -> Result<Moved> {
    if !library.is_again(&raised) {
        return Err(raised);
    }
    raised.clear();
    Ok(Moved::Again)
}
