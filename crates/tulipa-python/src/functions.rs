//! Functions of asyncio's that are native here, and coroutine methods of its classes, each standing for the one that it
//! replaces.
//!
//! Such a function shows the stock one's name, text, signature and code object, so that `inspect`, `mock` and
//! `iscoroutinefunction` find what they find there; and as they ask `isinstance` first, it says that it is a function.
//! C code looks at the type itself, and is not deceived. A call whose arguments it does not understand is made to the
//! stock function instead, which raises what asyncio raises.

#[cfg(not(Py_3_14))]
mod bound;

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyString, PyType};

use crate::ffi::args::Args;
use crate::ffi::class::{DICT, NO_MEMBER, NO_PROPERTY, new_class, noargs, place, property, slot};
use crate::ffi::make::{self, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Once, Result, Slot, call};
use crate::gc;
use crate::toolbox::Native;

/// What runs a call; `None` where the stock function is to say what is wrong with the arguments.
pub(crate) type Entry = fn(&Args<'_>) -> Result<Option<Object>>;

/// One function.
#[repr(C)]
struct Function {
    header: ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    weak_references: *mut ffi::PyObject,
    /// `__dict__`, once somebody has asked for it or set an attribute.
    attributes: Slot,
    /// None: it is a method.
    entry: Option<Entry>,
    /// The function that this one stands for.
    stock: Slot,
    /// The native class's own method descriptor, of a method.
    method: Slot,
    /// Where the function is found, for pickling by name.
    module: Slot,
}

/// # Safety
/// `object` is an instance of the class, live for the use of the result.
unsafe fn function<'a>(object: *mut ffi::PyObject) -> &'a Function {
    // SAFETY: the class's instances have this layout.
    unsafe { &*object.cast::<Function>() }
}

// SAFETY: an immutable class that lives for ever.
static CLASS: Once<*mut ffi::PyTypeObject> = unsafe { Once::new() };

/// Makes one of the toolbox's functions; called by the module's initialisation.
pub(crate) fn stand_for(py: Python<'_>, native: &Native) -> Result<Object> {
    let object = allocate(vectorcall, Some(native.entry))?;
    // SAFETY: just made.
    let function = unsafe { function(object.as_ptr()) };
    let (module, name) = native.stock;
    function.stock.put(py.import(Text(module))?.getattr(Text(name))?.into());
    function.module.put(make::interned(py, native.home)?.into_any().into());
    Ok(object)
}

/// Has the methods of `class` that are coroutine functions in `module`'s class of the same name show themselves as such;
/// called when the class is made. `mock` asks for it before it makes something to be awaited.
pub(crate) fn show_coroutine_methods(class: &Bound<'_, PyType>, module: &str) -> PyResult<()> {
    #[cfg(not(Py_3_14))]
    bound::initialise()?;
    let py = class.py();
    let stock = py.import(Text(module))?.getattr(class.name()?)?;
    let coroutine: u32 = py.import(Text("inspect"))?.getattr(Text("CO_COROUTINE"))?.extract()?;
    let own = class.getattr(Text("__dict__"))?.call_method0(Text("copy"))?.cast_into::<PyDict>()?;
    for (name, method) in own {
        if method.get_type_ptr() != &raw mut ffi::PyMethodDescr_Type {
            continue;
        }
        let name = name.cast_into::<PyString>()?;
        let Some(original) = stock.getattr_opt(&name)? else { continue };
        let Some(code) = original.getattr_opt(Text("__code__"))? else { continue };
        if code.getattr(Text("co_flags"))?.extract::<u32>()? & coroutine != 0 {
            let object = allocate(forward, None)?;
            // SAFETY: just made.
            let function = unsafe { function(object.as_ptr()) };
            function.stock.put(original.into());
            function.method.put(method.into());
            function.module.put(class.getattr(Text("__module__"))?.into());
            class.setattr(name, object.bound(py))?;
        }
    }
    Ok(())
}

/// A function that stands for nothing yet.
fn allocate(vectorcall: ffi::vectorcallfunc, entry: Option<Entry>) -> Result<Object> {
    let class = *CLASS.get_or_make(|| make_class().map(|class| class.into_ptr().cast()))?;
    // SAFETY: the class is ours; allocation zeroes the instance, of which every field may be zero.
    let object = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
    let place = object.as_ptr().cast::<Function>();
    // SAFETY: just made, and seen by nobody else.
    unsafe {
        (&raw mut (*place).vectorcall).write(Some(vectorcall));
        (&raw mut (*place).entry).write(entry);
    }
    Ok(object)
}

/// Calls a method: those of the usual kinds at once, which locks and timeouts are fast by, and everything else by
/// CPython's own way of calling the descriptor, which checks the arguments.
unsafe extern "C" fn forward(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let positional = count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    if positional > 0 {
        // SAFETY: called on an instance that is a method, with this call's arguments, of which there is one.
        let answer = unsafe { call_method(object, *arguments, (arguments.add(1), positional - 1), names) };
        if let Some(answer) = answer {
            return answer;
        }
    }
    // SAFETY: called on an instance, which owns its method as long as it lives.
    let method = unsafe { function(object) }.method.as_ptr();
    // SAFETY: exactly a method descriptor.
    match unsafe { (*method.cast::<ffi::PyMethodDescrObject>()).vectorcall } {
        // SAFETY: this call's arguments.
        Some(call) => unsafe { call(method, arguments, count, names) },
        // SAFETY: as above.
        None => unsafe { ffi::PyObject_Vectorcall(method, arguments, count, names) },
    }
}

/// Calls the native function of a method; `None` where that is not of the usual kinds, or not for these arguments.
///
/// # Safety
/// `object` is a function that stands for a method; the arguments behind `instance` are a call's, with their number.
#[inline]
unsafe fn call_method(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    (arguments, positional): (*const *mut ffi::PyObject, usize),
    names: *mut ffi::PyObject,
) -> Option<*mut ffi::PyObject> {
    const FASTCALL: c_int = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    // SAFETY: an instance, which owns its method as long as it lives.
    let method = unsafe { function(object) }.method.as_ptr();
    // SAFETY: exactly a method descriptor.
    let descriptor = unsafe { &*method.cast::<ffi::PyMethodDescrObject>() };
    // SAFETY: both are live.
    if unsafe { ffi::PyObject_TypeCheck(instance, descriptor.d_common.d_type) } == 0 {
        return None;
    }
    // SAFETY: a descriptor's definition lives as long as its class.
    let definition = unsafe { &*descriptor.d_method };
    // SAFETY: called on an instance of the class that defines the method, as the descriptor would, by the function
    // that the flags say it is, with this call's arguments.
    unsafe {
        match definition.ml_flags {
            ffi::METH_NOARGS if positional == 0 && names.is_null() => {
                Some((definition.ml_meth.PyCFunction)(instance, std::ptr::null_mut()))
            }
            FASTCALL => {
                let call = definition.ml_meth.PyCFunctionFastWithKeywords;
                Some(call(instance, arguments, positional.cast_signed(), names))
            }
            _ => None,
        }
    }
}

unsafe extern "C" fn vectorcall(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let function = unsafe { function(object) };
        let positional = (count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET).cast_signed();
        // SAFETY: this call's arguments.
        let args = unsafe { Args::new(arguments, positional, names) };
        let answer = match function.entry {
            Some(entry) => entry(&args)?,
            None => None,
        };
        match answer {
            Some(answer) => Ok(answer),
            // SAFETY: as above; the stock function gets the arguments as they came, but for the free place before them.
            None => unsafe {
                Object::steal(ffi::PyObject_Vectorcall(
                    function.stock.as_ptr(),
                    arguments,
                    positional.cast_unsigned(),
                    names,
                ))
            },
        }
    })
}

/// What the function does not have of its own is the stock function's: its name, globals, annotations.
unsafe extern "C" fn attribute(object: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with a name.
        let (this, name) = unsafe { (Object::borrow(object), Object::borrow(name)) };
        // SAFETY: both are live; the result is new or null.
        match unsafe { Object::steal(ffi::PyObject_GenericGetAttr(this.as_ptr(), name.as_ptr())) } {
            // SAFETY: the class lives as long as the interpreter.
            Err(raised) if raised.matches(unsafe { ffi::PyExc_AttributeError }) => {
                raised.clear();
                // SAFETY: called on an instance.
                call::getattr(&unsafe { function(object) }.stock.or_none(), &name)
            }
            outcome => outcome,
        }
    })
}

/// Bound to an instance like any function that is a class attribute.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called on an instance, with a live object or null; a new reference or null with an exception.
    unsafe {
        if instance.is_null() || instance == ffi::Py_None() {
            return Object::borrow(object).into_ptr();
        }
        #[cfg(not(Py_3_14))]
        if !function(object).method.is_empty() {
            return enter(|_| bound::bind(Object::borrow(object), Object::borrow(instance)));
        }
        PyMethod_New(object, instance)
    }
}

unsafe extern "C" {
    fn PyMethod_New(function: *mut ffi::PyObject, instance: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// What `isinstance` goes by.
unsafe extern "C" fn shown_class(_: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: a class that lives for ever; a new reference to it.
    unsafe { Object::borrow((&raw mut ffi::PyFunction_Type).cast()) }.into_ptr()
}

/// Shows the stock function's attribute of the name that `data` points to.
unsafe extern "C" fn stock_attribute(object: *mut ffi::PyObject, data: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance, with the name that `of_stock` was given.
        let (stock, name) = unsafe { (function(object).stock.or_none(), CStr::from_ptr(data.cast())) };
        let name = name.to_str().expect("attributes' names are ASCII");
        Ok(Object::from(stock.bound(py).getattr(Text(name))?))
    })
}

/// What is the stock function's and cannot be set, for what would be set would do nothing.
const fn of_stock(name: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { closure: name.as_ptr().cast_mut().cast(), ..property(name, stock_attribute, None) }
}

unsafe extern "C" fn module(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(unsafe { function(object) }.module.or_none()))
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let stock = unsafe { function(object) }.stock.or_none();
        let stock = stock.bound(py);
        if !stock.is_exact_instance_of::<PyFunction>() {
            return Ok(Object::from(stock.repr()?.into_any()));
        }
        let name = stock.getattr(Text("__qualname__"))?;
        Ok(Object::from(make::text(py, &format!("<function {name} at {object:p}>"))?.into_any()))
    })
}

/// Pickled by name, as functions are.
unsafe extern "C" fn reduce(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let stock = unsafe { function(object) }.stock.or_none();
        Ok(Object::from(stock.bound(py).getattr(Text("__qualname__"))?))
    })
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's own function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            each(function(object).attributes.as_ptr());
            each(function(object).stock.as_ptr());
            each(function(object).method.as_ptr());
            each(function(object).module.as_ptr());
        })
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        gc::hide(object);
        function(object).attributes.set(None);
        function(object).stock.set(None);
        function(object).method.set(None);
        function(object).module.set(None);
        gc::free(object);
    }
}

static mut METHODS: [ffi::PyMethodDef; 2] =
    [noargs(c"__reduce__", reduce, c"Pickle by name."), ffi::PyMethodDef::zeroed()];

static mut PROPERTIES: [ffi::PyGetSetDef; 8] = [
    property(c"__class__", shown_class, None),
    DICT,
    property(c"__module__", module, None),
    of_stock(c"__doc__"),
    of_stock(c"__code__"),
    of_stock(c"__defaults__"),
    of_stock(c"__kwdefaults__"),
    NO_PROPERTY,
];

/// Names by which CPython is told of offsets.
static mut MEMBERS: [ffi::PyMemberDef; 4] = [
    place(c"__dictoffset__", std::mem::offset_of!(Function, attributes)),
    place(c"__vectorcalloffset__", std::mem::offset_of!(Function, vectorcall)),
    place(c"__weaklistoffset__", std::mem::offset_of!(Function, weak_references)),
    NO_MEMBER,
];

fn make_class() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_getattro, attribute as *mut c_void),
        slot(ffi::Py_tp_descr_get, bind as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(ffi::Py_tp_members, (&raw mut MEMBERS).cast()),
    ];
    let flags = ffi::Py_TPFLAGS_HAVE_GC
        | ffi::Py_TPFLAGS_HAVE_VECTORCALL
        | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    // SAFETY: the slots are of the documented types, the size is the struct's, and everything is static.
    unsafe {
        let base = (&raw mut ffi::PyBaseObject_Type).cast();
        new_class(c"tulipa._tulipa.Function", base, size_of::<Function>(), flags, slots)
    }
}
