//! `Handle` and `TimerHandle`: a callback, its arguments and its context, and how to cancel it.
//!
//! They derive from asyncio's own classes and keep their state in the very slots those declare, so `_callback`,
//! `_run`, `__repr__` and the comparisons of TimerHandle are asyncio's. Only making, cancelling, collecting and
//! freeing them is native, because that is what happens for every callback.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tulipa::TimerKey;

use super::EventLoop;
use super::bare::{self, Bare};
use super::contexts::{Context, Holder};
use super::core::Core;
use super::thread_safe::ThreadSafe;
use crate::ffi::class::{NO_PROPERTY, extension_offset, member_offset, new_class, noargs, property, slot};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot, call, context};
use crate::futures::methods::{self as futures, boolean};
use crate::gc;
use crate::stdlib::stdlib;

/// The classes, and where asyncio's slots lie in their instances.
pub(crate) struct Layout {
    pub(crate) handle: *mut ffi::PyTypeObject,
    pub(crate) timer_handle: *mut ffi::PyTypeObject,
    callback: usize,
    arguments: usize,
    cancelled: usize,
    event_loop: usize,
    source_traceback: usize,
    repr: usize,
    context: usize,
    scheduled: usize,
    when: usize,
    /// Where a Handle notes whether its context is a template, which others share.
    sharing: usize,
    /// The same of a TimerHandle.
    timer_sharing: usize,
    /// Where a TimerHandle keeps its place in the engine's timers.
    key: usize,
    /// The class of what `call_soon_threadsafe` returns, where asyncio tells it apart.
    pub(super) thread_safe: Option<ThreadSafe>,
}

// SAFETY: the classes live for ever, and the numbers never change.
unsafe impl Send for Layout {}
// SAFETY: as above.
unsafe impl Sync for Layout {}

static LAYOUT: OnceLock<Layout> = OnceLock::new();

/// What noting whether a context is shared takes of an instance, so that what comes behind it is aligned.
pub(super) const SHARING_SIZE: usize = size_of::<usize>();

#[inline]
pub(crate) fn layout() -> &'static Layout {
    LAYOUT.get().expect("the module was initialised before any of its classes could be used")
}

/// Makes the classes; called by the module's initialisation.
pub(crate) fn initialise(py: Python<'_>) -> Result<&'static Layout> {
    if LAYOUT.get().is_none() {
        let _ = LAYOUT.set(Layout::new(py)?);
    }
    Ok(layout())
}

impl Layout {
    fn new(py: Python<'_>) -> Result<Self> {
        let (base, timer_base) = (&stdlib().abstract_handle, &stdlib().abstract_timer_handle);
        let offset = |class: &Object, name: &str| {
            let name = pyo3::types::PyString::intern(py, name).into_any();
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
    unsafe fn slots<'a>(&self, object: *mut ffi::PyObject) -> impl Iterator<Item = &'a Slot> + use<'a> {
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
}

impl Layout {
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
    unsafe fn sharing<'a>(&self, object: *mut ffi::PyObject) -> Option<&'a Cell<bool>> {
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
    unsafe fn put_context(&self, object: *mut ffi::PyObject, context: Context) {
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
    unsafe fn take_context(&self, object: *mut ffi::PyObject) -> Context {
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

/// How instances of all the classes are visited, emptied and freed.
fn life_cycle() -> Vec<ffi::PyType_Slot> {
    vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
    ]
}

fn make(
    name: &'static std::ffi::CStr,
    base: &Object,
    size: usize,
    methods: *mut [ffi::PyMethodDef; 2],
) -> Result<Object> {
    let mut slots = life_cycle();
    slots.push(slot(ffi::Py_tp_methods, methods.cast()));
    let flags = ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
    // SAFETY: the slots are of the documented types and static; the size covers base and extension.
    unsafe { new_class(name, base.as_ptr(), size, flags, slots) }
}

/// The slot at `offset`.
///
/// # Safety
/// Instances of the object's class have a slot of a Python class there; it is live for the use of the result.
#[inline]
pub(super) unsafe fn at<'a>(object: *mut ffi::PyObject, offset: usize) -> &'a Slot {
    // SAFETY: a slot of a Python class is one nullable owned pointer, which is what `Slot` is.
    unsafe { &*object.byte_add(offset).cast::<Slot>() }
}

/// Whether it is a native TimerHandle.
///
/// # Safety
/// `object` is a live object.
#[inline]
unsafe fn is_timer(object: *mut ffi::PyObject) -> bool {
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
struct TimerPlace(Cell<u64>);

impl TimerPlace {
    fn set(&self, key: TimerKey) {
        self.0.set(key.to_bits() + 1);
    }

    fn clear(&self) {
        self.0.set(0);
    }

    fn take(&self) -> Option<TimerKey> {
        self.0.take().checked_sub(1).map(TimerKey::from_bits)
    }
}

/// Where a TimerHandle keeps its timer.
///
/// # Safety
/// `object` is a native TimerHandle, live for the use of the result.
unsafe fn key_of<'a>(object: *mut ffi::PyObject) -> &'a TimerPlace {
    // SAFETY: the extension of the class, in which any bytes are a number.
    unsafe { &*object.byte_add(layout().key).cast() }
}

/// What a Handle is made of.
pub(crate) struct Parts {
    pub(crate) callback: Object,
    /// A tuple.
    pub(crate) arguments: Object,
    /// A copy of the current context where there is none.
    pub(crate) context: Option<Object>,
}

/// A Handle that stands for itself: the collector sees it at once.
pub(crate) fn new_handle(
    event_loop: &Bound<'_, EventLoop>,
    callback: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    context: Option<&Bound<'_, PyAny>>,
) -> Result<Object> {
    let context = context.map(Object::from_bound).filter(|context| !context.is_none());
    let parts = Parts {
        callback: Object::from_bound(callback),
        arguments: Object::from_bound(args.as_any()),
        // Run more than once, it would borrow a shared one each time.
        context: Some(context.map_or_else(context::copy_current, Ok)?),
    };
    let handle = fill(&HANDLES, layout().handle, event_loop.as_ptr(), &event_loop.get().core, parts)?;
    gc::track(&handle);
    Ok(handle)
}

/// A Handle for the ready queue of a loop; see `show`.
#[inline]
pub(crate) fn new_queued_handle(event_loop: *mut ffi::PyObject, core: &Core, parts: Parts) -> Result<Object> {
    queued(&HANDLES, layout().handle, event_loop, core, parts)
}

/// The same for `call_soon_threadsafe`.
pub(crate) fn new_thread_safe_handle(
    event_loop: *mut ffi::PyObject,
    core: &Core,
    parts: Parts,
) -> Result<Object> {
    let Some(thread_safe) = &layout().thread_safe else { return new_queued_handle(event_loop, core, parts) };
    queued(&THREAD_SAFE_HANDLES, thread_safe.class, event_loop, core, parts)
}

#[inline]
fn queued(
    free: &gc::FreeList,
    class: *mut ffi::PyTypeObject,
    event_loop: *mut ffi::PyObject,
    core: &Core,
    parts: Parts,
) -> Result<Object> {
    if !core.is_debug()
        && let Some(handle) = bare::take_last_handle(event_loop, core)
        && handle.class() == class
    {
        return refill(handle, core, parts);
    }
    let handle = fill(free, class, event_loop, core, parts)?;
    show_unless_running(&handle, core);
    Ok(handle)
}

/// Puts new parts where `take_parts` has left none.
#[inline]
fn refill(handle: Object, core: &Core, parts: Parts) -> Result<Object> {
    let context = context_for(core, parts.context)?;
    let layout = layout();
    let put = |offset: usize, value: Object| {
        // SAFETY: a handle.
        unsafe { at(handle.as_ptr(), offset) }.put(value);
    };
    put(layout.callback, parts.callback);
    put(layout.arguments, parts.arguments);
    // SAFETY: a handle.
    unsafe { layout.put_context(handle.as_ptr(), context) };
    Ok(handle)
}

#[inline]
fn context_for(core: &Core, given: Option<Object>) -> Result<Context> {
    match given {
        Some(context) if !context.is_none() => Ok(Context::Own(context)),
        _ => core.contexts.current(),
    }
}

/// Empties a Handle of the loop's that only the queue refers to; `None` if there is more to it than can be made again.
#[inline]
pub(super) fn take_parts(handle: &Object, event_loop: *mut ffi::PyObject) -> Option<Bare> {
    let (object, layout) = (handle.as_ptr(), layout());
    let thread_safe = match handle.class() {
        class if class == layout.handle => false,
        class if layout.thread_safe.as_ref().is_some_and(|kind| kind.class == class) => true,
        _ => return None,
    };
    // SAFETY: a handle; the constants live as long as the interpreter.
    let is_plain = unsafe {
        at(object, layout.cancelled).as_ptr() == ffi::Py_False()
            && at(object, layout.source_traceback).as_ptr() == ffi::Py_None()
            && at(object, layout.repr).as_ptr() == ffi::Py_None()
            && at(object, layout.event_loop).as_ptr() == event_loop
    };
    // SAFETY: a handle.
    if !is_plain || !is_hidden(handle) || !unsafe { is_callable(object, layout) } {
        return None;
    }
    // SAFETY: a handle.
    let take = |offset: usize| unsafe { at(object, offset) }.take().unwrap_or_else(Object::none);
    let (callback, arguments) = (take(layout.callback), take(layout.arguments));
    // SAFETY: as above.
    Some(Bare::new(callback, arguments, unsafe { layout.take_context(object) }, thread_safe))
}

/// A Handle for what was taken out of one.
#[cold]
pub(super) fn restore(event_loop: &Object, core: &Core, bare: Bare) -> Result<Object> {
    let context = Some(bare.own_context()?);
    let Bare { callback, arguments, thread_safe, .. } = bare;
    let parts = Parts { callback, arguments, context };
    let make = if thread_safe { new_thread_safe_handle } else { new_queued_handle };
    make(event_loop.as_ptr(), core, parts)
}

#[inline]
fn show_unless_running(handle: &Object, core: &Core) {
    if cfg!(Py_GIL_DISABLED) || !core.is_running() {
        gc::track(handle);
    }
}

/// Tells the collector of a handle that it may not know yet.
///
/// A handle that a running loop will call is no garbage, whoever else holds it, and most are gone right after their
/// call. So the collector is told of one only when it leaves the loop and somebody keeps it (`run`, `cancel`), or
/// when the loop stops (`Core::show_queued`). A hundred thousand pending callbacks then cost no collections.
#[inline]
pub(crate) fn show(handle: &Object) {
    // SAFETY: a live object.
    if unsafe { ffi::PyObject_GC_IsTracked(handle.as_ptr()) } == 0 {
        gc::track(handle);
    }
}

/// A TimerHandle at `when`, not yet in the engine.
#[inline]
pub(crate) fn new_timer_handle(
    event_loop: *mut ffi::PyObject,
    core: &Core,
    when: Object,
    parts: Parts,
) -> Result<Object> {
    let layout = layout();
    let handle = fill(&TIMER_HANDLES, layout.timer_handle, event_loop, core, parts)?;
    // SAFETY: just made of the timer class; one that is used again may still name its last timer.
    unsafe { key_of(handle.as_ptr()) }.clear();
    // SAFETY: as above.
    unsafe { at(handle.as_ptr(), layout.when) }.put(when);
    // SAFETY: as above.
    unsafe { at(handle.as_ptr(), layout.scheduled) }.put(boolean(false));
    show_unless_running(&handle, core);
    Ok(handle)
}

static HANDLES: gc::FreeList = gc::FreeList::new();
static TIMER_HANDLES: gc::FreeList = gc::FreeList::new();
static THREAD_SAFE_HANDLES: gc::FreeList = gc::FreeList::new();

/// An instance with all slots empty, which the collector does not see yet.
#[inline]
fn allocate(free: &gc::FreeList, class: *mut ffi::PyTypeObject) -> Result<Object> {
    // SAFETY: each list is given the instances of one class, with empty slots.
    if let Some(handle) = unsafe { free.take(class) } {
        return Ok(handle);
    }
    // SAFETY: the class is ours and collected; allocation zeroes the instance, which empties its slots.
    let handle = unsafe { Object::steal(ffi::PyType_GenericAlloc(class, 0)) }?;
    // SAFETY: a live collected object.
    unsafe { ffi::PyObject_GC_UnTrack(handle.as_ptr().cast()) };
    Ok(handle)
}

#[inline]
fn fill(
    free: &gc::FreeList,
    class: *mut ffi::PyTypeObject,
    event_loop: *mut ffi::PyObject,
    core: &Core,
    parts: Parts,
) -> Result<Object> {
    let context = context_for(core, parts.context)?;
    let traceback = if core.is_debug() { call::call0(&stdlib().extract_stack)? } else { Object::none() };
    let handle = allocate(free, class)?;
    let layout = layout();
    let put = |offset: usize, value: Object| {
        // SAFETY: instances have these slots.
        unsafe { at(handle.as_ptr(), offset) }.put(value);
    };
    put(layout.callback, parts.callback);
    put(layout.arguments, parts.arguments);
    put(layout.cancelled, boolean(false));
    // SAFETY: the callers pass a live loop.
    put(layout.event_loop, unsafe { Object::borrow(event_loop) });
    put(layout.source_traceback, traceback);
    put(layout.repr, Object::none());
    // SAFETY: a handle.
    unsafe { layout.put_context(handle.as_ptr(), context) };
    Ok(handle)
}

/// Notes the timer that will run the handle.
pub(crate) fn set_timer(handle: &Object, key: TimerKey) {
    // SAFETY: called for a TimerHandle.
    unsafe { key_of(handle.as_ptr()) }.set(key);
    // SAFETY: as above.
    unsafe { at(handle.as_ptr(), layout().scheduled) }.put(boolean(true));
}

/// Takes the handle's timer out of the engine, if it has one: the handle is run in another way.
pub(super) fn unschedule(core: &Core, handle: &Object) {
    // SAFETY: a live object.
    if unsafe { is_timer(handle.as_ptr()) } {
        // SAFETY: a TimerHandle.
        if let Some(key) = unsafe { key_of(handle.as_ptr()) }.take() {
            drop(core.engine.cancel_timer(key));
        }
    }
}

/// Whether `cancel()` was called.
#[inline]
pub(crate) fn is_cancelled(handle: &Object) -> bool {
    // SAFETY: a handle; the constant lives as long as the interpreter.
    unsafe { at(handle.as_ptr(), layout().cancelled).as_ptr() == ffi::Py_True() }
}

/// Whether the callback is none that runs Python code.
#[inline]
pub(super) fn is_quiet(core: &Core, handle: &Object) -> bool {
    // SAFETY: a handle.
    futures::is_quiet(unsafe { at(handle.as_ptr(), layout().callback) }.as_ptr(), core)
}

/// Runs the callback in its context, unless it was cancelled.
#[inline]
pub(crate) fn run(core: &Core, handle: &Object) -> Result<()> {
    let (object, layout) = (handle.as_ptr(), layout());
    if handle.class() == layout.timer_handle {
        // SAFETY: a TimerHandle: it has left the engine's timers.
        unsafe { key_of(object) }.clear();
        // SAFETY: as above.
        unsafe { at(object, layout.scheduled) }.put(boolean(false));
    }
    let outcome = if is_cancelled(handle) { Ok(()) } else { call_back(core, handle, layout) };
    // Asked after the call, which may have found the handle by a weak reference.
    // SAFETY: a live object.
    if unsafe { ffi::Py_REFCNT(object) } > 1 {
        show(handle);
    }
    outcome
}

/// Whether a handle has a callback, and its arguments in a tuple. A program may have put anything else there, or nothing.
///
/// # Safety
/// `object` is a handle.
#[inline]
unsafe fn is_callable(object: *mut ffi::PyObject, layout: &Layout) -> bool {
    // SAFETY: passed on.
    let (callback, arguments) =
        unsafe { (at(object, layout.callback), at(object, layout.arguments).as_ptr()) };
    // SAFETY: null was told apart; a live object.
    !arguments.is_null() && unsafe { ffi::PyTuple_CheckExact(arguments) } != 0 && !callback.is_empty()
}

#[inline]
fn call_back(core: &Core, handle: &Object, layout: &Layout) -> Result<()> {
    let object = handle.as_ptr();
    // SAFETY: a handle.
    if !unsafe { is_callable(object, layout) } {
        return call_back_changed(core, handle, layout);
    }
    // In debug mode the handle is formatted afterwards.
    if handle.class() == layout.handle && is_hidden(handle) && !core.is_debug() {
        return call_back_hidden(core, object, layout);
    }
    // References of our own: the callback may cancel its handle, which lets both go.
    // SAFETY: a handle.
    let (callback, arguments) =
        unsafe { (at(object, layout.callback).or_none(), at(object, layout.arguments).or_none()) };
    call_back_with(core, handle, layout, &callback, &arguments)
}

/// What asyncio's own handles do, `self._callback(*self._args)`, for one whose parts a program has changed.
#[cold]
fn call_back_changed(core: &Core, handle: &Object, layout: &Layout) -> Result<()> {
    let [callback, arguments] = parts_of(handle)?;
    call_back_with(core, handle, layout, &callback, &call::spread(&arguments)?)
}

/// The callback and the arguments as attributes: one that a program has deleted is an AttributeError.
fn parts_of(handle: &Object) -> Result<[Object; 2]> {
    let names = &stdlib().names;
    Ok([call::getattr(handle, &names.private_callback)?, call::getattr(handle, &names.private_args)?])
}

#[inline]
fn call_back_with(
    core: &Core,
    handle: &Object,
    layout: &Layout,
    callback: &Object,
    arguments: &Object,
) -> Result<()> {
    let call = || call::call_tuple(callback, arguments.as_ptr()).map(drop);
    let body = || {
        let outcome =
            core.contexts.run_for(&HandleContext { object: handle.as_ptr(), layout }, call, || true);
        outcome.or_else(|raised| {
            // SAFETY: a handle.
            let context = unsafe { at(handle.as_ptr(), layout.context) }.or_none();
            call_by_context((raised, context), callback, arguments).map_err(|(raised, _)| raised)
        })
    };
    match &layout.thread_safe {
        Some(thread_safe) if handle.class() == thread_safe.class => thread_safe.run(handle, body),
        _ => body(),
    }
}

/// What is left to do where running in its context has failed: the context may be a program's own, with a `run()`.
#[cold]
pub(super) fn call_by_context(
    failure: (Raised, Object),
    callback: &Object,
    arguments: &Object,
) -> std::result::Result<(), (Raised, Object)> {
    context::or_by_its_run(failure, |run| call::call_with(run, callback, arguments))
}

/// A live handle, as the holder of its context.
struct HandleContext<'a> {
    object: *mut ffi::PyObject,
    layout: &'a Layout,
}

impl Holder for HandleContext<'_> {
    #[inline]
    fn own(&self) -> Option<Object> {
        // SAFETY: a live handle.
        let (sharing, held) =
            unsafe { (self.layout.sharing(self.object), at(self.object, self.layout.context)) };
        (!sharing.is_some_and(Cell::get)).then(|| held.or_none())
    }

    #[inline]
    fn take(&self) -> Object {
        // SAFETY: a live handle.
        unsafe { self.layout.take_context(self.object) }.split().1
    }

    #[inline]
    fn put(&self, context: Context) {
        // SAFETY: a live handle.
        unsafe { self.layout.put_context(self.object, context) };
    }
}

/// `call_back` for a handle that nobody can see, and so nobody misses anything in it meanwhile: its references are lent
/// to the call.
#[inline]
fn call_back_hidden(core: &Core, object: *mut ffi::PyObject, layout: &Layout) -> Result<()> {
    let places = [layout.callback, layout.arguments];
    // SAFETY: a handle.
    let lent = places.map(|offset| unsafe { at(object, offset) }.take().unwrap_or_else(Object::none));
    // SAFETY: as above.
    let context = unsafe { layout.take_context(object) };
    let [callback, arguments] = &lent;
    let outcome = core
        .contexts
        .run(context, || call::call_tuple(callback, arguments.as_ptr()).map(drop))
        .or_else(|failure| call_by_context(failure, callback, arguments));
    // Without its parts the handle is only good for being freed; the exception handler is shown a whole one.
    outcome.map_err(|(raised, context)| {
        for (offset, value) in places.into_iter().zip(lent) {
            // SAFETY: a handle.
            unsafe { at(object, offset) }.put(value);
        }
        // SAFETY: as above.
        unsafe { layout.put_context(object, Context::Own(context)) };
        raised
    })
}

/// Whether there is only the one reference to the handle, and no other way to come by it.
#[inline]
fn is_hidden(handle: &Object) -> bool {
    // SAFETY: a live collected object.
    bare::is_sole(handle)
        && bare::is_unobserved(handle)
        && unsafe { ffi::PyObject_GC_IsTracked(handle.as_ptr()) } == 0
}

/// What the exception handler is told when the handle's callback raised.
pub(crate) fn failure_context<'py>(
    py: Python<'py>,
    handle: &Object,
    exception: &Object,
) -> PyResult<Bound<'py, PyDict>> {
    let (object, layout) = (handle.as_ptr(), layout());
    let [callback, arguments] = parts_of(handle)?;
    // SAFETY: a handle.
    let traceback = unsafe { at(object, layout.source_traceback) }.or_none();
    let keywords = PyDict::new(py);
    if stdlib().behaviour.format_takes_debug {
        let event_loop = handle.bound(py).getattr("_loop")?;
        keywords.set_item("debug", event_loop.call_method0("get_debug")?)?;
    }
    let format = stdlib().format_callback_source.bound(py);
    let source = format.call((callback.bound(py), arguments.bound(py)), Some(&keywords))?;
    let context = PyDict::new(py);
    context.set_item("message", format!("Exception in callback {source}"))?;
    context.set_item("exception", exception.bound(py))?;
    context.set_item("handle", handle.bound(py))?;
    if traceback.bound(py).is_truthy()? {
        context.set_item("source_traceback", traceback.bound(py))?;
    }
    Ok(context)
}

static mut PROPERTIES: [ffi::PyGetSetDef; 2] =
    [property(c"_context", context_of, Some(set_context)), NO_PROPERTY];

/// What is in the slot, and never a template: whoever looks may run something in it.
unsafe extern "C" fn context_of(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance.
        let held = unsafe { layout().take_context(object) };
        let own = held.clone().into_own();
        let context = own.as_ref().map_or(held, |own| Context::Own(own.clone()));
        // SAFETY: as above.
        unsafe { layout().put_context(object, context) };
        own
    })
}

unsafe extern "C" fn set_context(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> c_int {
    enter(|_| {
        // SAFETY: null, or a live object.
        let value = if value.is_null() { Object::none() } else { unsafe { Object::borrow(value) } };
        // SAFETY: called on an instance.
        unsafe { layout().put_context(object, Context::Own(value)) };
        Ok(())
    })
}

static mut METHODS: [ffi::PyMethodDef; 2] = [
    noargs(c"cancel", cancel, c"Cancel the callback; it and its arguments are let go at once."),
    ffi::PyMethodDef::zeroed(),
];

static mut TIMER_METHODS: [ffi::PyMethodDef; 2] = [
    noargs(c"cancel", cancel_timer, c"Cancel the callback; it leaves the loop's timers at once."),
    ffi::PyMethodDef::zeroed(),
];

unsafe extern "C" fn cancel(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let handle = unsafe { Object::borrow(object) };
        cancel_handle(py, &handle)?;
        Ok(Object::none())
    })
}

unsafe extern "C" fn cancel_timer(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let handle = unsafe { Object::borrow(object) };
        // SAFETY: called on a TimerHandle.
        let key = unsafe { key_of(object) }.take();
        // SAFETY: a handle.
        let event_loop = unsafe { at(object, layout().event_loop) }.or_none();
        let job = key.and_then(|key| Core::of(&event_loop)?.engine.cancel_timer(key));
        cancel_handle(py, &handle)?;
        if job.is_some() {
            show(&handle);
        }
        drop(job);
        Ok(Object::none())
    })
}

pub(super) fn cancel_handle(py: Python<'_>, handle: &Object) -> Result<()> {
    if is_cancelled(handle) {
        return Ok(());
    }
    let (object, layout) = (handle.as_ptr(), layout());
    let put = |offset: usize, value: Object| {
        // SAFETY: a handle.
        unsafe { at(object, offset) }.put(value);
    };
    put(layout.cancelled, boolean(true));
    // SAFETY: a handle.
    let event_loop = unsafe { at(object, layout.event_loop) }.or_none();
    if Core::of(&event_loop).is_some_and(Core::is_debug) {
        // What it was is kept as text: a warning may still have to name it.
        put(layout.repr, handle.bound(py).repr()?.into_any().into());
    }
    put(layout.callback, Object::none());
    put(layout.arguments, Object::none());
    Ok(())
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data.
    unsafe {
        gc::visit_all(object, visit, data, |each| {
            for slot in layout().slots(object) {
                each(slot.as_ptr());
            }
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: called on an instance.
    for slot in unsafe { layout().slots(object) } {
        slot.set(None);
    }
    0
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; from here on nobody else sees the object.
    unsafe {
        gc::hide(object);
        clear(object);
        if !keep(object) {
            gc::free(object);
        }
    }
}

/// Gives a freed instance to the list of its class; subclasses have none.
///
/// # Safety
/// As for `FreeList::give`.
#[inline]
unsafe fn keep(object: *mut ffi::PyObject) -> bool {
    // SAFETY: still allocated.
    let class = unsafe { ffi::Py_TYPE(object) };
    let free = match class {
        class if class == layout().handle => &HANDLES,
        class if class == layout().timer_handle => &TIMER_HANDLES,
        class if layout().thread_safe.as_ref().is_some_and(|kind| kind.class == class) => {
            &THREAD_SAFE_HANDLES
        }
        _ => return false,
    };
    // SAFETY: passed on.
    unsafe { free.give(object) }
}
