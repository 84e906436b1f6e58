//! The Handle of `call_soon_threadsafe` where asyncio has a class of its own for it (3.14 and later): while its
//! callback runs, other threads that ask whether it was cancelled, or cancel it, wait for the callback's end.
//!
//! asyncio gives each a reentrant lock and takes it around every run. Here a run notes its thread, and only a
//! thread that really has to wait makes a lock, in the slot that asyncio declares for its own. Python's locks wait
//! as its signal handlers need it. Called by `handles`; all of it between calls into Python (S1).

use std::cell::Cell;
use std::ffi::c_void;

use pyo3::ffi;
use pyo3::prelude::*;

use super::core::current_thread;
use super::handles::{self, SHARING_SIZE, at, layout};
use crate::ffi::class::{extension_offset, member_offset, new_class, noargs, slot};
use crate::ffi::make::{self, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, Slot, call};
use crate::futures::methods::boolean;

/// The class and where it keeps its state.
pub(super) struct ThreadSafe {
    pub(super) class: *mut ffi::PyTypeObject,
    /// The slot `_lock`: empty unless somebody waits.
    pub(super) lock: usize,
    /// The number of the thread that runs the callback; zero for none.
    running: usize,
    /// Whether the context is a template: see `handles`.
    pub(super) sharing: usize,
    /// asyncio's `Handle._run`.
    plain_run: Object,
    allocate_lock: Object,
}

impl ThreadSafe {
    /// `None` where asyncio has no such class.
    pub(super) fn new(py: Python<'_>, slots: Vec<ffi::PyType_Slot>) -> Result<Option<Self>> {
        let events = py.import(Text("asyncio.events"))?;
        let Some(base) = events.getattr_opt(Text("_ThreadSafeHandle"))? else { return Ok(None) };
        let base = Object::from(base);
        let running = extension_offset(base.as_ptr().cast());
        let name = Object::from_bound(make::interned(py, "_lock")?.as_any());
        let mut slots = slots;
        slots.push(slot(ffi::Py_tp_methods, (&raw mut METHODS).cast::<c_void>()));
        let flags = ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
        let sharing = running + size_of::<Cell<u64>>();
        let size = sharing + SHARING_SIZE;
        // SAFETY: the slots are of the documented types and static; the size covers base and extension.
        let class =
            unsafe { new_class(c"tulipa._tulipa._ThreadSafeHandle", base.as_ptr(), size, flags, slots) }?;
        Ok(Some(Self {
            class: class.into_ptr().cast(),
            lock: member_offset(&base, &name)?,
            running,
            sharing,
            plain_run: events.getattr(Text("Handle"))?.getattr(Text("_run"))?.into(),
            allocate_lock: py.import(Text("_thread"))?.getattr(Text("allocate_lock"))?.into(),
        }))
    }

    /// # Safety
    /// `object` is an instance of the class, live for the use of the result.
    unsafe fn parts<'a>(&self, object: *mut ffi::PyObject) -> (&'a Cell<u64>, &'a Slot) {
        // SAFETY: the extension of the class; the zeroed bytes that it begins with are a zero.
        let running = unsafe { &*object.byte_add(self.running).cast::<Cell<u64>>() };
        // SAFETY: instances have the slot.
        (running, unsafe { at(object, self.lock) })
    }

    /// Runs `body` as the handle's callback.
    pub(super) fn run<T>(&self, handle: &Object, body: impl FnOnce() -> Result<T>) -> Result<T> {
        // SAFETY: callers pass instances of the class.
        let (running, lock) = unsafe { self.parts(handle.as_ptr()) };
        let before = running.replace(current_thread());
        let outcome = body();
        running.set(before);
        match lock.take() {
            None => outcome,
            Some(lock) => outcome.and_then(|value| release(&lock).map(|()| value)),
        }
    }

    /// Returns once no other thread runs the callback.
    fn wait_for_run(&self, handle: &Object) -> Result<()> {
        // SAFETY: callers pass instances of the class.
        let (running, lock) = unsafe { self.parts(handle.as_ptr()) };
        while ![0, current_thread()].contains(&running.get()) {
            let made = call::call0(&self.allocate_lock)?;
            acquire(&made)?;
            // Allocating may have let the callback end, or another thread wait.
            if running.get() == 0 {
                break;
            }
            if lock.is_empty() {
                lock.put(made);
            }
            let lock = lock.or_none();
            acquire(&lock)?;
            // Whoever waits for the same run goes on as well.
            release(&lock)?;
        }
        Ok(())
    }
}

fn acquire(lock: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(lock.bound(py).call_method0(Text("acquire")).map(drop)?)
}

fn release(lock: &Object) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    Ok(lock.bound(py).call_method0(Text("release")).map(drop)?)
}

static mut METHODS: [ffi::PyMethodDef; 4] = [
    noargs(c"cancel", cancel, c"Cancel the callback, after its end if another thread is running it."),
    noargs(
        c"cancelled",
        cancelled,
        c"Whether the callback was cancelled; waits while another thread runs it.",
    ),
    noargs(c"_run", run, c"Run the callback unless it was cancelled."),
    ffi::PyMethodDef::zeroed(),
];

/// The class's part of the layout, and the handle that a method was called on.
fn this(object: *mut ffi::PyObject) -> (&'static ThreadSafe, Object) {
    let class = layout().thread_safe.as_ref().expect("the method belongs to the class");
    // SAFETY: called on an instance.
    (class, unsafe { Object::borrow(object) })
}

unsafe extern "C" fn cancel(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        let (class, handle) = this(object);
        class.wait_for_run(&handle)?;
        handles::cancel_handle(py, &handle)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn cancelled(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        let (class, handle) = this(object);
        class.wait_for_run(&handle)?;
        Ok(boolean(handles::is_cancelled(&handle)))
    })
}

unsafe extern "C" fn run(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        let (class, handle) = this(object);
        class.wait_for_run(&handle)?;
        if handles::is_cancelled(&handle) {
            return Ok(Object::none());
        }
        class.run(&handle, || call::call1(&class.plain_run, &handle))
    })
}
