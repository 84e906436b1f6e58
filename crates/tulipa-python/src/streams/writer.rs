//! `StreamWriter`: a transport for whoever writes to a stream, and the coroutines `drain`, `wait_closed`, `start_tls`.
//!
//! Over a transport of ours writing and draining call nobody; over any other they call its methods.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::flow::Flow;
use super::instance::Layout;
use super::protocol_class;
use super::reader::Reader;
use super::reader_class;
use crate::ffi::make::Text;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::operations::{self, Machine, Step};
use crate::stdlib::stdlib;
use crate::transports;

pub(super) use super::writer_class::create;

/// A stream's writing end.
#[repr(C)]
pub(super) struct Writer {
    header: ffi::PyObject,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(super) transport: Slot,
    pub(super) protocol: Slot,
    pub(super) reader: Slot,
    pub(super) event_loop: Slot,
}

// SAFETY: such a struct; what `tp_new` zeroes is complete.
unsafe impl Layout for Writer {
    fn dict(&self) -> &Cell<*mut ffi::PyObject> {
        &self.dict
    }

    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.transport, &self.protocol, &self.reader, &self.event_loop]
    }
}

impl Writer {
    /// The writer that an object is.
    ///
    /// # Safety
    /// `object` is a native StreamWriter (or of a subclass) and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the class's instances have this layout.
        unsafe { &*object.cast::<Self>() }
    }

    #[inline]
    pub(super) fn write(&self, data: &Object) -> Result<Object> {
        let transport = self.transport.or_none();
        if transports::write_to(&transport, data)? {
            return Ok(Object::none());
        }
        call::method1(&transport, &stdlib().names.write, data)?;
        Ok(Object::none())
    }

    #[inline]
    pub(super) fn is_closing(&self) -> Result<bool> {
        let transport = self.transport.or_none();
        match transports::is_closing(&transport) {
            Some(answer) => Ok(answer),
            None => call::truth(&call::method0(&transport, &stdlib().names.is_closing)?),
        }
    }

    /// Raises what the reader was told to raise.
    #[inline]
    fn check_reader(&self) -> Result<()> {
        let Some(reader) = self.reader.get() else { return Ok(()) };
        if let Some(reader) = Reader::native(&reader).filter(|state| reader_class::is_plain(&reader, state)) {
            return reader.check();
        }
        let exception = call::method0(&reader, &stdlib().names.exception)?;
        if exception.is_none() { Ok(()) } else { Err(Raised::from_object(&exception)) }
    }
}

/// `drain()`.
pub(super) struct Drain {
    writer: Slot,
    /// The protocol's flow control, while waiting in its list.
    flow: Slot,
    /// The loop had its turn, so that the protocol could learn of the connection's loss.
    yielded: Cell<bool>,
    delegated: Cell<bool>,
}

impl Drain {
    pub(super) fn new(writer: Object) -> Self {
        Self {
            writer: Slot::holding(writer),
            flow: Slot::empty(),
            yielded: Cell::new(false),
            delegated: Cell::new(false),
        }
    }

    /// `await self._protocol._drain_helper()`.
    #[inline]
    fn help(&self, writer: &Writer) -> Result<Step> {
        let protocol = writer.protocol.or_none();
        if !protocol_class::has_own_drain(&protocol) {
            self.delegated.set(true);
            return operations::awaiting(&call::method0(&protocol, &stdlib().names.drain_helper)?);
        }
        // SAFETY: just checked.
        let step = unsafe { Flow::of(protocol.as_ptr()) }.drain()?;
        if matches!(step, Step::Park(_)) {
            self.flow.put(protocol);
        }
        Ok(step)
    }

    fn leave(&self, waiter: Option<&Object>) {
        if let (Some(flow), Some(waiter)) = (self.flow.take(), waiter) {
            // SAFETY: put there by `help`.
            unsafe { Flow::of(flow.as_ptr()) }.waiters.remove(waiter);
        }
    }
}

impl Machine for Drain {
    fn qualified_name(&self) -> &'static str {
        "StreamWriter.drain"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        if self.flow.is_empty() { &[] } else { &["StreamWriter.drain", "FlowControlMixin._drain_helper"] }
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let writer = self.writer.or_none();
        // SAFETY: made for writers, and not stepped once the slot is cleared.
        let writer = unsafe { Writer::of(writer.as_ptr()) };
        writer.check_reader()?;
        if writer.is_closing()? {
            self.yielded.set(true);
            return Ok(Step::Yield(Object::none()));
        }
        self.help(writer)
    }

    fn resume(&self, value: Object) -> Result<Step> {
        if self.yielded.replace(false) {
            let writer = self.writer.or_none();
            // SAFETY: as in `start`.
            return self.help(unsafe { Writer::of(writer.as_ptr()) });
        }
        if !self.delegated.get() {
            self.leave(Some(&value));
        }
        Ok(Step::Done(Object::none()))
    }

    fn throw(&self, waiter: Option<&Object>, exception: Object) -> Result<Step> {
        self.leave(waiter);
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.writer);
        each(&self.flow);
    }
}

/// `wait_closed()`: waits for the future that the protocol gives.
pub(super) struct WaitClosed(Slot);

impl WaitClosed {
    pub(super) fn new(writer: Object) -> Self {
        Self(Slot::holding(writer))
    }
}

impl Machine for WaitClosed {
    fn qualified_name(&self) -> &'static str {
        "StreamWriter.wait_closed"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let writer = self.0.or_none();
        // SAFETY: made for writers, and not stepped once the slot is cleared.
        let protocol = unsafe { Writer::of(writer.as_ptr()) }.protocol.or_none();
        operations::awaiting(&call::method1(&protocol, &stdlib().names.get_close_waiter, &writer)?)
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}

/// `start_tls(...)`: what was written goes out, then the loop makes the new transport.
pub(super) struct StartTls {
    writer: Slot,
    context: Slot,
    /// The keywords of the loop's method, as they were given.
    options: Slot,
    drained: Cell<bool>,
}

impl StartTls {
    pub(super) fn new(writer: Object, context: Object, options: Object) -> Self {
        Self {
            writer: Slot::holding(writer),
            context: Slot::holding(context),
            options: Slot::holding(options),
            drained: Cell::new(false),
        }
    }

    fn upgrade(&self, writer: &Writer) -> Result<Step> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let options = self.options.or_none().bound(py).cast_into::<PyDict>().map_err(PyErr::from)?;
        let protocol = writer.protocol.or_none();
        let callback = call::getattr(&protocol, &stdlib().names.private_client_connected_cb)?;
        options.set_item(Text("server_side"), !callback.is_none())?;
        let (transport, context) = (writer.transport.or_none(), self.context.or_none());
        let event_loop = writer.event_loop.or_none();
        let arguments = (transport.bound(py), protocol.bound(py), context.bound(py));
        let started = event_loop.bound(py).call_method(Text("start_tls"), arguments, Some(&options))?;
        operations::awaiting(&started.into())
    }

    fn replace(writer: &Object, transport: &Object) -> Result<()> {
        // SAFETY: made for writers.
        let state = unsafe { Writer::of(writer.as_ptr()) };
        state.transport.put(transport.clone());
        let (protocol, names) = (state.protocol.or_none(), &stdlib().names);
        // asyncio's own protocols want the writer instead before 3.13.
        match call::getattr_opt(&protocol, &names.replace_transport)? {
            Some(replace) => call::call1(&replace, transport).map(drop),
            None => call::method1(&protocol, &names.replace_writer, writer).map(drop),
        }
    }
}

impl Machine for StartTls {
    fn qualified_name(&self) -> &'static str {
        "StreamWriter.start_tls"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let writer = self.writer.or_none();
        operations::awaiting(&call::method0(&writer, &stdlib().names.drain)?)
    }

    fn resume(&self, value: Object) -> Result<Step> {
        let writer = self.writer.or_none();
        if !self.drained.replace(true) {
            // SAFETY: made for writers, and not stepped once the slot is cleared.
            return self.upgrade(unsafe { Writer::of(writer.as_ptr()) });
        }
        Self::replace(&writer, &value)?;
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        [&self.writer, &self.context, &self.options].into_iter().for_each(each);
    }
}

/// `__del__`: a writer that nobody closed closes its transport, and says so.
pub(super) fn finish(py: Python<'_>, this: &Object, writer: &Writer) -> Result<()> {
    if writer.transport.is_empty() || writer.is_closing()? {
        return Ok(());
    }
    let event_loop = writer.event_loop.or_none();
    let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
    let warn = stdlib().warn.bound(py);
    if event_loop.bound(py).call_method0(Text("is_closed"))?.is_truthy()? {
        warn.call1((Text("loop is closed"), category))?;
        return Ok(());
    }
    call::method0(this, &stdlib().names.close)?;
    warn.call1((Text(format!("unclosed {}", call::repr(this)?)), category))?;
    Ok(())
}
