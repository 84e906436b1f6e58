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
use tulipa::sys::Burst;
use tulipa::{Interest, Remote, Token};

use super::contexts::Contexts;
use super::host::PyHost;
use super::job::{Job, Source};
use super::sock::{self, Resting};
use super::{EventLoop, clock, handles};
use crate::addresses;
use crate::errors::os_error;
use crate::executors::Owed;
use crate::ffi::make::Exception;
use crate::ffi::sharing::Sharing;
use crate::ffi::{Object, Slot, native};
use crate::gc::VisitSlots;
use crate::sslproto::Windows;
use crate::tasks;
use crate::transports::{Flushing, RECEIVE_SIZE};

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

#[inline]
fn is_native(event_loop: &Object) -> bool {
    event_loop.class() == USUAL_CLASS.load(Ordering::Relaxed) || is_loop(event_loop)
}

#[inline(never)]
fn is_loop(object: &Object) -> bool {
    // SAFETY: attached.
    object.bound(unsafe { Python::assume_attached() }).is_instance_of::<EventLoop>()
}

/// Where the buffer for receiving begins, a multiple of this: at the wrong distance from one the kernel took 7.4 instead
/// of 6.6 microseconds to copy 64 KiB there.
const CACHE_LINE: usize = 64;

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
    /// When other threads get the interpreter although the loop is busy.
    pub(crate) sharing: Sharing,
    /// Whether `create_future` or `create_task` is not the native one.
    own_factories: Cell<bool>,
    /// Whether `call_later` or `call_at` is not the native one.
    pub(super) own_timers: Cell<bool>,
    /// Whether the program has put a `select` of its own over the selector's, which every turn waits by.
    pub(super) own_select: Cell<bool>,
    pub(crate) task_factory: Slot,
    /// The executor that programs see as the loop's default.
    pub(crate) default_executor: Slot,
    /// Its queue of work, where the executor is the one that the loop has made itself.
    pub(crate) work_queue: Slot,
    /// What the workers behind it have not answered yet.
    pub(crate) owed: Owed,
    /// The task whose step ran last and which `current_task()` would still name: see `tasks::current`.
    pub(crate) idle_task: Slot,
    /// What tasks, Handles and done-callbacks share of their contexts.
    pub(crate) contexts: Contexts,
    /// Registrations by descriptor: handles of `add_reader` and `add_writer`, transports, listeners.
    pub(crate) descriptors: RefCell<HashMap<RawFd, Token>>,
    /// What all streams of the loop receive into; taken out while in use, made when first needed.
    receive_buffer: Cell<Vec<u8>>,
    /// Where bursts of datagrams are received; taken out while in use.
    pub(crate) burst: Cell<Burst>,
    /// Addresses of datagrams.
    pub(crate) addresses: addresses::Cache,
    /// Connections written to in this turn.
    pub(crate) flushing: Flushing,
    /// What TLS sessions read from and write into.
    pub(crate) windows: Windows,
    /// Registrations of `sock_*` operations that are done.
    pub(crate) resting: Resting,
}

// SAFETY: S1: whoever touches a core is attached, and borrows nothing while Python code runs. On a free-threaded
// build only the loop's own thread may use it, but for the inbox, which is made for others.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    pub(crate) fn new() -> PyResult<Self> {
        let engine = tulipa::Loop::new().map_err(os_error)?;
        Ok(Self {
            remote: engine.remote(),
            engine,
            detour: Cell::new(0),
            thread: Cell::new(0),
            own_clock: Cell::new(false),
            sharing: Sharing::new(),
            own_factories: Cell::new(false),
            own_timers: Cell::new(false),
            own_select: Cell::new(false),
            task_factory: Slot::empty(),
            default_executor: Slot::empty(),
            work_queue: Slot::empty(),
            owed: Owed::default(),
            idle_task: Slot::empty(),
            contexts: Contexts::new(),
            descriptors: RefCell::default(),
            receive_buffer: Cell::default(),
            burst: Cell::default(),
            addresses: addresses::Cache::default(),
            flushing: Flushing::default(),
            windows: Windows::new(),
            resting: Resting::default(),
        })
    }

    /// The core of `event_loop`, where that is a Tulipa loop.
    #[inline]
    pub(crate) fn of(event_loop: &Object) -> Option<&Self> {
        // SAFETY: an instance, which the argument keeps alive.
        is_native(event_loop).then(|| unsafe { Self::inside(event_loop.as_ptr()) })
    }

    /// As `of`, for a loop that somebody else keeps alive.
    ///
    /// # Safety
    /// `event_loop` is a live object that outlives the result.
    #[inline]
    pub(crate) unsafe fn at<'a>(event_loop: *mut ffi::PyObject) -> Option<&'a Self> {
        // SAFETY: a live object.
        let is_usual = unsafe { ffi::Py_TYPE(event_loop) } == USUAL_CLASS.load(Ordering::Relaxed);
        // SAFETY: as above. A reference is counted for the slow answer only: futures ask at every turn.
        let is_native = is_usual || is_loop(&unsafe { Object::borrow(event_loop) });
        // SAFETY: an instance, which the caller keeps alive.
        is_native.then(|| unsafe { Self::inside(event_loop) })
    }

    /// The core inside a loop object.
    ///
    /// # Safety
    /// `event_loop` is an instance of the native loop class (or of a subclass), and outlives the result.
    #[inline]
    pub(crate) unsafe fn inside<'a>(event_loop: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: passed on; the core lies in the object.
        &unsafe { native::<EventLoop>(event_loop) }.core
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

    /// Whether the clock is a program's own. Where that has been seen, the loop is asked for the time from then on.
    #[inline]
    pub(crate) fn has_own_clock(&self) -> bool {
        if !self.own_clock.get() && clock::is_replaced() {
            self.own_clock.set(true);
        }
        self.own_clock.get()
    }

    /// Whether a timer may be set in the engine past `call_later` as well.
    #[inline]
    pub(crate) fn has_plain_timers(&self) -> bool {
        self.is_direct() && !self.own_clock.get() && !self.own_timers.get()
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

    pub(super) fn set_own_factories(&self, own: bool) {
        self.own_factories.set(own);
    }

    /// Whether a native future is what `create_future` would return.
    #[inline]
    pub(crate) fn makes_futures(&self) -> bool {
        !self.own_factories.get()
    }

    /// Whether `create_task` without arguments for a factory would make a native task.
    #[inline]
    pub(crate) fn makes_tasks(&self) -> bool {
        !self.own_factories.get() && self.task_factory.is_empty() && tasks::is_usual_class()
    }

    fn set_detour(&self, bit: u8, on: bool) {
        let others = self.detour.get() & !bit;
        self.detour.set(if on { others | bit } else { others });
    }

    #[inline]
    pub(crate) fn ensure_open(&self) -> PyResult<()> {
        if self.is_closed() {
            return Err(PyRuntimeError::with_text("Event loop is closed"));
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

    /// Schedules from whatever thread this is. The job takes its place behind those of `call_soon`, as in asyncio: who
    /// holds the GIL may touch the queue, since the loop's thread borrows nothing while it is without. The inbox is for
    /// threads that are not attached, and for builds without a GIL.
    pub(crate) fn schedule_from_anywhere(&self, job: Job) -> PyResult<()> {
        if cfg!(Py_GIL_DISABLED) && self.is_foreign() {
            let refused = |_job| PyRuntimeError::with_text("Event loop is closed");
            return self.remote.schedule(job).map_err(refused);
        }
        self.engine.schedule(job);
        self.wake_if_needed();
        Ok(())
    }

    /// Whether another thread runs the loop.
    #[inline]
    fn is_foreign(&self) -> bool {
        let owner = self.thread.get();
        owner != 0 && owner != current_thread()
    }

    /// The loop has been given a job, perhaps while it sleeps. Between its own thread's look at the ready queue and its
    /// sleep no Python code runs, save a clock of the program's own, under which a signal handler may have come here.
    #[inline]
    fn wake_if_needed(&self) {
        let foreign = self.is_foreign();
        if foreign {
            self.sharing.expect_answer();
        }
        if (foreign || self.own_clock.get()) && !self.remote.is_notified() {
            self.remote.notify();
        }
    }

    /// As `schedule_from_anywhere`, for a worker thread: what wakes the loop is handed back, to be notified once the
    /// thread has let go of the interpreter, or is about to keep it for something else. A closed loop drops the job.
    pub(crate) fn schedule_silently(&self, job: Job) -> Option<Remote<Job>> {
        if self.is_closed() {
            return None;
        }
        if cfg!(Py_GIL_DISABLED) && self.is_running() {
            return self.remote.schedule_silently(job).is_ok().then(|| self.remote.clone());
        }
        self.engine.schedule(job);
        self.is_running().then(|| self.remote.clone())
    }

    /// Lends `size` bytes to receive into: the loop's own, or for more than it has, some that are given back at once.
    /// Where `receive` runs code that borrows again, that gets another buffer.
    #[inline]
    pub(crate) fn with_receive_buffer<T>(&self, size: usize, receive: impl FnOnce(&mut [u8]) -> T) -> T {
        if size > RECEIVE_SIZE {
            return receive(&mut vec![0; size]);
        }
        let mut buffer = self.receive_buffer.take();
        if buffer.is_empty() {
            buffer.resize(RECEIVE_SIZE + CACHE_LINE, 0);
        }
        let start = buffer.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
        let answer = receive(&mut buffer[start..start + size]);
        self.receive_buffer.set(buffer);
        answer
    }

    /// Watches a descriptor, and lists it. Callbacks and operations that were registered under its number lose it:
    /// most likely they were another file's, which has been closed.
    pub(crate) fn register(&self, fd: RawFd, interest: Interest, source: Source) -> PyResult<Token> {
        drop(sock::give_way(self, fd));
        let token = self.engine.register(fd, interest, source).map_err(|(error, _source)| os_error(error))?;
        self.descriptors.borrow_mut().insert(fd, token);
        Ok(token)
    }

    /// What threads that are not attached leave jobs with.
    pub(crate) fn remote(&self) -> Remote<Job> {
        self.remote.clone()
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
        self.resting.clear();
        self.addresses.clear();
        let drained = self.engine.close();
        drained.sources.iter().for_each(sock::abandon);
        drop((drained, descriptors));
        for slot in self.slots() {
            slot.set(None);
        }
        drop(self.flushing.close());
    }

    fn slots(&self) -> [&Slot; 6] {
        let [template, spare] = self.contexts.slots();
        [&self.task_factory, &self.default_executor, &self.work_queue, &self.idle_task, template, spare]
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.visit_shown(|see| {
            self.engine.for_each_job(&mut |job: &Job| job.visit(see));
            self.engine.for_each_source(&mut |source: &Source| source.visit(see));
            self.flushing.visit(see);
        })?;
        visit.visit_slots(self.slots())
    }
}

/// The calling thread's number.
pub(crate) fn current_thread() -> u64 {
    // SAFETY: no preconditions.
    unsafe { PyThread_get_thread_ident() }
}

unsafe extern "C" {
    fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
}
