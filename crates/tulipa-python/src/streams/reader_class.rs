//! The class StreamReader: its methods and attributes, as C entry points.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::instance::{Blueprint, NativeClass};
use super::lines::{ByMethod, Kind, ReadUntil};
use super::reader::{DEFAULT_LIMIT, Reader};
use super::reading::WaitForData;
use super::{Data, bytearray, counts};
use crate::event_loop::core::Core;
use crate::ffi::args::{self, Args};
use crate::ffi::class::{self, DICT, NO_PROPERTY, fastcall, noargs, property, slot};
use crate::ffi::entry::{method, nothing, one_argument};
use crate::ffi::fields::{flag_field, given, slot_field};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, call};
use crate::futures::methods::boolean;
use crate::marks::{self, Cut};
use crate::operations;
use crate::stdlib::stdlib;

static CLASS: NativeClass = NativeClass::new();

/// Whether `object` is a native StreamReader, or of a subclass.
#[inline]
pub(super) fn is_reader(object: &Object) -> bool {
    CLASS.has_instance(object)
}

/// Whether a native reader has all methods as the class was made with them.
#[inline]
pub(super) fn is_plain(object: &Object, reader: &Reader) -> bool {
    CLASS.is_plain(object, &reader.dict)
}

/// # Safety
/// `object` is a native reader, live for the entry point's run.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a Reader) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Reader::of(object)) }
}

unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: CPython passes the class itself or a subclass.
        let object = unsafe { class::allocate(class) }?;
        // SAFETY: just made, and zeroed.
        unsafe { Reader::prepare(object.as_ptr()) };
        Ok(object)
    })
}

unsafe extern "C" fn init(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|_| {
        const NAMES: [*const std::ffi::c_char; 3] = [c"limit".as_ptr(), c"loop".as_ptr(), std::ptr::null()];
        // SAFETY: `tp_init`'s own arguments; two objects asked for.
        let [limit, event_loop] = unsafe { args::parse(arguments, keywords, c"|OO:StreamReader", &NAMES) }?;
        // SAFETY: `tp_init` gets an instance.
        let (_this, reader) = unsafe { this(object) };
        if let Some(limit) = limit {
            set_limit(reader, &limit)?;
        }
        let event_loop = match event_loop {
            Some(given) if !given.is_none() => given,
            _ => call::call0(&stdlib().event_loop)?,
        };
        if is_debug(&event_loop)? {
            reader.source_traceback.put(call::call0(&stdlib().extract_stack)?);
        }
        reader.event_loop.put(event_loop);
        Ok(())
    })
}

/// `loop.get_debug()`.
pub(super) fn is_debug(event_loop: &Object) -> Result<bool> {
    match Core::of(event_loop) {
        Some(core) => Ok(core.is_debug()),
        None => call::truth(&call::method0(event_loop, &stdlib().names.get_debug)?),
    }
}

/// Takes any number for a limit, as asyncio does, which only compares it.
fn set_limit(reader: &Reader, limit: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let given = limit.bound(py);
    if given.le(0)? {
        return Err(PyValueError::with_text("Limit cannot be <= 0").into());
    }
    reader.limit.set(marks::count(&given, Cut::Down));
    reader.given_limit.set(given.extract::<usize>().is_err().then(|| limit.clone()));
    Ok(())
}

unsafe extern "C" fn limit(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let (_this, reader) = unsafe { this(object) };
        match reader.given_limit.get() {
            Some(given) => Ok(given),
            None => Ok(Object::from(make::int(py, reader.limit.get())?.into_any())),
        }
    })
}

unsafe extern "C" fn assign_limit(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let ((_this, reader), value) = unsafe { (this(object), Object::borrow_opt(value)) };
        set_limit(reader, &given(value)?)
    })
}

unsafe extern "C" fn buffer(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| unsafe { Reader::of(object) }.buffer.show())
}

unsafe extern "C" fn assign_buffer(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let ((_this, reader), value) = unsafe { (this(object), Object::borrow_opt(value)) };
        let value = given(value)?;
        if !bytearray::is_exact(&value) {
            return Err(PyTypeError::with_text("_buffer must be a bytearray").into());
        }
        reader.buffer.replace(value);
        Ok(())
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let (_this, reader) = unsafe { this(object) };
        Object::text(py, &description(reader)?)
    })
}

fn description(reader: &Reader) -> Result<String> {
    let mut words = vec!["StreamReader".to_owned()];
    let size = reader.buffer.len();
    if size > 0 {
        words.push(format!("{size} bytes"));
    }
    if reader.eof.get() {
        words.push("eof".to_owned());
    }
    match reader.given_limit.get() {
        Some(given) => words.push(format!("limit={}", text(&given)?)),
        None if reader.limit.get() == DEFAULT_LIMIT => {}
        None => words.push(format!("limit={}", reader.limit.get())),
    }
    let named =
        [("waiter", &reader.waiter), ("exception", &reader.exception), ("transport", &reader.transport)];
    for (name, slot) in named {
        if let Some(value) = slot.get() {
            words.push(format!("{name}={}", call::repr(&value)?));
        }
    }
    if reader.paused.get() {
        words.push("paused".to_owned());
    }
    Ok(format!("<{}>", words.join(" ")))
}

fn text(object: &Object) -> PyResult<String> {
    // SAFETY: attached.
    Ok(object.bound(unsafe { Python::assume_attached() }).str()?.to_string())
}

method!(exception, Reader, |_, reader| Ok(reader.exception.or_none()));
method!(feed_eof, Reader, |_, reader| nothing(reader.feed_eof()));
method!(at_eof, Reader, |_, reader| Ok(boolean(reader.eof.get() && reader.buffer.is_empty())));
method!(wake, Reader, |_, reader| nothing(reader.wake()));
method!(maybe_resume, Reader, |_, reader| nothing(reader.maybe_resume()));
method!(readline, Reader, |this, reader| {
    if is_plain(this, reader) {
        operations::new(ReadUntil::new(this, None, Kind::Line))
    } else {
        operations::new(ByMethod::new(this, Kind::Line))
    }
});
one_argument!(set_exception, Reader, "StreamReader.set_exception", exc, |_, reader, exception| {
    nothing(reader.set_exception(&exception))
});
one_argument!(set_transport, Reader, "StreamReader.set_transport", transport, |_, reader, transport| {
    if !reader.transport.is_empty() {
        return Err(pyo3::exceptions::PyAssertionError::with_text("Transport already set").into());
    }
    reader.transport.set(Some(transport).filter(|transport| !transport.is_none()));
    Ok(Object::none())
});
one_argument!(
    replace_transport,
    Reader,
    "StreamReader._replace_transport",
    transport,
    |_, reader, transport| {
        if reader.transport.is_empty() {
            return Err(pyo3::exceptions::PyAssertionError::with_text("Transport not set").into());
        }
        reader.transport.put(transport);
        Ok(Object::none())
    }
);
one_argument!(wait_for_data, Reader, "StreamReader._wait_for_data", func_name, |this, _, name| {
    operations::new(WaitForData::new(this, &name))
});
one_argument!(feed_data, Reader, "StreamReader.feed_data", data, |_, reader, data| nothing(feed(
    reader, &data
)));
one_argument!(readexactly, Reader, "StreamReader.readexactly", n, |this, _, count| counts::read_exactly(
    this, count
));

/// `feed_data(data)` for anything that `bytearray.extend` takes.
fn feed(reader: &Reader, data: &Object) -> Result<()> {
    reader.ensure_open("feed_data after feed_eof")?;
    if !call::truth(data)? {
        return Ok(());
    }
    // SAFETY: reads the object's class.
    if unsafe { ffi::PyBytes_CheckExact(data.as_ptr()) } != 0 {
        return reader.feed(Data::Whole(data));
    }
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let copy = make::bytearray(py)?;
    copy.call_method1(Text("extend"), (data.bound(py),))?;
    reader.feed(Data::Passing(&copy.to_vec()))
}

/// The argument of a method that has at most one, by position or by the name `known`.
fn optional(args: &Args<'_>, method: &str, known: &Object) -> Result<Option<Object>> {
    let [named] = args.keywords(method, [known])?;
    if args.positional.len() > 1 {
        let given = args.positional.len() + 1;
        let text = format!("{method}() takes from 1 to 2 positional arguments but {given} were given");
        return Err(PyTypeError::with_text(text).into());
    }
    Ok(args.at(0).or(named))
}

unsafe extern "C" fn read(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, _), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let given = optional(&args, "StreamReader.read", &stdlib().names.n)?;
        counts::read(&this, given)
    })
}

unsafe extern "C" fn readuntil(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let ((this, _reader), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let separator = optional(&args, "StreamReader.readuntil", &stdlib().names.separator)?;
        operations::new(ReadUntil::new(&this, separator, Kind::Until))
    })
}

unsafe extern "C" fn iterate(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { Object::borrow(object) }))
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let (this, reader) = unsafe { this(object) };
        if is_plain(&this, reader) {
            operations::new(ReadUntil::new(&this, None, Kind::Next))
        } else {
            operations::new(ByMethod::new(&this, Kind::Next))
        }
    })
}

static mut METHODS: [ffi::PyMethodDef; 15] = [
    noargs(c"exception", exception, c"exception($self)\n--\n\nReturn what set_exception() was given, or None."),
    fastcall(c"set_exception", set_exception, c"set_exception($self, exc)\n--\n\nHave every read raise exc from now on."),
    fastcall(c"set_transport", set_transport, c"set_transport($self, transport)\n--\n\nSay which transport to pause when too much comes in."),
    noargs(c"feed_eof", feed_eof, c"feed_eof($self)\n--\n\nSay that no more data will come."),
    noargs(c"at_eof", at_eof, c"at_eof($self)\n--\n\nReturn True if the buffer is empty and feed_eof() was called."),
    fastcall(c"feed_data", feed_data, c"feed_data($self, data)\n--\n\nPut data at the end of the buffer."),
    noargs(c"readline", readline, c"readline($self)\n--\n\nRead up to and with the next newline, or to the end of the stream.\n\nA line longer than the limit is dropped, as far as it is there, and raises ValueError."),
    fastcall(c"readuntil", readuntil, c"readuntil($self, separator=b'\\n')\n--\n\nRead up to and with the next separator.\n\nRaises IncompleteReadError if the stream ends before it, and LimitOverrunError if there is more than the limit\nbefore it; the data then stays in the buffer."),
    fastcall(c"read", read, c"read($self, n=-1)\n--\n\nRead up to n bytes as soon as there are any, or everything to the end of the stream."),
    fastcall(c"readexactly", readexactly, c"readexactly($self, n)\n--\n\nRead exactly n bytes; raises IncompleteReadError if the stream ends before."),
    fastcall(c"_wait_for_data", wait_for_data, c"_wait_for_data($self, func_name)\n--\n\nWait until data or the end comes in."),
    fastcall(c"_replace_transport", replace_transport, c"_replace_transport($self, transport)\n--\n\nName another transport, after start_tls()."),
    noargs(c"_wakeup_waiter", wake, c"_wakeup_waiter($self)\n--\n\nHave the coroutine that waits go on."),
    noargs(c"_maybe_resume_transport", maybe_resume, c"_maybe_resume_transport($self)\n--\n\nHave a paused transport go on, if the buffer is within the limit."),
    ffi::PyMethodDef::zeroed(),
];

// SAFETY: the fields are of those types at those offsets.
static mut PROPERTIES: [ffi::PyGetSetDef; 11] = unsafe {
    [
        DICT,
        property(c"_buffer", buffer, Some(assign_buffer)),
        property(c"_limit", limit, Some(assign_limit)),
        slot_field(c"_loop", offset_of!(Reader, event_loop)),
        slot_field(c"_transport", offset_of!(Reader, transport)),
        slot_field(c"_exception", offset_of!(Reader, exception)),
        slot_field(c"_waiter", offset_of!(Reader, waiter)),
        slot_field(c"_source_traceback", offset_of!(Reader, source_traceback)),
        flag_field(c"_eof", offset_of!(Reader, eof)),
        flag_field(c"_paused", offset_of!(Reader, paused)),
        NO_PROPERTY,
    ]
};

/// Makes the class; called by the module's initialisation.
pub(super) fn initialise() -> Result<*mut ffi::PyTypeObject> {
    let slots = vec![
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_init, init as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_am_aiter, iterate as *mut c_void),
        slot(ffi::Py_am_anext, next as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
    ];
    let blueprint = Blueprint {
        name: c"tulipa._tulipa.StreamReader",
        doc: c"StreamReader(limit=65536, loop=None)\n--\n\nThe reading end of a stream: what has come in, to be read in pieces, lines or all.",
        offsets: Some((offset_of!(Reader, dict), offset_of!(Reader, weak_references))),
        slots,
        watched: &["feed_data", "feed_eof", "set_exception", "exception", "read", "readline", "readuntil",
            "_wait_for_data", "_wakeup_waiter", "_maybe_resume_transport"],
    };
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe { CLASS.make::<Reader>((&raw mut ffi::PyBaseObject_Type).cast(), blueprint) }?;
    Ok(CLASS.class())
}
