//! From the stream below to the program's protocol.
//!
//! Ciphertext goes from the loop's receive buffer into the session record by record, so that the session's own buffer
//! stays small and what was copied is still in the processor's cache when it is decrypted. Data is decrypted into the
//! `bytes` object that the protocol gets, or into the protocol's own buffer. An idle connection owns no buffer here.

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;

use super::library::{Moved, Session, library};
use super::machine::{Machine, Receiver, State};
use super::{life, lower, protocol, writing};
use crate::ffi::buffer::{Buffer, bytes_of};
use crate::ffi::draft::Draft;
use crate::ffi::make::{self, Exception};
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::stdlib;
use crate::streams;

/// Ciphertext for the session at a time: whole records until this is exceeded. One record of the largest size, or
/// many small ones.
const BATCH: usize = 16 * 1024;

/// Takes in ciphertext.
pub(super) fn received(this: &Object, machine: &Machine, data: &[u8]) -> Result<()> {
    match machine.state.get() {
        State::Wrapped => life::guard(this, machine, read_open(this, machine, data, Outcome::Plain)),
        State::Flushing => {
            feed(machine, &*machine.session()?, data, usize::MAX)?;
            life::do_flush(this, machine)
        }
        State::Shutdown => {
            feed(machine, &*machine.session()?, data, usize::MAX)?;
            life::do_shutdown(this, machine)
        }
        State::Handshake => {
            machine.session()?.feed(machine.windows()?, data)?;
            life::do_handshake(this, machine)
        }
        State::Unwrapped => machine.session()?.feed(machine.windows()?, data),
    }
}

/// Reads what the session has; nothing new came in.
pub(super) fn read(this: &Object, machine: &Machine) -> Result<()> {
    if !matches!(machine.state.get(), State::Wrapped | State::Flushing) {
        return Ok(());
    }
    life::guard(this, machine, read_open(this, machine, &[], Outcome::Plain))
}

/// The handshake is done: sends the end of it, with what was written meanwhile, and reads what came right behind it.
///
/// A protocol that was not `introduced` to its transport learns of it from who waits for `start_tls()`, and gets data
/// after that: it would send its answers past the session.
pub(super) fn begin(this: &Object, machine: &Machine, introduced: bool) -> Result<()> {
    if introduced || !machine.records.get().is_readable() {
        return life::guard(this, machine, read_open(this, machine, &[], Outcome::Answer));
    }
    life::guard(this, machine, send(this, machine, Outcome::Answer))?;
    machine.call_soon(&[&protocol::bound(this, protocol::Callback::DoRead)?])
}

/// Reads all there is, for nobody.
pub(super) fn discard(machine: &Machine) -> Result<()> {
    if !machine.records.get().is_readable() {
        return Ok(());
    }
    let (session, windows) = (machine.session()?, machine.windows()?);
    let mut room = windows.scratch();
    room.resize(BATCH, 0);
    while machine.records.get().is_readable() {
        // SAFETY: the whole of a vector of our own.
        let moved = match unsafe { session.read(windows, room.as_mut_ptr(), room.len()) } {
            Err(raised) if raised.matches(library()?.zero_return.as_ptr()) => {
                raised.clear();
                Moved::Bytes(0)
            }
            moved => moved?,
        };
        note(machine, &session, &moved, room.len())?;
    }
    windows.keep_scratch(room);
    control_lower(machine)
}

/// Puts the beginning of `data` into the session; how much that is.
pub(super) fn feed(machine: &Machine, session: &Session, data: &[u8], limit: usize) -> Result<usize> {
    let taken = machine.with_records(|records| records.advance(data, limit));
    if taken > 0 {
        session.feed(machine.windows()?, &data[..taken])?;
    }
    Ok(taken)
}

/// Room for data whose size nothing tells: what is left of a record that was read in part.
const LEAST: usize = 1024;

fn read_open(this: &Object, machine: &Machine, data: &[u8], before: Outcome) -> Result<()> {
    let session = machine.session()?;
    if machine.app_reading_paused.get() {
        feed(machine, &session, data, usize::MAX)?;
        send(this, machine, before)?;
        return control_lower(machine);
    }
    let found = if machine.receiver.get() == Receiver::Buffered {
        feed(machine, &session, data, usize::MAX)?;
        read_into_protocol(this, machine, &session)?
    } else {
        read_bytes(this, machine, &session, data)?
    };
    send(this, machine, if found == Outcome::Answer { found } else { before })?;
    control_lower(machine)
}

fn send(this: &Object, machine: &Machine, outcome: Outcome) -> Result<()> {
    let waits = !machine.backlog.borrow().is_empty();
    if waits && (outcome == Outcome::Answer || !machine.listed.get()) {
        writing::encrypt(this, machine)
    } else if outcome == Outcome::Answer {
        writing::process_outgoing(this, machine)
    } else if machine.outgoing_marks.counts.get().high == 0 {
        // With nothing written that is too much and little enough: each look at it tells the protocol the other.
        writing::control_app(this, machine)
    } else {
        Ok(())
    }
}

/// What reading may have left to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing: every record held data.
    Plain,
    /// The session may have an answer to a record of its own.
    Answer,
}

/// Reads all there is, and hands it on in one piece.
fn read_bytes(this: &Object, machine: &Machine, session: &Session, data: &[u8]) -> Result<Outcome> {
    let (mut rest, mut outcome, mut ended) = (data, Outcome::Plain, false);
    let mut plain = Draft::new();
    while !ended {
        if machine.records.get().is_readable() {
            plain.reserve((machine.records.get().unread() + rest.len()).max(LEAST))?;
            match read_into(&mut plain, machine, session)? {
                Moved::Bytes(0) => ended = true,
                Moved::Bytes(_) => {}
                Moved::Again => outcome = Outcome::Answer,
            }
        } else if rest.is_empty() {
            break;
        } else {
            rest = &rest[feed(machine, session, rest, BATCH)?..];
        }
    }
    feed(machine, session, rest, usize::MAX)?;
    if let Some(data) = plain.finish()? {
        deliver(this, machine, &data)?;
    }
    if ended { end_of_data(this, machine) } else { Ok(outcome) }
}

#[inline]
fn deliver(this: &Object, machine: &Machine, data: &Object) -> Result<()> {
    let protocol = machine.app_protocol.or_none();
    writing::deliver(this, machine, || {
        if machine.receiver.get() == Receiver::Tls {
            return protocol::received(&protocol, bytes_of(data)).map(|()| Object::none());
        }
        if machine.feeding.get().feed(&protocol, streams::Data::of(data))? {
            return Ok(Object::none());
        }
        call::method1(&protocol, &stdlib().names.data_received, data)
    })
}

/// The peer has said good-bye.
fn end_of_data(this: &Object, machine: &Machine) -> Result<Outcome> {
    machine.with_records(super::records::Records::read_all);
    life::call_eof_received(this, machine)?;
    life::start_shutdown(this, machine)?;
    Ok(Outcome::Answer)
}

/// Notes what a read of `count` bytes into `room` means for what is left.
fn note(machine: &Machine, session: &Session, moved: &Moved, room: usize) -> Result<()> {
    match *moved {
        // The record may hold more than there was room for; then it is not done with.
        Moved::Bytes(count) if count == room && session.pending()? > 0 => {}
        Moved::Bytes(_) => machine.with_records(super::records::Records::read_one),
        Moved::Again => machine.with_records(super::records::Records::read_all),
    }
    Ok(())
}

/// Reads once into the room of a draft.
fn read_into(plain: &mut Draft, machine: &Machine, session: &Session) -> Result<Moved> {
    let (start, room) = plain.room();
    // SAFETY: the draft's room, which is ours to write.
    let moved = unsafe { session.read(machine.windows()?, start, room) }?;
    note(machine, session, &moved, room)?;
    if let Moved::Bytes(count) = moved {
        plain.advance(count);
    }
    Ok(moved)
}

/// Fills the buffer that the protocol lends, once.
fn read_into_protocol(this: &Object, machine: &Machine, session: &Session) -> Result<Outcome> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let hint = make::int(py, Session::size_of(&session.incoming)?)?;
    let app = machine.app_protocol.or_none();
    let buffer = call::method1(&app, &stdlib().names.get_buffer, &hint.into_any().into())?;
    let (mut outcome, mut offset, mut ended) = (Outcome::Plain, 0, false);
    let length = call::length(&buffer)?;
    let mut lent = Buffer::writable(&buffer).map_err(|raised| not_writable(raised, &buffer))?;
    // Items may be larger than a byte, and `__len__` of the program's own says what it likes.
    let wants = lent.bytes_mut().len().min(length);
    while machine.records.get().is_readable() && !ended && (offset < wants || wants == 0) {
        let room = &mut lent.bytes_mut()[offset..wants];
        // SAFETY: the rest of the memory that the protocol lends.
        let moved = unsafe { session.read(machine.windows()?, room.as_mut_ptr(), room.len()) }?;
        note(machine, session, &moved, wants - offset)?;
        match moved {
            Moved::Bytes(0) => ended = true,
            Moved::Bytes(count) => offset += count,
            Moved::Again => outcome = Outcome::Answer,
        }
    }
    drop(lent);
    if offset > 0 {
        if offset == wants && machine.records.get().is_readable() {
            let again = protocol::bound(this, protocol::Callback::DoRead)?;
            machine.call_soon(&[&again])?;
        }
        let count = make::int(py, offset)?.into_any().into();
        let updated = &stdlib().names.buffer_updated;
        writing::deliver(this, machine, || call::method1(&app, updated, &count))?;
    }
    if ended { end_of_data(this, machine) } else { Ok(outcome) }
}

/// What the ssl module says of a buffer that cannot be written to.
#[cold]
fn not_writable(raised: Raised, buffer: &Object) -> Raised {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let error = raised.take(py);
    if !error.is_instance_of::<PyTypeError>(py) && !error.is_instance_of::<PyBufferError>(py) {
        return error.into();
    }
    let kind =
        buffer.bound(py).get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    let text = format!("read() argument 2 must be read-write bytes-like object, not {kind}");
    PyTypeError::with_text(text).into()
}

/// Holds the stream below back while too much waits to be read.
pub(super) fn control_lower(machine: &Machine) -> Result<()> {
    let (size, marks) = (machine.records.get().unread(), machine.incoming_marks.counts.get());
    if size >= marks.high && !machine.lower_paused.get() {
        machine.lower_paused.set(true);
        lower::pause_reading(machine)
    } else if size <= marks.low && machine.lower_paused.get() {
        machine.lower_paused.set(false);
        lower::resume_reading(machine)
    } else {
        Ok(())
    }
}

/// What `resume_reading()` has scheduled.
pub(super) fn resumed(this: &Object, machine: &Machine) -> Result<()> {
    match machine.state.get() {
        State::Wrapped => read(this, machine),
        State::Flushing => life::do_flush(this, machine),
        State::Shutdown => life::do_shutdown(this, machine),
        State::Handshake | State::Unwrapped => Ok(()),
    }
}
