//! The class objects of Future and its iterator: slots, life-cycle, and the metaclass of names that get swapped.

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::methods::{self, FUTURE_METHODS, PROPERTIES};
use super::places::{self, OF_FUTURE, offset};
use super::{Bit, FutureState, iterator, state_of};
use crate::ffi::class::{self, new_class, slot};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::raised::{enter, unraisable};
use crate::ffi::{Object, Once, Result, args, call};
use crate::gather;
use crate::gc::{self, FreeList};
use crate::stdlib::stdlib;
use crate::tasks;

/// The native classes, made once.
pub(crate) struct Classes {
    pub(crate) future: *mut ffi::PyTypeObject,
    pub(crate) task: *mut ffi::PyTypeObject,
    /// Of the futures that `gather` makes.
    pub(crate) gathering: *mut ffi::PyTypeObject,
    pub(crate) iterator: *mut ffi::PyTypeObject,
}

// SAFETY: classes are immutable here and live for ever; each holds a reference that is never given back.
static CLASSES: Once<Classes> = unsafe { Once::new() };

#[inline]
pub(crate) fn classes() -> &'static Classes {
    CLASSES.get()
}

/// Makes the classes; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<&'static Classes> {
    CLASSES.get_or_make(|| {
        super::stop::initialise()?;
        let made = make_classes(py)?;
        adopt_metaclass(&made)?;
        Ok(made)
    })
}

/// Makes Future, then Task over asyncio's Task *and* our Future, so that the two are kin as asyncio's pair is.
///
/// Two bases that both add to asyncio's Future would be refused as a conflict of layouts. There is none: in both
/// classes the state lies at the same offset, behind the larger base. So Future is made with the size of its base,
/// and gets its real size once Task exists (C1).
fn make_classes(py: Python<'_>) -> Result<Classes> {
    let [task, future] = [&stdlib().c_task, &stdlib().c_future].map(|base| {
        let base: *mut ffi::PyTypeObject = base.as_ptr().cast();
        // SAFETY: a live class.
        unsafe { (*base).tp_basicsize }.cast_unsigned()
    });
    let offset = places::lay_out(task.max(future).next_multiple_of(align_of::<FutureState>()));
    let future = make_future()?;
    let bases = make::tuple(py, [stdlib().c_task.bound(py), future.bound(py)])?;
    let task = tasks::make_class(&bases.into_any().into(), offset)?;
    let future: *mut ffi::PyTypeObject = future.into_ptr().cast();
    // SAFETY: C1: no instance and no subclass but Task exists yet.
    unsafe { (*future).tp_basicsize = (offset + size_of::<FutureState>()).cast_signed() };
    let task: *mut ffi::PyTypeObject = task.into_ptr().cast();
    // SAFETY: as above; asyncio's classes live for ever.
    unsafe { chain_bases(task, future) }?;
    let gathering: *mut ffi::PyTypeObject = gather::make_class(future, offset)?.into_ptr().cast();
    for class in [future, task, gathering] {
        // SAFETY: none of them has an instance yet.
        unsafe { class::without_room_for_attributes(class) };
    }
    Ok(Classes { future, gathering, task, iterator: iterator::make_class()?.into_ptr().cast() })
}

/// Puts both classes among the `tp_base`s of a task's class, which lead to one of them alone as they were made.
///
/// There CPython looks for the layouts of all that a new class derives from, if it has `__slots__`. It takes a class
/// for a layout of its own if its size is not its `tp_base`'s; where Task's is Future's, one of another size lies
/// between them, of which nothing derives.
///
/// # Safety
/// The two native classes, before either has a subclass of a program's.
unsafe fn chain_bases(task: *mut ffi::PyTypeObject, future: *mut ffi::PyTypeObject) -> Result<()> {
    // SAFETY: live classes. What each inherited from its first `tp_base` it has already, and everything after that is
    // found by the order of resolution, which stays as it is.
    unsafe {
        set_base(future, (*task).tp_base);
        if (*task).tp_basicsize != (*future).tp_basicsize {
            set_base(task, future);
            return Ok(());
        }
        let flags = ffi::Py_TPFLAGS_IMMUTABLETYPE;
        let between = new_class(c"tulipa._tulipa.Between", stdlib().c_task.as_ptr(), 0, flags, Vec::new())?;
        let between: *mut ffi::PyTypeObject = between.into_ptr().cast();
        set_base(between, future);
        set_base(task, between);
    }
    Ok(())
}

/// # Safety
/// Live classes; `class` inherits nothing more by `tp_base`.
unsafe fn set_base(class: *mut ffi::PyTypeObject, base: *mut ffi::PyTypeObject) {
    // SAFETY: passed on.
    unsafe {
        ffi::Py_INCREF(base.cast());
        let replaced = std::mem::replace(&mut (*class).tp_base, base);
        ffi::Py_DECREF(replaced.cast());
        ffi::PyType_Modified(class);
    }
}

fn make_future() -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_new, new_future as *mut c_void),
        slot(ffi::Py_tp_init, init as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_repr, methods::repr as *mut c_void),
        slot(ffi::Py_tp_iter, methods::iterate as *mut c_void),
        slot(ffi::Py_am_await, methods::iterate as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut FUTURE_METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
        slot(
            ffi::Py_tp_doc,
            c"Future(*, loop=None)\n--\n\nA result that is not there yet, on a Tulipa loop or any other."
                .as_ptr()
                .cast_mut()
                .cast(),
        ),
    ];
    // SAFETY: the slots are of the documented types and static; size 0 stands for the base's, see `make_classes`.
    unsafe { new_class(c"tulipa._tulipa.Future", stdlib().c_future.as_ptr(), 0, FLAGS, slots) }
}

pub(crate) const FLAGS: std::ffi::c_ulong =
    ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_IMMUTABLETYPE;

/// Memory for an instance of `class`, with `state` written behind the base's zeroed bytes.
///
/// # Safety
/// `class` is a native class (or a subclass) whose extension is an `S`.
#[inline]
pub(crate) unsafe fn allocate<S>(class: *mut ffi::PyTypeObject, offset: usize, state: S) -> Result<Object> {
    // SAFETY: passed on.
    let object = unsafe { class::allocate(class) }?;
    // SAFETY: the class's size covers the extension.
    unsafe { object.as_ptr().byte_add(offset).cast::<S>().write(state) };
    Ok(object)
}

/// As `allocate`, for exactly the native class, whose freed instances lie in `free`.
///
/// # Safety
/// As for `allocate`; `free` is given instances of `class` alone, by `dealloc_with`.
#[inline]
pub(crate) unsafe fn allocate_exact<S>(
    free: &FreeList,
    class: *mut ffi::PyTypeObject,
    state: S,
) -> Result<Object> {
    // SAFETY: passed on.
    let Some(object) = (unsafe { free.take(class) }) else {
        // SAFETY: passed on.
        return unsafe { allocate(class, offset(), state) };
    };
    // SAFETY: the class's size covers the extension, and the base's bytes are zero, see `is_reusable`.
    unsafe { object.as_ptr().byte_add(offset()).cast::<S>().write(state) };
    gc::track(&object);
    Ok(object)
}

/// Freed futures.
pub(super) static FUTURES: FreeList = FreeList::new();

unsafe extern "C" fn new_future(
    class: *mut ffi::PyTypeObject,
    _arguments: *mut ffi::PyObject,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes the class itself or a subclass.
    enter(|_| unsafe { allocate(class, offset(), FutureState::new()) })
}

unsafe extern "C" fn init(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    enter(|_| {
        const NAMES: [*const std::ffi::c_char; 2] = [c"loop".as_ptr(), std::ptr::null()];
        // SAFETY: `tp_init`'s own arguments; one object asked for.
        let [event_loop] = unsafe { args::parse(arguments, keywords, c"|$O:Future", &NAMES) }?;
        // SAFETY: `tp_init` gets an instance.
        let (future, state) = unsafe { methods::this(object) };
        ensure_fresh(&future, state)?;
        state.bind(event_loop)
    })
}

/// From 3.15 on a second `__init__` is refused.
pub(crate) fn ensure_fresh(future: &Object, state: &FutureState) -> Result<()> {
    if cfg!(Py_3_15) && state.is_alive() {
        // SAFETY: attached.
        let name = qualified_name(unsafe { Python::assume_attached() }, future)?;
        return Err(pyo3::exceptions::PyRuntimeError::with_text(format!(
            "{name} object is already initialized"
        ))
        .into());
    }
    Ok(())
}

fn qualified_name(py: Python<'_>, future: &Object) -> PyResult<String> {
    Ok(future.bound(py).get_type().fully_qualified_name()?.to_string())
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data. `visit_all` visits the class, so does the base
    // where it is a heap class: see `traverse_base`.
    unsafe {
        let answer = traverse_base(&stdlib().c_future, object, visit, data);
        if answer != 0 {
            return answer;
        }
        visit_state(object, visit, data, |each| state_of(object).visit(each))
    }
}

/// The base's own `tp_traverse`: it visits `__dict__` and, where the base is a heap class, the instance's class.
///
/// # Safety
/// As for `tp_traverse`; `base` is the C class below the object's class.
pub(crate) unsafe fn traverse_base(
    base: &Object,
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
) -> c_int {
    // SAFETY: a live class.
    match unsafe { (*base.as_ptr().cast::<ffi::PyTypeObject>()).tp_traverse } {
        // SAFETY: the object begins with the base's layout.
        Some(traverse) => unsafe { traverse(object, visit, data) },
        None => 0,
    }
}

/// # Safety
/// As for `tp_traverse`.
pub(crate) unsafe fn visit_state(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    data: *mut c_void,
    each: impl FnOnce(&mut dyn FnMut(*mut ffi::PyObject)),
) -> c_int {
    if cfg!(Py_3_12) {
        // The base visited the class already: visiting it twice would corrupt the collector's counts.
        let mut answer = 0;
        each(&mut |pointer| {
            if answer == 0 && !pointer.is_null() {
                // SAFETY: a live object that `object` owns.
                answer = unsafe { visit(pointer, data) };
            }
        });
        return answer;
    }
    // SAFETY: passed on.
    unsafe { gc::visit_all(object, visit, data, each) }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    unsafe { state_of(object) }.reset();
    // SAFETY: the object begins with the base's layout.
    unsafe { clear_base(&stdlib().c_future, object) }
}

/// # Safety
/// As for `tp_clear`; `base` is the C class below the object's class.
pub(crate) unsafe fn clear_base(base: &Object, object: *mut ffi::PyObject) -> c_int {
    // SAFETY: a live class.
    match unsafe { (*base.as_ptr().cast::<ffi::PyTypeObject>()).tp_clear } {
        // SAFETY: the object begins with the base's layout.
        Some(clear) => unsafe { clear(object) },
        None => 0,
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: this is `tp_dealloc`.
    unsafe { gc::nested(object, free) };
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    // SAFETY: `tp_dealloc` on an instance whose state is a FutureState.
    unsafe { dealloc_with::<FutureState>(object, classes().future, &stdlib().c_future, &FUTURES) };
}

/// The state of a native class: what its deallocation asks of it.
pub(crate) trait Extension {
    /// The state of an object whose `__init__` has not run.
    fn empty() -> Self;
    /// Whether the finalizer has something to report.
    fn must_report(&self) -> bool;
    /// Leaves every list in which others could find a dying object: the first thing, while it is whole.
    #[inline]
    fn leave(&self) {}
    /// Empties what was filled of the base's part of a dying object, so that its memory can be used again.
    fn hide(_object: *mut ffi::PyObject) {}
}

impl Extension for FutureState {
    fn empty() -> Self {
        Self::new()
    }

    #[inline]
    fn must_report(&self) -> bool {
        self.bits.has(Bit::LogTraceback)
    }
}

/// `tp_dealloc` of both classes: finalizer, the state, then the base's own part, which also frees the memory.
///
/// # Safety
/// Called as `tp_dealloc`, for an instance of `class` or a subclass, whose extension is an `S`.
pub(crate) unsafe fn dealloc_with<S: Extension>(
    object: *mut ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    base: &Object,
    free: &FreeList,
) {
    // SAFETY: still a whole object.
    let own_class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: written by `tp_new`, and still whole.
    let state = unsafe { object.byte_add(offset()).cast::<S>() };
    // SAFETY: as above.
    let must_report = unsafe { (*state).must_report() };
    // A subclass's dealloc has run the finalizer already.
    if own_class == class
        && must_report
        // SAFETY: still a whole object; a finalizer that revives it is obeyed.
        && unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0
    {
        return;
    }
    // What follows runs Python code: callbacks of weak references, and finalizers of what the object holds.
    // SAFETY: as above.
    unsafe { (*state).leave() };
    // SAFETY: nobody else sees the object from here on.
    unsafe { gc::hide(object) };
    // SAFETY: written by `tp_new`, dropped once.
    unsafe { std::ptr::drop_in_place(state) };
    // SAFETY: an instance, whose memory is still there.
    unsafe { places::empty(object, OF_FUTURE) };
    S::hide(object);
    // SAFETY: the state is gone, and the object is untracked and without weak references.
    if own_class == class && unsafe { is_reusable(object) && free.give(object) } {
        return;
    }
    // The base asks for the finalizer too, which must find a state with nothing to report; it holds no memory.
    // SAFETY: the extension's place, whose content was dropped above.
    unsafe { state.write(S::empty()) };
    // The base untracks again, which asks for nothing when done twice, clears its own empty fields and frees.
    // SAFETY: a live class.
    if let Some(dealloc) = unsafe { (*base.as_ptr().cast::<ffi::PyTypeObject>()).tp_dealloc } {
        // SAFETY: the object begins with the base's layout.
        unsafe { dealloc(object) };
    }
    if !cfg!(Py_3_12) {
        // There the base is a static class, whose dealloc does not know that instances own their class.
        // SAFETY: every instance of a heap class owns a reference to it.
        unsafe { ffi::Py_DECREF(own_class.cast()) };
    }
}

/// Whether a freed instance is as allocation would leave it: no finalizer ran, no dict, the base's bytes all zero.
/// It nearly always is, since nothing uses it; what did is for the base to clear.
///
/// # Safety
/// `object` is an instance of a native class whose state is gone.
#[inline]
unsafe fn is_reusable(object: *mut ffi::PyObject) -> bool {
    // SAFETY: an allocated object of a collected class.
    if unsafe { ffi::PyObject_GC_IsFinalized(object) } != 0 {
        return false;
    }
    // SAFETY: an allocated object of a class with a dict.
    if !unsafe { gc::has_no_attributes(object) } {
        return false;
    }
    let words = (offset() - size_of::<ffi::PyObject>()) / size_of::<usize>();
    // SAFETY: the base's fields lie between header and extension; allocation zeroed them, so they are initialised.
    let fields = unsafe { std::slice::from_raw_parts(object.add(1).cast::<usize>(), words) };
    // All at once, so that the compiler looks at several in one go.
    fields.iter().fold(0, |seen, &word| seen | word) == 0
}

unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: `tp_finalize` on an instance that is still whole.
    let (future, state) = unsafe { methods::this(object) };
    if state.bits.has(Bit::LogTraceback) {
        preserving_exception(|| report_unretrieved(&future, state));
    }
}

/// Runs `body` with the indicator put aside: finalizers run in the middle of other code.
pub(crate) fn preserving_exception(body: impl FnOnce()) {
    // SAFETY: attached.
    let pending = PyErr::take(unsafe { Python::assume_attached() });
    body();
    if let Some(pending) = pending {
        let _ = crate::ffi::Raised::from(pending);
    }
}

/// Tells the loop's exception handler of an exception that nobody asked for.
pub(crate) fn report_unretrieved(future: &Object, state: &FutureState) {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let report = || -> PyResult<()> {
        let name = future.bound(py).get_type().name()?;
        let context = make::dict(py)?;
        context.set_item(Text("message"), Text(format!("{name} exception was never retrieved")))?;
        context.set_item(Text("exception"), state.exception_or_none().bound(py))?;
        context.set_item(Text("future"), future.bound(py))?;
        if let Some(traceback) = state.source_traceback() {
            context.set_item(Text("source_traceback"), traceback.bound(py))?;
        }
        state.bits.set(Bit::LogTraceback, false);
        call_exception_handler(state, context)
    };
    if let Err(error) = report() {
        unraisable(error.into(), future);
    }
}

/// `loop.call_exception_handler(context)`.
pub(crate) fn call_exception_handler(
    state: &FutureState,
    context: Bound<'_, pyo3::types::PyDict>,
) -> PyResult<()> {
    let event_loop = state.home().or_none();
    call::method1(&event_loop, &stdlib().names.call_exception_handler, &context.into_any().into())?;
    Ok(())
}

/// `isinstance(x, tulipa.Future)` must hold for every future and task once the name stands for asyncio's: the
/// metaclass answers for the two native classes as asyncio's own pair would.
fn adopt_metaclass(classes: &Classes) -> Result<()> {
    let metaclass: *mut ffi::PyTypeObject = make_metaclass()?.into_ptr().cast();
    for class in [classes.future, classes.task] {
        // SAFETY: the metaclass adds nothing to the layout of `type`, and classes own a reference to their
        // metaclass, which `into_ptr` above and the increment supply.
        unsafe {
            ffi::Py_INCREF(metaclass.cast());
            (*class).ob_base.ob_base.ob_type = metaclass;
            ffi::PyType_Modified(class);
        }
    }
    Ok(())
}

/// Derived from `ABCMeta`, so that a program's class of futures may be an abstract one as well: a class has one metaclass.
fn make_metaclass() -> Result<Object> {
    let slots = vec![slot(ffi::Py_tp_methods, (&raw mut METACLASS_METHODS).cast())];
    // SAFETY: size 0 inherits the layout of `type`, which `ABCMeta` has as well; the slots are static.
    unsafe {
        let base = stdlib().abc_meta.as_ptr();
        new_class(c"tulipa._tulipa.FutureType", base, 0, ffi::Py_TPFLAGS_BASETYPE, slots)
    }
}

static mut METACLASS_METHODS: [ffi::PyMethodDef; 3] = [
    crate::ffi::class::onearg(
        c"__instancecheck__",
        instance_check,
        c"Whether an object is a future (a task).",
    ),
    crate::ffi::class::onearg(
        c"__subclasscheck__",
        subclass_check,
        c"Whether a class is one of futures (of tasks).",
    ),
    ffi::PyMethodDef::zeroed(),
];

/// The C class that stands for `class` in questions of kinship: asyncio's where `class` is the native one.
fn kin(class: *mut ffi::PyObject) -> Option<*mut ffi::PyTypeObject> {
    let classes = classes();
    if class == classes.future.cast() {
        return Some(stdlib().c_future.as_ptr().cast());
    }
    (class == classes.task.cast()).then(|| stdlib().c_task.as_ptr().cast())
}

unsafe extern "C" fn instance_check(
    class: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: both are live.
    let (class, object) = unsafe { (Object::borrow(class), Object::borrow(object)) };
    enter(|_| check("__instancecheck__", &class, &object))
}

unsafe extern "C" fn subclass_check(
    class: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: both are live.
    let (class, other) = unsafe { (Object::borrow(class), Object::borrow(other)) };
    enter(|_| check("__subclasscheck__", &class, &other))
}

/// What `type` says of asyncio's class in place of ours, and `ABCMeta` of a class that a program has derived.
fn check(question: &str, class: &Object, other: &Object) -> Result<Object> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let (metaclass, asked) = match kin(class.as_ptr()) {
        // SAFETY: asyncio's C classes live for ever.
        Some(kin) => (py.get_type::<pyo3::types::PyType>().into_any(), unsafe { Object::borrow(kin.cast()) }),
        None => (stdlib().abc_meta.bound(py), class.clone()),
    };
    Ok(metaclass.call_method1(Text(question), (asked.bound(py), other.bound(py)))?.into())
}
