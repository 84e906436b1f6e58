//! The class of SSLProtocol: `asyncio.BufferedProtocol` with a native extension, over any transport.

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::machine::{Machine, member};
use super::{life, reading, writing};
use crate::ffi::attached::py;
use crate::ffi::buffer::Buffer;
use crate::ffi::class::{
    DICT, NO_PROPERTY, extension_offset, fastcall, new_class, noargs, property, slot, with_attributes,
};
use crate::ffi::entry::{getter, method, nothing, one_argument};
use crate::ffi::make;
use crate::ffi::{Object, Once, Result};
use crate::futures::methods::boolean;
use crate::gc;
use crate::stdlib::stdlib;

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

/// Whether a protocol is exactly this class.
#[inline]
pub(crate) fn is_protocol(object: &Object) -> bool {
    object.class() == layout().class
}

/// Makes the class; called by the module's initialisation.
pub(super) fn initialise() -> Result<*mut ffi::PyTypeObject> {
    LAYOUT
        .get_or_make(|| {
            let base = &stdlib().buffered_protocol;
            let offset = extension_offset(base.as_ptr().cast());
            let class = make(base, offset)?.into_ptr().cast();
            Ok(Layout { class, offset })
        })
        .map(|layout| layout.class)
}

fn make(base: &Object, offset: usize) -> Result<Object> {
    let members = with_attributes(
        offset + std::mem::offset_of!(Machine, dict),
        offset + std::mem::offset_of!(Machine, weak_references),
    );
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(
            ffi::Py_tp_doc,
            c"TLS over a transport, as asyncio's own SSLProtocol speaks it.".as_ptr().cast_mut().cast(),
        ),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let size = offset + size_of::<Machine>();
    // SAFETY: the slots are of the documented types, the size covers base and extension, everything is static.
    unsafe { new_class(c"tulipa._tulipa.SSLProtocol", base.as_ptr(), size, flags, slots) }
}

/// A protocol without a session.
pub(super) fn allocate() -> Result<Object> {
    let layout = layout();
    // SAFETY: the class is ours and collected.
    let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(layout.class, 0)) }?;
    // SAFETY: the class's size covers the extension.
    unsafe { object.as_ptr().byte_add(layout.offset).cast::<Machine>().write(Machine::new()) };
    Ok(object)
}

impl Machine {
    /// The extension of a protocol.
    ///
    /// # Safety
    /// `object` is an SSLProtocol and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: written by `allocate`.
        unsafe { &*object.byte_add(layout().offset).cast::<Self>() }
    }
}

/// The extension of an object that is known to be of this class.
#[inline]
pub(super) fn machine_of(object: &Object) -> &Machine {
    assert!(is_protocol(object), "an SSLProtocol");
    // SAFETY: checked, and the argument keeps it alive.
    unsafe { Machine::of(object.as_ptr()) }
}

/// Ciphertext has come in for a protocol of this class.
#[inline]
pub(crate) fn received(this: &Object, data: &[u8]) -> Result<()> {
    reading::received(this, machine_of(this), data)
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data.
    unsafe {
        let machine = Machine::of(object);
        gc::visit_all(object, visit, data, |each| {
            each(machine.dict.get());
            for slot in machine.slots() {
                each(slot.as_ptr());
            }
            machine.visit_session(each);
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    let machine = unsafe { Machine::of(object) };
    // It lies in the loop, which the slot keeps alive.
    machine.core.set(None);
    for slot in machine.slots() {
        slot.set(None);
    }
    machine.set_session(None);
    gc::drop_dict(&machine.dict);
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: nobody else sees the object from here on.
    unsafe {
        gc::hide(object);
        clear(object);
        std::ptr::drop_in_place(object.byte_add(layout().offset).cast::<Machine>());
        gc::free(object);
    }
}

one_argument!(
    connection_made,
    Machine,
    "SSLProtocol.connection_made",
    transport,
    |this, machine, transport| nothing(life::connection_made(this, machine, transport))
);
one_argument!(connection_lost, Machine, "SSLProtocol.connection_lost", exc, |_, machine, error| nothing(
    life::connection_lost(machine, &error)
));
method!(eof_received, Machine, |this, machine| {
    let keep_open = life::eof_received(this, machine)?;
    Ok(if keep_open { boolean(true) } else { Object::none() })
});
method!(pause_writing, Machine, |_, machine| {
    machine.lower_full.set(true);
    Ok(Object::none())
});
method!(resume_writing, Machine, |this, machine| nothing(writing::resume(this, machine)));
one_argument!(get_buffer, Machine, "SSLProtocol.get_buffer", sizehint, |_, machine, hint| own_buffer(
    machine, &hint
));
one_argument!(buffer_updated, Machine, "SSLProtocol.buffer_updated", nbytes, |this, machine, count| {
    let count: usize = count.bound(py()).extract()?;
    let lent = Buffer::readable(&machine.buffer.or_none())?;
    let data = lent.bytes();
    let count = count.min(data.len());
    nothing(reading::received(this, machine, &data[..count]))
});
method!(get_write_buffer_size, Machine, |this, machine| {
    if machine.listed.get() && !machine.lower_full.get() {
        writing::flush_scheduled(this, machine)?;
    }
    number(machine.write_buffer_size()?)
});
method!(get_read_buffer_size, Machine, |_, machine| {
    let session = machine.session()?;
    number(super::library::Session::size_of(&session.incoming)?)
});
method!(handshake_timed_out, Machine, |this, machine| nothing(life::handshake_timed_out(this, machine)));
method!(shutdown_timed_out, Machine, |_, machine| nothing(life::shutdown_timed_out(machine)));
method!(do_read, Machine, |this, machine| nothing(reading::read(this, machine)));
method!(resumed, Machine, |this, machine| nothing(reading::resumed(this, machine)));

pub(super) fn number(size: usize) -> Result<Object> {
    // SAFETY: a new reference or null.
    unsafe { Object::steal(ffi::PyLong_FromSize_t(size)) }
}

/// How much a transport that is not native receives at once, asyncio's figure.
const OWN_BUFFER: usize = 256 * 1024;

/// The buffer for a transport that is not native, which may keep it while others receive: so not the loop's.
fn own_buffer(machine: &Machine, hint: &Object) -> Result<Object> {
    let py = py();
    let hint: isize = hint.bound(py).extract()?;
    let wanted = usize::try_from(hint).ok().filter(|size| (1..=OWN_BUFFER).contains(size));
    let wanted = wanted.unwrap_or(OWN_BUFFER);
    if let Some(buffer) = machine.buffer.get()
        && buffer.bound(py).len()? >= wanted
    {
        return Ok(buffer);
    }
    let bytes = make::bytearray(py)?;
    bytes.resize(wanted)?;
    // SAFETY: a live object.
    let view = unsafe { Object::steal(ffi::PyMemoryView_FromObject(bytes.as_ptr())) }?;
    machine.buffer.put(view.clone());
    Ok(view)
}

/// What the loop is asked to call later.
#[derive(Clone, Copy)]
pub(super) enum Callback {
    HandshakeTimeout,
    ShutdownTimeout,
    DoRead,
    Resumed,
}

/// A method of `this` as a callable.
pub(super) fn bound(this: &Object, callback: Callback) -> Result<Object> {
    let definition = match callback {
        Callback::HandshakeTimeout => &raw mut HANDSHAKE_TIMEOUT,
        Callback::ShutdownTimeout => &raw mut SHUTDOWN_TIMEOUT,
        Callback::DoRead => &raw mut DO_READ,
        Callback::Resumed => &raw mut RESUMED,
    };
    // SAFETY: the definitions are static; the method owns a reference to its object.
    unsafe { Object::steal(ffi::PyCFunction_New(definition, this.as_ptr())) }
}

static mut HANDSHAKE_TIMEOUT: ffi::PyMethodDef =
    noargs(c"_check_handshake_timeout", handshake_timed_out, c"Give up on a handshake that takes too long.");
static mut SHUTDOWN_TIMEOUT: ffi::PyMethodDef =
    noargs(c"_check_shutdown_timeout", shutdown_timed_out, c"Give up on a peer that does not say good-bye.");
static mut DO_READ: ffi::PyMethodDef = noargs(c"_do_read", do_read, c"Read what has come in.");
static mut RESUMED: ffi::PyMethodDef = noargs(c"resume", resumed, c"Go on reading.");

static mut METHODS: [ffi::PyMethodDef; 10] = [
    fastcall(
        c"connection_made",
        connection_made,
        c"connection_made($self, transport)\n--\n\nBegin the handshake over a transport.",
    ),
    fastcall(
        c"connection_lost",
        connection_lost,
        c"connection_lost($self, exc)\n--\n\nThe transport is gone.",
    ),
    fastcall(
        c"get_buffer",
        get_buffer,
        c"get_buffer($self, sizehint)\n--\n\nReturn a buffer for ciphertext.",
    ),
    fastcall(
        c"buffer_updated",
        buffer_updated,
        c"buffer_updated($self, nbytes)\n--\n\nTake in so many bytes of the buffer.",
    ),
    noargs(c"eof_received", eof_received, c"The peer has ended the stream below."),
    noargs(c"pause_writing", pause_writing, c"The transport has had enough."),
    noargs(c"resume_writing", resume_writing, c"The transport takes data again."),
    noargs(
        c"_get_write_buffer_size",
        get_write_buffer_size,
        c"Return how many bytes wait to be handed to the transport.",
    ),
    noargs(c"_get_read_buffer_size", get_read_buffer_size, c"Return how many bytes wait to be decrypted."),
    ffi::PyMethodDef::zeroed(),
];

getter!(event_loop, Machine, |machine| Ok(machine.event_loop.or_none()));
getter!(context, Machine, |machine| Ok(machine.context.or_none()));
getter!(session, Machine, |machine| Ok(machine.session()?.object.clone()));
getter!(incoming, Machine, |machine| Ok(machine.session()?.incoming.clone()));
getter!(outgoing, Machine, |machine| Ok(machine.session()?.outgoing.clone()));
getter!(lower, Machine, |machine| Ok(machine.lower.or_none()));
getter!(app_protocol, Machine, |machine| Ok(machine.app_protocol.or_none()));
getter!(app_transport, Machine, |machine| Ok(machine.app_transport.or_none()));
getter!(extra, Machine, |machine| Ok(machine.extra.or_none()));
getter!(waiter, Machine, |machine| Ok(machine.waiter.or_none()));
getter!(state, Machine, |machine| Ok(member(py(), machine.state.get())?.into()));
getter!(server_side, Machine, |machine| Ok(boolean(machine.server_side.get())));
getter!(server_hostname, Machine, |machine| Ok(machine.server_hostname.or_none()));
getter!(handshake_timeout, Machine, |machine| Ok(machine.handshake_timeout.or_none()));
getter!(shutdown_timeout, Machine, |machine| Ok(machine.shutdown_timeout.or_none()));
getter!(lost, Machine, |machine| number(machine.lost.get()));
getter!(reading_paused, Machine, |machine| Ok(boolean(machine.app_reading_paused.get())));

static mut PROPERTIES: [ffi::PyGetSetDef; 19] = [
    DICT,
    property(c"_loop", event_loop, None),
    property(c"_sslcontext", context, None),
    property(c"_sslobj", session, None),
    property(c"_incoming", incoming, None),
    property(c"_outgoing", outgoing, None),
    property(c"_transport", lower, None),
    property(c"_app_protocol", app_protocol, None),
    property(c"_app_transport", app_transport, None),
    property(c"_extra", extra, None),
    property(c"_waiter", waiter, None),
    property(c"_state", state, None),
    property(c"_server_side", server_side, None),
    property(c"_server_hostname", server_hostname, None),
    property(c"_ssl_handshake_timeout", handshake_timeout, None),
    property(c"_ssl_shutdown_timeout", shutdown_timeout, None),
    property(c"_conn_lost", lost, None),
    property(c"_app_reading_paused", reading_paused, None),
    NO_PROPERTY,
];
