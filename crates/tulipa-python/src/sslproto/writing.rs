//! From the program to the stream below.
//!
//! What is written during a turn of the loop is encrypted at the turn's end, and what is written in `data_received()`
//! when that returns, so a response written in pieces is one record and one packet. More than a record is encrypted at
//! once, as is everything where nothing will end the turn.
//!
//! While the stream below has had enough, data waits as it was written. Once some of it goes, all of it goes, so the
//! program is told to pause when asyncio would tell it.

use std::io::IoSlice;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use tulipa::stream::{SLICES_AT_ONCE, WriteQueue};

use super::library::{Moved, Session, library};
use super::machine::{Machine, State};
use super::window::Windows;
use super::{life, lower};
use crate::event_loop::core::current_thread;
use crate::ffi::attached::py;
use crate::ffi::buffer::bytes_of;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Raised, Result, call};
use crate::stdlib::stdlib;
use crate::transports::{self, Chunk, Released};

/// The data of one record, and what waits for the end of the turn at most.
const RECORD: usize = 16 * 1024;

/// Records encrypted before they are sent together.
const TOGETHER: usize = 4;

/// What `write()` is given, as it is queued; `None` for no bytes at all.
#[inline]
pub(super) fn chunk_of(data: &Object) -> Result<Option<Chunk>> {
    if !transports::is_bytes_like(data) {
        let kind = data.bound(py()).get_type().name()?.to_string();
        let text = format!("data: expecting a bytes-like instance, got {kind}");
        return Err(PyTypeError::with_text(text).into());
    }
    let chunk = Chunk(transports::copy_bytes(data)?);
    Ok((!chunk.as_ref().is_empty()).then_some(chunk))
}

/// `write(data)`.
#[inline]
pub(super) fn write(this: &Object, machine: &Machine, chunk: Chunk) -> Result<()> {
    if machine.state.get().is_closing() {
        return write_to_closed(machine);
    }
    machine.backlog.borrow_mut().append(chunk);
    written(this, machine)
}

/// `writelines(list_of_data)`.
pub(super) fn write_lines(this: &Object, machine: &Machine, lines: &Object) -> Result<()> {
    if machine.state.get().is_closing() {
        return write_to_closed(machine);
    }
    for line in lines.bound(py()).try_iter()? {
        let line = line?;
        line.len()?;
        match transports::copy_bytes(&Object::from_bound(&line)) {
            Ok(bytes) if bytes_of(&bytes).is_empty() => {}
            Ok(bytes) => machine.backlog.borrow_mut().append(Chunk(bytes)),
            // As in asyncio, where the ssl module is the first to look at it.
            Err(raised) => return life::guard(this, machine, Err(raised)),
        }
    }
    written(this, machine)
}

#[cold]
fn write_to_closed(machine: &Machine) -> Result<()> {
    if machine.lost.get() >= library()?.constant("LOG_THRESHOLD_FOR_CONNLOST_WRITES")? {
        stdlib().logger.bound(py()).call_method1(Text("warning"), (Text("SSL connection is closed"),))?;
    }
    machine.lost.set(machine.lost.get() + 1);
    Ok(())
}

#[inline]
fn written(this: &Object, machine: &Machine) -> Result<()> {
    if machine.state.get() != State::Wrapped {
        return Ok(());
    }
    let waiting = machine.backlog.borrow().len();
    let gathers =
        waiting <= RECORD.min(machine.outgoing_marks.counts.get().high) && !machine.lower_full.get();
    if gathers && (machine.delivering.get() || list(this, machine)) {
        return Ok(());
    }
    life::guard(this, machine, encrypt(this, machine))
}

/// Has the end of the turn send what waits; whether a turn runs that will end.
fn list(this: &Object, machine: &Machine) -> bool {
    let Some(core) = machine.core.get().filter(|core| core.thread() == Some(current_thread())) else {
        return false;
    };
    if !machine.listed.replace(true) {
        core.flushing.add(this.clone());
    }
    true
}

/// Runs a method of the program's protocol that gets data. What it writes goes out as soon as it returns, while the
/// session is in the processor's cache.
#[inline]
pub(super) fn deliver(this: &Object, machine: &Machine, call: impl FnOnce() -> Result<Object>) -> Result<()> {
    let outer = machine.delivering.replace(true);
    let told = call();
    machine.delivering.set(outer);
    if told.is_err() && !machine.backlog.borrow().is_empty() {
        list(this, machine);
    }
    told.map(drop)
}

/// The end of a turn in which it was written to.
pub(super) fn flush_scheduled(this: &Object, machine: &Machine) -> Result<()> {
    machine.listed.set(false);
    if machine.state.get() != State::Wrapped || machine.backlog.borrow().is_empty() {
        return Ok(());
    }
    life::guard(this, machine, encrypt(this, machine))
}

/// The connection is about to be closed by force: what asyncio would have sent within `write()` goes out first.
pub(super) fn send_last(this: &Object, machine: &Machine) -> Result<()> {
    if machine.state.get() != State::Wrapped || machine.backlog.borrow().is_empty() {
        return Ok(());
    }
    encrypt(this, machine)
}

/// Encrypts everything, also what the stream below does not want yet: a good-bye comes behind it.
pub(super) fn encrypt_all(this: &Object, machine: &Machine) -> Result<()> {
    if machine.backlog.borrow().is_empty() {
        return Ok(());
    }
    if !machine.lower_full.get() {
        return life::guard(this, machine, encrypt(this, machine));
    }
    let encrypted = machine.session().and_then(|session| {
        while encrypt_record(machine, &session)? > 0 {}
        control_app(this, machine)
    });
    life::guard(this, machine, encrypted)
}

/// Encrypts and sends what was written, unless the stream below has had enough before.
pub(super) fn encrypt(this: &Object, machine: &Machine) -> Result<()> {
    let session = machine.session()?;
    let mut going = !machine.lower_full.get();
    while going {
        let native = machine.lower_is_native.get();
        for _ in 0..TOGETHER {
            going = encrypt_record(machine, &session)? > 0;
            if native {
                put_outgoing(machine, &session)?;
            }
            going = going && !machine.backlog.borrow().is_empty();
            if !going {
                break;
            }
        }
        if !native {
            put_outgoing(machine, &session)?;
        }
        lower::send(machine)?;
    }
    control_app(this, machine)
}

/// Encrypts the first of what waits, at most one record; how much that was.
fn encrypt_record(machine: &Machine, session: &Session) -> Result<usize> {
    let windows = machine.windows()?;
    let queue = machine.backlog.borrow();
    let Some((chunk, first)) = queue.iter().next().zip(queue.first()) else { return Ok(0) };
    let moved = if queue.count() == 1 || first.len() >= RECORD {
        let (chunk, start, len) = (chunk.0.clone(), first.as_ptr(), first.len().min(RECORD));
        drop(queue);
        // SAFETY: bytes of the first chunk, which is kept alive for the call.
        let moved = session.write(windows, unsafe { std::slice::from_raw_parts(start, len) });
        drop(chunk);
        moved
    } else {
        let scratch = gather(&queue, windows);
        drop(queue);
        let moved = session.write(windows, &scratch);
        windows.keep_scratch(scratch);
        moved
    };
    let Moved::Bytes(count) = moved? else { return Ok(0) };
    let mut released = Released::default();
    let _ = machine.backlog.borrow_mut().advance(count, &mut |chunk| released.push(chunk));
    Ok(count)
}

/// Small writes put together, up to one record.
fn gather(queue: &WriteQueue<Chunk>, windows: &Windows) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES_AT_ONCE];
    let count = queue.slices(&mut slices);
    let mut scratch = windows.scratch();
    for slice in &slices[..count] {
        let room = RECORD - scratch.len();
        scratch.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    scratch
}

/// Gives the stream below what the session wants to be sent, without having it sent.
fn put_outgoing(machine: &Machine, session: &Session) -> Result<()> {
    let data = session.take_outgoing()?;
    if bytes_of(&data).is_empty() {
        return Ok(());
    }
    lower::write(machine, data)
}

/// Sends what the session wants to be sent.
pub(super) fn process_outgoing(this: &Object, machine: &Machine) -> Result<()> {
    if !machine.lower_full.get() {
        put_outgoing(machine, &*machine.session()?)?;
        lower::send(machine)?;
    }
    control_app(this, machine)
}

/// Tells the program's protocol to pause or resume writing, where a mark was passed.
pub(super) fn control_app(this: &Object, machine: &Machine) -> Result<()> {
    let nothing = !machine.lower_full.get() && machine.backlog.borrow().is_empty();
    let size = if nothing { 0 } else { machine.write_buffer_size()? };
    let (marks, paused) = (machine.outgoing_marks.counts.get(), machine.app_writing_paused.get());
    let (method, message) = if size >= marks.high && !paused {
        (&stdlib().names.pause_writing, "protocol.pause_writing() failed")
    } else if size <= marks.low && paused {
        (&stdlib().names.resume_writing, "protocol.resume_writing() failed")
    } else {
        return Ok(());
    };
    machine.app_writing_paused.set(!paused);
    let told = machine.in_surroundings(|| call::method0(&machine.app_protocol.or_none(), method).map(drop));
    told.or_else(|raised| flow_failed(this, machine, raised, message))
}

#[cold]
fn flow_failed(this: &Object, machine: &Machine, raised: Raised, message: &str) -> Result<()> {
    let error = raised.caught()?;
    machine.report(&[
        ("message", make::text(py(), message)?.into_any().into()),
        ("exception", error),
        ("transport", machine.app_transport.or_none()),
        ("protocol", this.clone()),
    ])
}

/// `resume_writing()` of the stream below.
pub(super) fn resume(this: &Object, machine: &Machine) -> Result<()> {
    machine.lower_full.set(false);
    process_outgoing(this, machine)?;
    if machine.state.get() == State::Wrapped && !machine.backlog.borrow().is_empty() {
        return life::guard(this, machine, encrypt(this, machine));
    }
    Ok(())
}
