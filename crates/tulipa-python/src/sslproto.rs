//! TLS: a session of the program's own SSLContext between a protocol and any transport.
//!
//! `protocol` is the class that the transport below talks to, `transport` the one that the program's protocol gets;
//! `machine` holds the state of both, `life` is how it begins and ends, `reading` and `writing` move bytes, `records`
//! knows where TLS records end. `library` and `window` call the ssl module, `lower` the transport below.

mod library;
mod life;
mod lower;
mod machine;
mod protocol;
mod reading;
mod records;
mod transport;
mod window;
mod writing;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;

use self::library::{Session, library};
use self::machine::{App, Machine, Marked, Marks, Receiver};
pub(crate) use self::protocol::{is_protocol, received};
pub(crate) use self::window::Windows;
use crate::event_loop::core::Core;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Result, call};
use crate::marks::{self, Cut};
use crate::streams::Feeding;

/// asyncio's constants for the high marks, in KiB.
const WRITE_MARK: &str = "FLOW_CONTROL_HIGH_WATER_SSL_WRITE";
const READ_MARK: &str = "FLOW_CONTROL_HIGH_WATER_SSL_READ";

/// Makes the classes, which come back with their names; called by the module's initialisation.
pub(crate) fn initialise() -> Result<[(&'static str, *mut ffi::PyTypeObject); 2]> {
    Ok([("SSLProtocol", protocol::initialise()?), ("SSLTransport", transport::initialise()?)])
}

/// What a connection is made of.
pub(crate) struct Opening<'a> {
    pub(crate) event_loop: &'a Object,
    pub(crate) protocol: Object,
    /// An SSLContext, or None for a client's default one.
    pub(crate) context: Object,
    pub(crate) waiter: Option<Object>,
    pub(crate) server_side: bool,
    pub(crate) server_hostname: Object,
    /// Seconds, or None for asyncio's.
    pub(crate) handshake_timeout: Object,
    pub(crate) shutdown_timeout: Object,
    /// Whether the protocol's `connection_made` is to be called.
    pub(crate) call_connection_made: bool,
    /// Nobody waits for the handshake: the native listener accepted it.
    pub(crate) accepted: bool,
}

/// Makes the protocol of a TLS connection; the handshake begins with its `connection_made`.
pub(crate) fn open(opening: Opening<'_>) -> Result<Object> {
    let library = library()?;
    let handshake = timeout("ssl_handshake_timeout", opening.handshake_timeout, "SSL_HANDSHAKE_TIMEOUT")?;
    let shutdown = timeout("ssl_shutdown_timeout", opening.shutdown_timeout, "SSL_SHUTDOWN_TIMEOUT")?;
    let context = if call::truth(&opening.context)? {
        opening.context
    } else {
        let server_side = crate::futures::methods::boolean(opening.server_side);
        call::call2(&library.create_context, &server_side, &opening.server_hostname)?
    };
    let hostname = !opening.server_side && call::truth(&opening.server_hostname)?;
    let hostname = if hostname { opening.server_hostname } else { Object::none() };

    let this = protocol::allocate()?;
    let machine = protocol::machine_of(&this);
    let core = Core::of(opening.event_loop).expect("TLS connections are made by Tulipa loops only");
    // SAFETY: the core lies in the loop object, which the protocol keeps alive until it clears both.
    machine.core.set(Some(unsafe { &*std::ptr::from_ref(core) }));
    machine.event_loop.put(opening.event_loop.clone());
    machine.handshake_timeout.put(handshake);
    machine.shutdown_timeout.put(shutdown);
    machine.server_side.set(opening.server_side);
    machine.waiter.set(opening.waiter.filter(|waiter| !waiter.is_none()));
    machine.accepted.set(opening.accepted);
    if !opening.call_connection_made {
        machine.app.set(App::Connected);
    }
    set_app_protocol(machine, opening.protocol)?;
    machine.set_session(Some(Session::new(&context, opening.server_side, &hostname)?));
    machine.server_hostname.put(hostname);
    set_marks(&machine.incoming_marks, None, None, READ_MARK)?;
    set_marks(&machine.outgoing_marks, None, None, WRITE_MARK)?;
    machine.extra.put(extra(&context)?);
    machine.context.put(context);
    machine.surroundings.put(crate::ffi::context::copy_current()?);
    machine.app_transport.put(transport::new(&this)?);
    Ok(this)
}

/// A time limit as given, or asyncio's constant.
fn timeout(name: &str, given: Object, constant: &str) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    if given.is_none() {
        return Ok(library()?.constants.bound(py).getattr(Text(constant))?.into());
    }
    if given.bound(py).le(0)? {
        let text = format!("{name} should be a positive number, got {}", given.bound(py).str()?);
        return Err(PyValueError::with_text(text).into());
    }
    Ok(given)
}

/// What `get_extra_info` knows before the handshake.
fn extra(context: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let extra = make::dict(py)?;
    extra.set_item(Text("sslcontext"), context.bound(py))?;
    Ok(extra.into_any().into())
}

/// The marks that asyncio derives from what was given.
fn set_marks(place: &Marked, high: Option<&Object>, low: Option<&Object>, default: &str) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let library = library()?;
    let bound = |value: Option<&Object>| value.map(|value| value.bound(py));
    let arguments = (bound(high), bound(low), library.constant(default)?);
    let (high, low): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
        library.flow_control.bound(py).call1(arguments)?.extract()?;
    place.given.set(marks::shown(&low, &high)?);
    place.counts.set(Marks { high: marks::count(&high, Cut::Up), low: marks::count(&low, Cut::Down) });
    Ok(())
}

/// Makes `protocol` the one that gets the data.
fn set_app_protocol(machine: &Machine, protocol: Object) -> Result<()> {
    machine.receiver.set(Receiver::of(&protocol)?);
    machine.feeding.set(Feeding::of(&protocol));
    machine.app_protocol.put(protocol);
    Ok(())
}

/// Encrypts and sends what was written to a connection during the turn.
pub(crate) fn flush_scheduled(this: &Object) -> Result<()> {
    writing::flush_scheduled(this, protocol::machine_of(this))
}
