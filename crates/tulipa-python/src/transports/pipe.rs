//! The ends of pipes as transports: what is theirs alone. How they live, read and write they share with sockets.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyValueError};
use pyo3::prelude::*;
use tulipa::sys::{self, FileKind};

use super::kind::Kind;
use super::life;
use super::opening::{self, Opening};
use super::stream::Stream;
use super::{extra, writing};
use crate::errors::os_error;
use crate::event_loop::EventLoop;
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Result, call, context};
use crate::stdlib::stdlib;

/// What `_make_read_pipe_transport` and `_make_write_pipe_transport` are given.
pub(crate) struct Given<'a, 'py> {
    pub(crate) pipe: &'a Bound<'py, PyAny>,
    pub(crate) protocol: &'a Bound<'py, PyAny>,
    pub(crate) waiter: Option<&'a Bound<'py, PyAny>>,
    pub(crate) extra: Option<&'a Bound<'py, PyAny>>,
}

/// Makes the transport of a pipe's end that is read.
pub(crate) fn open_read(event_loop: &Bound<'_, EventLoop>, given: &Given<'_, '_>) -> PyResult<Py<PyAny>> {
    let fd = extra::number(given.pipe)?;
    if sys::file_kind(fd).map_err(os_error)? == FileKind::Other {
        return Err(PyValueError::with_text("Pipe transport is for pipes/sockets only."));
    }
    open(event_loop, given, fd, Kind::ReadPipe)
}

/// Makes the transport of a pipe's end that is written to.
pub(crate) fn open_write(event_loop: &Bound<'_, EventLoop>, given: &Given<'_, '_>) -> PyResult<Py<PyAny>> {
    let fd = extra::number(given.pipe)?;
    let kind = match sys::file_kind(fd).map_err(os_error)? {
        FileKind::Pipe | FileKind::Socket => Kind::WritePipe,
        FileKind::CharacterDevice => Kind::WriteDevice,
        FileKind::Other => {
            let text = "Pipe transport is only for pipes, sockets and character devices";
            return Err(PyValueError::with_text(text));
        }
    };
    open(event_loop, given, fd, kind)
}

fn open(
    event_loop: &Bound<'_, EventLoop>,
    given: &Given<'_, '_>,
    fd: RawFd,
    kind: Kind,
) -> PyResult<Py<PyAny>> {
    let py = event_loop.py();
    sys::set_nonblocking(fd).map_err(os_error)?;
    let opening = Opening {
        kind,
        event_loop: &Object::from_bound(event_loop.as_any()),
        protocol: Object::from_bound(given.protocol),
        server: None,
        waiter: given.waiter.map(Object::from_bound),
        context: None,
    };
    let transport = opening::open(opening, fd, |stream| describe(py, stream, given))?;
    Ok(transport.bound(py).unbind())
}

/// Fills in what `get_extra_info` answers.
fn describe(py: Python<'_>, stream: &Stream, given: &Given<'_, '_>) -> Result<()> {
    let extra = make::dict(py)?;
    if let Some(given) = given.extra.filter(|extra| !extra.is_none()) {
        extra.update(given.cast().map_err(PyErr::from)?)?;
    }
    extra.set_item(Text("pipe"), given.pipe)?;
    stream.extra.put(extra.into_any().into());
    stream.socket.put(Object::from_bound(given.pipe));
    Ok(())
}

/// Nothing will be written to the other end any more: the protocol is told in the next turn, and that it has lost the
/// connection right after.
#[cold]
pub(super) fn end_of_file(transport: &Object, stream: &Stream) -> Result<()> {
    log_closed_by_peer(transport, stream)?;
    let eof_received = call::getattr(&stream.protocol.or_none(), &stdlib().names.eof_received)?;
    if let Some(core) = stream.core() {
        life::ensure_schedulable(stream, core)?;
        let context = Context::Own(context::copy_current()?);
        core.schedule(Job::Call { function: eof_received, argument: None, context });
    }
    life::close(transport, stream)
}

/// Nobody reads the other end any more.
#[cold]
pub(super) fn reader_gone(transport: &Object, stream: &Stream) -> Result<()> {
    log_closed_by_peer(transport, stream)?;
    if stream.queue.borrow().is_empty() {
        return life::abort(transport, stream);
    }
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let error = PyBrokenPipeError::new_err(()).into_value(py);
    life::force_close(transport, stream, Object::from_bound(error.bind(py).as_any()))
}

fn log_closed_by_peer(transport: &Object, stream: &Stream) -> Result<()> {
    if stream.is_debug() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        stdlib()
            .logger
            .bound(py)
            .call_method1(Text("info"), (Text("%r was closed by peer"), transport.bound(py)))?;
    }
    Ok(())
}

/// `write(data)`.
#[inline]
pub(super) fn write(transport: &Object, stream: &Stream, data: &Object) -> Result<()> {
    if !writing::is_bytes_like(data) {
        return Err(PyAssertionError::with_text(call::repr(data)?).into());
    }
    writing::write_to_pipe(transport, stream, data)
}

pub(super) fn description(stream: &Stream) -> String {
    let (fd, closing, kind) = (stream.fd.get(), stream.state.borrow().is_closing(), stream.kind.get());
    let mut words =
        vec![if kind.only_writes() { "WritePipeTransport" } else { "ReadPipeTransport" }.to_owned()];
    if fd < 0 {
        words.push("closed".to_owned());
    } else if closing {
        words.push("closing".to_owned());
    }
    words.push(format!("fd={}", stream.number.get()));
    if fd < 0 {
        words.push("closed".to_owned());
    } else if stream.core().is_none_or(Core::is_closed) {
        words.push("open".to_owned());
    } else {
        let polling = if kind.only_writes() { stream.blocked.get() } else { stream.wants_read() };
        words.push(if polling { "polling" } else { "idle" }.to_owned());
        if kind.only_writes() {
            words.push(format!("bufsize={}", stream.queue.borrow().len()));
        }
    }
    format!("<{}>", words.join(" "))
}
