//! `StreamReaderProtocol`: what stands between a transport and a StreamReader.
//!
//! It holds the reader weakly, as asyncio's does: a stream that nobody uses any more goes, and its writer closes the
//! connection. A transport of ours that finds both as their classes were made writes into the reader itself (`feed`).

use std::cell::Cell;

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;

use super::flow::Flow;
use super::instance::Layout;
use super::reader::Reader;
use super::reader_class;
use super::{Data, protocol_class, writer};
use crate::ffi::class::onearg;
use crate::ffi::make::{self, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::stdlib::stdlib;
use crate::transports;

/// The protocol of a stream.
#[repr(C)]
pub(super) struct Protocol {
    pub(super) flow: Flow,
    /// A weak reference to the reader.
    pub(super) reader_reference: Slot,
    /// The reader itself, until the connection of a server's stream is made.
    pub(super) strong_reader: Slot,
    /// The writer, on Pythons whose protocols keep it until the connection is lost.
    pub(super) writer: Slot,
    pub(super) source_traceback: Slot,
    pub(super) task: Slot,
    pub(super) transport: Slot,
    pub(super) client_connected: Slot,
    /// The future of the end of the connection, once somebody has asked for it.
    pub(super) closed: Slot,
    /// What the connection was lost by.
    pub(super) loss: Slot,
    pub(super) reject_connection: Cell<bool>,
    pub(super) over_ssl: Cell<bool>,
    /// `connection_lost` was called.
    pub(super) ended: Cell<bool>,
}

// SAFETY: such a struct; what `tp_new` zeroes is complete.
unsafe impl Layout for Protocol {
    fn dict(&self) -> &Cell<*mut ffi::PyObject> {
        &self.flow.dict
    }

    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        self.flow.slots().into_iter().chain([
            &self.reader_reference,
            &self.strong_reader,
            &self.writer,
            &self.source_traceback,
            &self.task,
            &self.transport,
            &self.client_connected,
            &self.closed,
            &self.loss,
        ])
    }
}

impl Protocol {
    /// The protocol that an object is.
    ///
    /// # Safety
    /// `object` is a native StreamReaderProtocol (or of a subclass) and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the class's instances have this layout.
        unsafe { &*object.cast::<Self>() }
    }

    /// `_stream_reader`.
    #[inline]
    pub(super) fn reader(&self) -> Option<Object> {
        let mut reader = std::ptr::null_mut();
        let reference = self.reader_reference.as_ptr();
        if reference.is_null() {
            return None;
        }
        // SAFETY: a live object, and a place for the answer; what is no reference is refused with an exception.
        if unsafe { ffi::compat::PyWeakref_GetRef(reference, &raw mut reader) } < 0 {
            Raised.clear();
        }
        // SAFETY: null or a new reference.
        unsafe { Object::owned_opt(reader) }
    }

    /// Remembers the reader, which may be of any class, or None.
    pub(super) fn set_reader(&self, reader: &Object) -> Result<()> {
        if reader.is_none() {
            return Ok(());
        }
        // SAFETY: a live object; one without weak references is refused with an exception.
        let reference = unsafe { ffi::PyWeakref_NewRef(reader.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: a new reference or null.
        self.reader_reference.put(unsafe { Object::steal(reference) }?);
        let traceback = call::getattr(reader, &stdlib().names.source_traceback)?;
        self.source_traceback.set(Some(traceback).filter(|traceback| !traceback.is_none()));
        Ok(())
    }

    /// `_replace_transport(transport)`: the stream goes on over TLS.
    pub(super) fn replace_transport(&self, transport: Object) -> Result<()> {
        if let Some(reader) = self.reader().filter(|_| !transport.is_none()) {
            if let Some(reader) = Reader::native(&reader) {
                // Pausing and resuming are for the new one, also where asyncio's reader goes on with the old.
                reader.transport.put(transport.clone());
            } else if cfg!(Py_3_14) {
                call::method1(&reader, &stdlib().names.replace_transport, &transport)?;
            }
        }
        self.over_ssl.set(is_over_ssl(&transport)?);
        self.transport.put(transport);
        Ok(())
    }

    pub(super) fn connection_made(&self, this: &Object, transport: &Object) -> Result<()> {
        if self.reject_connection.get() {
            return self.reject(transport);
        }
        self.transport.put(transport.clone());
        let reader = self.reader();
        if let Some(reader) = &reader {
            match Reader::native(reader).filter(|state| reader_class::is_plain(reader, state)) {
                Some(state) if state.transport.is_empty() => state.transport.put(transport.clone()),
                _ => call::method1(reader, &stdlib().names.set_transport, transport).map(drop)?,
            }
        }
        self.over_ssl.set(is_over_ssl(transport)?);
        let Some(callback) = self.client_connected.get() else { return Ok(()) };
        self.client_connected(this, transport, &callback, &reader.unwrap_or_else(Object::none))
    }

    #[cold]
    fn reject(&self, transport: &Object) -> Result<()> {
        // SAFETY: attached.
        let context = make::dict(unsafe { Python::assume_attached() })?;
        let text = "An open stream was garbage collected prior to establishing network connection; \
                    call \"stream.close()\" explicitly.";
        context.set_item(Text("message"), Text(text))?;
        if let Some(traceback) = self.source_traceback.get() {
            context.set_item(Text("source_traceback"), traceback.bound(context.py()))?;
        }
        let names = &stdlib().names;
        let event_loop = self.flow.event_loop.or_none();
        call::method1(&event_loop, &names.call_exception_handler, &context.into_any().into())?;
        call::method0(transport, &names.abort).map(drop)
    }

    /// Starts what serves the new connection: a function, or a coroutine function, whose coroutine runs as a task.
    fn client_connected(
        &self,
        this: &Object,
        transport: &Object,
        callback: &Object,
        reader: &Object,
    ) -> Result<()> {
        let event_loop = self.flow.event_loop.or_none();
        let writer = writer::create(transport, this, reader, &event_loop)?;
        if !cfg!(Py_3_13) {
            self.writer.put(writer.clone());
        }
        let result = match call::call2(callback, reader, &writer) {
            Ok(result) => result,
            Err(raised) => {
                self.strong_reader.set(None);
                return callback_failed(raised, &event_loop, transport);
            }
        };
        if call::truth(&call::call1(&stdlib().iscoroutine, &result)?)? {
            let names = &stdlib().names;
            let task = call::method1(&event_loop, &names.create_task, &result)?;
            self.task.put(task.clone());
            call::method1(&task, &names.add_done_callback, &task_watcher(&event_loop, transport)?)?;
        }
        self.strong_reader.set(None);
        Ok(())
    }

    pub(super) fn connection_lost(&self, exception: &Object) -> Result<()> {
        if let Some(reader) = self.reader() {
            end_reader(&reader, exception)?;
        }
        if !self.ended.replace(true) {
            self.loss.set(Some(exception.clone()).filter(|exception| !exception.is_none()));
            if let Some(closed) = self.closed.get() {
                self.settle_closed(&closed)?;
            }
        }
        self.flow.lose(exception)?;
        for slot in [&self.reader_reference, &self.writer, &self.task, &self.transport] {
            slot.set(None);
        }
        Ok(())
    }

    /// `_closed`: a future, made when it is first asked for.
    pub(super) fn closed(&self) -> Result<Object> {
        if let Some(closed) = self.closed.get() {
            return Ok(closed);
        }
        let closed = call::method0(&self.flow.event_loop.or_none(), &stdlib().names.create_future)?;
        self.closed.put(closed.clone());
        if self.ended.get() {
            self.settle_closed(&closed)?;
        }
        Ok(closed)
    }

    fn settle_closed(&self, closed: &Object) -> Result<()> {
        let names = &stdlib().names;
        if call::truth(&call::method0(closed, &names.done)?)? {
            return Ok(());
        }
        match self.loss.get() {
            None => call::method1(closed, &names.set_result, &Object::none()).map(drop),
            Some(loss) => {
                call::method1(closed, &names.set_exception, &loss)?;
                // Nobody has to wait for the end, so nobody is told that it was not looked at.
                call::method0(closed, &names.exception).map(drop)
            }
        }
    }

    pub(super) fn data_received(&self, data: &Object) -> Result<()> {
        match self.reader() {
            Some(reader) => call::method1(&reader, &stdlib().names.feed_data, data).map(drop),
            None => Ok(()),
        }
    }

    /// Whether the connection stays open for writing.
    pub(super) fn eof_received(&self) -> Result<bool> {
        if let Some(reader) = self.reader() {
            end_reader(&reader, &Object::none())?;
        }
        Ok(!self.over_ssl.get())
    }
}

/// The reader has had all that comes.
fn end_reader(reader: &Object, exception: &Object) -> Result<()> {
    let plain = Reader::native(reader).filter(|state| reader_class::is_plain(reader, state));
    match plain {
        Some(state) if exception.is_none() => state.feed_eof(),
        Some(state) => state.set_exception(exception),
        None if exception.is_none() => call::method0(reader, &stdlib().names.feed_eof).map(drop),
        None => call::method1(reader, &stdlib().names.set_exception, exception).map(drop),
    }
}

/// `transport.get_extra_info('sslcontext') is not None`; a transport of ours without extras is not asked, as it would
/// make them.
fn is_over_ssl(transport: &Object) -> Result<bool> {
    if transports::is_bare(transport) {
        return Ok(false);
    }
    let names = &stdlib().names;
    Ok(!call::method1(transport, &names.get_extra_info, &names.sslcontext)?.is_none())
}

/// What a callback raises is reported here in some releases, and left to the loop in others.
fn callback_failed(raised: Raised, event_loop: &Object, transport: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let error = PyErr::from(raised);
    if !stdlib().behaviour.streams_report || !error.is_instance_of::<PyException>(py) {
        return Err(error.into());
    }
    report(py, event_loop, transport, error.value(py).as_any())?;
    call::method0(transport, &stdlib().names.close).map(drop)
}

fn report(
    py: Python<'_>,
    event_loop: &Object,
    transport: &Object,
    exception: &Bound<'_, PyAny>,
) -> Result<()> {
    let context = make::dict(py)?;
    context.set_item(Text("message"), Text("Unhandled exception in client_connected_cb"))?;
    context.set_item(Text("exception"), exception)?;
    context.set_item(Text("transport"), transport.bound(py))?;
    let handler = &stdlib().names.call_exception_handler;
    call::method1(event_loop, handler, &context.into_any().into()).map(drop)
}

/// The done-callback of the task of a connection.
fn task_watcher(event_loop: &Object, transport: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let pair = make::tuple(py, [event_loop.bound(py), transport.bound(py)])?;
    // SAFETY: the definition is static; the function owns a reference to the pair.
    unsafe { Object::steal(ffi::PyCFunction_New(&raw mut TASK_DONE, pair.as_ptr())) }
}

static mut TASK_DONE: ffi::PyMethodDef =
    onearg(c"callback", task_done, c"Look at how a connection's task ended.");

unsafe extern "C" fn task_done(pair: *mut ffi::PyObject, task: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: the function was made with a pair, and is called with a task.
        let (pair, task) = unsafe { (Object::borrow(pair), Object::borrow(task)) };
        let names = &stdlib().names;
        let (event_loop, transport) =
            (pair.bound(py).get_item(0)?.into(), pair.bound(py).get_item(1)?.into());
        if !call::truth(&call::method0(&task, &names.cancelled)?)? {
            let exception = call::method0(&task, &names.exception)?;
            if exception.is_none() {
                return Ok(exception);
            }
            report(py, &event_loop, &transport, &exception.bound(py))?;
        }
        call::method0(&transport, &names.close)?;
        Ok(Object::none())
    })
}

/// Whether a transport may write into the reader behind `protocol` itself, as far as the class decides it.
pub(super) fn is_protocol(protocol: &Object) -> bool {
    protocol_class::is_exact(protocol)
}

/// Feeds `data`; `false` where nothing has happened and `data_received` must be called.
#[inline]
pub(super) fn feed(protocol: &Object, data: Data<'_>) -> Result<bool> {
    // SAFETY: the transport has checked the class.
    let state = unsafe { Protocol::of(protocol.as_ptr()) };
    if !protocol_class::is_plain(protocol, state) {
        return Ok(false);
    }
    match state.reader() {
        Some(reader) => feed_reader(&reader, data),
        None => Ok(true),
    }
}

/// As `feed`, with the reader itself.
#[inline]
pub(super) fn feed_reader(reader: &Object, data: Data<'_>) -> Result<bool> {
    let Some(state) = Reader::native(reader) else { return Ok(false) };
    if !reader_class::is_plain(reader, state) || state.eof.get() {
        return Ok(false);
    }
    state.feed(data)?;
    Ok(true)
}
