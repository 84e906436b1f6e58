//! The state of one TLS connection, as `asyncio.sslproto.SSLProtocol` keeps it, and the small questions asked of it.
//!
//! No borrow of it is held while Python code runs; what moves it from state to state is in the files next to this.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::stream::WriteQueue;

use super::library::Session;
use super::protocol::is_protocol;
use super::records::Records;
use super::window::Windows;
use crate::event_loop::core::Core;
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Result, Slot, call, context};
use crate::stdlib::stdlib;
use crate::streams::Feeding;
use crate::transports::{self, Chunk};

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unwrapped,
    Handshake,
    Wrapped,
    /// Closing; what was written goes out first.
    Flushing,
    /// Saying good-bye.
    Shutdown,
}

impl State {
    /// The name of asyncio's constant.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unwrapped => "UNWRAPPED",
            Self::Handshake => "DO_HANDSHAKE",
            Self::Wrapped => "WRAPPED",
            Self::Flushing => "FLUSHING",
            Self::Shutdown => "SHUTDOWN",
        }
    }

    fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (_, Self::Unwrapped)
                | (Self::Unwrapped, Self::Handshake)
                | (Self::Handshake, Self::Wrapped)
                | (Self::Wrapped, Self::Flushing)
                | (Self::Flushing, Self::Shutdown)
        )
    }

    /// Whether nothing can be written any more.
    pub(super) fn is_closing(self) -> bool {
        matches!(self, Self::Flushing | Self::Shutdown | Self::Unwrapped)
    }
}

/// How far the program's protocol has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum App {
    Initial,
    Connected,
    /// It was told of the end of the stream.
    Ended,
    Lost,
}

/// How the program's protocol takes data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    /// By `data_received()`.
    Data,
    /// Into buffers that it hands out.
    Buffered,
    /// It is TLS itself.
    Tls,
}

impl Receiver {
    pub(super) fn of(protocol: &Object) -> Result<Self> {
        if is_protocol(protocol) {
            return Ok(Self::Tls);
        }
        // SAFETY: attached.
        let buffered = transports::is_buffered(&protocol.bound(unsafe { Python::assume_attached() }))?;
        Ok(if buffered { Self::Buffered } else { Self::Data })
    }
}

/// High and low mark of a buffer, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) high: usize,
    pub(super) low: usize,
}

/// The marks of one direction.
pub(super) struct Marked {
    pub(super) counts: Cell<Marks>,
    /// `(low, high)`, where the program has given other numbers than counts.
    pub(super) given: Slot,
}

impl Marked {
    fn new() -> Self {
        Self { counts: Cell::default(), given: Slot::empty() }
    }
}

/// What an SSLProtocol holds behind the bytes of `asyncio.BufferedProtocol`.
pub(crate) struct Machine {
    pub(super) event_loop: Slot,
    pub(super) core: Cell<Option<&'static Core>>,
    /// The program's protocol, and the transport that it was given.
    pub(super) app_protocol: Slot,
    pub(super) app_transport: Slot,
    /// The transport below.
    pub(super) lower: Slot,
    /// Why that was closed, where it could not be told.
    pub(super) reason: Slot,
    /// Whether that is a native stream, which is then written to directly.
    pub(super) lower_is_native: Cell<bool>,
    /// Who waits for the handshake.
    pub(super) waiter: Slot,
    /// Nobody waits: the connection was accepted by the native listener.
    pub(super) accepted: Cell<bool>,
    /// The program's SSLContext.
    pub(super) context: Slot,
    /// Of `contextvars`: what the session was made in, and the program's protocol is called in.
    pub(super) surroundings: Slot,
    pub(super) server_side: Cell<bool>,
    pub(super) server_hostname: Slot,
    /// What `get_extra_info` knows of TLS.
    pub(super) extra: Slot,
    session: RefCell<Option<Rc<Session>>>,
    /// The time limits in seconds, as they were given, and the running clocks.
    pub(super) handshake_timeout: Slot,
    pub(super) shutdown_timeout: Slot,
    pub(super) handshake_timer: Slot,
    pub(super) shutdown_timer: Slot,
    /// When the handshake began, in debug mode.
    pub(super) handshake_start: Cell<f64>,
    /// What a transport that is not native receives into.
    pub(super) buffer: Slot,
    /// `__dict__` and weak references, where CPython's offsets point.
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weak_references: Cell<*mut ffi::PyObject>,
    pub(super) state: Cell<State>,
    pub(super) app: Cell<App>,
    /// How the program's protocol takes data.
    pub(super) receiver: Cell<Receiver>,
    /// Whether it is a stream reader behind it that is fed.
    pub(super) feeding: Cell<Feeding>,
    /// What came in and was not read yet.
    pub(super) records: Cell<Records>,
    /// What was written and is not encrypted yet.
    pub(super) backlog: RefCell<WriteQueue<Chunk>>,
    pub(super) incoming_marks: Marked,
    pub(super) outgoing_marks: Marked,
    /// The transport below has had enough.
    pub(super) lower_full: Cell<bool>,
    /// It was told to read no more.
    pub(super) lower_paused: Cell<bool>,
    pub(super) app_reading_paused: Cell<bool>,
    pub(super) app_writing_paused: Cell<bool>,
    pub(super) eof_received: Cell<bool>,
    /// The program's protocol is being given data: what it writes goes out when it returns.
    pub(super) delivering: Cell<bool>,
    /// It is in the loop's list of what goes out at the end of the turn.
    pub(super) listed: Cell<bool>,
    /// Losing the connection, and writes since.
    pub(super) lost: Cell<usize>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            event_loop: Slot::empty(),
            core: Cell::new(None),
            app_protocol: Slot::empty(),
            app_transport: Slot::empty(),
            lower: Slot::empty(),
            reason: Slot::empty(),
            lower_is_native: Cell::new(false),
            waiter: Slot::empty(),
            accepted: Cell::new(false),
            context: Slot::empty(),
            surroundings: Slot::empty(),
            server_side: Cell::new(false),
            server_hostname: Slot::empty(),
            extra: Slot::empty(),
            session: RefCell::new(None),
            handshake_timeout: Slot::empty(),
            shutdown_timeout: Slot::empty(),
            handshake_timer: Slot::empty(),
            shutdown_timer: Slot::empty(),
            handshake_start: Cell::new(0.0),
            buffer: Slot::empty(),
            dict: Cell::new(std::ptr::null_mut()),
            weak_references: Cell::new(std::ptr::null_mut()),
            state: Cell::new(State::Unwrapped),
            app: Cell::new(App::Initial),
            receiver: Cell::new(Receiver::Data),
            feeding: Cell::new(Feeding::Calls),
            records: Cell::default(),
            backlog: RefCell::new(WriteQueue::new()),
            incoming_marks: Marked::new(),
            outgoing_marks: Marked::new(),
            lower_full: Cell::new(false),
            lower_paused: Cell::new(false),
            app_reading_paused: Cell::new(false),
            app_writing_paused: Cell::new(false),
            eof_received: Cell::new(false),
            delivering: Cell::new(false),
            listed: Cell::new(false),
            lost: Cell::new(0),
        }
    }

    pub(super) fn slots(&self) -> [&Slot; 17] {
        [
            &self.event_loop,
            &self.app_protocol,
            &self.app_transport,
            &self.lower,
            &self.reason,
            &self.waiter,
            &self.context,
            &self.surroundings,
            &self.server_hostname,
            &self.extra,
            &self.handshake_timeout,
            &self.shutdown_timeout,
            &self.handshake_timer,
            &self.shutdown_timer,
            &self.buffer,
            &self.incoming_marks.given,
            &self.outgoing_marks.given,
        ]
    }

    /// The session, with a count of its own: it stays while a call into it runs.
    #[inline]
    pub(super) fn session(&self) -> Result<Rc<Session>> {
        let session = self.session.borrow().clone();
        session.ok_or_else(|| PyRuntimeError::with_text("the TLS session is gone").into())
    }

    pub(super) fn set_session(&self, session: Option<Session>) {
        let old = std::mem::replace(&mut *self.session.borrow_mut(), session.map(Rc::new));
        drop(old);
    }

    /// Shows the session's objects to the collector, during whose visit nothing else runs.
    pub(super) fn visit_session(&self, each: &mut dyn FnMut(*mut ffi::PyObject)) {
        if let Ok(session) = self.session.try_borrow() {
            session.iter().flat_map(|session| session.objects()).for_each(|object| each(object.as_ptr()));
        }
    }

    pub(super) fn is_debug(&self) -> bool {
        self.core.get().is_some_and(Core::is_debug)
    }

    /// The loop's windows.
    #[inline]
    pub(super) fn windows(&self) -> Result<&'static Windows> {
        let core = self.core.get().ok_or_else(|| PyRuntimeError::with_text("the TLS session is gone"))?;
        Ok(&core.windows)
    }

    /// Goes to another state, as the protocol allows.
    pub(super) fn become_(&self, next: State) -> Result<()> {
        let state = self.state.get();
        if !state.may_become(next) {
            let text = format!("cannot switch state from {} to {}", full(state)?, full(next)?);
            return Err(PyRuntimeError::with_text(text).into());
        }
        self.state.set(next);
        Ok(())
    }

    /// Changes what is known of the records.
    #[inline]
    pub(super) fn with_records<T>(&self, change: impl FnOnce(&mut Records) -> T) -> T {
        let mut records = self.records.get();
        let answer = change(&mut records);
        self.records.set(records);
        answer
    }

    /// Bytes that were written and not handed to the transport below.
    pub(super) fn write_buffer_size(&self) -> Result<usize> {
        let backlog = self.backlog.borrow().len();
        Ok(Session::size_of(&self.session()?.outgoing)? + backlog)
    }

    /// Calls a method of the loop with one more argument.
    pub(super) fn loop_method(&self, name: &str, arguments: &[&Object]) -> Result<Object> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let arguments = make::tuple(py, arguments.iter().map(|argument| argument.bound(py)))?;
        Ok(self.event_loop.or_none().bound(py).call_method1(Text(name), arguments)?.into())
    }

    /// Has the loop call a function, which comes first, with arguments in the session's surroundings.
    pub(super) fn call_soon(&self, arguments: &[&Object]) -> Result<()> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let arguments = make::tuple(py, arguments.iter().map(|argument| argument.bound(py)))?;
        let keywords = make::dict(py)?;
        keywords.set_item(Text("context"), self.surroundings.or_none().bound(py))?;
        self.event_loop.or_none().bound(py).call_method(Text("call_soon"), arguments, Some(&keywords))?;
        Ok(())
    }

    /// Runs `body` in a copy of the surroundings: they themselves may be entered already.
    pub(super) fn in_surroundings<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.surroundings.get() {
            Some(context) => context::run_in_copy(&context, body),
            None => body(),
        }
    }

    /// The loop's clock, in seconds.
    pub(super) fn time(&self) -> Result<f64> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        Ok(self.event_loop.or_none().bound(py).call_method0(Text("time"))?.extract()?)
    }

    /// Tells the loop's exception handler.
    pub(super) fn report(&self, entries: &[(&str, Object)]) -> Result<()> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let context = make::dict(py)?;
        for (key, value) in entries {
            context.set_item(Text(key), value.bound(py))?;
        }
        let handler = &stdlib().names.call_exception_handler;
        call::method1(&self.event_loop.or_none(), handler, &context.into_any().into()).map(drop)
    }
}

fn full(state: State) -> Result<String> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(member(py, state)?.str()?.to_string())
}

/// asyncio's constant for a state.
pub(super) fn member(py: Python<'_>, state: State) -> Result<Bound<'_, PyAny>> {
    Ok(super::library::library()?.states.bound(py).getattr(Text(state.name()))?)
}
