//! Whether a class's methods are still what they were when the module was made.
//!
//! What goes past a method because it knows what the method does must stop when a program puts another one in its
//! place. CPython numbers the states of a class (`tp_version_tag`), so that asking costs one comparison.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::ffi::make::{self, Text};
use crate::ffi::{Object, Raised, call};

/// A class, and methods of it that native code stands in for.
pub(super) struct Originals {
    class: Object,
    methods: Vec<(Object, Object)>,
    /// The state of the class in which the methods were last found unchanged; zero for none.
    tag: AtomicU32,
}

impl Originals {
    /// Remembers the methods `names` of `class`, all of which `module` defines; without methods, and so never
    /// unchanged, where somebody has replaced one already.
    pub(super) fn new(class: &Bound<'_, PyAny>, module: &str, names: &[&str]) -> PyResult<Self> {
        let mut methods = Vec::new();
        for &name in names {
            let method = class.getattr(Text(name))?;
            if method.getattr_opt(Text("__module__"))?.is_some_and(|found| !found.eq(module).unwrap_or(false))
            {
                methods.clear();
                break;
            }
            let name = make::interned(class.py(), name)?;
            methods.push((Object::from_bound(name.as_any()), Object::from_bound(&method)));
        }
        Ok(Self { class: Object::from_bound(class), methods, tag: AtomicU32::new(0) })
    }

    /// Whether `object` is an instance of the class itself.
    #[inline]
    pub(super) fn is_exact(&self, object: &Object) -> bool {
        object.class() == self.class()
    }

    pub(super) fn class(&self) -> *mut ffi::PyTypeObject {
        self.class.as_ptr().cast()
    }

    /// Whether the class has all its own methods still.
    #[inline]
    pub(super) fn is_untouched(&self) -> bool {
        let tag = self.tag.load(Ordering::Relaxed);
        tag != 0 && tag == self.current_tag() || self.look_again()
    }

    /// Whether `object`, an instance of the untouched class, has no attribute of its own in the place of its
    /// method number `index`.
    #[inline]
    pub(super) fn is_own_method(&self, object: &Object, index: usize) -> bool {
        let (name, function) = &self.methods[index];
        let Ok(method) = call::getattr(object, name).map_err(Raised::clear) else { return false };
        method.class() == &raw mut PyMethod_Type
            // SAFETY: exactly a bound method, which owns its function.
            && function.is(unsafe { PyMethod_Function(method.as_ptr()) })
    }

    fn current_tag(&self) -> u32 {
        // SAFETY: a class, which lives for ever in here.
        unsafe { (*self.class()).tp_version_tag }
    }

    #[cold]
    fn look_again(&self) -> bool {
        let same = |(name, method): &(Object, Object)| {
            // A method that is gone leaves an AttributeError.
            call::getattr(&self.class, name)
                .map_err(Raised::clear)
                .is_ok_and(|found| found.is(method.as_ptr()))
        };
        let untouched = !self.methods.is_empty() && self.methods.iter().all(same);
        // The look-ups have given the class a number, if numbers are left.
        self.tag.store(if untouched { self.current_tag() } else { 0 }, Ordering::Relaxed);
        untouched
    }
}

unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}
