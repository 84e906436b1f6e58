//! `add_reader`, `add_writer` and their counterparts: level-triggered callbacks on file descriptors.
//!
//! One registration in the engine carries both callbacks of a descriptor. Answers and errors are those of
//! asyncio over `selectors`, down to what happens with objects that were closed while registered.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use tulipa::{Interest, Token};

use super::core::Core;
use super::job::Source;
use super::{EventLoop, handles, sock};
use crate::errors::os_error;
use crate::ffi::make::{Exception, Int, Text};
use crate::ffi::{Object, Result, call};
use crate::operations::is_waiter;
use crate::stdlib::stdlib;

/// Which of a descriptor's two callbacks.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Side {
    pub(super) fn interest(self) -> Interest {
        match self {
            Self::Reader => Interest::READABLE,
            Self::Writer => Interest::WRITABLE,
        }
    }

    pub(super) fn place(self, source: &mut Source) -> Option<&mut Option<Object>> {
        match (self, source) {
            (Self::Reader, Source::Handles { reader, .. }) => Some(reader),
            (Self::Writer, Source::Handles { writer, .. }) => Some(writer),
            (_, Source::Native(_) | Source::Idle(_)) => None,
        }
    }
}

/// The number of a file object or of an integer, as `selectors` finds it; `None` for one that no descriptor has.
fn number(file: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    let number = integer(file)?;
    let fd = number.extract::<RawFd>().ok();
    if fd.map_or_else(|| number.lt(0), |fd| Ok(fd < 0))? {
        return Err(PyValueError::with_text(format!("Invalid file descriptor: {}", number.str()?)));
    }
    Ok(fd)
}

/// An integer itself, else `int(file.fileno())`.
fn integer<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if file.is_instance_of::<PyInt>() {
        return Ok(file.clone());
    }
    let py = file.py();
    let number = file.call_method0(Text("fileno")).and_then(|number| {
        // SAFETY: a live object; a new reference or null.
        let number = unsafe { Object::steal(ffi::PyNumber_Long(number.as_ptr())) };
        Ok(number?.bound(py))
    });
    number.map_err(|error| {
        let is_no_file = error.is_instance_of::<PyAttributeError>(py)
            || error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py);
        if is_no_file {
            PyValueError::with_text(format!("Invalid file object: {}", repr(file)))
        } else {
            error
        }
    })
}

fn repr(file: &Bound<'_, PyAny>) -> String {
    file.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string())
}

/// As `number`; an object that was closed is still found by identity, as long as it is registered.
fn registered_number(core: &Core, file: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    number(file).or_else(|error| {
        if !error.is_instance_of::<PyValueError>(file.py()) {
            return Err(error);
        }
        let known = core.descriptors.borrow().iter().map(|(&fd, &token)| (fd, token)).collect::<Vec<_>>();
        let same = |&(_, token): &(RawFd, Token)| {
            core.engine.with_source(token, |source| match source {
                Source::Handles { file: known, .. } => known.is(file.as_ptr()),
                Source::Native(_) | Source::Idle(_) => false,
            }) == Some(true)
        };
        known.into_iter().find(same).map(|(fd, _)| Some(fd)).ok_or(error)
    })
}

pub(crate) fn add(
    slf: &Bound<'_, EventLoop>,
    side: Side,
    file: &Bound<'_, PyAny>,
    (callback, args, context): (&Bound<'_, PyAny>, &Bound<'_, PyTuple>, Option<&Bound<'_, PyAny>>),
) -> PyResult<Py<PyAny>> {
    let core = &slf.get().core;
    core.ensure_open()?;
    let handle = handles::new_handle(slf, callback, args, context)?;
    let Some(fd) = registered_number(core, file)? else {
        return Err(PyOverflowError::with_text("Python int too large to convert to C int"));
    };
    sock::forget_resting(core, fd);
    let token = core.descriptors.borrow().get(&fd).copied();
    match token {
        Some(token) => replace(core, token, side, &handle)?,
        None => register(core, fd, side, file, &handle)?,
    }
    Ok(handle.bound(slf.py()).unbind())
}

fn register(core: &Core, fd: RawFd, side: Side, file: &Bound<'_, PyAny>, handle: &Object) -> PyResult<()> {
    let mut source = Source::Handles { file: Object::from_bound(file), reader: None, writer: None };
    if let Some(place) = side.place(&mut source) {
        *place = Some(handle.clone());
    }
    core.register(fd, side.interest(), source)?;
    Ok(())
}

fn replace(core: &Core, token: Token, side: Side, handle: &Object) -> PyResult<()> {
    let interest = core.engine.interest(token).unwrap_or(Interest::NONE);
    core.engine.set_interest(token, interest | side.interest()).map_err(os_error)?;
    let handle = handle.clone();
    let old =
        core.engine.with_source(token, |source| side.place(source).and_then(|place| place.replace(handle)));
    cancel(old.flatten())
}

/// Cancels a handle that has lost its place. Who waits for an operation is not told: it waits for ever, as in asyncio.
pub(super) fn cancel(handle: Option<Object>) -> PyResult<()> {
    if let Some(handle) = handle.filter(|handle| !is_waiter(handle)) {
        // SAFETY: attached.
        handle.bound(unsafe { Python::assume_attached() }).call_method0(Text("cancel"))?;
    }
    Ok(())
}

/// Takes one callback away; whether there was one.
pub(crate) fn remove(core: &Core, side: Side, file: &Bound<'_, PyAny>) -> PyResult<bool> {
    if core.is_closed() {
        return Ok(false);
    }
    let Some(fd) = registered_number(core, file)? else { return Ok(false) };
    let token = core.descriptors.borrow().get(&fd).copied();
    let Some(token) = token else { return Ok(false) };
    let old = core.engine.with_source(token, |source| side.place(source).and_then(Option::take)).flatten();
    let interest = core.engine.interest(token).unwrap_or(Interest::NONE).without(side.interest());
    if interest.is_none() {
        core.descriptors.borrow_mut().remove(&fd);
        drop(core.engine.deregister(token));
    } else {
        core.engine.set_interest(token, interest).map_err(os_error)?;
    }
    let found = old.is_some();
    cancel(old)?;
    Ok(found)
}

/// The native transport that owns `fd`.
pub(crate) fn transport_of(core: &Core, fd: RawFd) -> Option<Object> {
    let token = core.descriptors.borrow().get(&fd).copied()?;
    core.engine.with_source(token, |source| match source {
        Source::Native(object) => Some(object.clone()),
        Source::Idle(object) => Some(object.get()),
        Source::Handles { .. } => None,
    })?
}

/// `_ensure_fd_no_transport(file)`.
pub(super) fn ensure_fd_no_transport(slf: &Bound<'_, EventLoop>, file: &Bound<'_, PyAny>) -> PyResult<()> {
    // No descriptor has a larger number.
    let Ok(fd) = integer(file)?.extract() else { return Ok(()) };
    let shown = || repr(file);
    Ok(ensure_no_transport(&slf.get().core, &Object::from_bound(slf.as_any()), fd, shown)?)
}

/// Refuses a descriptor that belongs to a transport, native or stock, in asyncio's words, in which it is as `shown`.
pub(super) fn ensure_no_transport(
    core: &Core,
    event_loop: &Object,
    fd: RawFd,
    shown: impl FnOnce() -> String,
) -> Result<()> {
    let names = &stdlib().names;
    let stock = call::getattr(&call::getattr(event_loop, &names.private_transports)?, &names.data)?;
    let stock = if call::length(&stock)? == 0 { None } else { stock_transport_of(event_loop, fd)? };
    for transport in stock.into_iter().chain(transport_of(core, fd)) {
        if !call::truth(&call::method0(&transport, &names.is_closing)?)? {
            let transport = call::repr(&transport)?;
            let text = format!("File descriptor {} is used by transport {transport}", shown());
            return Err(PyRuntimeError::with_text(text).into());
        }
    }
    Ok(())
}

/// The transport of asyncio's own that owns `fd`: one over a socket of the program's own class.
#[cold]
fn stock_transport_of(event_loop: &Object, fd: RawFd) -> Result<Option<Object>> {
    let transports = call::getattr(event_loop, &stdlib().names.private_transports)?;
    // SAFETY: attached.
    let transport =
        transports.bound(unsafe { Python::assume_attached() }).call_method1(Text("get"), (Int(fd),))?;
    Ok((!transport.is_none()).then(|| transport.into()))
}

/// File, descriptor, readable, writable, and the two handles: one line of `_watched()`.
pub(super) type Watched = (Py<PyAny>, RawFd, bool, bool, Option<Py<PyAny>>, Option<Py<PyAny>>);

/// What a look into the loop's selector would show.
pub(super) fn watched(py: Python<'_>, core: &Core) -> Vec<Watched> {
    let unbind = |object: &Object| object.bound(py).unbind();
    let line = |(&fd, &token): (&RawFd, &Token)| {
        let interest = core.engine.interest(token)?;
        let (file, reader, writer) = core.engine.with_source(token, |source| match source {
            // At rest: watched for a while, but for nobody.
            Source::Handles { reader: None, writer: None, .. } | Source::Idle(_) => None,
            Source::Handles { file, reader, writer } => Some((file.clone(), reader.clone(), writer.clone())),
            Source::Native(object) => Some((object.clone(), None, None)),
        })??;
        let (reader, writer) = (reader.as_ref().map(unbind), writer.as_ref().map(unbind));
        Some((unbind(&file), fd, interest.is_readable(), interest.is_writable(), reader, writer))
    };
    core.descriptors.borrow().iter().filter_map(line).collect()
}

/// Lets a descriptor end a sleep only, see `Interest::BACKGROUND`.
pub(super) fn watch_in_background(core: &Core, fd: RawFd) -> PyResult<()> {
    let token = core.descriptors.borrow().get(&fd).copied();
    let Some(token) = token else { return Ok(()) };
    let interest = core.engine.interest(token).unwrap_or(Interest::NONE);
    core.engine.set_interest(token, interest | Interest::BACKGROUND).map_err(os_error)
}
