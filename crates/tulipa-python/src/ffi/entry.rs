//! C entry points of native classes: what methods and getters have in common, whose `State` is found by `State::of`.

use super::{Object, Result};

/// What a method answers that returns nothing.
#[inline]
pub(crate) fn nothing(done: Result<()>) -> Result<Object> {
    done.map(|()| Object::none())
}

/// Defines an entry point without arguments: the body gets the object and its state.
macro_rules! method {
    ($name:ident, $state:ty, $body:expr) => {
        pub(super) unsafe extern "C" fn $name(
            object: *mut ::pyo3::ffi::PyObject,
            _: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            $crate::ffi::raised::enter(|_| {
                // SAFETY: called on an instance.
                let (this, state) = unsafe { ($crate::ffi::Object::borrow(object), <$state>::of(object)) };
                let body: fn(&$crate::ffi::Object, &$state) -> $crate::ffi::Result<$crate::ffi::Object> =
                    $body;
                body(&this, state)
            })
        }
    };
}

/// Defines an entry point with one argument, by position or by its name in asyncio.
macro_rules! one_argument {
    ($name:ident, $state:ty, $text:literal, $argument:ident, $body:expr) => {
        pub(super) unsafe extern "C" fn $name(
            object: *mut ::pyo3::ffi::PyObject,
            arguments: *const *mut ::pyo3::ffi::PyObject,
            count: ::pyo3::ffi::Py_ssize_t,
            names: *mut ::pyo3::ffi::PyObject,
        ) -> *mut ::pyo3::ffi::PyObject {
            $crate::ffi::raised::enter(|_| {
                // SAFETY: called on an instance.
                let (this, state) = unsafe { ($crate::ffi::Object::borrow(object), <$state>::of(object)) };
                // SAFETY: this call's own arguments.
                let args = unsafe { $crate::ffi::args::Args::new(arguments, count, names) };
                let argument = args.sole($text, &$crate::stdlib::stdlib().names.$argument)?;
                let body: fn(
                    &$crate::ffi::Object,
                    &$state,
                    $crate::ffi::Object,
                ) -> $crate::ffi::Result<$crate::ffi::Object> = $body;
                body(&this, state, argument)
            })
        }
    };
}

/// Defines the getter of a property: the body gets the state.
macro_rules! getter {
    ($name:ident, $state:ty, $body:expr) => {
        pub(super) unsafe extern "C" fn $name(
            object: *mut ::pyo3::ffi::PyObject,
            _: *mut ::std::ffi::c_void,
        ) -> *mut ::pyo3::ffi::PyObject {
            $crate::ffi::raised::enter(|_| {
                // SAFETY: called on an instance.
                let state = unsafe { <$state>::of(object) };
                let body: fn(&$state) -> $crate::ffi::Result<$crate::ffi::Object> = $body;
                body(state)
            })
        }
    };
}

pub(crate) use {getter, method, one_argument};
