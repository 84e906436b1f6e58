//! The methods and properties of StreamTransport, as C entry points. Those of pipes are partly the same.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::stream::Pressure;

use super::kind::Kind;
use super::stream::Stream;
use super::{extra, life, opening, writing};
use crate::ffi::args::Args;
use crate::ffi::attached::py;
use crate::ffi::class::{DICT, NO_PROPERTY, fastcall, noargs, onearg, property};
use crate::ffi::entry::{getter, method, nothing, one_argument};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result};
use crate::futures::methods::boolean;
use crate::marks::{self, Cut};
use crate::stdlib::stdlib;

/// A number as a Python object.
pub(super) fn number<T: TryInto<i64>>(value: T) -> Result<Object> {
    Ok(make::int(py(), value)?.into_any().into())
}

method!(is_closing, Stream, |_, stream| Ok(boolean(stream.state.borrow().is_closing())));
method!(is_reading, Stream, |_, stream| Ok(boolean(stream.state.borrow().is_reading())));
method!(close, Stream, |transport, stream| nothing(life::close(transport, stream)));
method!(abort, Stream, |transport, stream| nothing(life::abort(transport, stream)));
method!(write_eof, Stream, |transport, stream| nothing(writing::write_eof(transport, stream)));
method!(can_write_eof, Stream, |_, _| Ok(boolean(true)));
method!(get_protocol, Stream, |_, stream| Ok(stream.protocol.or_none()));
method!(get_limits, Stream, |_, stream| {
    let (high, low) = stream.queue.borrow().limits();
    stream.limits.get().map_or_else(
        || Ok(make::tuple(py(), [make::int(py(), low)?, make::int(py(), high)?])?.into_any().into()),
        Ok,
    )
});
method!(get_size, Stream, |transport, stream| {
    // What waits for the end of the turn is not waiting for the peer.
    if !stream.blocked.get() {
        writing::flush(transport, stream)?;
    }
    let size = stream.queue.borrow().len();
    number(size)
});
method!(pause_reading, Stream, |transport, stream| {
    let paused = stream.state.borrow_mut().pause_reading();
    if paused {
        stream.rest();
        log(stream, "%r pauses reading", transport)?;
    }
    Ok(Object::none())
});
method!(resume_reading, Stream, |transport, stream| {
    let resumed = stream.state.borrow_mut().resume_reading();
    if resumed {
        stream.ensure_open_loop()?;
        stream.update_interest()?;
        log(stream, "%r resumes reading", transport)?;
    }
    Ok(Object::none())
});
method!(make_empty_waiter, Stream, |transport, stream| {
    if !stream.empty_waiter.is_empty() {
        return Err(PyRuntimeError::with_text("Empty waiter is already set").into());
    }
    if !stream.blocked.get() {
        writing::flush(transport, stream)?;
    }
    let waiter = stream.event_loop.or_none().bound(py()).call_method0(Text("create_future"))?;
    if stream.queue.borrow().is_empty() {
        waiter.call_method1(Text("set_result"), (py().None(),))?;
    }
    stream.empty_waiter.put(Object::from_bound(&waiter));
    Ok(waiter.into())
});
method!(reset_empty_waiter, Stream, |_, stream| {
    stream.empty_waiter.set(None);
    Ok(Object::none())
});

fn log(stream: &Stream, text: &str, transport: &Object) -> Result<()> {
    if stream.is_debug() {
        stdlib().logger.bound(py()).call_method1(Text("debug"), (Text(text), transport.bound(py())))?;
    }
    Ok(())
}

one_argument!(write, Stream, "StreamTransport.write", data, |transport, stream, data| nothing(
    writing::write(transport, stream, &data)
));
one_argument!(write_lines, Stream, "StreamTransport.writelines", list_of_data, |transport, stream, lines| {
    nothing(writing::write_lines(transport, stream, &lines))
});
one_argument!(set_protocol, Stream, "StreamTransport.set_protocol", protocol, |_, stream, protocol| {
    nothing(opening::set_protocol(stream, protocol))
});

pub(super) unsafe extern "C" fn force_close(
    object: *mut ffi::PyObject,
    exception: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a live argument.
        let (transport, stream, exception) =
            unsafe { (Object::borrow(object), Stream::of(object), Object::borrow(exception)) };
        nothing(life::force_close(&transport, stream, exception))
    })
}

pub(super) unsafe extern "C" fn set_limits(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with this call's arguments.
        let (transport, stream, args) =
            unsafe { (Object::borrow(object), Stream::of(object), Args::new(arguments, count, names)) };
        let [known_high, known_low] = make::names(py, ["high", "low"])?;
        let [high, low] = args.optional(SET_LIMITS, [&known_high, &known_low])?;
        let (high, low) = limits(stream, high, low)?;
        let pressure = stream.queue.borrow_mut().set_limits(high, low);
        if pressure == Pressure::Paused {
            writing::pause(&transport, stream)?;
        }
        Ok(Object::none())
    })
}

const SET_LIMITS: &str = "_FlowControlMixin.set_write_buffer_limits";

/// One of the water marks, `(low, high)`, as it was given.
fn limit(stream: &Stream, place: usize) -> Result<Object> {
    let (high, low) = stream.queue.borrow().limits();
    match stream.limits.get() {
        Some(limits) => Ok(limits.bound(py()).get_item(place)?.into()),
        None => number([low, high][place]),
    }
}

/// The water marks that asyncio derives from what was given, by Python's own arithmetic.
fn limits(stream: &Stream, high: Option<Object>, low: Option<Object>) -> Result<(usize, usize)> {
    let py = py();
    let given = |value: Option<Object>| value.filter(|value| !value.is_none()).map(|value| value.bound(py));
    let (high, low) = (given(high), given(low));
    let high = match (high, &low) {
        (Some(high), _) => high,
        (None, Some(low)) => low.mul(4)?,
        (None, None) => make::int(py, 64 * 1024)?.into_any(),
    };
    let low = low.map_or_else(|| high.floor_div(4), Ok)?;
    if !high.ge(&low)? || !low.ge(0)? {
        let text = format!("high ({}) must be >= low ({}) must be >= 0", high.repr()?, low.repr()?);
        return Err(PyValueError::with_text(text).into());
    }
    stream.limits.set(marks::shown(&low, &high)?);
    Ok((marks::count(&high, Cut::Down), marks::count(&low, Cut::Down)))
}

getter!(extra_property, Stream, |stream| extra::extra(py(), stream));
getter!(event_loop, Stream, |stream| Ok(stream.event_loop.or_none()));
getter!(protocol, Stream, |stream| Ok(stream.protocol.or_none()));
getter!(server, Stream, |stream| Ok(stream.server.or_none()));
getter!(socket, Stream, |stream| {
    if stream.fd.get() < 0 { Ok(Object::none()) } else { extra::python_socket(py(), stream) }
});
getter!(fd, Stream, |stream| number(stream.number.get()));
getter!(closing, Stream, |stream| Ok(boolean(stream.state.borrow().is_closing())));
getter!(paused, Stream, |stream| {
    let state = stream.state.borrow();
    Ok(boolean(!state.is_closing() && !state.is_reading()))
});
getter!(eof, Stream, |stream| Ok(boolean(stream.state.borrow().is_eof_written())));
getter!(lost, Stream, |stream| number(stream.lost.get()));
getter!(protocol_paused, Stream, |stream| Ok(boolean(stream.protocol_paused.get())));
getter!(high_water, Stream, |stream| limit(stream, 1));
getter!(low_water, Stream, |stream| limit(stream, 0));
getter!(max_size, Stream, |stream| number(stream.max_size.get()));
getter!(start_tls_compatible, Stream, |_| Ok(boolean(true)));
getter!(sendfile_compatible, Stream, |_| Ok(stdlib()
    .sendfile_mode
    .bound(py())
    .getattr(Text("TRY_NATIVE"))?
    .into()));

pub(super) unsafe extern "C" fn set_extra(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: called on an instance; null stands for `del`.
        let (stream, value) = unsafe { (Stream::of(object), Object::borrow_opt(value)) };
        let value = value.ok_or_else(|| PyAttributeError::with_text("cannot delete attribute"))?;
        stream.extra.put(value);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn set_max_size(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|py| {
        // SAFETY: called on an instance; null stands for `del`.
        let (stream, value) = unsafe { (Stream::of(object), Object::borrow_opt(value)) };
        let value = value.ok_or_else(|| PyAttributeError::with_text("cannot delete attribute"))?;
        stream.max_size.set(value.bound(py).extract()?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let stream = unsafe { Stream::of(object) };
        Object::text(py, &description(stream))
    })
}

fn description(stream: &Stream) -> String {
    let (fd, state, queue) = (stream.fd.get(), stream.state.borrow(), stream.queue.borrow());
    let name = if stream.kind.get() == Kind::Datagram { "DatagramTransport" } else { "StreamTransport" };
    let mut words = vec![name.to_owned()];
    if fd < 0 {
        words.push("closed".to_owned());
    } else if state.is_closing() {
        words.push("closing".to_owned());
    }
    words.push(format!("fd={}", stream.number.get()));
    if stream.core().is_some_and(|core| !core.is_closed()) {
        words.push(format!("read={}", if stream.wants_read() { "polling" } else { "idle" }));
        let write = if stream.blocked.get() { "polling" } else { "idle" };
        words.push(format!("write=<{write}, bufsize={}>", queue.len()));
    }
    format!("<{}>", words.join(" "))
}

pub(super) static mut METHODS: [ffi::PyMethodDef; 19] = [
    fastcall(c"write", write, c"write($self, data)\n--\n\nWrite bytes; they are sent at the end of the loop's iteration at the latest."),
    fastcall(c"writelines", write_lines, c"writelines($self, list_of_data)\n--\n\nWrite a list of bytes objects."),
    noargs(c"close", close, c"Close the transport, after what was written has been sent."),
    noargs(c"is_closing", is_closing, c"Return True if the transport is closing or closed."),
    noargs(c"abort", abort, c"Close the transport at once; what was not sent is lost."),
    noargs(c"pause_reading", pause_reading, c"Stop calling data_received()."),
    noargs(c"resume_reading", resume_reading, c"Go on calling data_received()."),
    noargs(c"is_reading", is_reading, c"Return True if data_received() may be called."),
    noargs(c"write_eof", write_eof, c"Close the writing half, after what was written has been sent."),
    noargs(c"can_write_eof", can_write_eof, c"Return True: the halves of a stream close apart."),
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
    noargs(
        c"_make_empty_waiter",
        make_empty_waiter,
        c"Return a future for the moment when nothing waits to be sent.",
    ),
    noargs(c"_reset_empty_waiter", reset_empty_waiter, c"Forget that future."),
    ffi::PyMethodDef::zeroed(),
];

pub(super) static mut PROPERTIES: [ffi::PyGetSetDef; 18] = [
    DICT,
    property(c"_extra", extra_property, Some(set_extra)),
    property(c"_loop", event_loop, None),
    property(c"_protocol", protocol, None),
    property(c"_server", server, None),
    property(c"_sock", socket, None),
    property(c"_sock_fd", fd, None),
    property(c"_closing", closing, None),
    property(c"_paused", paused, None),
    property(c"_eof", eof, None),
    property(c"_conn_lost", lost, None),
    property(c"_protocol_paused", protocol_paused, None),
    property(c"_high_water", high_water, None),
    property(c"_low_water", low_water, None),
    property(c"max_size", max_size, Some(set_max_size)),
    property(c"_start_tls_compatible", start_tls_compatible, None),
    property(c"_sendfile_compatible", sendfile_compatible, None),
    NO_PROPERTY,
];
