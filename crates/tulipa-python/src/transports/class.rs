//! The class objects: `asyncio.Transport`, and what pipes have of it, with a native extension.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use pyo3::exceptions::PyResourceWarning;
use pyo3::ffi;
use pyo3::prelude::*;

use super::kind::Kind;
use super::life;
use super::methods::{METHODS, PROPERTIES};
use super::stream::Stream;
use super::{datagram_methods, pipe_methods};
use crate::ffi::class::{extension_offset, new_class, noargs, slot, with_attributes};
use crate::ffi::make::{self, Text};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Once, Result};
use crate::futures::class::preserving_exception;
use crate::gc;
use crate::stdlib::stdlib;

/// The classes, and where their instances' extension begins: the same place in all, behind the largest base.
struct Layout {
    stream: *mut ffi::PyTypeObject,
    read_pipe: *mut ffi::PyTypeObject,
    write_pipe: *mut ffi::PyTypeObject,
    datagram: *mut ffi::PyTypeObject,
    offset: usize,
}

// SAFETY: the classes live for ever, and the offset never changes.
static LAYOUT: Once<Layout> = unsafe { Once::new() };

#[inline]
fn layout() -> &'static Layout {
    LAYOUT.get()
}

/// Whether `object` is a transport of any kind. The classes have no subclasses.
#[inline]
pub(super) fn is_stream(object: &Object) -> bool {
    let (class, layout) = (object.class(), layout());
    class == layout.stream
        || class == layout.datagram
        || class == layout.read_pipe
        || class == layout.write_pipe
}

/// Whether `object` is a transport through whose socket a file is to be sent.
pub(super) fn lends_its_socket(object: &Object) -> bool {
    // SAFETY: checked by the first half.
    is_stream(object) && !unsafe { Stream::of(object.as_ptr()) }.empty_waiter.is_empty()
}

/// The classes by name, made if need be; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<[(&'static str, *mut ffi::PyTypeObject); 4]> {
    let layout = LAYOUT.get_or_make(|| make_all(py))?;
    Ok([
        ("StreamTransport", layout.stream),
        ("ReadPipeTransport", layout.read_pipe),
        ("WritePipeTransport", layout.write_pipe),
        ("DatagramTransport", layout.datagram),
    ])
}

fn make_all(py: Python<'_>) -> Result<Layout> {
    let (both, reading) = (&stdlib().abstract_transport, &stdlib().read_transport);
    let offset = extension_offset(both.as_ptr().cast()).max(extension_offset(reading.as_ptr().cast()));
    let stream = Definition {
        name: c"tulipa._tulipa.StreamTransport",
        doc: c"A stream over a socket, as asyncio's own transport is.",
        base: both,
        repr: super::methods::repr,
        methods: (&raw mut METHODS).cast(),
        properties: (&raw mut PROPERTIES).cast(),
    };
    let read_pipe = Definition {
        name: c"tulipa._tulipa.ReadPipeTransport",
        doc: c"The end of a pipe that is read.",
        base: reading,
        repr: pipe_methods::repr,
        methods: (&raw mut pipe_methods::READ_METHODS).cast(),
        properties: (&raw mut pipe_methods::READ_PROPERTIES).cast(),
    };
    let write_pipe = Definition {
        name: c"tulipa._tulipa.WritePipeTransport",
        doc: c"The end of a pipe that is written to.",
        base: both,
        repr: pipe_methods::repr,
        methods: (&raw mut pipe_methods::WRITE_METHODS).cast(),
        properties: (&raw mut pipe_methods::WRITE_PROPERTIES).cast(),
    };
    let datagrams = [both.bound(py), stdlib().abstract_datagram_transport.bound(py)];
    let datagram = Definition {
        name: c"tulipa._tulipa.DatagramTransport",
        doc: c"Datagrams over a socket, as asyncio's own transport has them.",
        base: &make::tuple(py, datagrams)?.into_any().into(),
        repr: super::methods::repr,
        methods: (&raw mut datagram_methods::METHODS).cast(),
        properties: (&raw mut datagram_methods::PROPERTIES).cast(),
    };
    Ok(Layout {
        datagram: make(&datagram, offset)?.into_ptr().cast(),
        stream: make(&stream, offset)?.into_ptr().cast(),
        read_pipe: make(&read_pipe, offset)?.into_ptr().cast(),
        write_pipe: make(&write_pipe, offset)?.into_ptr().cast(),
        offset,
    })
}

/// What is each class's own.
struct Definition<'a> {
    name: &'static std::ffi::CStr,
    doc: &'static std::ffi::CStr,
    base: &'a Object,
    repr: ffi::reprfunc,
    methods: *mut c_void,
    properties: *mut c_void,
}

fn make(definition: &Definition<'_>, offset: usize) -> Result<Object> {
    let members = with_attributes(
        offset + std::mem::offset_of!(Stream, dict),
        offset + std::mem::offset_of!(Stream, weak_references),
    );
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, definition.repr as *mut c_void),
        slot(ffi::Py_tp_methods, definition.methods),
        slot(ffi::Py_tp_getset, definition.properties),
        slot(ffi::Py_tp_members, members.cast()),
        slot(ffi::Py_tp_doc, definition.doc.as_ptr().cast_mut().cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let size = offset + size_of::<Stream>();
    // SAFETY: the slots are of the documented types, the size covers base and extension, everything is static.
    unsafe { new_class(definition.name, definition.base.as_ptr(), size, flags, slots) }
}

/// A transport that is not connected to anything yet.
pub(super) fn allocate(kind: Kind) -> Result<Object> {
    let layout = layout();
    let class = match kind {
        Kind::Socket => layout.stream,
        Kind::ReadPipe => layout.read_pipe,
        Kind::WritePipe | Kind::WriteDevice => layout.write_pipe,
        Kind::Datagram => layout.datagram,
    };
    // SAFETY: the class is ours and collected.
    let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
    // SAFETY: the class's size covers the extension.
    unsafe { object.as_ptr().byte_add(layout.offset).cast::<Stream>().write(Stream::new()) };
    Ok(object)
}

impl Stream {
    /// The extension of a transport.
    ///
    /// # Safety
    /// `object` is an instance of one of the classes and outlives the use of the result.
    #[inline]
    pub(super) unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: written by `allocate`.
        unsafe { &*object.byte_add(layout().offset).cast::<Self>() }
    }
}

/// The transport of an extension.
pub(super) fn transport_of(stream: &Stream) -> NonNull<ffi::PyObject> {
    // SAFETY: every `Stream` lies behind the base of a transport, where `allocate` wrote it.
    unsafe { NonNull::from(stream).byte_sub(layout().offset).cast() }
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data.
    unsafe {
        let stream = Stream::of(object);
        gc::visit_all(object, visit, data, |each| {
            each(stream.dict.get());
            for slot in stream.slots() {
                each(slot.as_ptr());
            }
            if let Ok(state) = stream.state.try_borrow() {
                each(state.error().map_or(std::ptr::null_mut(), Object::as_ptr));
            }
            if let Some(datagram) = stream.datagram.get() {
                datagram.visit(each);
            }
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    let stream = unsafe { Stream::of(object) };
    for slot in stream.slots() {
        slot.set(None);
    }
    if let Some(datagram) = stream.datagram.get() {
        datagram.discard();
        datagram.address.set(None);
    }
    gc::drop_dict(&stream.dict);
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still; a finalizer that revives it is obeyed.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return;
    }
    // SAFETY: nobody else sees the object from here on, the loop included.
    unsafe {
        Stream::of(object).unwatch();
        gc::hide(object);
        clear(object);
        std::ptr::drop_in_place(object.byte_add(layout().offset).cast::<Stream>());
        gc::free(object);
    }
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let (transport, stream) = unsafe { (Object::borrow(object), Stream::of(object)) };
    if stream.fd.get() < 0 {
        return;
    }
    preserving_exception(|| {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        if let Err(raised) = warn_unclosed(py, &transport) {
            unraisable(raised, &transport);
        }
        if let Err(raised) = life::dispose(&transport, stream) {
            unraisable(raised, &transport);
        }
    });
}

fn warn_unclosed(py: Python<'_>, transport: &Object) -> Result<()> {
    let text = format!("unclosed transport {}", transport.bound(py).repr()?);
    let keywords = make::dict(py)?;
    keywords.set_item(Text("source"), transport.bound(py))?;
    let category = py.get_type::<PyResourceWarning>();
    // Looked up early: at the interpreter's end nothing can be imported any more.
    stdlib().warn.bound(py).call((Text(text), category), Some(&keywords))?;
    Ok(())
}

// The names under which the exception handler is told of a failure in a transport's own jobs.

pub(super) static mut READ_READY: ffi::PyMethodDef =
    noargs(c"_read_ready", read_ready, c"Read what has come in.");
pub(super) static mut OPENED: ffi::PyMethodDef = noargs(c"_start_reading", opened, c"Begin to read.");
pub(super) static mut CONNECTION_LOST: ffi::PyMethodDef =
    noargs(c"_call_connection_lost", connection_lost, c"Tell the protocol that the connection is lost.");

unsafe extern "C" fn read_ready(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    run(object, super::Event::Ready(tulipa::Readiness::READABLE))
}

unsafe extern "C" fn opened(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    run(object, super::Event::Opened)
}

unsafe extern "C" fn connection_lost(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run(object, super::Event::Lost)
}

fn run(object: *mut ffi::PyObject, event: super::Event) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: the methods are bound to transports.
        let transport = unsafe { Object::borrow(object) };
        life::run(&transport, event, None)?;
        Ok(Object::none())
    })
}
