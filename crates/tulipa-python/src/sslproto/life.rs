//! From `connection_made` to `connection_lost`: the handshake, the good-bye, and what ends a connection before its time.
//!
//! The steps and their order are those of `asyncio.sslproto`.

use pyo3::exceptions::{PyConnectionAbortedError, PyConnectionResetError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::library::{Session, library};
use super::machine::{App, Machine, State};
use super::{lower, protocol, reading, transport, writing};
use crate::ffi::attached::py;
use crate::ffi::make::{self, Exception, Float, Text};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::{cancelled_error, stdlib};

/// `connection_made(transport)`: the handshake begins.
pub(super) fn connection_made(this: &Object, machine: &Machine, transport: Object) -> Result<()> {
    lower::attach(machine, transport);
    if machine.is_debug() {
        log(this, "%r starts SSL handshake", None)?;
        machine.handshake_start.set(machine.time()?);
    }
    machine.become_(State::Handshake)?;
    let check = protocol::bound(this, protocol::Callback::HandshakeTimeout)?;
    let timer = machine.loop_method("call_later", &[&machine.handshake_timeout.or_none(), &check])?;
    machine.handshake_timer.put(timer);
    do_handshake(this, machine)
}

/// One more step of the handshake.
pub(super) fn do_handshake(this: &Object, machine: &Machine) -> Result<()> {
    let session = machine.session()?;
    match session.object.bound(py()).call_method0(Text("do_handshake")) {
        Ok(_) => handshake_complete(this, machine, None),
        Err(error) => {
            let (library, raised) = (library()?, Raised::from(error));
            if library.is_again(&raised) {
                raised.clear();
                writing::process_outgoing(this, machine)
            } else if raised.matches(library.error.as_ptr()) {
                handshake_complete(this, machine, Some(raised.take_object()))
            } else {
                Err(raised)
            }
        }
    }
}

/// The handshake took too long.
pub(super) fn handshake_timed_out(this: &Object, machine: &Machine) -> Result<()> {
    if machine.state.get() != State::Handshake {
        return Ok(());
    }
    let seconds = machine.handshake_timeout.or_none().bound(py()).str()?.to_string();
    let text = format!("SSL handshake is taking longer than {seconds} seconds: aborting the connection");
    fatal(this, machine, &exception(PyConnectionAbortedError::with_text(text)), DEFAULT)
}

fn exception(error: PyErr) -> Object {
    Object::from_bound(error.into_value(py()).bind(py()).as_any())
}

fn cancel_timer(slot: &crate::ffi::Slot) -> Result<()> {
    match slot.take() {
        Some(timer) => call::method0(&timer, &stdlib().names.cancel).map(drop),
        None => Ok(()),
    }
}

/// The handshake has ended, well or with an error.
fn handshake_complete(this: &Object, machine: &Machine, error: Option<Object>) -> Result<()> {
    cancel_timer(&machine.handshake_timer)?;
    let session = machine.session()?;
    let peer = match error {
        Some(error) => Err(error),
        None => peer_certificate(machine, &session),
    };
    let certificate = match peer {
        Ok(certificate) => certificate,
        Err(error) => return handshake_failed(this, machine, &error),
    };
    if machine.is_debug() {
        let milliseconds = (machine.time()? - machine.handshake_start.get()) * 1e3;
        let arguments = (Text("%r: SSL handshake took %.1f ms"), this.bound(py()), Float(milliseconds));
        stdlib().logger.bound(py()).call_method1(Text("debug"), arguments)?;
    }
    describe(machine, &session, &certificate)?;
    take_over(machine, &session)?;
    let introduced = machine.app.get() == App::Initial;
    if introduced {
        machine.app.set(App::Connected);
        let transport = machine.app_transport.or_none();
        call::method1(&machine.app_protocol.or_none(), &stdlib().names.connection_made, &transport)?;
    }
    wake_waiter(machine, None)?;
    reading::begin(this, machine, introduced)
}

/// The peer's certificate; or the exception with which the handshake is at an end after all.
fn peer_certificate(machine: &Machine, session: &Session) -> std::result::Result<Object, Object> {
    let certificate = machine
        .become_(State::Wrapped)
        .and_then(|()| Ok(session.object.bound(py()).call_method0(Text("getpeercert"))?.into()));
    certificate.map_err(Raised::take_object)
}

fn handshake_failed(this: &Object, machine: &Machine, error: &Object) -> Result<()> {
    if !is_plain(error) {
        return Err(Raised::from_object(error));
    }
    machine.become_(State::Unwrapped)?;
    let message = if error.is_instance_of(library()?.certificate_error.as_ptr().cast()) {
        "SSL handshake failed on verifying the certificate"
    } else {
        "SSL handshake failed"
    };
    fatal(this, machine, error, message)?;
    wake_waiter(machine, Some(error))
}

/// Whether an exception is an `Exception`, and not one that is raised through everything.
fn is_plain(error: &Object) -> bool {
    // SAFETY: the class lives as long as the interpreter.
    error.is_instance_of(unsafe { ffi::PyExc_Exception }.cast())
}

/// Adds what is known from now on to `get_extra_info`.
fn describe(machine: &Machine, session: &Session, certificate: &Object) -> Result<()> {
    let extra = machine.extra.or_none().bound(py());
    let object = session.object.bound(py());
    extra.set_item(Text("peercert"), certificate.bound(py()))?;
    extra.set_item(Text("cipher"), object.call_method0(Text("cipher"))?)?;
    extra.set_item(Text("compression"), object.call_method0(Text("compression"))?)?;
    extra.set_item(Text("ssl_object"), object)?;
    Ok(())
}

/// Records that came right behind the handshake are counted: the session has taken the others.
fn take_over(machine: &Machine, session: &Session) -> Result<()> {
    if Session::size_of(&session.incoming)? == 0 {
        return Ok(());
    }
    let data = session.take_incoming()?;
    let data = data.bound(py());
    let bytes = data.cast::<pyo3::types::PyBytes>().map_err(PyErr::from)?.as_bytes();
    reading::feed(machine, session, bytes, usize::MAX).map(drop)
}

/// Tells who waits for the handshake.
fn wake_waiter(machine: &Machine, error: Option<&Object>) -> Result<()> {
    if let Some(waiter) = machine.waiter.take() {
        let waiter = waiter.bound(py());
        if !waiter.call_method0(Text("cancelled"))?.is_truthy()? {
            match error {
                Some(error) => waiter.call_method1(Text("set_exception"), (error.bound(py()),))?,
                None => waiter.call_method1(Text("set_result"), (py().None(),))?,
            };
        }
    }
    if machine.accepted.take()
        && let Some(error) = error
    {
        return accepting_failed(machine, error);
    }
    Ok(())
}

/// What asyncio does where it waits for the handshake of an accepted connection: it tells in debug mode only.
fn accepting_failed(machine: &Machine, error: &Object) -> Result<()> {
    let transport = machine.app_transport.or_none();
    transport::mark_closed(&transport);
    if !machine.is_debug() {
        return Ok(());
    }
    let message = make::text(py(), "Error on transport creation for incoming connection")?;
    let entries = [
        ("message", message.into_any().into()),
        ("exception", error.clone()),
        ("protocol", machine.app_protocol.or_none()),
        ("transport", transport),
    ];
    let given = entries.into_iter().filter(|(_, value)| !value.is_none()).collect::<Vec<_>>();
    machine.report(&given)
}

/// `close()` of the program's transport: what was written goes out, then the good-bye.
pub(super) fn start_shutdown(this: &Object, machine: &Machine) -> Result<()> {
    if machine.state.get().is_closing() {
        return Ok(());
    }
    transport::mark_closed(&machine.app_transport.or_none());
    if machine.state.get() == State::Handshake {
        return abort(this, machine, &Object::none());
    }
    writing::encrypt_all(this, machine)?;
    machine.become_(State::Flushing)?;
    let check = protocol::bound(this, protocol::Callback::ShutdownTimeout)?;
    let timer = machine.loop_method("call_later", &[&machine.shutdown_timeout.or_none(), &check])?;
    machine.shutdown_timer.put(timer);
    do_flush(this, machine)
}

/// The good-bye took too long.
pub(super) fn shutdown_timed_out(machine: &Machine) -> Result<()> {
    if !matches!(machine.state.get(), State::Flushing | State::Shutdown) {
        return Ok(());
    }
    let error = pyo3::exceptions::PyTimeoutError::with_text("SSL shutdown timed out");
    lower::force_close(machine, &exception(error))
}

pub(super) fn do_flush(this: &Object, machine: &Machine) -> Result<()> {
    reading::read(this, machine)?;
    machine.become_(State::Shutdown)?;
    do_shutdown(this, machine)
}

pub(super) fn do_shutdown(this: &Object, machine: &Machine) -> Result<()> {
    if !machine.eof_received.get()
        && let Err(raised) = unwrap(machine)
    {
        let library = library()?;
        if library.is_again(&raised) {
            raised.clear();
            return writing::process_outgoing(this, machine);
        }
        if raised.matches(library.error.as_ptr()) {
            let error = raised.take_object();
            cancel_timer(&machine.shutdown_timer)?;
            return fatal(this, machine, &error, DEFAULT);
        }
        return Err(raised);
    }
    writing::process_outgoing(this, machine)?;
    call_eof_received(this, machine)?;
    cancel_timer(&machine.shutdown_timer)?;
    let Some(transport) = machine.lower.get() else { return Ok(()) };
    let close = call::getattr(&transport, &stdlib().names.close)?;
    machine.call_soon(&[&close])
}

/// Says good-bye, and takes the peer's. Data that the peer had sent by then has no reader any more, but it must be taken
/// out of the session, which takes it for an error otherwise.
fn unwrap(machine: &Machine) -> Result<()> {
    reading::discard(machine)?;
    machine.session()?.object.bound(py()).call_method0(Text("unwrap"))?;
    Ok(())
}

/// `abort()` of the program's transport.
pub(super) fn abort(this: &Object, machine: &Machine, error: &Object) -> Result<()> {
    guard(this, machine, writing::send_last(this, machine))?;
    machine.become_(State::Unwrapped)?;
    let dropped = machine.backlog.borrow_mut().take_all();
    drop(dropped);
    lower::force_close(machine, error)
}

/// `eof_received()`: the peer has ended the stream below. Whether that stream stays open for now.
pub(super) fn eof_received(this: &Object, machine: &Machine) -> Result<bool> {
    machine.eof_received.set(true);
    let answer = end_of_stream(this, machine);
    answer.or_else(|raised| {
        let error = raised.take_object();
        if is_plain(&error) {
            lower::close(machine)?;
        }
        Err(Raised::from_object(&error))
    })
}

fn end_of_stream(this: &Object, machine: &Machine) -> Result<bool> {
    if machine.is_debug() {
        log(this, "%r received EOF", None)?;
    }
    match machine.state.get() {
        State::Handshake => {
            let reset = py().get_type::<PyConnectionResetError>().call0()?;
            handshake_complete(this, machine, Some(reset.into_any().into()))?;
        }
        State::Wrapped => {
            writing::encrypt_all(this, machine)?;
            machine.become_(State::Flushing)?;
            if machine.app_reading_paused.get() {
                return Ok(true);
            }
            do_flush(this, machine)?;
        }
        State::Flushing => {
            writing::encrypt_all(this, machine)?;
            machine.become_(State::Shutdown)?;
            do_shutdown(this, machine)?;
        }
        State::Shutdown => do_shutdown(this, machine)?,
        State::Unwrapped => {}
    }
    Ok(false)
}

/// Tells the program's protocol that no more data will come.
pub(super) fn call_eof_received(this: &Object, machine: &Machine) -> Result<()> {
    if machine.app.get() != App::Connected {
        return Ok(());
    }
    machine.app.set(App::Ended);
    let told = call::method0(&machine.app_protocol.or_none(), &stdlib().names.eof_received)
        .and_then(|keep_open| call::truth(&keep_open));
    match told {
        Ok(false) => Ok(()),
        Ok(true) => {
            let text = "returning true from eof_received() has no effect when using ssl";
            stdlib().logger.bound(py()).call_method1(Text("warning"), (Text(text),))?;
            Ok(())
        }
        Err(raised) => {
            let error = raised.caught()?;
            fatal(this, machine, &error, "Error calling eof_received()")
        }
    }
}

/// `connection_lost(exc)`: the stream below is gone.
pub(super) fn connection_lost(machine: &Machine, error: &Object) -> Result<()> {
    let reason = machine.reason.take().filter(|_| error.is_none());
    let error = reason.as_ref().unwrap_or(error);
    let dropped = machine.backlog.borrow_mut().take_all();
    drop(dropped);
    if let Ok(session) = machine.session() {
        session.take_outgoing()?;
    }
    machine.lost.set(machine.lost.get() + 1);
    transport::mark_closed(&machine.app_transport.or_none());
    if machine.state.get() != State::Handshake && matches!(machine.app.get(), App::Connected | App::Ended) {
        machine.app.set(App::Lost);
        let tell = call::getattr(&machine.app_protocol.or_none(), &stdlib().names.connection_lost)?;
        machine.call_soon(&[&tell, error])?;
    }
    machine.become_(State::Unwrapped)?;
    let told = wake_waiter(machine, Some(error).filter(|error| !error.is_none()));
    finally(told, || {
        lower::detach(machine);
        machine.app_transport.set(None);
        machine.app_protocol.set(None);
        cancel_timer(&machine.shutdown_timer)?;
        cancel_timer(&machine.handshake_timer)
    })
}

const DEFAULT: &str = "Fatal error on transport";

/// Clears an exception, unless it is one of those that are raised through everything.
fn pass_on(raised: Raised) -> Result<()> {
    let error = raised.take_object();
    if is_plain(&error) { Ok(()) } else { Err(Raised::from_object(&error)) }
}

/// What a step raised ends the connection, unless it is one of the exceptions that are raised through everything.
pub(super) fn guard(this: &Object, machine: &Machine, outcome: Result<()>) -> Result<()> {
    let Err(raised) = outcome else { return Ok(()) };
    let error = raised.take_object();
    if !is_plain(&error) {
        return Err(Raised::from_object(&error));
    }
    fatal(this, machine, &error, "Fatal error on SSL protocol")
}

/// An error from which the connection does not recover: it is closed, and what is not the network's is reported.
#[cold]
pub(super) fn fatal(this: &Object, machine: &Machine, error: &Object, message: &str) -> Result<()> {
    let transport = machine.lower.or_none();
    // A session that is at an end refuses it: the error at hand tells why.
    let sent = writing::send_last(this, machine).or_else(pass_on);
    finally(sent, || lower::force_close(machine, error))?;
    // SAFETY: the class lives as long as the interpreter.
    if error.is_instance_of(unsafe { ffi::PyExc_OSError }.cast()) {
        return if machine.is_debug() { log(this, "%r: %s", Some((message, error))) } else { Ok(()) };
    }
    if error.is_instance_of(cancelled_error().cast()) {
        return Ok(());
    }
    machine.report(&[
        ("message", make::text(py(), message)?.into_any().into()),
        ("exception", error.clone()),
        ("transport", transport),
        ("protocol", this.clone()),
    ])
}

fn log(this: &Object, text: &str, failure: Option<(&str, &Object)>) -> Result<()> {
    let logger = stdlib().logger.bound(py());
    let Some((message, error)) = failure else {
        logger.call_method1(Text("debug"), (Text(text), this.bound(py())))?;
        return Ok(());
    };
    let keywords = make::dict(py())?;
    keywords.set_item(Text("exc_info"), error.bound(py()))?;
    logger.call_method(Text("debug"), (Text(text), this.bound(py()), Text(message)), Some(&keywords))?;
    Ok(())
}
