//! Sending a file through a socket: tried at once, and gone on with whenever the socket has room.
//!
//! The socket is the program's own (`sock_sendfile`), waited for as by `add_writer`, or that of a transport
//! (`sendfile`), which then hands on its readiness. The inherited code has checked the arguments and made the future;
//! what goes wrong before the first byte becomes SendfileNotAvailableError, on which it reads and sends by itself.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use tulipa::stream::{SendFile, SendProgress};
use tulipa::sys;

use super::class;
use super::stream::Stream;
use crate::errors::os_error;
use crate::event_loop::EventLoop;
use crate::event_loop::descriptors::{self, Side};
use crate::ffi::make::{self, Exception, Int, Text};
use crate::ffi::{Object, Result};
use crate::stdlib::stdlib;

/// One transfer that is not done.
#[pyclass(module = "tulipa._tulipa", frozen)]
pub(crate) struct Sending {
    event_loop: Py<EventLoop>,
    future: Py<PyAny>,
    /// The transport that sends the file through its socket, if one does.
    transport: Option<Py<PyAny>>,
    socket: RawFd,
    file: RawFd,
    /// Locked between calls into Python only.
    progress: Mutex<SendFile>,
    /// It has waited for room; errors of the connection mean something else from then on.
    waiting: AtomicBool,
}

/// Where a file is sent from and to.
pub(crate) struct Transfer {
    pub(crate) socket: RawFd,
    pub(crate) file: RawFd,
    pub(crate) progress: SendFile,
}

/// Begins a transfer, whose end `future` will tell.
pub(crate) fn start(
    event_loop: &Bound<'_, EventLoop>,
    future: &Bound<'_, PyAny>,
    transfer: Transfer,
) -> PyResult<()> {
    let py = event_loop.py();
    let transport = descriptors::transport_of(&event_loop.get().core, transfer.socket)
        .filter(class::lends_its_socket)
        .map(|transport| transport.bound(py).unbind());
    let sending = Sending {
        event_loop: event_loop.clone().unbind(),
        future: future.clone().unbind(),
        transport,
        socket: transfer.socket,
        file: transfer.file,
        progress: Mutex::new(transfer.progress),
        waiting: AtomicBool::new(false),
    };
    go_on(&Bound::new(py, sending)?)
}

/// The transport under a transfer has room.
pub(super) fn writable(sending: &Object) -> Result<()> {
    // SAFETY: attached.
    let sending = sending.bound(unsafe { Python::assume_attached() });
    Ok(go_on(sending.cast::<Sending>().map_err(PyErr::from)?)?)
}

/// The transport under a transfer is gone.
#[cold]
pub(super) fn connection_lost(sending: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let sending = sending.bound(py).cast_into::<Sending>().map_err(PyErr::from)?;
    let lost = PyConnectionError::with_text("Connection is closed by peer");
    Ok(sending.get().end(py, Err(lost))?)
}

/// Sends what fits; the rest waits.
fn go_on(sending: &Bound<'_, Sending>) -> PyResult<()> {
    let (py, this) = (sending.py(), sending.get());
    match this.send() {
        Ok(SendProgress::Done) => this.end(py, Ok(())),
        Ok(SendProgress::Again | SendProgress::Wait) => wait(sending),
        Err(error) => this.end(py, Err(this.failure(py, error))),
    }
}

/// Has the transfer go on when the socket has room.
fn wait(sending: &Bound<'_, Sending>) -> PyResult<()> {
    let (py, this) = (sending.py(), sending.get());
    if this.waiting.load(Ordering::Relaxed) {
        return Ok(());
    }
    let event_loop = this.event_loop.bind(py);
    if this.transport.is_none() {
        event_loop.call_method1(Text("_ensure_fd_no_transport"), (this.socket,))?;
    }
    this.waiting.store(true, Ordering::Relaxed);
    this.future
        .bind(py)
        .call_method1(Text("add_done_callback"), (sending.getattr(Text("_future_done"))?,))?;
    if let Some(transport) = this.transport(py) {
        // SAFETY: `start` has checked the class.
        return Ok(unsafe { Stream::of(transport.as_ptr()) }.set_sending(Some(Object::from_bound(sending)))?);
    }
    let socket = this.socket.into_pyobject(py)?.into_any();
    descriptors::add(event_loop, Side::Writer, &socket, (sending, &PyTuple::empty(py), None))?;
    Ok(())
}

#[pymethods]
impl Sending {
    /// The socket has room.
    fn __call__(slf: &Bound<'_, Self>) -> PyResult<()> {
        go_on(slf)
    }

    /// Called when the future is done; if that was not the transfer's own doing, it was cancelled.
    fn _future_done(&self, py: Python<'_>, _future: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.waiting.load(Ordering::Relaxed) { self.end(py, Ok(())) } else { Ok(()) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.future)?;
        visit.call(&self.transport)
    }
}

impl Sending {
    fn progress(&self) -> MutexGuard<'_, SendFile> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transport(&self, py: Python<'_>) -> Option<Object> {
        self.transport.as_ref().map(|transport| Object::from_bound(transport.bind(py)))
    }

    fn send(&self) -> io::Result<SendProgress> {
        let mut progress = self.progress();
        while let Some(piece) = progress.piece() {
            match sys::sendfile(self.socket, self.file, progress.position(), piece) {
                Ok(taken) => match progress.advance(taken) {
                    SendProgress::Again => {}
                    other => return Ok(other),
                },
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    return Ok(SendProgress::Wait);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(SendProgress::Done)
    }

    /// asyncio's exception for what the kernel said.
    fn failure(&self, py: Python<'_>, error: io::Error) -> PyErr {
        if self.progress().sent() == 0 {
            let class = stdlib().sendfile_not_available.bound(py);
            return class
                .call1((Text("os.sendfile call failed"),))
                .map_or_else(|error| error, PyErr::from_value);
        }
        let closed = self.waiting.load(Ordering::Relaxed) && error.raw_os_error() == Some(libc::ENOTCONN);
        let error = os_error(error);
        if !closed {
            return error;
        }
        let arguments = make::object(py, Text("socket is not connected"))
            .and_then(|text| make::tuple(py, [text, make::object(py, Int(libc::ENOTCONN))?]));
        match arguments {
            Ok(arguments) => {
                let closed = PyConnectionError::with(py, &arguments);
                closed.set_cause(py, Some(error));
                closed
            }
            Err(error) => error,
        }
    }

    /// Stops waiting, leaves the file at what comes next, and tells the future, unless that is done.
    fn end(&self, py: Python<'_>, outcome: PyResult<()>) -> PyResult<()> {
        self.stop_waiting(py)?;
        let (sent, position) = {
            let progress = self.progress();
            (progress.sent(), progress.position())
        };
        let seeks = sent > 0 || stdlib().behaviour.sendfile_always_seeks;
        let moved = if seeks { sys::seek(self.file, position).map_err(os_error) } else { Ok(()) };
        let future = self.future.bind(py);
        if future.call_method0(Text("done"))?.is_truthy()? {
            return Ok(());
        }
        match moved.and(outcome) {
            Ok(()) => future.call_method1(Text("set_result"), (Int(sent),))?,
            Err(error) => future.call_method1(Text("set_exception"), (error.into_value(py),))?,
        };
        Ok(())
    }

    fn stop_waiting(&self, py: Python<'_>) -> PyResult<()> {
        if !self.waiting.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(transport) = self.transport(py) {
            // SAFETY: `start` has checked the class.
            return Ok(unsafe { Stream::of(transport.as_ptr()) }.set_sending(None)?);
        }
        let socket = self.socket.into_pyobject(py)?.into_any();
        descriptors::remove(&self.event_loop.get().core, Side::Writer, &socket).map(drop)
    }
}
