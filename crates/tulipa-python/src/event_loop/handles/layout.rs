//! The classes of handles, and where asyncio's slots and the native part lie in their instances.
//!
//! Everything here goes by pointers to live handles, and calls nothing of Python's once the classes are made.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use tulipa::TimerKey;

use super::class::{METHODS, TIMER_METHODS, life_cycle, make};
use crate::event_loop::contexts::Context;
use crate::event_loop::thread_safe::ThreadSafe;
use crate::ffi::class::{extension_offset, member_offset};
use crate::ffi::make;
use crate::ffi::{Object, Once, Result, Slot};
use crate::stdlib::stdlib;

/// The classes, and where asyncio's slots lie in their instances.
pub(crate) struct Layout {
    pub(crate) handle: *mut ffi::PyTypeObject,
    pub(crate) timer_handle: *mut ffi::PyTypeObject,
    pub(super) callback: usize,
    pub(super) arguments: usize,
    pub(super) cancelled: usize,
    pub(super) event_loop: usize,
    pub(super) source_traceback: usize,
    pub(super) repr: usize,
    pub(super) context: usize,
    pub(super) scheduled: usize,
    pub(super) when: usize,
    /// Where a Handle notes whether its context is a template, which others share.
    sharing: usize,
    /// The same of a TimerHandle.
    timer_sharing: usize,
    /// Where a TimerHandle keeps its place in the engine's timers.
    key: usize,
    /// The class of what `call_soon_threadsafe` returns, where asyncio tells it apart.
    pub(in crate::event_loop) thread_safe: Option<ThreadSafe>,
}

// SAFETY: the classes live for ever, and the numbers never change.
static LAYOUT: Once<Layout> = unsafe { Once::new() };

/// What noting whether a context is shared takes of an instance, so that what comes behind it is aligned.
pub(in crate::event_loop) const SHARING_SIZE: usize = size_of::<usize>();

#[inline]
pub(crate) fn layout() -> &'static Layout {
    LAYOUT.get()
}

/// Makes the classes; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<&'static Layout> {
    LAYOUT.get_or_make(|| Layout::new(py))
}

impl Layout {
    fn new(py: Python<'_>) -> Result<Self> {
        let (base, timer_base) = (&stdlib().abstract_handle, &stdlib().abstract_timer_handle);
        let offset = |class: &Object, name: &str| {
            let name = make::interned(py, name)?.into_any();
            member_offset(class, &name.into())
        };
        let sharing = extension_offset(base.as_ptr().cast());
        let key = extension_offset(timer_base.as_ptr().cast());
        let timer_sharing = key + size_of::<TimerPlace>();
        let make = |name, base, sharing, methods| {
            make(name, base, sharing + SHARING_SIZE, methods).map(|class| class.into_ptr().cast())
        };
        Ok(Self {
            handle: make(c"tulipa._tulipa.Handle", base, sharing, &raw mut METHODS)?,
            timer_handle: make(
                c"tulipa._tulipa.TimerHandle",
                timer_base,
                timer_sharing,
                &raw mut TIMER_METHODS,
            )?,
            callback: offset(base, "_callback")?,
            arguments: offset(base, "_args")?,
            cancelled: offset(base, "_cancelled")?,
            event_loop: offset(base, "_loop")?,
            source_traceback: offset(base, "_source_traceback")?,
            repr: offset(base, "_repr")?,
            context: offset(base, "_context")?,
            scheduled: offset(timer_base, "_scheduled")?,
            when: offset(timer_base, "_when")?,
            sharing,
            timer_sharing,
            key,
            thread_safe: ThreadSafe::new(py, life_cycle())?,
        })
    }

    /// The slots of an instance; those after the seventh belong to a class derived from Handle.
    ///
    /// # Safety
    /// `object` is a native handle, live for the use of the result.
    pub(super) unsafe fn slots<'a>(
        &self,
        object: *mut ffi::PyObject,
    ) -> impl Iterator<Item = &'a Slot> + use<'a> {
        // SAFETY: passed on.
        let (own, count) = unsafe { self.own_slots(object) };
        let all = [
            self.callback,
            self.arguments,
            self.cancelled,
            self.event_loop,
            self.source_traceback,
            self.repr,
            self.context,
            own[0],
            own[1],
        ];
        // SAFETY: instances have these slots, and the caller keeps them.
        all.into_iter().take(7 + count).map(move |offset| unsafe { at(object, offset) })
    }

    /// The slots that the instance has beyond a Handle's, and how many they are.
    ///
    /// # Safety
    /// `object` is a live object.
    #[inline]
    unsafe fn own_slots(&self, object: *mut ffi::PyObject) -> ([usize; 2], usize) {
        // SAFETY: a live object.
        let class = unsafe { ffi::Py_TYPE(object) };
        if class == self.handle {
            ([0, 0], 0)
        } else if class == self.timer_handle {
            ([self.scheduled, self.when], 2)
        } else {
            // SAFETY: passed on.
            unsafe { self.inherited_slots(object) }
        }
    }

    /// Whether the instance's context is a template; `None` for a Handle of asyncio's own, which never has one.
    ///
    /// # Safety
    /// `object` is a handle, live for the use of the result.
    #[inline]
    pub(super) unsafe fn sharing<'a>(&self, object: *mut ffi::PyObject) -> Option<&'a Cell<bool>> {
        // SAFETY: a live object.
        let class = unsafe { ffi::Py_TYPE(object) };
        let offset = if class == self.handle {
            self.sharing
        } else if class == self.timer_handle {
            self.timer_sharing
        } else {
            // SAFETY: passed on.
            unsafe { self.inherited_sharing(object) }?
        };
        // SAFETY: a part of the extension that every native class of handles has; zeroed bytes are `false`.
        Some(unsafe { &*object.byte_add(offset).cast() })
    }

    /// The same for the other classes, whose bases have to be walked through.
    ///
    /// # Safety
    /// `object` is a live object.
    unsafe fn inherited_sharing(&self, object: *mut ffi::PyObject) -> Option<usize> {
        // SAFETY: a live object and class.
        let is = |class| unsafe { ffi::PyObject_TypeCheck(object, class) } != 0;
        match &self.thread_safe {
            Some(class) if is(class.class) => Some(class.sharing),
            _ if is(self.timer_handle) => Some(self.timer_sharing),
            _ => is(self.handle).then_some(self.sharing),
        }
    }

    /// Gives a handle its context.
    ///
    /// # Safety
    /// `object` is a native handle.
    #[inline]
    pub(super) unsafe fn put_context(&self, object: *mut ffi::PyObject, context: Context) {
        let (shared, context) = context.split();
        // SAFETY: passed on.
        if let Some(sharing) = unsafe { self.sharing(object) } {
            sharing.set(shared);
        }
        // SAFETY: a handle.
        unsafe { at(object, self.context) }.put(context);
    }

    /// Takes a handle's context, and leaves it none.
    ///
    /// # Safety
    /// `object` is a handle.
    #[inline]
    pub(super) unsafe fn take_context(&self, object: *mut ffi::PyObject) -> Context {
        // SAFETY: passed on.
        let shared = unsafe { self.sharing(object) }.is_some_and(|sharing| sharing.replace(false));
        // SAFETY: a handle.
        Context::join(shared, unsafe { at(object, self.context) }.take().unwrap_or_else(Object::none))
    }

    /// `own_slots` of the other classes.
    ///
    /// # Safety
    /// `object` is a live object.
    unsafe fn inherited_slots(&self, object: *mut ffi::PyObject) -> ([usize; 2], usize) {
        match &self.thread_safe {
            // SAFETY: a live object and class.
            Some(class) if unsafe { ffi::PyObject_TypeCheck(object, class.class) } != 0 => {
                ([class.lock, 0], 1)
            }
            // SAFETY: passed on.
            _ if unsafe { is_timer(object) } => ([self.scheduled, self.when], 2),
            _ => ([0, 0], 0),
        }
    }
}

/// The slot at `offset`.
///
/// # Safety
/// Instances of the object's class have a slot of a Python class there; it is live for the use of the result.
#[inline]
pub(in crate::event_loop) unsafe fn at<'a>(object: *mut ffi::PyObject, offset: usize) -> &'a Slot {
    // SAFETY: a slot of a Python class is one nullable owned pointer, which is what `Slot` is.
    unsafe { &*object.byte_add(offset).cast::<Slot>() }
}

/// Whether it is a native TimerHandle.
///
/// # Safety
/// `object` is a live object.
#[inline]
pub(super) unsafe fn is_timer(object: *mut ffi::PyObject) -> bool {
    let layout = layout();
    // SAFETY: a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // Subclasses are rare, and the walk over their bases is not free.
    // SAFETY: a live object and a live class.
    class != layout.handle
        && (class == layout.timer_handle
            || unsafe { ffi::PyObject_TypeCheck(object, layout.timer_handle) != 0 })
}

/// A timer's key plus one, or zero for none: so an instance that a program makes, with zeroes for all that asyncio's
/// `__init__` does not fill, has no timer.
#[repr(transparent)]
pub(super) struct TimerPlace(Cell<u64>);

impl TimerPlace {
    #[inline]
    pub(super) fn set(&self, key: TimerKey) {
        self.0.set(key.to_bits() + 1);
    }

    #[inline]
    pub(super) fn clear(&self) {
        self.0.set(0);
    }

    #[inline]
    pub(super) fn take(&self) -> Option<TimerKey> {
        self.0.take().checked_sub(1).map(TimerKey::from_bits)
    }
}

/// Where a TimerHandle keeps its timer.
///
/// # Safety
/// `object` is a native TimerHandle, live for the use of the result.
#[inline]
pub(super) unsafe fn key_of<'a>(object: *mut ffi::PyObject) -> &'a TimerPlace {
    // SAFETY: the extension of the class, in which any bytes are a number.
    unsafe { &*object.byte_add(layout().key).cast() }
}
