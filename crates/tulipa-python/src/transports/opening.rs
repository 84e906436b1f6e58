//! Making a transport, and its protocol, which may change later.

use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::kind::Kind;
use super::stream::Stream;
use super::{Event, class, extra};
use crate::event_loop::contexts::Context;
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::make::Text;
use crate::ffi::{Object, Result, call, context};
use crate::sslproto;
use crate::stdlib::stdlib;
use crate::streams::Feeding;

/// What a new stream is made of.
pub(crate) struct Opening<'a> {
    pub(crate) kind: Kind,
    pub(crate) event_loop: &'a Object,
    pub(crate) protocol: Object,
    pub(crate) server: Option<Object>,
    pub(crate) waiter: Option<Object>,
    /// The context for everything the protocol is called with; without one, copies of the current context.
    pub(crate) context: Option<Object>,
}

/// Makes the transport of a connection and schedules `connection_made`. The descriptor belongs to the transport
/// when this succeeds.
pub(crate) fn open(
    opening: Opening<'_>,
    fd: RawFd,
    fill: impl FnOnce(&Stream) -> Result<()>,
) -> Result<Object> {
    let core = Core::of(opening.event_loop).expect("transports are made by Tulipa loops only");
    let made = copy_of(opening.context.as_ref())?;
    let transport = class::allocate(opening.kind)?;
    // SAFETY: just made of that class.
    let stream = unsafe { Stream::of(transport.as_ptr()) };
    // SAFETY: the core lies in the loop object, which the stream keeps alive until it clears both.
    stream.core.set(Some(unsafe { &*std::ptr::from_ref(core) }));
    stream.event_loop.put(opening.event_loop.clone());
    stream.context.put(copy_of(opening.context.as_ref())?);
    stream.waiter.set(opening.waiter.filter(|waiter| !waiter.is_none()));
    stream.kind.set(opening.kind);
    set_protocol(stream, opening.protocol.clone())?;
    let connection_made = call::getattr(&opening.protocol, &stdlib().names.connection_made)?;
    fill(stream)?;
    if opening.kind == Kind::Socket {
        stream.short_reads_tell.set(extra::set_no_delay(fd));
    }
    stream.watch(core, fd)?;
    stream.fd.set(fd);
    stream.number.set(fd);
    if let Err(raised) = attach(stream, &transport, opening.server) {
        stream.forget_descriptor();
        return Err(raised);
    }
    core.schedule(Job::Call {
        function: connection_made,
        argument: Some(transport.clone()),
        context: Context::Own(made),
    });
    core.schedule(Job::Io { target: transport.clone(), event: Event::Opened, context: None });
    Ok(transport)
}

fn copy_of(context: Option<&Object>) -> Result<Object> {
    context.map_or_else(context::copy_current, |context| Ok(context.clone()))
}

pub(super) fn set_protocol(stream: &Stream, protocol: Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    // Pipes call `data_received` of any protocol.
    let buffered = stream.kind.get() == Kind::Socket && is_buffered(&protocol.bound(py))?;
    stream.buffered.set(buffered);
    stream.tls.set(buffered && sslproto::is_protocol(&protocol));
    stream.feeding.set(Feeding::of(&protocol));
    stream.reader.set(None);
    stream.protocol.put(protocol);
    Ok(())
}

/// Whether a protocol lends its own buffer. One that cannot be handed data in any other way does, whatever its class.
pub(crate) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(protocol.is_instance(&stdlib().buffered_protocol.bound(protocol.py()))?
        || !protocol.hasattr(Text("data_received"))? && protocol.hasattr(Text("get_buffer"))?)
}

fn attach(stream: &Stream, transport: &Object, server: Option<Object>) -> Result<()> {
    let Some(server) = server.filter(|server| !server.is_none()) else { return Ok(()) };
    tell_server(&server, &stdlib().names.attach, transport)?;
    stream.server.put(server);
    Ok(())
}

/// `server._attach(transport)` or `_detach`; before 3.13 they count and take no argument.
pub(super) fn tell_server(server: &Object, method: &Object, transport: &Object) -> Result<()> {
    let told =
        if cfg!(Py_3_13) { call::method1(server, method, transport) } else { call::method0(server, method) };
    told.map(drop)
}
