//! The life of a connection, from the events of its descriptor to `connection_lost`.
//!
//! The rules are those of asyncio's selector transports, kept by the engine's `StreamState`; here they meet the
//! descriptor and the protocol.

use pyo3::prelude::*;
use tulipa::Readiness;
use tulipa::stream::{Close, Emptied, Fail};

use super::opening::tell_server;
use super::stream::Stream;
use super::{Event, datagram, extra, pipe, reading, sending, writing};
use crate::event_loop::core::Core;
use crate::event_loop::job::Job;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Raised, Result, call, context};
use crate::stdlib::stdlib;

#[inline]
pub(super) fn run(transport: &Object, event: Event, context: Option<&Object>) -> Result<()> {
    // SAFETY: the caller checked the class.
    let stream = unsafe { Stream::of(transport.as_ptr()) };
    match event {
        Event::Ready(readiness) => ready(transport, stream, readiness),
        Event::Opened => opened(stream),
        Event::Lost => match context {
            Some(context) => context::run_in(context, || connection_lost(transport, stream)),
            None => connection_lost(transport, stream),
        },
    }
}

#[inline]
fn ready(transport: &Object, stream: &Stream, readiness: Readiness) -> Result<()> {
    if readiness.is_readable() && stream.kind.get().only_writes() {
        if stream.watches_read() {
            return pipe::reader_gone(transport, stream);
        }
    } else if readiness.is_readable() {
        if stream.wants_read() {
            let context = stream.context.or_none();
            context::run_in(&context, || match stream.datagram.get() {
                None => reading::read(transport, stream, readiness),
                Some(datagram) => datagram::receive(transport, stream, datagram),
            })?;
        } else {
            // Paused without telling the driver, in the hope that reading resumes before the next event.
            stream.update_interest()?;
        }
    }
    if readiness.is_writable() {
        if let Some(sending) = stream.sending.get() {
            return sending::writable(&sending);
        }
        if stream.blocked.get() {
            return writing::flush_blocked(transport, stream);
        }
    }
    Ok(())
}

fn opened(stream: &Stream) -> Result<()> {
    stream.started.set(true);
    if let Some(waiter) = stream.waiter.take() {
        // SAFETY: attached.
        let waiter = waiter.bound(unsafe { Python::assume_attached() });
        if !waiter.call_method0(Text("cancelled"))?.is_truthy()? {
            waiter.call_method1(Text("set_result"), (waiter.py().None(),))?;
        }
    }
    // Last: a descriptor that cannot be watched is an error, and no more Python may be called then.
    stream.update_interest()
}

/// `close()`: what was written still goes out.
pub(super) fn close(transport: &Object, stream: &Stream) -> Result<()> {
    if stream.state.borrow().is_closing() {
        return Ok(());
    }
    writing::or_fatal(transport, stream, writing::flush(transport, stream))?;
    let empty = stream.queue.borrow().is_empty();
    let close = stream.state.borrow_mut().close(empty);
    match close {
        Close::Now => lose(transport, stream),
        Close::AfterFlush => stream.update_interest(),
        // The flush has failed, and the loss is under way.
        Close::Already => Ok(()),
    }
}

/// `abort()`: what the kernel has not taken is thrown away.
pub(super) fn abort(transport: &Object, stream: &Stream) -> Result<()> {
    // asyncio has sent by now what waits here for the end of the turn.
    if !stream.blocked.get() {
        writing::flush(transport, stream)?;
    }
    let changed = stream.state.borrow_mut().abort();
    if changed { lose(transport, stream) } else { Ok(()) }
}

/// The write queue has become empty.
pub(super) fn emptied(transport: &Object, stream: &Stream) -> Result<()> {
    if let Some(waiter) = stream.empty_waiter.get() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        waiter.bound(py).call_method1(Text("set_result"), (py.None(),))?;
    }
    let emptied = stream.state.borrow_mut().emptied();
    match emptied {
        Emptied::Nothing => Ok(()),
        Emptied::SendEof => writing::shut_down(transport, stream),
        Emptied::Lost => lose(transport, stream),
    }
}

/// An error from which the connection does not recover: it is reported, unless it is the network's, and the
/// connection is given up.
#[cold]
pub(super) fn fatal_error(transport: &Object, stream: &Stream, raised: Raised, message: &str) -> Result<()> {
    let exception = raised.caught()?;
    writing::send_last(stream);
    report(transport, stream, &exception, message)?;
    give_up(transport, stream, exception)
}

fn give_up(transport: &Object, stream: &Stream, exception: Object) -> Result<()> {
    writing::send_last(stream);
    let failed = stream.state.borrow_mut().fail(exception);
    match failed {
        Fail::First => lose(transport, stream),
        Fail::Already(_) => Ok(()),
    }
}

/// `_force_close(exc)`.
pub(super) fn force_close(transport: &Object, stream: &Stream, exception: Object) -> Result<()> {
    if exception.is_none() { abort(transport, stream) } else { give_up(transport, stream, exception) }
}

fn report(transport: &Object, stream: &Stream, exception: &Object, message: &str) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    if stream.kind.get().is_usual(exception) {
        if stream.is_debug() {
            let keywords = make::dict(py)?;
            keywords.set_item(Text("exc_info"), exception.bound(py))?;
            let logger = stdlib().logger.bound(py);
            logger.call_method(
                Text("debug"),
                (Text("%r: %s"), transport.bound(py), Text(message)),
                Some(&keywords),
            )?;
        }
        return Ok(());
    }
    protocol_failed(transport, stream, exception, message)
}

/// Tells the exception handler what a protocol's method raised.
pub(super) fn protocol_failed(
    transport: &Object,
    stream: &Stream,
    exception: &Object,
    message: &str,
) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let context = make::dict(py)?;
    context.set_item(Text("message"), Text(message))?;
    context.set_item(Text("exception"), exception.bound(py))?;
    context.set_item(Text("transport"), transport.bound(py))?;
    context.set_item(Text("protocol"), stream.protocol.or_none().bound(py))?;
    let handler = &stdlib().names.call_exception_handler;
    call::method1(&stream.event_loop.or_none(), handler, &context.into_any().into()).map(drop)
}

/// Neither half works any more: the queue goes, watching stops, and telling the protocol is scheduled.
fn lose(transport: &Object, stream: &Stream) -> Result<()> {
    writing::drop_queue(stream);
    if let Some(datagram) = stream.datagram.get() {
        datagram.discard();
    }
    stream.blocked.set(false);
    if !stream.kind.get().is_pipe() {
        // Of a pipe only writes are counted.
        stream.lost.set(stream.lost.get() + 1);
    }
    let sending = stream.sending.take();
    if let Some(core) = stream.core() {
        stream.update_interest()?;
        ensure_schedulable(stream, core)?;
        let context = stream.context.get();
        core.schedule(Job::Io { target: transport.clone(), event: Event::Lost, context });
    }
    sending.map_or(Ok(()), |sending| sending::connection_lost(&sending))
}

/// What `call_soon()` asks first: an open loop, and in debug mode its own thread.
pub(super) fn ensure_schedulable(stream: &Stream, core: &Core) -> Result<()> {
    core.ensure_open()?;
    if core.is_debug() {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        stream.event_loop.or_none().bound(py).call_method0(Text("_check_thread"))?;
    }
    Ok(())
}

/// Tells the protocol, whatever it does closes the descriptor, and lets go of everything.
pub(super) fn connection_lost(transport: &Object, stream: &Stream) -> Result<()> {
    let loss = stream.state.borrow_mut().take_loss();
    let Some(error) = loss else { return Ok(()) };
    let error = error.unwrap_or_else(Object::none);
    let protocol = stream.protocol.or_none();
    let told = if protocol.is_none() {
        Ok(())
    } else {
        call::method1(&protocol, &stdlib().names.connection_lost, &error).map(drop)
    };
    let told = finally(told, || dispose(transport, stream));
    finally(told, || wake_empty_waiter(stream))
}

fn wake_empty_waiter(stream: &Stream) -> Result<()> {
    let Some(waiter) = stream.empty_waiter.get() else { return Ok(()) };
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let waiter = waiter.bound(py);
    if !waiter.call_method0(Text("done"))?.is_truthy()? {
        let error = pyo3::exceptions::PyConnectionError::with_text("Connection is closed by peer");
        waiter.call_method1(Text("set_exception"), (error.into_value(py),))?;
    }
    Ok(())
}

/// Closes the descriptor and lets go of protocol, server and loop.
pub(super) fn dispose(transport: &Object, stream: &Stream) -> Result<()> {
    let closed = close_descriptor(stream);
    stream.protocol.set(None);
    stream.reader.set(None);
    stream.context.set(None);
    stream.core.set(None);
    stream.event_loop.set(None);
    let Some(server) = stream.server.take() else { return closed };
    finally(closed, || tell_server(&server, &stdlib().names.detach, transport))
}

fn close_descriptor(stream: &Stream) -> Result<()> {
    let fd = stream.fd.get();
    if fd < 0 {
        return Ok(());
    }
    extra::remember_addresses(stream);
    stream.unwatch();
    stream.fd.set(-1);
    if let Some(socket) = stream.socket.get() {
        call::method0(&socket, &stdlib().names.close).map(drop)
    } else {
        extra::close(fd);
        Ok(())
    }
}
