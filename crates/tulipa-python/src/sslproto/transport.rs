//! The class of SSLTransport: what the program's protocol is given, `asyncio.Transport` over an SSLProtocol.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use pyo3::exceptions::{PyAttributeError, PyNotImplementedError, PyResourceWarning, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::library::Session;
use super::machine::{Machine, Marked};
use super::protocol::{Callback, bound, machine_of, number};
use super::{life, reading, writing};
use crate::ffi::args::Args;
use crate::ffi::attached::py;
use crate::ffi::class::{
    DICT, NO_PROPERTY, extension_offset, fastcall, new_class, noargs, onearg, property, slot, with_attributes,
};
use crate::ffi::entry::{getter, method, nothing};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Once, Result, Slot, call};
use crate::futures::class::preserving_exception;
use crate::futures::methods::boolean;
use crate::gc;
use crate::stdlib::stdlib;
use crate::transports::{self, Chunk};

/// What an SSLTransport holds behind the bytes of `asyncio.Transport`.
struct Face {
    protocol: Slot,
    /// `__dict__` and weak references, where CPython's offsets point.
    dict: Cell<*mut ffi::PyObject>,
    weak_references: Cell<*mut ffi::PyObject>,
    /// Closed, or closing.
    closed: Cell<bool>,
}

/// The class, and where its instances' extension begins.
struct Layout {
    class: *mut ffi::PyTypeObject,
    offset: usize,
}

// SAFETY: the class lives for ever, and the offset never changes.
static LAYOUT: Once<Layout> = unsafe { Once::new() };

#[inline]
fn layout() -> &'static Layout {
    LAYOUT.get()
}

/// Makes the class; called by the module's initialisation.
pub(super) fn initialise() -> Result<*mut ffi::PyTypeObject> {
    LAYOUT
        .get_or_make(|| {
            let base = &stdlib().abstract_transport;
            let offset = extension_offset(base.as_ptr().cast());
            let class = make(base, offset)?.into_ptr().cast();
            Ok(Layout { class, offset })
        })
        .map(|layout| layout.class)
}

fn make(base: &Object, offset: usize) -> Result<Object> {
    let members = with_attributes(
        offset + std::mem::offset_of!(Face, dict),
        offset + std::mem::offset_of!(Face, weak_references),
    );
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(ffi::Py_tp_doc, c"A TLS connection, as asyncio's own transport is.".as_ptr().cast_mut().cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let size = offset + size_of::<Face>();
    // SAFETY: the slots are of the documented types, the size covers base and extension, everything is static.
    unsafe { new_class(c"tulipa._tulipa.SSLTransport", base.as_ptr(), size, flags, slots) }
}

/// The transport of a protocol.
pub(super) fn new(protocol: &Object) -> Result<Object> {
    let layout = layout();
    // SAFETY: the class is ours and collected.
    let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(layout.class, 0)) }?;
    let face = Face {
        protocol: Slot::empty(),
        dict: Cell::new(std::ptr::null_mut()),
        weak_references: Cell::new(std::ptr::null_mut()),
        closed: Cell::new(false),
    };
    face.protocol.put(protocol.clone());
    // SAFETY: the class's size covers the extension.
    unsafe { object.as_ptr().byte_add(layout.offset).cast::<Face>().write(face) };
    Ok(object)
}

/// Says that a transport is not to be warned of any more; None is let pass.
pub(super) fn mark_closed(object: &Object) {
    if object.class() == layout().class {
        // SAFETY: checked.
        unsafe { Face::of(object.as_ptr()) }.closed.set(true);
    }
}

impl Face {
    /// # Safety
    /// `object` is an SSLTransport and outlives the use of the result.
    #[inline]
    unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: written by `new`.
        unsafe { &*object.byte_add(layout().offset).cast::<Self>() }
    }
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data.
    unsafe {
        let face = Face::of(object);
        gc::visit_all(object, visit, data, |each| {
            each(face.dict.get());
            each(face.protocol.as_ptr());
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    let face = unsafe { Face::of(object) };
    face.protocol.set(None);
    gc::drop_dict(&face.dict);
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still; a finalizer that revives it is obeyed.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return;
    }
    // SAFETY: nobody else sees the object from here on.
    unsafe {
        gc::hide(object);
        clear(object);
        std::ptr::drop_in_place(object.byte_add(layout().offset).cast::<Face>());
        gc::free(object);
    }
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let (transport, face) = unsafe { (Object::borrow(object), Face::of(object)) };
    if face.closed.replace(true) {
        return;
    }
    preserving_exception(|| {
        let py = py();
        // The text by which warnings filters know it.
        let text = "unclosed transport <asyncio._SSLProtocolTransport object>";
        let category = py.get_type::<PyResourceWarning>();
        if let Err(error) = stdlib().warn.bound(py).call1((Text(text), category)) {
            unraisable(error.into(), &transport);
        }
    });
}

/// What a method is called on.
struct This {
    protocol: Object,
}

impl This {
    #[inline]
    fn machine(&self) -> &Machine {
        machine_of(&self.protocol)
    }
}

/// What a method is called on; `attribute` is what asyncio's transport would look for there. Closing twice takes the
/// protocol away, as asyncio does to end a reference cycle.
///
/// # Safety
/// `object` is an SSLTransport, live for the entry point's run.
#[inline]
unsafe fn this(object: *mut ffi::PyObject, attribute: &str) -> Result<This> {
    // SAFETY: passed on.
    let protocol = unsafe { Face::of(object) }.protocol.get();
    let gone = || PyAttributeError::with_text(format!("'NoneType' object has no attribute '{attribute}'"));
    Ok(This { protocol: protocol.ok_or_else(gone)? })
}

/// Defines an entry point without arguments that cannot do without the protocol.
macro_rules! protocol_method {
    ($name:ident, $attribute:literal, $body:expr) => {
        unsafe extern "C" fn $name(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
            enter(|_| {
                // SAFETY: called on an instance.
                let this = unsafe { this(object, $attribute) }?;
                let body: fn(&This) -> Result<Object> = $body;
                body(&this)
            })
        }
    };
}

/// Defines one likewise, with the arguments of a fast call.
macro_rules! protocol_method_with {
    ($name:ident, $attribute:literal, $body:expr) => {
        unsafe extern "C" fn $name(
            object: *mut ffi::PyObject,
            arguments: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            enter(|_| {
                // SAFETY: called on an instance, with this call's arguments.
                let (this, args) = unsafe { (this(object, $attribute)?, Args::new(arguments, count, names)) };
                let body: fn(&This, &Args<'_>) -> Result<Object> = $body;
                body(&this, &args)
            })
        }
    };
}

fn pair(marks: &Marked) -> Result<Object> {
    if let Some(given) = marks.given.get() {
        return Ok(given);
    }
    let marks = marks.counts.get();
    let (low, high) = (make::int(py(), marks.low)?, make::int(py(), marks.high)?);
    Ok(make::tuple(py(), [low, high])?.into_any().into())
}

protocol_method!(get_protocol, "_app_protocol", |this| Ok(this.machine().app_protocol.or_none()));
method!(is_closing, Face, |_, face| {
    if face.closed.get() {
        return Ok(boolean(true));
    }
    // From 3.14 on the transport below plays a part.
    #[cfg(Py_3_14)]
    if let Some(protocol) = face.protocol.get() {
        return Ok(boolean(super::lower::is_closing(machine_of(&protocol))?));
    }
    Ok(boolean(false))
});
method!(close, Face, |_, face| {
    if face.closed.replace(true) {
        face.protocol.set(None);
    } else if let Some(protocol) = face.protocol.get() {
        life::start_shutdown(&protocol, machine_of(&protocol))?;
    }
    Ok(Object::none())
});
method!(abort, Face, |_, face| nothing(close_by_force(face, &Object::none())));
method!(write_eof, Face, |_, _| Err(PyNotImplementedError::new_err(()).into()));
method!(can_write_eof, Face, |_, _| Ok(boolean(false)));

fn close_by_force(face: &Face, error: &Object) -> Result<()> {
    face.closed.set(true);
    match face.protocol.get() {
        Some(protocol) => life::abort(&protocol, machine_of(&protocol), error),
        None => Ok(()),
    }
}

protocol_method!(is_reading, "_app_reading_paused", |this| Ok(boolean(
    !this.machine().app_reading_paused.get()
)));
protocol_method!(pause_reading, "_pause_reading", |this| {
    this.machine().app_reading_paused.set(true);
    Ok(Object::none())
});
protocol_method!(resume_reading, "_resume_reading", |this| {
    if this.machine().app_reading_paused.replace(false) {
        let resume = bound(&this.protocol, Callback::Resumed)?;
        this.machine().call_soon(&[&resume])?;
    }
    Ok(Object::none())
});
protocol_method!(get_write_limits, "_outgoing_low_water", |this| pair(&this.machine().outgoing_marks));
protocol_method!(get_read_limits, "_incoming_low_water", |this| pair(&this.machine().incoming_marks));
protocol_method!(get_write_size, "_get_write_buffer_size", |this| {
    let machine = this.machine();
    if machine.listed.get() && !machine.lower_full.get() {
        writing::flush_scheduled(&this.protocol, machine)?;
    }
    number(machine.write_buffer_size()?)
});
protocol_method!(get_read_size, "_get_read_buffer_size", |this| {
    let session = this.machine().session()?;
    number(Session::size_of(&session.incoming)?)
});

unsafe extern "C" fn write(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: this call's own arguments.
        let args = unsafe { Args::new(arguments, count, names) };
        let data = args.sole("SSLTransport.write", &stdlib().names.data)?;
        let Some(chunk) = writing::chunk_of(&data)? else { return Ok(Object::none()) };
        // SAFETY: called on an instance.
        let this = unsafe { this(object, "_write_appdata") }?;
        nothing(writing::write(&this.protocol, this.machine(), chunk))
    })
}
protocol_method_with!(write_lines, "_write_appdata", |this, args| {
    let lines = args.sole("SSLTransport.writelines", &stdlib().names.list_of_data)?;
    nothing(writing::write_lines(&this.protocol, this.machine(), &lines))
});
protocol_method_with!(set_protocol, "_set_app_protocol", |this, args| {
    let protocol = args.sole("SSLTransport.set_protocol", &stdlib().names.protocol)?;
    nothing(super::set_app_protocol(this.machine(), protocol))
});
protocol_method_with!(get_extra_info, "_get_extra_info", |this, args| {
    let [name, default] = two(args, "get_extra_info", ["name", "default"])?;
    let name = name.ok_or_else(|| {
        PyTypeError::with_text("get_extra_info() missing 1 required positional argument: 'name'")
    })?;
    extra_info(this.machine(), &name, &default.unwrap_or_else(Object::none))
});
protocol_method_with!(set_write_limits, "_set_write_buffer_limits", |this, args| {
    set_marks(&this.machine().outgoing_marks, args, "set_write_buffer_limits", super::WRITE_MARK)?;
    nothing(writing::control_app(&this.protocol, this.machine()))
});
protocol_method_with!(set_read_limits, "_set_read_buffer_limits", |this, args| {
    set_marks(&this.machine().incoming_marks, args, "set_read_buffer_limits", super::READ_MARK)?;
    nothing(reading::control_lower(this.machine()))
});

/// Up to two arguments, by position or by name.
fn two(args: &Args<'_>, method: &str, names: [&str; 2]) -> Result<[Option<Object>; 2]> {
    let names = make::names(py(), names)?;
    args.optional(&format!("_SSLProtocolTransport.{method}"), [&names[0], &names[1]])
}

fn set_marks(marks: &Marked, args: &Args<'_>, method: &str, default: &str) -> Result<()> {
    let [high, low] = two(args, method, ["high", "low"])?;
    super::set_marks(marks, high.as_ref(), low.as_ref(), default)
}

/// What is known of TLS, else what the transport below knows.
fn extra_info(machine: &Machine, name: &Object, default: &Object) -> Result<Object> {
    let extra = machine.extra.or_none().bound(py());
    if extra.contains(name.bound(py()))? {
        return Ok(extra.get_item(name.bound(py()))?.into());
    }
    match machine.lower.get() {
        None => Ok(default.clone()),
        Some(lower) => {
            let arguments = (name.bound(py()), default.bound(py()));
            Ok(lower.bound(py()).call_method1(Text("get_extra_info"), arguments)?.into())
        }
    }
}

unsafe extern "C" fn force_close(
    object: *mut ffi::PyObject,
    error: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let (face, error) = unsafe { (Face::of(object), Object::borrow(error)) };
        nothing(close_by_force(face, &error))
    })
}

unsafe extern "C" fn append_backlog(
    object: *mut ffi::PyObject,
    data: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let (this, data) = unsafe { (this(object, "_write_backlog")?, Object::borrow(data)) };
        this.machine().backlog.borrow_mut().append(Chunk(transports::copy_bytes(&data)?));
        Ok(Object::none())
    })
}

/// The context in which the protocol above a native TLS transport is called.
pub(super) fn surroundings(transport: &Object) -> Option<Object> {
    if transport.class() != layout().class {
        return None;
    }
    // SAFETY: just checked; the reference keeps it alive.
    let protocol = unsafe { Face::of(transport.as_ptr()) }.protocol.get()?;
    machine_of(&protocol).surroundings.get()
}

/// What the machine has, or None without one.
fn from_machine(face: &Face, take: impl FnOnce(&Machine) -> Object) -> Object {
    face.protocol.get().map_or_else(Object::none, |protocol| take(machine_of(&protocol)))
}

getter!(event_loop, Face, |face| Ok(from_machine(face, |machine| machine.event_loop.or_none())));
getter!(protocol, Face, |face| Ok(face.protocol.or_none()));
getter!(context, Face, |face| Ok(from_machine(face, |machine| machine.context.or_none())));
getter!(closed, Face, |face| Ok(boolean(face.closed.get())));
getter!(protocol_paused, Face, |face| Ok(from_machine(face, |machine| boolean(
    machine.app_writing_paused.get()
))));
getter!(start_tls_compatible, Face, |_| Ok(boolean(true)));
getter!(sendfile_compatible, Face, |_| Ok(stdlib()
    .sendfile_mode
    .bound(py())
    .getattr(Text("FALLBACK"))?
    .into()));

unsafe extern "C" fn set_closed(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (face, value) = unsafe { (Face::of(object), Object::borrow_opt(value)) };
        let value = value.ok_or_else(|| PyAttributeError::with_text("cannot delete attribute"))?;
        face.closed.set(call::truth(&value)?);
        Ok(())
    })
}

static mut METHODS: [ffi::PyMethodDef; 22] = [
    fastcall(c"write", write, c"write($self, data)\n--\n\nWrite bytes; they are encrypted and sent at the end of the loop's iteration at the latest."),
    fastcall(c"writelines", write_lines, c"writelines($self, list_of_data)\n--\n\nWrite a list of bytes objects."),
    fastcall(
        c"get_extra_info",
        get_extra_info,
        c"get_extra_info($self, name, default=None)\n--\n\nReturn what is known of the session or the transport below.",
    ),
    fastcall(c"set_protocol", set_protocol, c"set_protocol($self, protocol)\n--\n\nSet another protocol."),
    noargs(c"get_protocol", get_protocol, c"Return the current protocol."),
    noargs(c"is_closing", is_closing, c"Return True if the transport is closing or closed."),
    noargs(c"close", close, c"Close the transport, after what was written has been sent."),
    noargs(c"abort", abort, c"Close the transport at once; what was not sent is lost."),
    noargs(c"is_reading", is_reading, c"Return True if data_received() may be called."),
    noargs(c"pause_reading", pause_reading, c"Stop calling data_received()."),
    noargs(c"resume_reading", resume_reading, c"Go on calling data_received()."),
    noargs(c"write_eof", write_eof, c"Not implemented: the halves of a TLS connection close together."),
    noargs(c"can_write_eof", can_write_eof, c"Return False: the halves of a TLS connection close together."),
    noargs(c"get_write_buffer_size", get_write_size, c"Return how many bytes wait to be sent."),
    noargs(c"get_write_buffer_limits", get_write_limits, c"Return the (low, high) water marks, in bytes."),
    fastcall(
        c"set_write_buffer_limits",
        set_write_limits,
        c"set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the water marks in bytes: pause_writing() is called at high, resume_writing() at low.",
    ),
    noargs(c"get_read_buffer_size", get_read_size, c"Return how many bytes wait to be decrypted."),
    noargs(
        c"get_read_buffer_limits",
        get_read_limits,
        c"Return the (low, high) water marks of reading, in bytes.",
    ),
    fastcall(
        c"set_read_buffer_limits",
        set_read_limits,
        c"set_read_buffer_limits($self, high=None, low=None)\n--\n\nSet the water marks in bytes: the transport below pauses at high, and resumes at low.",
    ),
    onearg(c"_force_close", force_close, c"Close at once because of an exception."),
    onearg(c"_test__append_write_backlog", append_backlog, c"Add data to what waits to be encrypted."),
    ffi::PyMethodDef::zeroed(),
];

static mut PROPERTIES: [ffi::PyGetSetDef; 9] = [
    DICT,
    property(c"_loop", event_loop, None),
    property(c"_ssl_protocol", protocol, None),
    property(c"_sslcontext", context, None),
    property(c"_closed", closed, Some(set_closed)),
    property(c"_protocol_paused", protocol_paused, None),
    property(c"_start_tls_compatible", start_tls_compatible, None),
    property(c"_sendfile_compatible", sendfile_compatible, None),
    NO_PROPERTY,
];
