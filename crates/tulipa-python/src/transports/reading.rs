//! From the descriptor to the protocol.
//!
//! Bytes are received into a buffer that belongs to the loop, and copied into a `bytes` object of the right size:
//! an idle connection owns no buffer, and a busy one allocates what it received and no more.

use std::ffi::c_int;
use std::io;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::stream::ReadBudget;
use tulipa::{Readiness, sys};

use super::life::{close, fatal_error};
use super::pipe;
use super::stream::Stream;
use crate::errors::os_error;
use crate::ffi::buffer::{Buffer, new_bytes};
use crate::ffi::make::{Exception, Text};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Raised, Result, call};
use crate::sslproto;
use crate::stdlib::stdlib;
use crate::streams::{self, Data};

/// How much one `recv` asks for; asyncio's figure.
pub(crate) const RECEIVE_SIZE: usize = 256 * 1024;

/// Reads until the socket is empty, the budget is spent, or the protocol has had enough. Unless the first is certain,
/// the kernel is to tell of the socket again.
#[inline]
pub(super) fn read(transport: &Object, stream: &Stream, readiness: Readiness) -> Result<()> {
    let mut budget = ReadBudget::new();
    let outcome = read_on(transport, stream, &mut budget);
    if budget.is_used_up(readiness.is_behind_data()) {
        return outcome;
    }
    finally(outcome, || stream.watch_again())
}

#[inline]
fn read_on(transport: &Object, stream: &Stream, budget: &mut ReadBudget) -> Result<()> {
    while stream.wants_read() {
        let again = if stream.tls.get() {
            read_ciphertext(transport, stream, budget)?
        } else if stream.buffered.get() {
            read_into_protocol(transport, stream, budget)?
        } else {
            read_bytes(transport, stream, budget)?
        };
        if !again {
            break;
        }
    }
    Ok(())
}

/// One `recv` and `data_received`; whether another is worth while.
#[inline]
fn read_bytes(transport: &Object, stream: &Stream, budget: &mut ReadBudget) -> Result<bool> {
    let (protocol, most) = (stream.protocol.or_none(), stream.max_size.get());
    let (received, rest) = if stream.bulk.get()
        && let Some(room) = much_waits(stream)
    {
        receive_whole(stream, &protocol, room)?
    } else {
        let Some(core) = stream.core() else { return Ok(false) };
        core.with_receive_buffer(most, |buffer| {
            let received = stream.kind.get().receive(stream.fd.get(), buffer);
            let rest = feed(stream, &protocol, &buffer[..*received.as_ref().unwrap_or(&0)]);
            (received, rest)
        })
    };
    let size = match received {
        Ok(0) => return end_of_stream(transport, stream),
        Ok(size) => size,
        Err(error) => return receive_failed(transport, stream, budget, error),
    };
    stream.bulk.set(size >= BULK);
    let told = rest.and_then(|rest| match rest {
        Some(data) => call::method1(&protocol, &stdlib().names.data_received, &data).map(drop),
        None => Ok(()),
    });
    if let Err(raised) = told {
        if stream.kind.get().is_pipe() {
            // asyncio leaves it to the loop, and goes on reading.
            return Err(raised);
        }
        fatal_error(transport, stream, raised, "Fatal error: protocol.data_received() call failed.")?;
        return Ok(false);
    }
    Ok(budget.spend(most, size))
}

/// Bytes from which on copying them once more costs more than asking how many there are: 64 KiB of a child's output took
/// some 17 microseconds of processor time instead of 20.
const BULK: usize = 32 * 1024;

/// How much is there to read, if that is much.
fn much_waits(stream: &Stream) -> Option<usize> {
    let waiting = sys::readable_bytes(stream.fd.get()).ok()?.min(stream.max_size.get());
    (waiting >= BULK).then_some(waiting)
}

/// What one read gave, and the `bytes` that `data_received` must be called with.
type Received = (io::Result<usize>, Result<Option<Object>>);

/// Receives what is there into the very object that the program gets.
fn receive_whole(stream: &Stream, protocol: &Object, room: usize) -> Result<Received> {
    // SAFETY: null asks for an uninitialised object of that size; the result is new or null.
    let bytes =
        unsafe { Object::steal(ffi::PyBytes_FromStringAndSize(std::ptr::null(), room.cast_signed())) }?;
    // SAFETY: nobody else has the new object, whose memory is `room` bytes long.
    let memory =
        unsafe { std::slice::from_raw_parts_mut(ffi::PyBytes_AsString(bytes.as_ptr()).cast(), room) };
    let received = stream.kind.get().receive(stream.fd.get(), memory);
    let rest = match received {
        Ok(size) if size == room => feed_whole(stream, protocol, bytes),
        // Somebody else has read from the descriptor too.
        Ok(size) => feed(stream, protocol, &memory[..size]),
        Err(_) => Ok(None),
    };
    Ok((received, rest))
}

/// As `feed`, with the object itself.
fn feed_whole(stream: &Stream, protocol: &Object, bytes: Object) -> Result<Option<Object>> {
    let fed = match stream.reader.get() {
        Some(reader) => streams::feed_reader(&reader, Data::of(&bytes))?,
        None => stream.feeding.get().feed(protocol, Data::of(&bytes))?,
    };
    Ok((!fed).then_some(bytes))
}

/// Gives what came in to the reader behind the protocol; as `bytes` what must go through `data_received`.
#[inline]
fn feed(stream: &Stream, protocol: &Object, data: &[u8]) -> Result<Option<Object>> {
    if data.is_empty() {
        return Ok(None);
    }
    let fed = match stream.reader.get() {
        Some(reader) => streams::feed_reader(&reader, Data::Passing(data))?,
        None => stream.feeding.get().feed(protocol, Data::Passing(data))?,
    };
    if fed {
        return Ok(None);
    }
    new_bytes(data).map(Some)
}

/// One `recv` for a TLS session; whether another is worth while.
fn read_ciphertext(transport: &Object, stream: &Stream, budget: &mut ReadBudget) -> Result<bool> {
    let Some(core) = stream.core() else { return Ok(false) };
    let (received, told) = core.with_receive_buffer(RECEIVE_SIZE, |buffer| {
        let received = sys::recv(stream.fd.get(), buffer);
        let told = match received {
            Ok(size) if size > 0 => sslproto::received(&stream.protocol.or_none(), &buffer[..size]),
            _ => Ok(()),
        };
        (received, told)
    });
    let size = match received {
        Ok(0) => return end_of_stream(transport, stream),
        Ok(size) => size,
        Err(error) => return receive_failed(transport, stream, budget, error),
    };
    if let Err(raised) = told {
        fatal_error(transport, stream, raised, "Fatal error: protocol.buffer_updated() call failed.")?;
        return Ok(false);
    }
    Ok(budget.spend(RECEIVE_SIZE, size))
}

fn receive_failed(
    transport: &Object,
    stream: &Stream,
    budget: &mut ReadBudget,
    error: io::Error,
) -> Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock => budget.would_block(),
        io::ErrorKind::Interrupted => {}
        _ => {
            let raised = Raised::from(os_error(error));
            fatal_error(transport, stream, raised, stream.kind.get().read_failure())?;
        }
    }
    Ok(false)
}

/// One `get_buffer`, `recv` and `buffer_updated`; whether another is worth while.
fn read_into_protocol(transport: &Object, stream: &Stream, budget: &mut ReadBudget) -> Result<bool> {
    let protocol = stream.protocol.or_none();
    let (buffer, lent) = match buffer_of(&protocol) {
        Ok(buffer) => (buffer.clone(), Buffer::writable(&buffer)),
        Err(raised) => {
            fatal_error(transport, stream, raised, "Fatal error: protocol.get_buffer() call failed.")?;
            return Ok(false);
        }
    };
    let Ok(mut lent) = lent else {
        fatal_error(transport, stream, not_writable(&buffer), "Fatal read error on socket transport")?;
        return Ok(false);
    };
    let room = lent.bytes_mut().len();
    let received = sys::recv(stream.fd.get(), lent.bytes_mut());
    drop(lent);
    let size = match received {
        Ok(0) => return end_of_stream(transport, stream),
        Ok(size) => size,
        Err(error) => return receive_failed(transport, stream, budget, error),
    };
    // SAFETY: a new reference or null.
    let count = unsafe { Object::steal(ffi::PyLong_FromSize_t(size)) }?;
    if let Err(raised) = call::method1(&protocol, &stdlib().names.buffer_updated, &count) {
        fatal_error(transport, stream, raised, "Fatal error: protocol.buffer_updated() call failed.")?;
        return Ok(false);
    }
    Ok(budget.spend(room, size))
}

fn buffer_of(protocol: &Object) -> Result<Object> {
    // SAFETY: a new reference or null.
    let hint = unsafe { Object::steal(ffi::PyLong_FromLong((-1 as c_int).into())) }?;
    let buffer = call::method1(protocol, &stdlib().names.get_buffer, &hint)?;
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    if buffer.bound(py).len()? == 0 {
        return Err(PyRuntimeError::with_text("get_buffer() returned an empty buffer").into());
    }
    Ok(buffer)
}

/// What `socket.recv_into` says of a buffer that cannot be written to.
#[cold]
fn not_writable(buffer: &Object) -> Raised {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    // Instead of what asking for the buffer raised.
    drop(PyErr::take(py));
    let kind =
        buffer.bound(py).get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    let text = format!("recv_into() argument 1 must be read-write bytes-like object, not {kind}");
    PyTypeError::with_text(text).into()
}

/// The peer has ended its half: the protocol decides whether the connection stays open for writing.
#[cold]
fn end_of_stream(transport: &Object, stream: &Stream) -> Result<bool> {
    if stream.kind.get().is_pipe() {
        return pipe::end_of_file(transport, stream).map(|()| false);
    }
    if stream.is_debug() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        stdlib()
            .logger
            .bound(py)
            .call_method1(Text("debug"), (Text("%r received EOF"), transport.bound(py)))?;
    }
    let keep_open = call::method0(&stream.protocol.or_none(), &stdlib().names.eof_received)
        .and_then(|answer| call::truth(&answer));
    match keep_open {
        // Only now: who leaves the loop in there is told again.
        Ok(true) => {
            stream.state.borrow_mut().receive_eof();
            stream.update_interest()?;
        }
        Ok(false) => close(transport, stream)?,
        Err(raised) => {
            fatal_error(transport, stream, raised, "Fatal error: protocol.eof_received() call failed.")?;
        }
    }
    Ok(false)
}
