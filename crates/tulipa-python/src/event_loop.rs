//! The loop as Python sees it: `_tulipa.BaseEventLoop`, the native base of `tulipa.EventLoop`.
//!
//! Scheduling, running, timers, descriptors and stream transports are here and in the engine below. The Python
//! class that derives from this one also derives from the running Python's own asyncio loop, and takes from it
//! what is set-up work and differs between Pythons. Attributes by which that code keeps the loop's state
//! (`_closed`, `_stopping`, `_thread_id`, `_debug`) are properties here, so there is one state, not two.

mod bare;
pub(crate) mod clock;
pub(crate) mod contexts;
pub(crate) mod core;
pub(crate) mod descriptors;
pub(crate) mod driven;
pub(crate) mod handles;
mod host;
pub(crate) mod job;
pub(crate) mod methods;
mod overrides;
mod run;
pub(crate) mod sock;
mod thread_safe;
pub(crate) mod timers;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use tulipa::stream::SendFile;

use self::core::Core;
use self::descriptors::Side;
use crate::executors;
use crate::ffi::Object;
use crate::ffi::make::{Int, Text};
use crate::names;
use crate::sslproto;
use crate::tasks;
use crate::transports::pipe::{self, Given};
use crate::transports::sending::{self, Transfer};
use crate::transports::{self, Kind, Opening};

/// Native part of the event loop.
// The name appears in what CPython says of wrong arguments, where it should be asyncio's.
#[pyclass(name = "BaseEventLoop", module = "tulipa._tulipa", subclass, frozen, weakref)]
pub(crate) struct EventLoop {
    pub(crate) core: Core,
}

#[pymethods]
impl EventLoop {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(
        class: &Bound<'_, PyType>,
        _arguments: &Bound<'_, PyTuple>,
        _keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        tasks::registry::splice(class.py())?;
        let core = Core::new()?;
        overrides::inspect_class(class, &core)?;
        Core::note_class(class);
        Ok(Self { core })
    }

    /// Run until `stop()` is called.
    fn run_forever(slf: &Bound<'_, Self>) -> PyResult<()> {
        run::run_forever(slf)
    }

    /// End `run_forever()` after the current iteration.
    fn stop(&self) {
        self.core.engine.stop();
    }

    fn is_running(&self) -> bool {
        self.core.is_running()
    }

    fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    fn get_debug(&self) -> bool {
        self.core.is_debug()
    }

    /// Close what the native part holds; the Python class's `close()` ends with this.
    fn _release(&self) {
        self.core.release();
    }

    /// One iteration, for programs that embed the loop in another one.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        run::run_once(slf)
    }

    /// Wait and queue what has happened, for code that makes the loop's turns itself; see `driven`. Returns whether
    /// anything has.
    fn _select(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<bool> {
        driven::select(slf, timeout)
    }

    /// Whether `loop._selector.select` is the program's own, which every turn is to wait by.
    fn _wait_by_selector(&self, own: bool) {
        self.core.own_select.set(own);
    }

    /// What the pending timers run, as TimerHandles, nearest first.
    fn _pending_timers<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        driven::scheduled(slf)
    }

    /// Take the next job out of the queue, or None.
    fn _take_job<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        driven::take(slf)
    }

    /// Drop all that is queued.
    fn _drop_jobs(&self) {
        drop(self.core.engine.with_ready(tulipa::ready::ReadyQueue::take_all));
    }

    /// How many jobs are queued.
    fn _ready_count(&self) -> usize {
        self.core.engine.ready_len()
    }

    // Watching file descriptors.

    fn _remove_reader(&self, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        descriptors::remove(&self.core, Side::Reader, fd)
    }

    fn _remove_writer(&self, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        descriptors::remove(&self.core, Side::Writer, fd)
    }

    /// Make the native transport of a connected stream socket, which it takes over.
    #[pyo3(signature = (sock, protocol, waiter=None, *, extra=None, server=None, context=None))]
    fn _make_stream_transport(
        slf: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        waiter: Option<&Bound<'_, PyAny>>,
        extra: Option<&Bound<'_, PyAny>>,
        server: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let fd = transports::extra::number(sock)?;
        let opening = Opening {
            kind: Kind::Socket,
            event_loop: &Object::from_bound(slf.as_any()),
            protocol: Object::from_bound(protocol),
            server: server.map(Object::from_bound),
            waiter: waiter.map(Object::from_bound),
            context: context.filter(|context| !context.is_none()).map(Object::from_bound),
        };
        let transport =
            transports::open(opening, fd, |stream| transports::extra::describe(stream, sock, extra))?;
        Ok(transport.bound(slf.py()).unbind())
    }

    /// Make the native transport of a datagram socket, which it takes over.
    #[pyo3(signature = (sock, protocol, address=None, waiter=None, extra=None))]
    fn _open_datagrams(
        slf: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        address: Option<&Bound<'_, PyAny>>,
        waiter: Option<&Bound<'_, PyAny>>,
        extra: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let opening = Opening {
            kind: Kind::Datagram,
            event_loop: &Object::from_bound(slf.as_any()),
            protocol: Object::from_bound(protocol),
            server: None,
            waiter: waiter.map(Object::from_bound),
            context: None,
        };
        let transport = transports::open_datagrams(opening, sock, address, extra)?;
        Ok(transport.bound(slf.py()).unbind())
    }

    /// Make the native transport of a pipe's end that is read.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_read_pipe_transport(
        slf: &Bound<'_, Self>,
        pipe: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        waiter: Option<&Bound<'_, PyAny>>,
        extra: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        pipe::open_read(slf, &Given { pipe, protocol, waiter, extra })
    }

    /// Make the native transport of a pipe's end that is written to.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_write_pipe_transport(
        slf: &Bound<'_, Self>,
        pipe: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
        waiter: Option<&Bound<'_, PyAny>>,
        extra: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        pipe::open_write(slf, &Given { pipe, protocol, waiter, extra })
    }

    /// Send from a file through a socket: `count` bytes, or up to the end of the file, which has `size` now. The
    /// future is told how many were sent.
    #[pyo3(signature = (future, sock, file, offset, count, size))]
    fn _send_file(
        slf: &Bound<'_, Self>,
        future: &Bound<'_, PyAny>,
        sock: &Bound<'_, PyAny>,
        file: i32,
        offset: i64,
        count: Option<i64>,
        size: u64,
    ) -> PyResult<()> {
        let socket = transports::extra::number(sock)?;
        // The inherited code has refused what is negative.
        let (offset, count) = (offset.cast_unsigned(), count.map(i64::cast_unsigned));
        sending::start(slf, future, Transfer { socket, file, progress: SendFile::new(offset, count, size) })
    }

    /// Accept connections of a listening socket as native transports, until its reader is removed.
    #[pyo3(signature = (protocol_factory, sock, server, backlog, context=None, tls=None))]
    fn _accept_streams(
        slf: &Bound<'_, Self>,
        protocol_factory: &Bound<'_, PyAny>,
        sock: &Bound<'_, PyAny>,
        server: &Bound<'_, PyAny>,
        backlog: usize,
        context: Option<&Bound<'_, PyAny>>,
        tls: Option<(Py<PyAny>, Py<PyAny>, Py<PyAny>)>,
    ) -> PyResult<()> {
        let serving =
            transports::Serving { factory: protocol_factory, socket: sock, server, backlog, context, tls };
        transports::start_serving(slf, serving)
    }

    /// Make the TLS protocol of a connection, which begins the handshake when it is given a transport.
    #[pyo3(signature = (
        protocol, sslcontext, waiter, server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout,
        call_connection_made=true
    ))]
    #[allow(clippy::too_many_arguments, reason = "those of asyncio's class")]
    fn _make_ssl_protocol(
        slf: &Bound<'_, Self>,
        protocol: &Bound<'_, PyAny>,
        sslcontext: &Bound<'_, PyAny>,
        waiter: &Bound<'_, PyAny>,
        server_side: &Bound<'_, PyAny>,
        server_hostname: &Bound<'_, PyAny>,
        ssl_handshake_timeout: &Bound<'_, PyAny>,
        ssl_shutdown_timeout: &Bound<'_, PyAny>,
        call_connection_made: bool,
    ) -> PyResult<Py<PyAny>> {
        let made = sslproto::open(sslproto::Opening {
            event_loop: &Object::from_bound(slf.as_any()),
            protocol: Object::from_bound(protocol),
            context: Object::from_bound(sslcontext),
            waiter: Some(Object::from_bound(waiter)),
            server_side: server_side.is_truthy()?,
            server_hostname: Object::from_bound(server_hostname),
            handshake_timeout: Object::from_bound(ssl_handshake_timeout),
            shutdown_timeout: Object::from_bound(ssl_shutdown_timeout),
            call_connection_made,
            accepted: false,
        })?;
        Ok(made.bound(slf.py()).unbind())
    }

    /// Refuse a file that belongs to a transport.
    fn _ensure_fd_no_transport(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<()> {
        descriptors::ensure_fd_no_transport(slf, fd)
    }

    /// Every watched descriptor as (file, descriptor, readable, writable, reader's handle, writer's handle).
    fn _watched(&self, py: Python<'_>) -> Vec<descriptors::Watched> {
        descriptors::watched(py, &self.core)
    }

    /// Have `fd` end the loop's sleep, without making a busy loop ask the kernel about it.
    fn _watch_in_background(&self, fd: i32) -> PyResult<()> {
        descriptors::watch_in_background(&self.core, fd)
    }

    // What asyncio's inherited code schedules by.

    /// Have the loop run a Handle in its next iteration; a timer's is no longer waited for.
    fn _add_callback(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(job) = job::from_handle(handle)? {
            handles::unschedule(&self.core, &Object::from_bound(handle));
            self.core.schedule(job);
        }
        Ok(())
    }

    /// As `_add_callback`, before all that is queued.
    fn _add_callback_first(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(job) = job::from_handle(handle)? {
            handles::unschedule(&self.core, &Object::from_bound(handle));
            self.core.engine.with_ready(|ready| ready.push_first(job));
        }
        Ok(())
    }

    /// As `_add_callback`, from a signal handler or another thread: wakes the loop up.
    fn _add_callback_signalsafe(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        match job::from_handle(handle)? {
            Some(job) => self.core.schedule_from_anywhere(job),
            None => Ok(()),
        }
    }

    /// Wake the loop up.
    fn _write_to_self(&self) {
        self.core.wake();
    }

    // The state that asyncio's inherited code reads and writes.

    #[getter(_closed)]
    fn closed_property(&self) -> bool {
        self.core.is_closed()
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        self.core.set_closed(closed);
    }

    #[getter(_stopping)]
    fn stopping_property(&self) -> bool {
        self.core.engine.is_stopping()
    }

    #[setter(_stopping)]
    fn set_stopping(&self, stopping: bool) {
        if stopping {
            self.core.engine.stop();
        } else {
            self.core.engine.take_stop();
        }
    }

    #[getter(_thread_id)]
    fn thread_id_property(&self) -> Option<Int<u64>> {
        self.core.thread().map(Int)
    }

    #[setter(_thread_id)]
    fn set_thread_id(&self, thread: Option<u64>) {
        self.core.set_thread(thread);
    }

    #[getter(_debug)]
    fn debug_property(&self) -> bool {
        self.core.is_debug()
    }

    #[setter(_debug)]
    fn set_debug_flag(&self, debug: &Bound<'_, PyAny>) -> PyResult<()> {
        self.core.set_debug(debug.is_truthy()?);
        Ok(())
    }

    #[getter(_task_factory)]
    fn task_factory_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.core.task_factory.or_none().bound(py).unbind()
    }

    #[setter(_task_factory)]
    fn set_task_factory_slot(&self, factory: &Bound<'_, PyAny>) {
        self.core.task_factory.set((!factory.is_none()).then(|| Object::from_bound(factory)));
    }

    /// The answer of socket.getaddrinfo, or a Future of it. None: asyncio's own way must be taken.
    fn _getaddrinfo(
        slf: &Bound<'_, Self>,
        host: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
        family: &Bound<'_, PyAny>,
        kind: &Bound<'_, PyAny>,
        proto: &Bound<'_, PyAny>,
        flags: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<PyAny>>> {
        names::addresses(slf, host, port, [family, kind, proto, flags])
    }

    /// The same for socket.getnameinfo.
    fn _getnameinfo(
        slf: &Bound<'_, Self>,
        sockaddr: &Bound<'_, PyAny>,
        flags: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<PyAny>>> {
        names::names(slf, sockaddr, flags)
    }

    #[getter(_default_executor)]
    fn default_executor_property(&self, py: Python<'_>) -> Py<PyAny> {
        self.core.default_executor.or_none().bound(py).unbind()
    }

    #[setter(_default_executor)]
    fn set_default_executor_slot(&self, executor: &Bound<'_, PyAny>) -> PyResult<()> {
        executors::set_default(&self.core, executor)
    }

    /// The name of what polls the kernel.
    #[getter(_driver)]
    fn driver_property(&self) -> Text<&'static str> {
        Text(self.core.engine.driver_name())
    }

    /// Attributes are set as on any object; `call_soon`, `time` and the timers are watched, since the engine goes
    /// past them only while they are its own.
    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        overrides::set_attribute(slf, name, Some(value))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        overrides::set_attribute(slf, name, None)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.core.traverse(&visit)
    }

    fn __clear__(&self) {
        self.core.release();
    }
}
