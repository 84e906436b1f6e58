//! The classes FlowControlMixin and StreamReaderProtocol: their methods and attributes, as C entry points.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::sync::OnceLock;

use pyo3::exceptions::PyNotImplementedError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::flow::{DrainHelper, Flow};
use super::instance::{Blueprint, NativeClass};
use super::protocol::Protocol;
use crate::ffi::args;
use crate::ffi::class::{self, NO_PROPERTY, fastcall, noargs, onearg, property, slot};
use crate::ffi::entry::{method, nothing, one_argument};
use crate::ffi::fields::{self, flag_field, slot_field, slot_view};
use crate::ffi::make::Text;
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, call};
use crate::futures::methods::boolean;
use crate::operations;
use crate::stdlib::stdlib;

static FLOW: NativeClass = NativeClass::new();
static PROTOCOL: NativeClass = NativeClass::new();

/// `FlowControlMixin._drain_helper`, as the class was made with it.
static DRAIN_HELPER: OnceLock<Object> = OnceLock::new();

/// Whether `protocol` is exactly of the class.
pub(super) fn is_exact(protocol: &Object) -> bool {
    protocol.class() == PROTOCOL.class()
}

/// Whether a protocol behaves as its class was made.
#[inline]
pub(super) fn is_plain(object: &Object, protocol: &Protocol) -> bool {
    PROTOCOL.is_plain(object, &protocol.flow.dict)
}

/// Whether `protocol` has native flow control, and the `_drain_helper` that belongs to it.
#[inline]
pub(super) fn has_own_drain(protocol: &Object) -> bool {
    // SAFETY: exactly of the class.
    if is_exact(protocol) && is_plain(protocol, unsafe { Protocol::of(protocol.as_ptr()) }) {
        return true;
    }
    FLOW.has_instance(protocol) && inherits_drain(protocol)
}

/// For instances of subclasses: neither class nor instance has put another method in the place.
fn inherits_drain(protocol: &Object) -> bool {
    let name = &stdlib().names.drain_helper;
    // SAFETY: an instance of the class; null or a dict that it owns.
    let dict = unsafe { Object::borrow_opt(Flow::of(protocol.as_ptr()).dict.get()) };
    // SAFETY: a dict and a string.
    if dict.is_some_and(|dict| unsafe { ffi::PyDict_Contains(dict.as_ptr(), name.as_ptr()) } != 0) {
        return false;
    }
    // SAFETY: a live class.
    let class = unsafe { Object::borrow(protocol.class().cast()) };
    let found = call::getattr(&class, name).map_err(Raised::clear);
    found.is_ok_and(|found| DRAIN_HELPER.get().is_some_and(|own| found.is(own.as_ptr())))
}

/// # Safety
/// `object` is a native FlowControlMixin, live for the entry point's run.
#[inline]
unsafe fn flow<'a>(object: *mut ffi::PyObject) -> (Object, &'a Flow) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Flow::of(object)) }
}

/// # Safety
/// `object` is a native StreamReaderProtocol, live for the entry point's run.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a Protocol) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Protocol::of(object)) }
}

/// Zeroed cells are empty ones in both structs.
unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes the class itself or a subclass.
    enter(|_| unsafe { class::allocate(class) })
}

fn loop_or_default(event_loop: Option<Object>) -> Result<Object> {
    match event_loop {
        Some(given) if !given.is_none() => Ok(given),
        _ => call::call0(&stdlib().event_loop),
    }
}

unsafe extern "C" fn init_flow(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|_| {
        const NAMES: [*const std::ffi::c_char; 2] = [c"loop".as_ptr(), std::ptr::null()];
        // SAFETY: `tp_init`'s own arguments; one object asked for.
        let [event_loop] = unsafe { args::parse(arguments, keywords, c"|O:FlowControlMixin", &NAMES) }?;
        // SAFETY: `tp_init` gets an instance.
        let (_this, flow) = unsafe { flow(object) };
        flow.event_loop.put(loop_or_default(event_loop)?);
        Ok(())
    })
}

unsafe extern "C" fn init(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|_| {
        const NAMES: [*const std::ffi::c_char; 4] =
            [c"stream_reader".as_ptr(), c"client_connected_cb".as_ptr(), c"loop".as_ptr(), std::ptr::null()];
        const FORMAT: &std::ffi::CStr = c"O|OO:StreamReaderProtocol";
        // SAFETY: `tp_init`'s own arguments; three objects asked for.
        let [reader, callback, event_loop] = unsafe { args::parse(arguments, keywords, FORMAT, &NAMES) }?;
        // SAFETY: `tp_init` gets an instance.
        let (_this, protocol) = unsafe { this(object) };
        protocol.flow.event_loop.put(loop_or_default(event_loop)?);
        let reader = reader.unwrap_or_else(Object::none);
        protocol.set_reader(&reader)?;
        let callback = callback.filter(|callback| !callback.is_none());
        if callback.is_some() {
            // Nobody else holds it until the connection is made.
            protocol.strong_reader.put(reader);
        }
        protocol.client_connected.set(callback);
        Ok(())
    })
}

method!(pause_writing, Flow, |this, flow| nothing(flow.pause(this)));
method!(resume_writing, Flow, |this, flow| nothing(flow.resume(this)));
method!(drain_helper, Flow, |this, _| operations::new(DrainHelper::new(this.clone())));
one_argument!(lose_flow, Flow, "FlowControlMixin.connection_lost", exc, |_, flow, exception| {
    nothing(flow.lose(&exception))
});

unsafe extern "C" fn no_close_waiter(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| Err::<Object, _>(PyNotImplementedError::new_err(()).into()))
}

method!(eof_received, Protocol, |_, protocol| protocol.eof_received().map(boolean));
one_argument!(
    connection_made,
    Protocol,
    "StreamReaderProtocol.connection_made",
    transport,
    |this, protocol, transport| nothing(protocol.connection_made(this, &transport))
);
one_argument!(
    connection_lost,
    Protocol,
    "StreamReaderProtocol.connection_lost",
    exc,
    |_, protocol, exception| nothing(protocol.connection_lost(&exception))
);
one_argument!(data_received, Protocol, "StreamReaderProtocol.data_received", data, |_, protocol, data| {
    nothing(protocol.data_received(&data))
});
one_argument!(close_waiter, Protocol, "StreamReaderProtocol._get_close_waiter", stream, |_, protocol, _| {
    protocol.closed()
});
one_argument!(
    replace_transport,
    Protocol,
    "StreamReaderProtocol._replace_transport",
    transport,
    |_, protocol, transport| nothing(protocol.replace_transport(transport))
);

/// What stands in the place of `_replace_transport` before Python 3.13: the writer has the new transport.
#[cfg(not(Py_3_13))]
unsafe extern "C" fn replace_writer(
    object: *mut ffi::PyObject,
    writer: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let ((_this, protocol), writer) = unsafe { (this(object), Object::borrow(writer)) };
        protocol.replace_transport(call::getattr(&writer, &stdlib().names.transport)?)?;
        protocol.writer.put(writer);
        Ok(Object::none())
    })
}

unsafe extern "C" fn stream_reader(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Protocol::of(object) }.reader().unwrap_or_else(Object::none)))
}

unsafe extern "C" fn closed(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { Protocol::of(object) }.closed())
}

unsafe extern "C" fn drain_waiters(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (_this, flow) = unsafe { flow(object) };
        flow.waiters.get_or_new()
    })
}

/// `__dict__`, in which programs look for what is a field here: see the package's `_attributes`.
unsafe extern "C" fn attributes(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let this = unsafe { Object::borrow(object) };
        shown_attributes(py, &this).map(Object::from)
    })
}

unsafe extern "C" fn set_attributes(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|py| {
        // SAFETY: called on an instance.
        let this = unsafe { Object::borrow(object) };
        // SAFETY: null stands for `del`.
        let value = fields::given(unsafe { Object::borrow_opt(value) })?;
        shown_attributes(py, &this)?.call_method1(Text("replace"), (value.bound(py),))?;
        Ok(())
    })
}

fn shown_attributes<'py>(py: Python<'py>, this: &Object) -> Result<Bound<'py, PyAny>> {
    // SAFETY: an instance of a class with a dict.
    let own = unsafe { Object::steal(ffi::PyObject_GenericGetDict(this.as_ptr(), std::ptr::null_mut())) }?;
    let class = py.import(Text("tulipa._attributes"))?.getattr(Text("Attributes"))?;
    Ok(class.call1((this.bound(py), own.bound(py)))?)
}

static mut FLOW_METHODS: [ffi::PyMethodDef; 6] = [
    noargs(c"pause_writing", pause_writing, c"pause_writing($self)\n--\n\nHave drain() wait from now on."),
    noargs(c"resume_writing", resume_writing, c"resume_writing($self)\n--\n\nHave those who drain go on."),
    fastcall(
        c"connection_lost",
        lose_flow,
        c"connection_lost($self, exc)\n--\n\nHave those who drain go on, by exc where it is one.",
    ),
    noargs(c"_drain_helper", drain_helper, c"_drain_helper($self)\n--\n\nWait until writing may go on."),
    onearg(
        c"_get_close_waiter",
        no_close_waiter,
        c"_get_close_waiter($self, stream, /)\n--\n\nFor subclasses: the future of the stream's end.",
    ),
    ffi::PyMethodDef::zeroed(),
];

// SAFETY: the fields are of those types at those offsets.
static mut FLOW_PROPERTIES: [ffi::PyGetSetDef; 6] = unsafe {
    [
        property(c"__dict__", attributes, Some(set_attributes)),
        slot_field(c"_loop", offset_of!(Flow, event_loop)),
        flag_field(c"_paused", offset_of!(Flow, paused)),
        flag_field(c"_connection_lost", offset_of!(Flow, lost)),
        property(c"_drain_waiters", drain_waiters, None),
        NO_PROPERTY,
    ]
};

const COMMON: [ffi::PyMethodDef; 6] = [
    fastcall(
        c"connection_made",
        connection_made,
        c"connection_made($self, transport)\n--\n\nA connection is there: start what serves it.",
    ),
    fastcall(
        c"connection_lost",
        connection_lost,
        c"connection_lost($self, exc)\n--\n\nThe connection is gone: tell reader and writer.",
    ),
    fastcall(c"data_received", data_received, c"data_received($self, data)\n--\n\nGive data to the reader."),
    noargs(
        c"eof_received",
        eof_received,
        c"eof_received($self)\n--\n\nTell the reader of the end; return True to keep the transport open.",
    ),
    fastcall(
        c"_get_close_waiter",
        close_waiter,
        c"_get_close_waiter($self, stream)\n--\n\nThe future of the connection's end.",
    ),
    fastcall(
        c"_replace_transport",
        replace_transport,
        c"_replace_transport($self, transport)\n--\n\nGo on over another transport.",
    ),
];

#[cfg(Py_3_13)]
static mut METHODS: [ffi::PyMethodDef; 7] = {
    let [made, lost, data, eof, waiter, transport] = COMMON;
    [made, lost, data, eof, waiter, transport, ffi::PyMethodDef::zeroed()]
};
#[cfg(not(Py_3_13))]
static mut METHODS: [ffi::PyMethodDef; 8] = {
    let [made, lost, data, eof, waiter, transport] = COMMON;
    let writer = onearg(
        c"_replace_writer",
        replace_writer,
        c"_replace_writer($self, writer, /)\n--\n\nGo on with another writer.",
    );
    [made, lost, data, eof, waiter, transport, writer, ffi::PyMethodDef::zeroed()]
};

// SAFETY: the fields are of those types at those offsets.
static mut PROPERTIES: [ffi::PyGetSetDef; 12] = unsafe {
    [
        property(c"_stream_reader", stream_reader, None),
        property(c"_closed", closed, None),
        slot_field(c"_stream_reader_wr", offset_of!(Protocol, reader_reference)),
        slot_field(c"_strong_reader", offset_of!(Protocol, strong_reader)),
        slot_field(c"_stream_writer", offset_of!(Protocol, writer)),
        slot_field(c"_source_traceback", offset_of!(Protocol, source_traceback)),
        slot_field(c"_task", offset_of!(Protocol, task)),
        slot_field(c"_transport", offset_of!(Protocol, transport)),
        slot_view(c"_client_connected_cb", offset_of!(Protocol, client_connected)),
        flag_field(c"_reject_connection", offset_of!(Protocol, reject_connection)),
        flag_field(c"_over_ssl", offset_of!(Protocol, over_ssl)),
        NO_PROPERTY,
    ]
};

/// Makes the classes; called by the module's initialisation.
pub(super) fn initialise() -> Result<[*mut ffi::PyTypeObject; 2]> {
    let base = &stdlib().abstract_protocol;
    // SAFETY: a live class.
    let size = unsafe { (*base.as_ptr().cast::<ffi::PyTypeObject>()).tp_basicsize }.cast_unsigned();
    assert_eq!(size, size_of::<ffi::PyObject>(), "asyncio.Protocol has slots, none of which is a field");
    // SAFETY: the slots are of the documented types, the sizes are the structs', and everything is static.
    unsafe { FLOW.make::<Flow>(base.as_ptr(), flow_blueprint()) }?;
    // SAFETY: a live class.
    let flow = unsafe { Object::borrow(FLOW.class().cast()) };
    let _ = DRAIN_HELPER.set(call::getattr(&flow, &stdlib().names.drain_helper)?);
    // SAFETY: as above; instances begin with the base's struct.
    unsafe { PROTOCOL.make::<Protocol>(FLOW.class().cast(), protocol_blueprint()) }?;
    Ok([FLOW.class(), PROTOCOL.class()])
}

fn flow_blueprint() -> Blueprint {
    Blueprint {
        name: c"tulipa._tulipa.FlowControlMixin",
        doc: c"FlowControlMixin(loop=None)\n--\n\nWhether a transport wants to be written to, for protocols of streams.",
        offsets: Some((offset_of!(Flow, dict), offset_of!(Flow, weak_references))),
        slots: vec![
            slot(ffi::Py_tp_new, new as *mut c_void),
            slot(ffi::Py_tp_init, init_flow as *mut c_void),
            slot(ffi::Py_tp_methods, (&raw mut FLOW_METHODS).cast()),
            slot(ffi::Py_tp_getset, (&raw mut FLOW_PROPERTIES).cast()),
        ],
        watched: &["_drain_helper"],
    }
}

fn protocol_blueprint() -> Blueprint {
    Blueprint {
        name: c"tulipa._tulipa.StreamReaderProtocol",
        doc: c"StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)\n--\n\n\
              What stands between a transport and a StreamReader.",
        offsets: None,
        slots: vec![
            slot(ffi::Py_tp_new, new as *mut c_void),
            slot(ffi::Py_tp_init, init as *mut c_void),
            slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
            slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        ],
        watched: &["data_received", "_drain_helper", "_stream_reader"],
    }
}
