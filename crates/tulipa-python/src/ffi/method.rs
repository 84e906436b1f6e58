//! `Method`: a method of a C class, called past the interpreter's calling machinery.
//!
//! For calls that are made for every message, on objects whose class is known. What is not a C method of a kind that
//! is known here, or is called on an object of another class, goes the ordinary way.

use pyo3::ffi;

use super::{Object, Result, call};

/// A method as its class gives it: `Class.method`.
pub(crate) struct Method(Object);

impl Method {
    pub(crate) const fn new(of_class: Object) -> Self {
        Self(of_class)
    }

    /// The C definition, where this is a method of the very class of `object`.
    #[inline]
    fn definition(&self, object: &Object) -> Option<&ffi::PyMethodDef> {
        if self.0.class() != &raw mut ffi::PyMethodDescr_Type {
            return None;
        }
        // SAFETY: a method descriptor, which lives as long as this does.
        let descriptor = unsafe { &*self.0.as_ptr().cast::<ffi::PyMethodDescrObject>() };
        if descriptor.d_common.d_type != object.class() {
            return None;
        }
        // SAFETY: the definition lives as long as the class, which the descriptor keeps alive.
        Some(unsafe { &*descriptor.d_method })
    }

    /// `object.method()`.
    #[inline]
    pub(crate) fn call0(&self, object: &Object) -> Result<Object> {
        if let Some(definition) = self.definition(object)
            && definition.ml_flags == ffi::METH_FASTCALL
        {
            // SAFETY: the flags say that the definition has this member of the union.
            let function = unsafe { definition.ml_meth.PyCFunctionFast };
            // SAFETY: an instance of the method's class, and no arguments; the result is new or null.
            return unsafe { Object::steal(function(object.as_ptr(), std::ptr::null_mut(), 0)) };
        }
        call::call1(&self.0, object)
    }

    /// `object.method(argument)`.
    #[inline]
    pub(crate) fn call1(&self, object: &Object, argument: &Object) -> Result<Object> {
        if let Some(definition) = self.definition(object)
            && definition.ml_flags == ffi::METH_O
        {
            // SAFETY: the flags say that the definition has this member of the union.
            let function = unsafe { definition.ml_meth.PyCFunction };
            // SAFETY: an instance of the method's class, and a live argument; the result is new or null.
            return unsafe { Object::steal(function(object.as_ptr(), argument.as_ptr())) };
        }
        call::call2(&self.0, object, argument)
    }

    /// `object.method(*arguments)` for a tuple.
    #[inline]
    pub(crate) fn call_tuple(&self, object: &Object, arguments: &Object) -> Result<Object> {
        if let Some(definition) = self.definition(object)
            && definition.ml_flags == ffi::METH_VARARGS
        {
            // SAFETY: the flags say that the definition has this member of the union.
            let function = unsafe { definition.ml_meth.PyCFunction };
            // SAFETY: an instance of the method's class, and a live tuple; the result is new or null.
            return unsafe { Object::steal(function(object.as_ptr(), arguments.as_ptr())) };
        }
        self.call_with_items(object, arguments)
    }

    #[cold]
    fn call_with_items(&self, object: &Object, arguments: &Object) -> Result<Object> {
        // SAFETY: a live tuple.
        let count = unsafe { ffi::PyTuple_GET_SIZE(arguments.as_ptr()) };
        let mut all = vec![object.as_ptr()];
        // SAFETY: every index is below the tuple's size; its items live as long as it does.
        all.extend((0..count).map(|index| unsafe { ffi::PyTuple_GET_ITEM(arguments.as_ptr(), index) }));
        call::vectorcall(&self.0, &all)
    }
}
