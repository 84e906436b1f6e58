//! Observers: native objects that wait for futures of any make, told of the end by a Rust function.
//!
//! To a native future on a Tulipa loop an observer is one entry among its callbacks and one job of the ready queue.
//! To any other future it is a builtin method in `add_done_callback`, two of which are equal where observer and kind
//! are. `gather`, `shield`, `wait` and task groups are made of them.

use pyo3::ffi;

use super::callbacks::{self, Callback};
use super::{any, is_exact, state_of};
use crate::ffi::class::onearg;
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, call};
use crate::stdlib::stdlib;

/// What is done with an observer when a future that it waits for is done.
pub(crate) struct Kind {
    /// Looks at the future the moment it is done, before anything is queued, and answers whether `tell` must run.
    /// Calls no Python code.
    note: fn(&Object, &Object) -> bool,
    /// Runs where asyncio runs the done-callback, with the observer and the future.
    tell: fn(&Object, &Object) -> Result<()>,
    definition: *mut ffi::PyMethodDef,
}

// SAFETY: the definition is static and never written.
unsafe impl Sync for Kind {}

impl Kind {
    pub(crate) const fn new(
        note: fn(&Object, &Object) -> bool,
        tell: fn(&Object, &Object) -> Result<()>,
        definition: *mut ffi::PyMethodDef,
    ) -> Self {
        Self { note, tell, definition }
    }

    #[inline]
    pub(crate) fn note(&self, observer: &Object, future: &Object) -> bool {
        (self.note)(observer, future)
    }

    #[inline]
    pub(crate) fn tell(&self, observer: &Object, future: &Object) -> Result<()> {
        (self.tell)(observer, future)
    }

    /// The callable that stands for the observer where Python code sees it.
    pub(crate) fn callable(&self, observer: &Object) -> Result<Object> {
        // SAFETY: the definition is static; the method owns a reference to the observer.
        unsafe { Object::steal(ffi::PyCFunction_New(self.definition, observer.as_ptr())) }
    }

    /// `future.add_done_callback(...)`.
    pub(crate) fn observe(&'static self, future: &Object, observer: &Object) -> Result<()> {
        if !is_exact(future) {
            let callable = self.callable(observer)?;
            return call::method1(future, &stdlib().names.add_done_callback, &callable).map(drop);
        }
        // SAFETY: exactly a native future.
        let state = unsafe { state_of(future.as_ptr()) };
        let callback = Callback::Notify { observer: observer.clone(), kind: self };
        if state.is_pending() {
            state.callbacks.push(callback);
            return Ok(());
        }
        callbacks::schedule(future, state, callback)
    }

    /// `future.remove_done_callback(...)`.
    pub(crate) fn forget(&'static self, future: &Object, observer: &Object) -> Result<()> {
        if !is_exact(future) {
            return any::remove_done_callback(future, &self.callable(observer)?);
        }
        // SAFETY: exactly a native future.
        unsafe { state_of(future.as_ptr()) }.callbacks.remove_observer(observer, self);
        Ok(())
    }

    /// The callable was called.
    ///
    /// # Safety
    /// Both are live; `observer` is what `callable` was given.
    pub(crate) unsafe fn called(
        &self,
        observer: *mut ffi::PyObject,
        future: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject {
        enter(|_| {
            // SAFETY: the caller vouches for both.
            let (observer, future) = unsafe { (Object::borrow(observer), Object::borrow(future)) };
            if self.note(&observer, &future) {
                self.tell(&observer, &future)?;
            }
            Ok(Object::none())
        })
    }
}

/// For kinds that always want to be told.
pub(crate) fn always(_observer: &Object, _future: &Object) -> bool {
    true
}

/// The table entry of a kind's callable.
pub(crate) const fn definition(
    name: &'static std::ffi::CStr,
    function: ffi::PyCFunction,
) -> ffi::PyMethodDef {
    onearg(name, function, c"Called with a future that is done.")
}

/// Declares `static KIND: Kind`, whose callable shows as `$name`.
macro_rules! observer_kind {
    ($(#[$attribute:meta])* $visibility:vis static $kind:ident, $name:literal, $note:path, $tell:path) => {
        $(#[$attribute])*
        $visibility static $kind: $crate::futures::observers::Kind = {
            unsafe extern "C" fn called(
                observer: *mut pyo3::ffi::PyObject,
                future: *mut pyo3::ffi::PyObject,
            ) -> *mut pyo3::ffi::PyObject {
                // SAFETY: the method is bound to an observer, and called with a live argument.
                unsafe { $kind.called(observer, future) }
            }
            static mut DEFINITION: pyo3::ffi::PyMethodDef =
                $crate::futures::observers::definition($name, called);
            $crate::futures::observers::Kind::new($note, $tell, &raw mut DEFINITION)
        };
    };
}
pub(crate) use observer_kind;
