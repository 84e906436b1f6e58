//! The class StreamWriter: its methods and attributes, as C entry points.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::instance::{Blueprint, NativeClass};
use super::reader_class::is_reader;
use super::writer::{self, Drain, StartTls, WaitClosed, Writer};
use crate::ffi::args::{self, Args};
use crate::ffi::class::{self, DICT, NO_PROPERTY, fastcall, noargs, slot};
use crate::ffi::entry::{method, one_argument};
use crate::ffi::fields::{slot_field, slot_view};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Result, call};
use crate::futures::class::preserving_exception;
use crate::futures::methods::boolean;
use crate::operations;
use crate::stdlib::stdlib;

static CLASS: NativeClass = NativeClass::new();

/// # Safety
/// `object` is a native writer, live for the entry point's run.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a Writer) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Writer::of(object)) }
}

/// A writer of exactly the native class, for a connection that a server has accepted.
pub(in super::super) fn create(
    transport: &Object,
    protocol: &Object,
    reader: &Object,
    event_loop: &Object,
) -> Result<Object> {
    // SAFETY: the class is ours.
    let object = unsafe { class::allocate(CLASS.class()) }?;
    // SAFETY: just made; zeroed cells are empty ones.
    fill(unsafe { Writer::of(object.as_ptr()) }, transport, protocol, reader, event_loop);
    Ok(object)
}

fn fill(writer: &Writer, transport: &Object, protocol: &Object, reader: &Object, event_loop: &Object) {
    let given = |object: &Object| Some(object.clone()).filter(|object| !object.is_none());
    writer.transport.set(given(transport));
    writer.protocol.set(given(protocol));
    writer.reader.set(given(reader));
    writer.event_loop.set(given(event_loop));
}

/// Zeroed cells are empty ones.
unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes the class itself or a subclass.
    enter(|_| unsafe { class::allocate(class) })
}

unsafe extern "C" fn init(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|_| {
        const NAMES: [*const std::ffi::c_char; 5] = [
            c"transport".as_ptr(),
            c"protocol".as_ptr(),
            c"reader".as_ptr(),
            c"loop".as_ptr(),
            std::ptr::null(),
        ];
        // SAFETY: `tp_init`'s own arguments; four objects asked for.
        let given = unsafe { args::parse(arguments, keywords, c"OOOO:StreamWriter", &NAMES) }?;
        let [transport, protocol, reader, event_loop] =
            given.map(|given: Option<Object>| given.unwrap_or_else(Object::none));
        if !reader.is_none() && !is_reader(&reader) && !is_stock_reader(&reader) {
            return Err(PyAssertionError::new_err(()).into());
        }
        // SAFETY: `tp_init` gets an instance.
        fill(unsafe { Writer::of(object) }, &transport, &protocol, &reader, &event_loop);
        Ok(())
    })
}

/// asyncio's own readers do as well.
fn is_stock_reader(reader: &Object) -> bool {
    reader.is_instance_of(stdlib().stream_reader.as_ptr().cast())
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let (this, writer) = unsafe { this(object) };
        Object::text(py, &description(&this, writer)?)
    })
}

pub(super) fn description(this: &Object, writer: &Writer) -> Result<String> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let class = this.bound(py).get_type().name()?;
    let transport = call::repr(&writer.transport.or_none())?;
    match writer.reader.get() {
        None => Ok(format!("<{class} transport={transport}>")),
        Some(reader) => Ok(format!("<{class} transport={transport} reader={}>", call::repr(&reader)?)),
    }
}

method!(write_eof, Writer, |_, writer| call::method0(&writer.transport.or_none(), &stdlib().names.write_eof));
method!(can_write_eof, Writer, |_, writer| {
    call::method0(&writer.transport.or_none(), &stdlib().names.can_write_eof)
});
method!(close, Writer, |_, writer| call::method0(&writer.transport.or_none(), &stdlib().names.close));
method!(is_closing, Writer, |_, writer| writer.is_closing().map(boolean));
method!(drain, Writer, |this, _| operations::new(Drain::new(this.clone())));
method!(wait_closed, Writer, |this, _| operations::new(WaitClosed::new(this.clone())));
one_argument!(write, Writer, "StreamWriter.write", data, |_, writer, data| writer.write(&data));
one_argument!(writelines, Writer, "StreamWriter.writelines", data, |_, writer, data| {
    call::method1(&writer.transport.or_none(), &stdlib().names.writelines, &data)?;
    Ok(Object::none())
});

unsafe extern "C" fn get_extra_info(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((_this, writer), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let names = &stdlib().names;
        let known = [&names.name, &names.default];
        let Some(given) = args.bind(2, 1, known) else {
            return Err(args.refusal("StreamWriter.get_extra_info", 1, &known));
        };
        let [name, default] = given.map(|given| given.unwrap_or_else(Object::none));
        let transport = writer.transport.or_none();
        let arguments = (name.bound(py), default.bound(py));
        Ok(Object::from(transport.bound(py).call_method1(Text("get_extra_info"), arguments)?))
    })
}

unsafe extern "C" fn start_tls(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, _writer), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let names = &stdlib().names;
        let known = [
            &names.sslcontext,
            &names.server_hostname,
            &names.ssl_handshake_timeout,
            &names.ssl_shutdown_timeout,
        ];
        let Some([context, name, handshake, shutdown]) = args.bind(1, 1, known) else {
            let text = "StreamWriter.start_tls() takes a context, and three options by name";
            return Err(PyTypeError::with_text(text).into());
        };
        let options = make::dict(py)?;
        let none = Object::none();
        options.set_item(Text("server_hostname"), name.unwrap_or_else(|| none.clone()).bound(py))?;
        options
            .set_item(Text("ssl_handshake_timeout"), handshake.unwrap_or_else(|| none.clone()).bound(py))?;
        if shutdown.is_some() || cfg!(Py_3_12) {
            let shutdown = shutdown.unwrap_or_else(|| none.clone());
            options.set_item(Text("ssl_shutdown_timeout"), shutdown.bound(py))?;
        }
        let context = context.unwrap_or(none);
        operations::new(StartTls::new(this, context, options.into_any().into()))
    })
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let (this, writer) = unsafe { this(object) };
    preserving_exception(|| {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        if let Err(raised) = writer::finish(py, &this, writer) {
            unraisable(raised, &this);
        }
    });
}

static mut METHODS: [ffi::PyMethodDef; 11] = [
    fastcall(c"write", write, c"write($self, data)\n--\n\nWrite data to the transport."),
    fastcall(
        c"writelines",
        writelines,
        c"writelines($self, data)\n--\n\nWrite a list, or any iterable, of bytes objects.",
    ),
    noargs(
        c"write_eof",
        write_eof,
        c"write_eof($self)\n--\n\nClose the writing half, after what was written has been sent.",
    ),
    noargs(
        c"can_write_eof",
        can_write_eof,
        c"can_write_eof($self)\n--\n\nReturn whether the transport has write_eof().",
    ),
    noargs(c"close", close, c"close($self)\n--\n\nClose the stream and its transport."),
    noargs(
        c"is_closing",
        is_closing,
        c"is_closing($self)\n--\n\nReturn True if the stream is closed or closing.",
    ),
    noargs(c"wait_closed", wait_closed, c"wait_closed($self)\n--\n\nWait until the stream is closed."),
    noargs(
        c"drain",
        drain,
        c"drain($self)\n--\n\nWait until it is appropriate to go on writing.\n\nRaises what the connection was lost by.",
    ),
    fastcall(
        c"get_extra_info",
        get_extra_info,
        c"get_extra_info($self, name, default=None)\n--\n\nReturn what the transport knows by that name.",
    ),
    fastcall(
        c"start_tls",
        start_tls,
        c"start_tls($self, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n--\n\nGo on over TLS, once what was written has been sent.",
    ),
    ffi::PyMethodDef::zeroed(),
];

// SAFETY: the fields are of those types at those offsets.
static mut PROPERTIES: [ffi::PyGetSetDef; 7] = unsafe {
    [
        DICT,
        slot_view(c"transport", offset_of!(Writer, transport)),
        slot_field(c"_transport", offset_of!(Writer, transport)),
        slot_field(c"_protocol", offset_of!(Writer, protocol)),
        slot_field(c"_reader", offset_of!(Writer, reader)),
        slot_field(c"_loop", offset_of!(Writer, event_loop)),
        NO_PROPERTY,
    ]
};

/// Makes the class; called by the module's initialisation.
pub(super) fn initialise() -> Result<*mut ffi::PyTypeObject> {
    let blueprint = Blueprint {
        name: c"tulipa._tulipa.StreamWriter",
        doc: c"StreamWriter(transport, protocol, reader, loop)\n--\n\n\
              The writing end of a stream: a transport whose writer can wait until it is wise to write on.",
        offsets: Some((offset_of!(Writer, dict), offset_of!(Writer, weak_references))),
        slots: vec![
            slot(ffi::Py_tp_new, new as *mut c_void),
            slot(ffi::Py_tp_init, init as *mut c_void),
            slot(ffi::Py_tp_finalize, finalize as *mut c_void),
            slot(ffi::Py_tp_repr, repr as *mut c_void),
            slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
            slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        ],
        watched: &["drain", "write"],
    };
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe { CLASS.make::<Writer>((&raw mut ffi::PyBaseObject_Type).cast(), blueprint) }?;
    Ok(CLASS.class())
}
