//! `Core`: what a loop is to the native objects that belong to it.
//!
//! Futures and tasks keep a plain reference to the core of their loop: it lies inside the loop object, which they
//! keep alive. All of it is used by attached threads only, between calls into Python (S1).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyTraverseError, PyVisit};
use tulipa::{Remote, Token};

use super::host::PyHost;
use super::job::{Job, Source};
use super::{EventLoop, handles};
use crate::ffi::{Object, Slot};
use crate::sslproto::Windows;
use crate::transports::Flushing;

/// Reasons for which jobs may not be pushed past `call_soon`.
mod reason {
    /// Debug mode: everything must be a Handle, to be named when it is slow.
    pub(super) const DEBUG: u8 = 1;
    /// Closed: `call_soon` raises.
    pub(super) const CLOSED: u8 = 2;
    /// `call_soon` is not the native one.
    pub(super) const OVERRIDDEN: u8 = 4;
}

/// The class that `Core::note_class` found.
static USUAL_CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

#[inline(never)]
fn is_loop(object: &Object) -> bool {
    // SAFETY: attached.
    object.bound(unsafe { Python::assume_attached() }).is_instance_of::<EventLoop>()
}

/// The native state of one loop.
pub(crate) struct Core {
    pub(crate) engine: tulipa::Loop<PyHost>,
    remote: Remote<Job>,
    /// `reason` bits; zero is the fast way.
    detour: Cell<u8>,
    /// The thread that runs the loop, as `threading.get_ident()` numbers it; zero for none.
    thread: Cell<u64>,
    /// Whether `time` is not the native one, so that timers must go by it.
    pub(crate) own_clock: Cell<bool>,
    pub(crate) task_factory: Slot,
    /// The task whose step ran last and which `current_task()` would still name: see `tasks::current`.
    pub(crate) idle_task: Slot,
    /// Registrations by descriptor: handles of `add_reader` and `add_writer`, transports, listeners.
    pub(crate) descriptors: RefCell<HashMap<RawFd, Token>>,
    /// What all streams of the loop receive into; taken out while in use, made when first needed.
    pub(crate) receive_buffer: Cell<Vec<u8>>,
    /// Connections written to in this turn.
    pub(crate) flushing: Flushing,
    /// What TLS sessions read from and write into.
    pub(crate) windows: Windows,
}

// SAFETY: S1: whoever touches a core is attached, and borrows nothing while Python code runs. On a free-threaded
// build only the loop's own thread may use it, but for the inbox, which is made for others.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    pub(crate) fn new() -> PyResult<Self> {
        let engine = tulipa::Loop::new()?;
        Ok(Self {
            remote: engine.remote(),
            engine,
            detour: Cell::new(0),
            thread: Cell::new(0),
            own_clock: Cell::new(false),
            task_factory: Slot::empty(),
            idle_task: Slot::empty(),
            descriptors: RefCell::default(),
            receive_buffer: Cell::default(),
            flushing: Flushing::default(),
            windows: Windows::new(),
        })
    }

    /// The core of `event_loop`, where that is a Tulipa loop.
    #[inline]
    pub(crate) fn of(event_loop: &Object) -> Option<&Self> {
        let usual = USUAL_CLASS.load(Ordering::Relaxed);
        if event_loop.class() == usual || is_loop(event_loop) {
            // SAFETY: an instance, which the argument keeps alive.
            return Some(unsafe { Self::inside(event_loop.as_ptr()) });
        }
        None
    }

    /// The core inside a loop object.
    ///
    /// # Safety
    /// `event_loop` is an instance of the native loop class (or of a subclass), and outlives the result.
    #[inline]
    pub(crate) unsafe fn inside<'a>(event_loop: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: a live object, borrowed for this function.
        let event_loop = unsafe { Borrowed::from_ptr(py, event_loop) };
        // SAFETY: the caller vouches for the class.
        let core: *const Self = &raw const unsafe { event_loop.cast_unchecked::<EventLoop>() }.get().core;
        // SAFETY: the core lies in the object, which the caller keeps alive.
        unsafe { &*core }
    }

    /// Remembers the class of the first loop made, nearly always that of all others: `of` then knows its instances
    /// by one comparison. The class is kept alive, so that no other can take its address.
    pub(super) fn note_class(class: &Bound<'_, PyType>) {
        let class = class.as_type_ptr();
        if USUAL_CLASS.compare_exchange(ptr::null_mut(), class, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            // SAFETY: a live class; the reference is never given back.
            unsafe { ffi::Py_INCREF(class.cast()) };
        }
    }

    /// Whether jobs may be pushed directly.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        self.detour.get() == 0
    }

    #[inline]
    pub(crate) fn is_debug(&self) -> bool {
        self.detour.get() & reason::DEBUG != 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.detour.get() & reason::CLOSED != 0
    }

    pub(crate) fn set_debug(&self, debug: bool) {
        self.set_detour(reason::DEBUG, debug);
    }

    pub(crate) fn set_closed(&self, closed: bool) {
        self.set_detour(reason::CLOSED, closed);
    }

    pub(crate) fn set_call_soon_overridden(&self, overridden: bool) {
        self.set_detour(reason::OVERRIDDEN, overridden);
    }

    fn set_detour(&self, bit: u8, on: bool) {
        let others = self.detour.get() & !bit;
        self.detour.set(if on { others | bit } else { others });
    }

    #[inline]
    pub(crate) fn ensure_open(&self) -> PyResult<()> {
        if self.is_closed() {
            return Err(PyRuntimeError::new_err("Event loop is closed"));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.thread.get() != 0
    }

    pub(crate) fn thread(&self) -> Option<u64> {
        Some(self.thread.get()).filter(|&thread| thread != 0)
    }

    pub(crate) fn set_thread(&self, thread: Option<u64>) {
        self.thread.set(thread.unwrap_or(0));
    }

    #[inline]
    pub(crate) fn schedule(&self, job: Job) {
        self.engine.schedule(job);
    }

    /// Schedules from whatever thread this is. On the loop's own, and while no thread runs it, the job takes its
    /// place behind those of `call_soon`.
    pub(crate) fn schedule_from_anywhere(&self, job: Job) -> PyResult<()> {
        let owner = self.thread.get();
        let direct = owner == 0 || owner == current_thread();
        if direct {
            self.engine.schedule(job);
            // Between the turn's look at the ready queue and its sleep no Python code runs, save a clock of the
            // program's own, under which a signal handler may have come here.
            if self.own_clock.get() {
                self.remote.notify();
            }
            return Ok(());
        }
        self.remote.schedule(job).map_err(|_job| PyRuntimeError::new_err("Event loop is closed"))
    }

    /// Ends the loop's sleep, if it sleeps.
    pub(crate) fn wake(&self) {
        self.remote.notify();
    }

    /// The loop stops: what is queued shows itself to the collector, which a running loop's handles need not.
    pub(super) fn show_queued(&self) {
        self.engine.for_each_job(&mut |job: &Job| {
            if let Job::Handle(handle) = job {
                handles::show(handle);
            }
        });
    }

    /// Empties the loop for good: jobs, timers, descriptors.
    pub(crate) fn release(&self) {
        self.set_closed(true);
        let descriptors = std::mem::take(&mut *self.descriptors.borrow_mut());
        drop((self.engine.close(), descriptors));
        self.task_factory.set(None);
        self.idle_task.set(None);
        drop(self.flushing.take());
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut outcome = Ok(());
        let mut see = |object: &Object| {
            if outcome.is_ok() {
                outcome = visit.call(as_py(object));
            }
        };
        self.engine.for_each_job(&mut |job: &Job| job.visit(&mut see));
        self.engine.for_each_source(&mut |source: &Source| source.visit(&mut see));
        self.flushing.visit(&mut see);
        for slot in [&self.task_factory, &self.idle_task] {
            if let Some(object) = slot.peek() {
                see(object);
            }
        }
        outcome
    }
}

/// The same reference as PyO3's collector interface wants it.
fn as_py(object: &Object) -> &Py<PyAny> {
    // SAFETY: both are transparent wrappers of one non-null object pointer.
    unsafe { &*std::ptr::from_ref(object).cast::<Py<PyAny>>() }
}

/// The calling thread's number.
pub(crate) fn current_thread() -> u64 {
    // SAFETY: no preconditions.
    unsafe { PyThread_get_thread_ident() }
}

unsafe extern "C" {
    fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
}
