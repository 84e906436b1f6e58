//! The methods and properties of DatagramTransport; most are the entry points of StreamTransport.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;

use super::datagram::{self, Datagram};
use super::methods::{
    abort, close, closing, event_loop, extra_property, fd, force_close, get_limits, get_protocol, get_size,
    high_water, is_closing, is_reading, lost, low_water, max_size, pause_reading, paused, protocol,
    protocol_paused, resume_reading, server, set_extra, set_limits, set_max_size, socket,
};
use super::opening;
use super::stream::Stream;
use crate::ffi::args::Args;
use crate::ffi::class::{DICT, NO_PROPERTY, fastcall, noargs, onearg, property};
use crate::ffi::entry::{getter, nothing, one_argument};
use crate::ffi::make::Exception;
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result};
use crate::stdlib::stdlib;

/// What the transport has beside a stream's part.
fn datagram(stream: &Stream) -> Result<&Datagram> {
    stream
        .datagram
        .get()
        .map(|datagram| &**datagram)
        .ok_or_else(|| PyTypeError::with_text("a transport that was never opened").into())
}

one_argument!(set_protocol, Stream, "DatagramTransport.set_protocol", protocol, |_, stream, protocol| {
    nothing(opening::set_protocol(stream, protocol))
});
getter!(address, Stream, |stream| Ok(datagram(stream)?.address.or_none()));

unsafe extern "C" fn resume(object: *mut ffi::PyObject, unused: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the same call.
    let answer = unsafe { resume_reading(object, unused) };
    enter(|_| {
        // SAFETY: the answer of a method: an object of our own, or null.
        let answer = unsafe { Object::steal(answer) }?;
        // SAFETY: called on an instance.
        let (transport, stream) = unsafe { (Object::borrow(object), Stream::of(object)) };
        if stream.wants_read() {
            datagram::tell_later(&transport, stream, datagram(stream)?);
        }
        Ok(answer)
    })
}

unsafe extern "C" fn send_to(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let (transport, stream, args) =
            unsafe { (Object::borrow(object), Stream::of(object), Args::new(arguments, count, names)) };
        let known = [&stdlib().names.data, &stdlib().names.addr];
        let [data, address] = args.keywords("DatagramTransport.sendto", known)?;
        if args.positional.len() > 2 {
            let given = args.positional.len() + 1;
            let text = format!(
                "DatagramTransport.sendto() takes from 2 to 3 positional arguments but {given} were given"
            );
            return Err(PyTypeError::with_text(text).into());
        }
        let Some(data) = args.at(0).or(data) else {
            let text = "DatagramTransport.sendto() missing 1 required positional argument: 'data'";
            return Err(PyTypeError::with_text(text).into());
        };
        let address = args.at(1).or(address);
        nothing(datagram::send_to(&transport, stream, datagram(stream)?, &data, address))
    })
}

pub(super) static mut METHODS: [ffi::PyMethodDef; 14] = [
    fastcall(
        c"sendto",
        send_to,
        c"sendto($self, data, addr=None)\n--\n\nSend a datagram to an address, or to the peer.",
    ),
    noargs(c"close", close, c"Close the transport, after what was written has been sent."),
    noargs(c"is_closing", is_closing, c"Return True if the transport is closing or closed."),
    noargs(c"abort", abort, c"Close the transport at once; what waits for room is lost."),
    noargs(c"pause_reading", pause_reading, c"Stop calling datagram_received()."),
    noargs(c"resume_reading", resume, c"Go on calling datagram_received()."),
    noargs(c"is_reading", is_reading, c"Return True if datagram_received() may be called."),
    noargs(c"get_protocol", get_protocol, c"Return the current protocol."),
    fastcall(c"set_protocol", set_protocol, c"set_protocol($self, protocol)\n--\n\nSet another protocol."),
    noargs(c"get_write_buffer_size", get_size, c"Return how many bytes wait to be sent."),
    noargs(c"get_write_buffer_limits", get_limits, c"Return the (low, high) water marks, in bytes."),
    fastcall(
        c"set_write_buffer_limits",
        set_limits,
        c"Set the water marks in bytes: pause_writing() is called above high, resume_writing() at low.",
    ),
    onearg(c"_force_close", force_close, c"Close at once because of an exception."),
    ffi::PyMethodDef::zeroed(),
];

pub(super) static mut PROPERTIES: [ffi::PyGetSetDef; 16] = [
    DICT,
    property(c"max_size", max_size, Some(set_max_size)),
    property(c"_address", address, None),
    property(c"_extra", extra_property, Some(set_extra)),
    property(c"_loop", event_loop, None),
    property(c"_protocol", protocol, None),
    property(c"_server", server, None),
    property(c"_sock", socket, None),
    property(c"_sock_fd", fd, None),
    property(c"_closing", closing, None),
    property(c"_paused", paused, None),
    property(c"_conn_lost", lost, None),
    property(c"_protocol_paused", protocol_paused, None),
    property(c"_high_water", high_water, None),
    property(c"_low_water", low_water, None),
    NO_PROPERTY,
];
