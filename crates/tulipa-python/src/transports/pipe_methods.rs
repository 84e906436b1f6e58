//! The methods and properties of the transports of pipes; most are the entry points of StreamTransport.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::PyAttributeError;
use pyo3::ffi;

use super::methods::{
    abort, can_write_eof, close, closing, event_loop, extra_property, fd, get_limits, get_protocol, get_size,
    high_water, is_closing, is_reading, lost, low_water, max_size, pause_reading, paused, protocol,
    protocol_paused, resume_reading, set_extra, set_limits, set_max_size,
};
use super::pipe;
use super::stream::Stream;
use super::{life, opening};
use crate::ffi::Object;
use crate::ffi::class::{DICT, NO_PROPERTY, fastcall, noargs, onearg, property};
use crate::ffi::entry::{getter, method, nothing, one_argument};
use crate::ffi::make::Exception;
use crate::ffi::raised::enter;

method!(write_eof, Stream, |transport, stream| nothing(life::close(transport, stream)));
one_argument!(write, Stream, "WritePipeTransport.write", data, |transport, stream, data| nothing(
    pipe::write(transport, stream, &data)
));
one_argument!(
    set_write_protocol,
    Stream,
    "WritePipeTransport.set_protocol",
    protocol,
    |_, stream, protocol| nothing(opening::set_protocol(stream, protocol))
);
one_argument!(
    set_read_protocol,
    Stream,
    "ReadPipeTransport.set_protocol",
    protocol,
    |_, stream, protocol| nothing(opening::set_protocol(stream, protocol))
);
getter!(pipe_property, Stream, |stream| {
    Ok(if stream.fd.get() < 0 { Object::none() } else { stream.socket.or_none() })
});

/// As in asyncio, who sets it to None says that the pipe is closed already, and need not be warned about.
unsafe extern "C" fn set_pipe(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (stream, value) = unsafe { (Stream::of(object), Object::borrow_opt(value)) };
        let value = value.ok_or_else(|| PyAttributeError::with_text("cannot delete attribute"))?;
        if value.is_none() {
            stream.forget_descriptor();
        } else {
            stream.socket.put(value);
        }
        Ok(())
    })
}

pub(super) unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let stream = unsafe { Stream::of(object) };
        Object::text(py, &pipe::description(stream))
    })
}

/// The bytes that come in from now on go to a native StreamReader without a call, until there is another protocol. The
/// one there is still learns of the end. What the reader cannot take is given to the protocol after all.
unsafe extern "C" fn feed(object: *mut ffi::PyObject, reader: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let (stream, reader) = unsafe { (Stream::of(object), Object::borrow(reader)) };
        stream.reader.put(reader);
        Ok(Object::none())
    })
}

pub(super) static mut READ_METHODS: [ffi::PyMethodDef; 9] = [
    onearg(c"_feed", feed, c"_feed($self, reader, /)\n--\n\nWrite what comes in into a native StreamReader."),
    noargs(c"close", close, c"Close the transport."),
    noargs(c"is_closing", is_closing, c"Return True if the transport is closing or closed."),
    noargs(c"pause_reading", pause_reading, c"Stop calling data_received()."),
    noargs(c"resume_reading", resume_reading, c"Go on calling data_received()."),
    noargs(c"is_reading", is_reading, c"Return True if data_received() may be called."),
    noargs(c"get_protocol", get_protocol, c"Return the current protocol."),
    fastcall(
        c"set_protocol",
        set_read_protocol,
        c"set_protocol($self, protocol)\n--\n\nSet another protocol.",
    ),
    ffi::PyMethodDef::zeroed(),
];

pub(super) static mut READ_PROPERTIES: [ffi::PyGetSetDef; 10] = [
    DICT,
    property(c"_extra", extra_property, Some(set_extra)),
    property(c"_loop", event_loop, None),
    property(c"_protocol", protocol, None),
    property(c"_pipe", pipe_property, Some(set_pipe)),
    property(c"_fileno", fd, None),
    property(c"_closing", closing, None),
    property(c"_paused", paused, None),
    property(c"max_size", max_size, Some(set_max_size)),
    NO_PROPERTY,
];

pub(super) static mut WRITE_METHODS: [ffi::PyMethodDef; 12] = [
    fastcall(
        c"write",
        write,
        c"write($self, data)\n--\n\nWrite bytes; what the pipe does not take at once waits.",
    ),
    noargs(c"close", close, c"Close the transport, after what was written has been sent."),
    noargs(c"is_closing", is_closing, c"Return True if the transport is closing or closed."),
    noargs(c"abort", abort, c"Close the transport at once; what was not sent is lost."),
    noargs(c"write_eof", write_eof, c"Close the transport, after what was written has been sent."),
    noargs(c"can_write_eof", can_write_eof, c"Return True: closing a pipe is its end of file."),
    noargs(c"get_protocol", get_protocol, c"Return the current protocol."),
    fastcall(
        c"set_protocol",
        set_write_protocol,
        c"set_protocol($self, protocol)\n--\n\nSet another protocol.",
    ),
    noargs(c"get_write_buffer_size", get_size, c"Return how many bytes wait to be sent."),
    noargs(c"get_write_buffer_limits", get_limits, c"Return the (low, high) water marks, in bytes."),
    fastcall(
        c"set_write_buffer_limits",
        set_limits,
        c"Set the water marks in bytes: pause_writing() is called above high, resume_writing() at low.",
    ),
    ffi::PyMethodDef::zeroed(),
];

pub(super) static mut WRITE_PROPERTIES: [ffi::PyGetSetDef; 12] = [
    DICT,
    property(c"_extra", extra_property, Some(set_extra)),
    property(c"_loop", event_loop, None),
    property(c"_protocol", protocol, None),
    property(c"_pipe", pipe_property, Some(set_pipe)),
    property(c"_fileno", fd, None),
    property(c"_closing", closing, None),
    property(c"_conn_lost", lost, None),
    property(c"_protocol_paused", protocol_paused, None),
    property(c"_high_water", high_water, None),
    property(c"_low_water", low_water, None),
    NO_PROPERTY,
];
