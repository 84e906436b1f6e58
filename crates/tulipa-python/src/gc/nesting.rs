//! Freeing long chains of native objects on a short stack.
//!
//! When the last reference to an object goes while another is being freed, it is freed within that. From 3.14 on CPython
//! looks at the stack before it frees anything. Before that every class has to see to it, and CPython's means differ
//! from version to version and know nothing of PyO3's classes. So here are our own: how deep it has gone is counted, and
//! what would go too deep is freed later, by the frame that first went that deep.
//!
//! Called as the `tp_dealloc` of native classes, before anything else of them. Calls nobody but their own.

#[cfg(not(Py_3_14))]
use std::cell::Cell;
#[cfg(not(Py_3_14))]
use std::ptr;

use pyo3::ffi;
use pyo3::{PyTypeInfo, Python};

/// How many native objects are freed within one another at most; CPython's own number for its containers.
#[cfg(not(Py_3_14))]
const DEEP: usize = 50;

/// An object whose freeing was put off, and how to free it.
#[cfg(not(Py_3_14))]
type Deferred = (*mut ffi::PyObject, ffi::destructor);

/// How many native objects are being freed within others. One number serves all threads: one that rests in the middle,
/// in a finalizer, has the others put off more than they must, which is all that comes of it.
#[cfg(not(Py_3_14))]
struct Depth(Cell<usize>);

// SAFETY: S1: touched by attached threads only, between calls into Python, on builds with a GIL.
#[cfg(not(Py_3_14))]
unsafe impl Sync for Depth {}

#[cfg(not(Py_3_14))]
static DEPTH: Depth = Depth(Cell::new(0));

#[cfg(not(Py_3_14))]
thread_local! {
    /// What the thread has put off; null unless a frame of its own is there to free it.
    static LATER: Cell<*mut Vec<Deferred>> = const { Cell::new(ptr::null_mut()) };
}

/// Frees an instance by `free`, now or a little later.
///
/// # Safety
/// Called as `tp_dealloc`; `free` is what would be called in its place.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it stands for a call that is known where it is made")]
pub(crate) unsafe fn nested(object: *mut ffi::PyObject, free: ffi::destructor) {
    #[cfg(not(Py_3_14))]
    {
        let depth = DEPTH.0.get();
        if depth >= DEEP {
            // SAFETY: passed on.
            return unsafe { free_or_defer(object, free) };
        }
        DEPTH.0.set(depth + 1);
        // SAFETY: passed on.
        unsafe { free(object) };
        DEPTH.0.set(DEPTH.0.get() - 1);
    }
    #[cfg(Py_3_14)]
    // SAFETY: passed on.
    unsafe {
        free(object);
    }
}

/// # Safety
/// As for `nested`.
#[cfg(not(Py_3_14))]
#[cold]
unsafe fn free_or_defer(object: *mut ffi::PyObject, free: ffi::destructor) {
    let later = LATER.get();
    if later.is_null() {
        // SAFETY: passed on.
        return unsafe { free_with_all_below(object, free) };
    }
    // Nobody refers to it, which the collector must not find out.
    // SAFETY: a whole object still, of a collected class.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: a frame of this thread keeps the list while it is there, and borrows it between its calls only.
    unsafe { &mut *later }.push((object, free));
}

/// Frees the object, then what has been put off meanwhile, one after the other.
///
/// # Safety
/// As for `nested`.
#[cfg(not(Py_3_14))]
unsafe fn free_with_all_below(object: *mut ffi::PyObject, free: ffi::destructor) {
    // Not on the stack, which a program may switch while a finalizer runs.
    let later = Box::into_raw(Box::new(Vec::new()));
    LATER.set(later);
    // SAFETY: passed on.
    unsafe { free(object) };
    // SAFETY: this frame's own list; the borrow ends with the expression.
    while let Some((object, free)) = unsafe { &mut *later }.pop() {
        // A finalizer may revive it, as the whole object that it still is.
        // SAFETY: untracked when it was put off.
        unsafe { ffi::PyObject_GC_Track(object.cast()) };
        // SAFETY: put off by its `tp_dealloc`, and freed once.
        unsafe { free(object) };
    }
    LATER.set(ptr::null_mut());
    // SAFETY: made above, and known to nobody else any more.
    drop(unsafe { Box::from_raw(later) });
}

/// The `tp_dealloc` of PyO3's classes has to be put in the place of that which they were made with.
pub(crate) trait Nested: PyTypeInfo {
    /// What frees an instance, in place of the class's own.
    unsafe extern "C" fn free(object: *mut ffi::PyObject);

    /// The class's own.
    fn original() -> &'static std::sync::OnceLock<ffi::destructor>;

    /// Has instances freed as `nested` says. Before any exists, or a class is derived from this one.
    fn nest(py: Python<'_>) {
        if cfg!(Py_3_14) {
            return;
        }
        let class = Self::type_object_raw(py);
        // SAFETY: a live class.
        let Some(own) = (unsafe { (*class).tp_dealloc }) else { return };
        if Self::original().set(own).is_ok() {
            // SAFETY: a class of ours, which the interpreter asks for this only when it frees an instance, or derives.
            unsafe { (*class).tp_dealloc = Some(Self::free) };
        }
    }
}

/// Makes PyO3's classes `Nested`.
macro_rules! nested_classes {
    ($($class:ty),* $(,)?) => {
        $(impl $crate::gc::nesting::Nested for $class {
            unsafe extern "C" fn free(object: *mut pyo3::ffi::PyObject) {
                let free = <Self as $crate::gc::nesting::Nested>::original().get();
                // SAFETY: called as `tp_dealloc`; this stands in for the class's own.
                unsafe { $crate::gc::nesting::nested(object, *free.expect("set before this was")) };
            }

            fn original() -> &'static std::sync::OnceLock<pyo3::ffi::destructor> {
                static ORIGINAL: std::sync::OnceLock<pyo3::ffi::destructor> = std::sync::OnceLock::new();
                &ORIGINAL
            }
        })*
    };
}

pub(crate) use nested_classes;
