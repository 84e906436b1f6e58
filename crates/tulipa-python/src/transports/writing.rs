//! From the program to the descriptor.
//!
//! What is written during a turn of the loop is queued and goes out at the turn's end with one system call, so a
//! response written in pieces is one packet. What `data_received()` writes goes out when that returns, in a short turn.
//! Larger amounts are sent at once, and the protocol is paused only for what the kernel does not take: the marks mean
//! what they mean in asyncio. Where nothing will end the turn (the loop does not run) it is sent at once too.

use std::io::{self, IoSlice};
use std::net::Shutdown;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::stream::{Pressure, SLICES_AT_ONCE, Write, WriteEof, WriteQueue};
use tulipa::sys;

use super::chunk::{Chunk, Released};
use super::datagram;
use super::kind::Kind;
use super::life::{emptied, fatal_error, protocol_failed};
use super::stream::Stream;
use crate::errors::os_error;
use crate::event_loop::core::current_thread;
use crate::ffi::attached::py;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Raised, Result, call, context};
use crate::stdlib::stdlib;

/// Bytes up to which writes wait for the end of the turn, to go out together. More is sent at once, while it is in the
/// processor's cache: echoing 64 KiB on 100 connections at a turn's end ran at a third of the speed.
const COALESCED: usize = 16 * 1024;

/// Writes to a lost connection after which each further one is logged.
const SILENT_WRITES: u32 = 5;

/// `write(data)`.
#[inline]
pub(super) fn write(transport: &Object, stream: &Stream, data: &Object) -> Result<()> {
    let bytes = as_bytes(data)?;
    check(stream, "Cannot call write() after write_eof()", "unable to write; sendfile is in progress")?;
    enqueue(transport, stream, bytes)
}

/// `write(data)` of a pipe: closing, it takes nothing more.
#[inline]
pub(super) fn write_to_pipe(transport: &Object, stream: &Stream, data: &Object) -> Result<()> {
    enqueue(transport, stream, as_bytes(data)?)
}

#[inline]
fn enqueue(transport: &Object, stream: &Stream, bytes: Object) -> Result<()> {
    // SAFETY: a bytes object.
    if unsafe { ffi::PyBytes_Size(bytes.as_ptr()) } == 0 {
        return Ok(());
    }
    let closing_pipe = stream.kind.get().is_pipe() && stream.state.borrow().is_closing();
    if stream.lost.get() > 0 || closing_pipe {
        return write_to_lost(stream);
    }
    stream.queue.borrow_mut().append(Chunk(bytes));
    send_or_schedule(transport, stream)
}

/// `writelines(list_of_data)`.
pub(super) fn write_lines(transport: &Object, stream: &Stream, lines: &Object) -> Result<()> {
    if !cfg!(Py_3_12) {
        // There asyncio joins the lines and writes the result.
        let joined =
            call::method1(&Object::from(make::bytes(py(), b"")?.into_any()), &stdlib().names.join, lines)?;
        return write(transport, stream, &joined);
    }
    check(
        stream,
        "Cannot call writelines() after write_eof()",
        "unable to writelines; sendfile is in progress",
    )?;
    if !call::truth(lines)? {
        return Ok(());
    }
    let chunks = lines
        .bound(py())
        .try_iter()?
        .map(|line| line_bytes(&Object::from(line?)))
        .collect::<Result<Vec<_>>>()?;
    if chunks.is_empty() {
        return Ok(());
    }
    if stream.lost.get() > 0 {
        return write_to_lost(stream);
    }
    for chunk in chunks {
        stream.queue.borrow_mut().append(Chunk(chunk));
    }
    send_or_schedule(transport, stream)
}

/// One of `writelines`' items: anything that `memoryview` takes.
fn line_bytes(line: &Object) -> Result<Object> {
    if is_bytes_like(line) {
        return as_bytes(line);
    }
    // SAFETY: a live object; what has no buffer is refused with an exception.
    as_bytes(&unsafe { Object::steal(ffi::PyMemoryView_FromObject(line.as_ptr())) }?)
}

pub(crate) fn is_bytes_like(data: &Object) -> bool {
    // SAFETY: reads the object's class.
    unsafe {
        ffi::PyBytes_Check(data.as_ptr()) != 0
            || ffi::PyByteArray_Check(data.as_ptr()) != 0
            || ffi::PyMemoryView_Check(data.as_ptr()) != 0
    }
}

fn check(stream: &Stream, after_eof: &'static str, sending_file: &'static str) -> Result<()> {
    if stream.state.borrow().check_write() == Write::AfterEof {
        return Err(PyRuntimeError::with_text(after_eof).into());
    }
    if !stream.empty_waiter.is_empty() {
        return Err(PyRuntimeError::with_text(sending_file).into());
    }
    Ok(())
}

/// The data as a `bytes` object of its own: what can be changed later is copied, since it goes out later.
#[inline]
pub(super) fn as_bytes(data: &Object) -> Result<Object> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyBytes_CheckExact(data.as_ptr()) } != 0 {
        return Ok(data.clone());
    }
    if !is_bytes_like(data) {
        let name = data.bound(py()).get_type().name()?.repr()?.to_string();
        let wanted = if cfg!(Py_3_14) { "bytes, bytearray, or memoryview" } else { "bytes-like" };
        let text = format!("data argument must be a {wanted} object, not {name}");
        return Err(PyTypeError::with_text(text).into());
    }
    copy_bytes(data)
}

/// As a `bytes` object of its own, from anything with a buffer.
#[inline]
pub(crate) fn copy_bytes(data: &Object) -> Result<Object> {
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyBytes_CheckExact(data.as_ptr()) } != 0 {
        return Ok(data.clone());
    }
    // `bytes(data)` would give a subclass's own; the buffer is what counts.
    let mut view = ffi::Py_buffer::new();
    // SAFETY: a live object, and a place for the view.
    if unsafe { ffi::PyObject_GetBuffer(data.as_ptr(), &raw mut view, ffi::PyBUF_FULL_RO) } < 0 {
        return Err(Raised);
    }
    let copy = copy_of(&view);
    // SAFETY: granted above, released once.
    unsafe { ffi::PyBuffer_Release(&raw mut view) };
    copy
}

fn copy_of(view: &ffi::Py_buffer) -> Result<Object> {
    // SAFETY: null asks for an uninitialised object of that size.
    let copy = unsafe { Object::steal(ffi::PyBytes_FromStringAndSize(std::ptr::null(), view.len)) }?;
    // SAFETY: the object has room for the view's bytes, in C order.
    let failed = unsafe {
        let room = ffi::PyBytes_AsString(copy.as_ptr());
        ffi::PyBuffer_ToContiguous(room.cast(), view, view.len, b'C' as std::ffi::c_char)
    };
    if failed < 0 { Err(Raised) } else { Ok(copy) }
}

#[cold]
pub(super) fn write_to_lost(stream: &Stream) -> Result<()> {
    let writes = stream.lost.get();
    if writes >= SILENT_WRITES {
        let logger = stdlib().logger.bound(py());
        logger.call_method1(Text("warning"), (Text(stream.kind.get().futile_write()),))?;
    }
    stream.lost.set(writes.saturating_add(1));
    Ok(())
}

#[inline]
fn send_or_schedule(transport: &Object, stream: &Stream) -> Result<()> {
    if stream.blocked.get() {
        return maybe_pause(transport, stream);
    }
    let (high, _) = stream.queue.borrow().limits();
    let over = stream.queue.borrow().len() > high.min(COALESCED);
    let Some(core) = stream.core() else { return Ok(()) };
    let kind = stream.kind.get();
    if !over && kind != Kind::WriteDevice && core.thread() == Some(current_thread()) {
        let is_first = !stream.listed.replace(true);
        if is_first {
            core.flushing.add(transport.clone());
        }
        // A pipe takes the first bytes of a turn at once: that is how a writer learns that the reader is gone, and how
        // its bytes come before those that others put into the same pipe.
        if !(is_first && kind.is_pipe()) {
            return Ok(());
        }
    }
    flush(transport, stream)?;
    maybe_pause(transport, stream)
}

/// Queues bytes without sending them, for a protocol that calls `send_queued` when it has gathered its data.
#[inline]
pub(super) fn put(stream: &Stream, bytes: Object) -> Result<()> {
    check(stream, "Cannot call write() after write_eof()", "unable to write; sendfile is in progress")?;
    if stream.lost.get() > 0 {
        return write_to_lost(stream);
    }
    stream.queue.borrow_mut().append(Chunk(bytes));
    Ok(())
}

/// Sends what is queued, now or at the end of the turn.
#[inline]
pub(super) fn send_queued(transport: &Object, stream: &Stream) -> Result<()> {
    if stream.queue.borrow().is_empty() { Ok(()) } else { send_or_schedule(transport, stream) }
}

/// The end of a turn in which the stream was written to.
pub(super) fn flush_scheduled(transport: &Object) -> Result<()> {
    // SAFETY: only streams are listed.
    let stream = unsafe { Stream::of(transport.as_ptr()) };
    stream.listed.set(false);
    if stream.queue.borrow().is_empty() {
        return Ok(());
    }
    or_fatal(transport, stream, flush(transport, stream))
}

/// The descriptor has room again.
pub(super) fn flush_blocked(transport: &Object, stream: &Stream) -> Result<()> {
    stream.blocked.set(false);
    match stream.datagram.get() {
        Some(datagram) => datagram::go_on(transport, stream, datagram)?,
        None => flush(transport, stream)?,
    }
    // Still blocked is no change for the driver; else watching for room has ended.
    stream.update_interest()
}

/// Sends what is queued, as far as the kernel takes it.
pub(super) fn flush(transport: &Object, stream: &Stream) -> Result<()> {
    if let Some(datagram) = stream.datagram.get() {
        return datagram::flush(transport, stream, datagram);
    }
    while !stream.queue.borrow().is_empty() && !stream.blocked.get() {
        let sent = offer(&stream.queue.borrow(), stream);
        settle(transport, stream, sent)?;
    }
    Ok(())
}

/// The connection is about to be given up: what asyncio would have sent within `write()` still goes out, as far as the
/// kernel takes it. Another error would tell nothing new.
pub(super) fn send_last(stream: &Stream) {
    let mut released = Released::default();
    while stream.datagram.get().is_none() && !stream.blocked.get() && !stream.queue.borrow().is_empty() {
        let Ok(sent) = offer(&stream.queue.borrow(), stream) else { break };
        let _ = stream.queue.borrow_mut().advance(sent.written, &mut |chunk| released.push(chunk));
        if sent.written < sent.offered {
            break;
        }
    }
}

/// How much was offered to the kernel in one call, and how much it took.
pub(super) struct Sent {
    pub(super) offered: usize,
    pub(super) written: usize,
}

/// Draws the consequences of one system call.
pub(super) fn settle(transport: &Object, stream: &Stream, sent: io::Result<Sent>) -> Result<()> {
    match sent {
        Ok(sent) => advance(transport, stream, &sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => block(stream),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) => {
            drop_queue(stream);
            let kind = stream.kind.get();
            if kind.is_pipe() {
                stream.lost.set(stream.lost.get() + 1);
            }
            let raised = Raised::from(os_error(error));
            fatal_error(transport, stream, raised, kind.write_failure())
        }
    }
}

/// Throws away what was not sent.
pub(super) fn drop_queue(stream: &Stream) {
    let chunks = stream.queue.borrow_mut().take_all();
    drop(chunks);
}

/// The kernel took something. A short write means that its buffer is full.
fn advance(transport: &Object, stream: &Stream, sent: &Sent) -> Result<()> {
    let mut queue = stream.queue.borrow_mut();
    let mut released = Released::default();
    let pressure = queue.advance(sent.written, &mut |chunk| released.push(chunk));
    drop(queue);
    // Exactly bytes objects: letting go of them runs no foreign code, but costs; it happens outside the borrow.
    drop(released);
    if sent.written < sent.offered {
        block(stream)?;
    }
    let resumed = if pressure == Pressure::Resumed { resume(transport, stream) } else { Ok(()) };
    // Only now: `resume_writing()` may have written, also to a stream that is closing.
    let all = stream.queue.borrow().is_empty();
    if all { finally(resumed, || emptied(transport, stream)) } else { resumed }
}

/// One system call.
fn offer(queue: &WriteQueue<Chunk>, stream: &Stream) -> io::Result<Sent> {
    let mut slices = [IoSlice::new(&[]); SLICES_AT_ONCE];
    let count = queue.slices(&mut slices);
    let slices = &slices[..count];
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let written = stream.kind.get().send(stream.fd.get(), slices)?;
    Ok(Sent { offered, written })
}

/// Watches for room. What cannot wait is lost, as in asyncio, which fails before it queues.
pub(super) fn block(stream: &Stream) -> Result<()> {
    if stream.blocked.replace(true) {
        return Ok(());
    }
    stream.ensure_open_loop()?;
    stream.update_interest().inspect_err(|_| {
        stream.blocked.set(false);
        drop_queue(stream);
    })
}

/// What a flush outside the program's own call to write raises ends the connection.
pub(super) fn or_fatal(transport: &Object, stream: &Stream, flushed: Result<()>) -> Result<()> {
    flushed.or_else(|raised| fatal_error(transport, stream, raised, stream.kind.get().write_failure()))
}

/// `write_eof()`: what was written goes out first. The caller is told what goes wrong at once.
pub(super) fn write_eof(transport: &Object, stream: &Stream) -> Result<()> {
    if !stream.blocked.get() {
        flush(transport, stream)?;
    }
    let empty = stream.queue.borrow().is_empty();
    let eof = stream.state.borrow_mut().write_eof(empty);
    if eof == WriteEof::SendNow {
        sys::shutdown(stream.fd.get(), Shutdown::Write).map_err(os_error)?;
    }
    Ok(())
}

/// Ends the writing half of the descriptor.
pub(super) fn shut_down(transport: &Object, stream: &Stream) -> Result<()> {
    let Err(error) = sys::shutdown(stream.fd.get(), Shutdown::Write) else { return Ok(()) };
    let raised = Raised::from(os_error(error));
    fatal_error(transport, stream, raised, "Fatal write error on socket transport")
}

/// Tells the protocol to stop writing, once more is queued than the high-water mark.
pub(super) fn maybe_pause(transport: &Object, stream: &Stream) -> Result<()> {
    let pressure = stream.queue.borrow_mut().pressure_after_growth();
    if pressure == Pressure::Paused { pause(transport, stream) } else { Ok(()) }
}

/// `pause_writing()`.
pub(super) fn pause(transport: &Object, stream: &Stream) -> Result<()> {
    stream.protocol_paused.set(true);
    let told = tell(stream, &stdlib().names.pause_writing);
    told.or_else(|raised| flow_failed(transport, stream, raised, "protocol.pause_writing() failed"))
}

pub(super) fn resume(transport: &Object, stream: &Stream) -> Result<()> {
    stream.protocol_paused.set(false);
    let told = tell(stream, &stdlib().names.resume_writing);
    told.or_else(|raised| flow_failed(transport, stream, raised, "protocol.resume_writing() failed"))
}

/// Calls one of the protocol's methods for flow control, while there is a connection.
fn tell(stream: &Stream, method: &Object) -> Result<()> {
    let Some(context) = stream.context.get() else { return Ok(()) };
    // The context itself is entered already where this comes from the protocol's own callback.
    context::run_in_copy(&context, || call::method0(&stream.protocol.or_none(), method).map(drop))
}

#[cold]
fn flow_failed(transport: &Object, stream: &Stream, raised: Raised, message: &str) -> Result<()> {
    let exception = raised.caught()?;
    protocol_failed(transport, stream, &exception, message)
}
