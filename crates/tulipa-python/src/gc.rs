//! Garbage collection of native classes: visiting references and freeing instances.

pub(crate) mod nesting;

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::{PyTraverseError, PyVisit};

pub(crate) use nesting::nested;

use crate::ffi::{Object, Slot};

/// Calls the collector for the object's class and for every address that `each` hands out (null is skipped).
/// Returns what the collector said, and stops asking it once that is not zero.
///
/// # Safety
/// `object` is live; `visit` and `data` are the collector's.
#[inline]
pub(crate) unsafe fn visit_all(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
    each: impl FnOnce(&mut dyn FnMut(*mut ffi::PyObject)),
) -> c_int {
    // SAFETY: heap classes are visited by their instances.
    let mut answer = unsafe { visit(ffi::Py_TYPE(object).cast(), data) };
    each(&mut |pointer| {
        if answer == 0 && !pointer.is_null() {
            // SAFETY: the addresses are live objects owned by `object`.
            answer = unsafe { visit(pointer, data) };
        }
    });
    answer
}

/// For classes made by PyO3: shows the collector what slots hold.
pub(crate) trait VisitSlots {
    fn visit_slots<const N: usize>(&self, slots: [&Slot; N]) -> Result<(), PyTraverseError>;

    /// The same of what `show` hands out one by one. The collector is not asked any more once it has refused one.
    fn visit_shown(&self, show: impl FnOnce(&mut dyn FnMut(&Object))) -> Result<(), PyTraverseError>;
}

impl VisitSlots for PyVisit<'_> {
    fn visit_slots<const N: usize>(&self, slots: [&Slot; N]) -> Result<(), PyTraverseError> {
        slots.into_iter().filter_map(Slot::peek).try_for_each(|object| self.call(object.as_py()))
    }

    fn visit_shown(&self, show: impl FnOnce(&mut dyn FnMut(&Object))) -> Result<(), PyTraverseError> {
        let mut outcome = Ok(());
        show(&mut |object| {
            if outcome.is_ok() {
                outcome = self.call(object.as_py());
            }
        });
        outcome
    }
}

/// Lets go of the `__dict__` that an instance keeps by itself.
pub(crate) fn drop_dict(dict: &Cell<*mut ffi::PyObject>) {
    let dict = dict.replace(std::ptr::null_mut());
    // SAFETY: null or a reference that the instance owned.
    drop(unsafe { Object::owned_opt(dict) });
}

/// Takes an instance that nobody refers to any more from the collector, and from its weak references, so that none of
/// their callbacks sees half an object.
///
/// # Safety
/// Within `tp_dealloc`, before anything of the instance is let go of.
#[inline]
pub(crate) unsafe fn hide(object: *mut ffi::PyObject) {
    // SAFETY: the instance is whole, and of a collected class.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: as above.
    if unsafe { is_weakly_referenced(object) } {
        // SAFETY: being freed, as is asked for.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
}

/// Gives the memory of an instance of a heap class back, and the instance's reference to its class.
///
/// # Safety
/// The last step of `tp_dealloc`: nothing of the instance is used afterwards.
#[inline]
pub(crate) unsafe fn free(object: *mut ffi::PyObject) {
    // SAFETY: the instance is still allocated.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: heap classes have `tp_free`, inherited from `object` at the latest.
    if let Some(free) = unsafe { (*class).tp_free } {
        // SAFETY: freed once, here.
        unsafe { free(object.cast()) };
    }
    // SAFETY: every instance of a heap class owns a reference to it.
    unsafe { ffi::Py_DECREF(class.cast()) };
}

/// How many freed instances of a class are kept, so that a turn which schedules hundreds of callbacks or starts
/// hundreds of tasks finds the memory of the last one's. 1024 of the largest (tasks, 370 bytes with their headers)
/// are 370 KiB; with 256, a gather of a thousand took some 2 % longer.
const KEPT: usize = 1024;

/// The memory of instances that were freed, for the next ones of exactly the same class.
///
/// One per class and process: the GIL guards it (S1), and builds without a GIL keep nothing. What it saves is the
/// allocator, the zeroing and the collector's count, half of what a short-lived object costs.
pub(crate) struct FreeList(UnsafeCell<Kept>);

struct Kept {
    objects: [*mut ffi::PyObject; KEPT],
    count: usize,
}

// SAFETY: S1: touched by attached threads only, between calls into Python, on builds with a GIL.
unsafe impl Sync for FreeList {}

impl FreeList {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Kept { objects: [std::ptr::null_mut(); KEPT], count: 0 }))
    }

    /// An instance, whose memory was kept or is new; the collector sees it once `fill` has made it whole.
    ///
    /// # Safety
    /// `class` is the one whose instances are given to this list, is collected, and has no constructor that must run:
    /// `fill` can work on zeroed memory as well as on what an instance leaves. It calls nobody who could see the instance.
    #[inline]
    pub(crate) unsafe fn make(
        &self,
        class: *mut ffi::PyTypeObject,
        fill: impl FnOnce(*mut ffi::PyObject),
    ) -> crate::ffi::Result<Object> {
        // SAFETY: passed on.
        if let Some(object) = unsafe { self.take(class) } {
            fill(object.as_ptr());
            track(&object);
            return Ok(object);
        }
        // SAFETY: a live class; what this makes is tracked at once, which nobody can tell before `fill` is done.
        let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
        fill(object.as_ptr());
        Ok(object)
    }

    /// An instance that was kept, as its memory was left, not seen by the collector yet.
    ///
    /// # Safety
    /// `class` is the one whose instances are given to this list.
    #[inline]
    pub(crate) unsafe fn take(&self, class: *mut ffi::PyTypeObject) -> Option<Object> {
        // SAFETY: S1: the borrow ends in this function, which calls nobody meanwhile.
        let kept = unsafe { &mut *self.0.get() };
        kept.count = kept.count.checked_sub(1)?;
        let object = kept.objects[kept.count];
        // SAFETY: memory of an instance of `class`, of which nobody knows; it gets its reference to the class back.
        unsafe { Object::owned_opt(ffi::PyObject_Init(object, class)) }
    }

    /// Keeps the memory of an instance; `false` where there is no room, or it may not be used again.
    ///
    /// # Safety
    /// The last step of `tp_dealloc`, in place of `free`: the instance is untracked, holds no reference but the one
    /// to its class, has neither weak references nor a dict, and its finalizer never ran, which the collector would
    /// remember of the memory's next tenant.
    #[inline]
    pub(crate) unsafe fn give(&self, object: *mut ffi::PyObject) -> bool {
        if cfg!(Py_GIL_DISABLED) {
            return false;
        }
        // SAFETY: the instance is still allocated.
        let class = unsafe { ffi::Py_TYPE(object) };
        // SAFETY: S1: the borrow ends in this block.
        let kept = unsafe { &mut *self.0.get() };
        if kept.count == KEPT {
            return false;
        }
        kept.objects[kept.count] = object;
        kept.count += 1;
        // SAFETY: the instance's reference; native classes live for ever, so nothing is freed here.
        unsafe { ffi::Py_DECREF(class.cast()) };
        true
    }
}

/// Whether there are weak references to an object, which may be being freed.
///
/// # Safety
/// `object` is allocated.
#[inline]
pub(crate) unsafe fn is_weakly_referenced(object: *mut ffi::PyObject) -> bool {
    // SAFETY: an allocated object.
    let offset = unsafe { (*ffi::Py_TYPE(object)).tp_weaklistoffset };
    // SAFETY: the place where the class has the list of them, before the object or in it.
    offset != 0 && !unsafe { object.byte_offset(offset).cast::<*mut ffi::PyObject>().read() }.is_null()
}

/// Whether nothing was ever kept in the `__dict__` of an instance that is being freed.
///
/// # Safety
/// `object` is allocated, and of a heap class whose instances have a dict but no room for attributes beside it.
#[inline]
pub(crate) unsafe fn has_no_attributes(object: *mut ffi::PyObject) -> bool {
    // SAFETY: an allocated object; nothing is made by asking.
    let dict = unsafe { _PyObject_GetDictPtr(object).as_ref() };
    dict.is_none_or(|dict| dict.is_null())
}

unsafe extern "C" {
    fn _PyObject_GetDictPtr(object: *mut ffi::PyObject) -> *mut *mut ffi::PyObject;
}

/// Tells the collector of an instance that it does not see yet.
#[inline]
pub(crate) fn track(object: &Object) {
    // SAFETY: a live instance of a collected class, untracked so far, and whole.
    unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
}
