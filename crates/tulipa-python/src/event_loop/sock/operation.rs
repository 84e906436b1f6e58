//! `Operation`: what the `sock_*` methods give out, to be awaited once.
//!
//! To Python it is a coroutine in all that programs do with one (`await`, tasks, `wait_for`, `run_until_complete`),
//! and says so when nobody awaits it. It does nothing until it is stepped. Stepped, it tries; if the socket is not
//! ready it yields a future, and tries again when that is done.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::sync::OnceLock;

use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use socket2::SockAddr;
use tulipa::Token;

use super::super::core::Core;
use super::super::descriptors::Side;
use super::{attempt, holding, waiting};
use crate::ffi::args::Args;
use crate::ffi::class::{NO_PROPERTY, fastcall, new_class, noargs, onearg, property, slot};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Raised, Result, Slot};
use crate::futures::class::preserving_exception;
use crate::futures::iterator::{stop_iteration, thrown_exception};
use crate::futures::methods::boolean;
use crate::futures::{self, FutureState};
use crate::gc::{self, FreeList};
use crate::stdlib::stdlib;

/// Which of the eight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Receive,
    ReceiveInto,
    ReceiveFrom,
    ReceiveFromInto,
    SendAll,
    SendTo,
    Connect,
    Accept,
}

impl Kind {
    /// The loop's method.
    pub(super) fn name(self) -> &'static Object {
        let names = &stdlib().names;
        match self {
            Self::Receive => &names.sock_recv,
            Self::ReceiveInto => &names.sock_recv_into,
            Self::ReceiveFrom => &names.sock_recvfrom,
            Self::ReceiveFromInto => &names.sock_recvfrom_into,
            Self::SendAll => &names.sock_sendall,
            Self::SendTo => &names.sock_sendto,
            Self::Connect => &names.sock_connect,
            Self::Accept => &names.sock_accept,
        }
    }

    /// The socket's method that asyncio calls for it.
    pub(super) fn socket_method(self) -> &'static str {
        match self {
            Self::Receive => "recv",
            Self::ReceiveInto => "recv_into",
            Self::ReceiveFrom => "recvfrom",
            Self::ReceiveFromInto => "recvfrom_into",
            Self::SendAll => "send",
            Self::SendTo => "sendto",
            Self::Connect => "connect",
            Self::Accept => "accept",
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Self::SendAll | Self::SendTo | Self::Connect => Side::Writer,
            _ => Side::Reader,
        }
    }
}

/// What an operation is made of, beside its socket.
#[derive(Default)]
pub(super) struct Parts {
    /// What is received into, or sent.
    pub(super) buffer: Option<Object>,
    /// Where to, as the program said it and as the kernel wants it.
    pub(super) address: Option<Object>,
    pub(super) target: Option<SockAddr>,
    /// How much to receive.
    pub(super) size: usize,
}

/// Where an operation is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nobody has awaited it.
    Made,
    /// It is being tried.
    Running,
    /// A future of its own waits for the socket.
    Waiting,
    /// It has returned or raised.
    Over,
}

/// The object's memory.
#[repr(C)]
pub(super) struct Operation {
    header: ffi::PyObject,
    event_loop: Slot,
    pub(super) socket: Slot,
    pub(super) buffer: Slot,
    pub(super) address: Slot,
    future: Slot,
    /// Inside `event_loop`, which keeps it alive.
    core: Cell<Option<&'static Core>>,
    pub(super) target: Cell<Option<Box<SockAddr>>>,
    pub(super) kind: Cell<Kind>,
    phase: Cell<Phase>,
    /// How much to receive; what was sent already.
    pub(super) size: Cell<usize>,
    /// Where it waits.
    waiting: Cell<Option<(RawFd, Token)>>,
    /// The socket is kept open.
    holding: Cell<bool>,
    /// A connection attempt is under way.
    pub(super) connecting: Cell<bool>,
}

/// The class, made once.
struct Class(*mut ffi::PyTypeObject);

// SAFETY: the class lives for ever.
unsafe impl Send for Class {}
// SAFETY: as above.
unsafe impl Sync for Class {}

static CLASS: OnceLock<Class> = OnceLock::new();

/// Freed operations.
static FREED: FreeList = FreeList::new();

#[inline]
fn class() -> *mut ffi::PyTypeObject {
    CLASS.get().expect("the module was initialised before any of its classes could be used").0
}

/// Whether `object` is an operation: the class has no subclasses.
#[inline]
pub(crate) fn is_operation(object: &Object) -> bool {
    object.class() == class()
}

/// # Safety
/// `object` is an operation and outlives the result.
#[inline]
pub(super) unsafe fn operation<'a>(object: *mut ffi::PyObject) -> &'a Operation {
    // SAFETY: the class's instances have this layout.
    unsafe { &*object.cast::<Operation>() }
}

/// Makes an operation that has not begun.
#[inline]
pub(super) fn new(
    core: &Core,
    event_loop: &Object,
    kind: Kind,
    socket: Object,
    parts: Parts,
) -> Result<Object> {
    // SAFETY: the list is given instances of this class alone, with empty slots.
    let kept = unsafe { FREED.take(class()) };
    let is_new = kept.is_none();
    let object = match kept {
        Some(object) => object,
        // SAFETY: the class is ours and collected; zeroed slots are empty ones.
        None => unsafe { Object::steal(ffi::PyType_GenericAlloc(class(), 0)) }?,
    };
    // SAFETY: just made of that class.
    let this = unsafe { operation(object.as_ptr()) };
    // SAFETY: the core lies in the loop object, which the slot keeps alive.
    this.core.set(Some(unsafe { &*std::ptr::from_ref(core) }));
    this.event_loop.put(event_loop.clone());
    this.socket.put(socket);
    this.buffer.set(parts.buffer);
    this.address.set(parts.address);
    this.target.set(parts.target.map(Box::new));
    this.size.set(parts.size);
    this.kind.set(kind);
    this.phase.set(Phase::Made);
    this.connecting.set(false);
    if !is_new {
        gc::track(&object);
    }
    Ok(object)
}

/// What a step came to.
enum Step {
    Yield(Object),
    Return(Object),
}

impl Operation {
    fn core(&self) -> Result<&'static Core> {
        self.core.get().ok_or_else(|| PyRuntimeError::new_err("Event loop is closed").into())
    }

    /// Resumes the operation, as a coroutine is resumed by `send(value)`.
    #[inline]
    fn step(&self, object: &Object, value: &Object) -> Result<Step> {
        match self.phase.get() {
            Phase::Made if !value.is_none() => {
                let text = "can't send non-None value to a just-started coroutine";
                Err(PyTypeError::new_err(text).into())
            }
            Phase::Made => self.run(object),
            Phase::Waiting => self.resume(object),
            Phase::Running => Err(PyValueError::new_err("coroutine already executing").into()),
            Phase::Over => Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine").into()),
        }
    }

    fn resume(&self, object: &Object) -> Result<Step> {
        let Some(future) = self.future.get() else { return self.run(object) };
        // SAFETY: operations wait on native futures only.
        let state: &FutureState = unsafe { futures::state_of(future.as_ptr()) };
        if state.is_pending() {
            if state.blocking.replace(true) {
                return Err(PyRuntimeError::new_err("await wasn't used with future").into());
            }
            return Ok(Step::Yield(future));
        }
        self.future.set(None);
        match state.outcome() {
            Ok(_) => self.run(object),
            Err(raised) => {
                let exception = raised.take_object();
                self.end(object.as_ptr())?;
                Err(Raised::from_object(&exception))
            }
        }
    }

    /// Tries, and waits if the socket is not ready.
    #[inline]
    fn run(&self, object: &Object) -> Result<Step> {
        let core = self.core()?;
        self.phase.set(Phase::Running);
        let outcome = attempt::perform(core, self).and_then(|performed| match performed {
            attempt::Performed::Done(value) => Ok(Step::Return(value)),
            attempt::Performed::NotReady(fd) => self.wait(core, object, fd).map(Step::Yield),
        });
        if matches!(outcome, Ok(Step::Yield(_))) {
            return outcome;
        }
        self.phase.set(Phase::Over);
        let outcome = match outcome {
            Ok(step) => self.release().map(|()| step),
            Err(raised) => {
                self.release_quietly();
                Err(raised)
            }
        };
        self.forget();
        outcome
    }

    fn wait(&self, core: &'static Core, object: &Object, fd: RawFd) -> Result<Object> {
        let event_loop = self.event_loop.or_none();
        waiting::ensure_no_transport(core, &event_loop, fd)?;
        let future = futures::create(event_loop, core)?;
        let token = waiting::wait(core, self.kind.get().side(), fd, &self.socket.or_none(), object)?;
        self.waiting.set(Some((fd, token)));
        if !self.holding.get() {
            holding::hold(&self.socket.or_none())?;
            self.holding.set(true);
        }
        // SAFETY: just made.
        unsafe { futures::state_of(future.as_ptr()) }.blocking.set(true);
        self.future.put(future.clone());
        self.phase.set(Phase::Waiting);
        Ok(future)
    }

    /// It will not be performed any more: nothing waits for the socket on its behalf.
    fn end(&self, object: *mut ffi::PyObject) -> Result<()> {
        self.phase.set(Phase::Over);
        let left = match (self.core.get(), self.waiting.take()) {
            (Some(core), Some((fd, token))) => {
                waiting::leave(core, self.kind.get().side(), fd, token, object)
            }
            _ => Ok(()),
        };
        let released = self.release();
        self.forget();
        left.and(released)
    }

    /// Lets the program close the socket.
    #[inline]
    fn release(&self) -> Result<()> {
        if self.holding.replace(false) { holding::release(&self.socket.or_none()) } else { Ok(()) }
    }

    /// The same where an exception may be set, or nobody is there to hear of one.
    fn release_quietly(&self) {
        if self.holding.get() {
            let socket = self.socket.or_none();
            preserving_exception(|| {
                if let Err(raised) = self.release() {
                    unraisable(raised, &socket);
                }
            });
        }
    }

    fn forget(&self) {
        for slot in [&self.socket, &self.buffer, &self.address, &self.future, &self.event_loop] {
            slot.set(None);
        }
        drop(self.target.take());
        self.core.set(None);
    }

    fn slots(&self) -> [&Slot; 5] {
        [&self.event_loop, &self.socket, &self.buffer, &self.address, &self.future]
    }
}

/// The driver found the socket ready: whoever waits for the operation goes on, as asyncio has it with the next turn.
pub(crate) fn ready(core: &Core, object: &Object) -> Result<()> {
    // SAFETY: the queue holds operations only.
    let this = unsafe { operation(object.as_ptr()) };
    let (Some((fd, token)), Some(future)) = (this.waiting.take(), this.future.get()) else { return Ok(()) };
    waiting::rest(core, this.kind.get().side(), fd, token, object);
    // SAFETY: operations wait on native futures only.
    let state = unsafe { futures::state_of(future.as_ptr()) };
    if state.is_pending() { state.set_result(&future, Object::none()) } else { Ok(()) }
}

/// The loop is being closed: nobody will perform the operation, and nothing is kept open for it.
pub(crate) fn abandon(object: &Object) {
    // SAFETY: callers pass operations.
    if let Err(raised) = unsafe { operation(object.as_ptr()) }.release() {
        unraisable(raised, object);
    }
}

/// `throw` and `close`: the operation ends, with the exception it was given where there is one.
fn interrupt(object: *mut ffi::PyObject) -> Result<()> {
    // SAFETY: CPython calls methods on instances of the class.
    let this = unsafe { operation(object) };
    match this.phase.get() {
        Phase::Running => Err(PyValueError::new_err("coroutine already executing").into()),
        _ => this.end(object),
    }
}

unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let mut kind = ffi::PySendResult::PYGEN_ERROR;
    let answer = enter(|_| {
        // SAFETY: CPython calls the slot on instances of the class, with a live value.
        let (this, object, value) =
            unsafe { (operation(object), Object::borrow(object), Object::borrow(value)) };
        match this.step(&object, &value)? {
            Step::Yield(future) => {
                kind = ffi::PySendResult::PYGEN_NEXT;
                Ok(future)
            }
            Step::Return(value) => {
                kind = ffi::PySendResult::PYGEN_RETURN;
                Ok(value)
            }
        }
    });
    // SAFETY: `result` is the caller's place for the value.
    unsafe { *result = answer };
    kind
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: `None` lives as long as the interpreter.
    unsafe { send(object, ffi::Py_None()) }
}

unsafe extern "C" fn send(object: *mut ffi::PyObject, value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: CPython calls methods on instances of the class, with live arguments.
        let (this, object, value) =
            unsafe { (operation(object), Object::borrow(object), Object::borrow(value)) };
        match this.step(&object, &value)? {
            Step::Yield(future) => Ok(future),
            Step::Return(value) => Err(stop_iteration(Some(&value))),
        }
    })
}

unsafe extern "C" fn throw(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: the arguments of this very call.
        let exception = thrown_exception(py, &unsafe { Args::new(arguments, count, names) });
        // SAFETY: CPython calls methods on instances of the class.
        if unsafe { operation(object) }.phase.get() == Phase::Over {
            return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine").into());
        }
        let exception = exception?;
        interrupt(object)?;
        Err::<Object, _>(Raised::from_object(&exception))
    })
}

unsafe extern "C" fn close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| interrupt(object).map(|()| Object::none()))
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls the slot on instances of the class.
    enter(|_| Ok(unsafe { Object::borrow(object) }))
}

unsafe extern "C" fn await_method(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    enter(|_| Ok(unsafe { Object::borrow(object) }))
}

unsafe extern "C" fn name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: CPython calls getters on instances of the class.
    enter(|_| Ok(unsafe { operation(object) }.kind.get().name().clone()))
}

unsafe extern "C" fn qualified_name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: as above.
        let text = full_name(unsafe { operation(object) });
        Ok(Object::from_bound(pyo3::types::PyString::new(py, &text).as_any()))
    })
}

/// As asyncio's own coroutine is called.
fn full_name(operation: &Operation) -> String {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    format!("BaseSelectorEventLoop.{}", operation.kind.get().name().bound(py))
}

unsafe extern "C" fn awaited(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    enter(|_| Ok(unsafe { operation(object) }.future.or_none()))
}

unsafe extern "C" fn running(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    enter(|_| Ok(boolean(unsafe { operation(object) }.phase.get() == Phase::Running)))
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: as above.
        let text = format!("<coroutine object {} at {object:p}>", full_name(unsafe { operation(object) }));
        Ok(Object::from_bound(pyo3::types::PyString::new(py, &text).as_any()))
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance of the class; the collector's own function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            for slot in operation(object).slots() {
                each(slot.as_ptr());
            }
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance of the class.
    let this = unsafe { operation(object) };
    this.phase.set(Phase::Over);
    this.release_quietly();
    this.forget();
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: an instance of the class.
    let never_awaited = unsafe { operation(object) }.phase.get() == Phase::Made;
    // SAFETY: a whole object still; a finalizer that revives it is obeyed.
    if never_awaited && unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return;
    }
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear(object);
        // No dict and no weak references; one whose finalizer ran is not used again.
        if ffi::PyObject_GC_IsFinalized(object) != 0 || !FREED.give(object) {
            gc::free(object);
        }
    }
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: a whole object still.
    let (this, object) = unsafe { (operation(object), Object::borrow(object)) };
    if this.phase.get() != Phase::Made {
        return;
    }
    preserving_exception(|| {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let text = format!("coroutine '{}' was never awaited", full_name(this));
        let keywords = pyo3::types::PyDict::new(py);
        let warned = keywords.set_item("source", object.bound(py)).and_then(|()| {
            let category = py.get_type::<PyRuntimeWarning>();
            stdlib().warn.bound(py).call((text, category), Some(&keywords))
        });
        if let Err(error) = warned {
            unraisable(error.into(), &object);
        }
    });
}

static mut OPERATION_METHODS: [ffi::PyMethodDef; 5] = [
    onearg(c"send", send, c"Resume the operation; the value is ignored."),
    fastcall(c"throw", throw, c"End the operation with an exception."),
    noargs(c"close", close, c"End the operation."),
    noargs(c"__await__", await_method, c"Return the operation."),
    ffi::PyMethodDef::zeroed(),
];

static mut OPERATION_PROPERTIES: [ffi::PyGetSetDef; 5] = [
    property(c"__name__", name, None),
    property(c"__qualname__", qualified_name, None),
    property(c"cr_await", awaited, None),
    property(c"cr_running", running, None),
    NO_PROPERTY,
];

/// Makes the class and has asyncio take its instances for coroutines; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<()> {
    if CLASS.get().is_some() {
        return Ok(());
    }
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, am_send as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut OPERATION_METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut OPERATION_PROPERTIES).cast()),
        slot(ffi::Py_tp_doc, c"A socket operation of a loop, awaited once.".as_ptr().cast_mut().cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    let class = unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.SocketOperation", base, size_of::<Operation>(), flags, slots)
    }?;
    py.import("collections.abc")?.getattr("Coroutine")?.call_method1("register", (class.bound(py),))?;
    let _ = CLASS.set(Class(class.into_ptr().cast()));
    Ok(())
}
