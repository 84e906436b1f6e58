//! `gather()`: one future for the results of several.
//!
//! A child that is done counts at once; only one that decides something (the last, or the first that failed) becomes
//! a job, in the place where asyncio would run its done-callback. The rules of cancellation are asyncio's: cancelling
//! the outer future cancels the children, and it is done when they are.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};

use pyo3::ffi;

use crate::event_loop::core::Core;
use crate::ffi::args::Args;
use crate::ffi::class::{NO_PROPERTY, fastcall, new_class, property, slot};
use crate::ffi::make;
use crate::ffi::raised::enter;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::futures::class::{self as base, Extension, allocate_exact, dealloc_with};
use crate::futures::methods::{boolean, cancel_message};
use crate::futures::observers::observer_kind;
use crate::futures::{Bit, FutureState, any, classes, state_of as future_state};
use crate::gc::{self, FreeList};
use crate::stdlib::stdlib;
use crate::tasks::{self, current, ensure_future};

/// What the outer future holds.
#[repr(C)]
pub(crate) struct GatherState {
    future: FutureState,
    /// One for each argument, in their order. Written while the future is made, and emptied by the collector (S1).
    children: UnsafeCell<Vec<Object>>,
    /// How many different children there are; zero until all are known.
    expected: Cell<usize>,
    finished: Cell<usize>,
    /// Children that will be counted by their own notification: those that are not native, and those that are done, but
    /// not counted yet.
    uncounted: Cell<usize>,
    return_exceptions: Cell<bool>,
    cancel_requested: Cell<bool>,
    /// The arguments were wrong half-way: there is no outer future, but children to listen to.
    abandoned: Cell<bool>,
    /// The task that called `gather`, where futures show who awaits them.
    caller: Slot,
}

impl GatherState {
    const fn new() -> Self {
        Self {
            future: FutureState::new(),
            children: UnsafeCell::new(Vec::new()),
            expected: Cell::new(0),
            finished: Cell::new(0),
            uncounted: Cell::new(0),
            return_exceptions: Cell::new(false),
            cancel_requested: Cell::new(false),
            abandoned: Cell::new(false),
            caller: Slot::empty(),
        }
    }

    /// References to all children: what works on them may run Python code.
    fn children(&self) -> Vec<Object> {
        // SAFETY: S1: cloning increments counts and calls nobody.
        unsafe { (*self.children.get()).clone() }
    }

    fn is_over(&self) -> bool {
        self.abandoned.get() || !self.future.is_pending()
    }

    fn is_complete(&self) -> bool {
        self.finished.get() == self.expected.get()
    }
}

/// # Safety
/// `object` is a gathering future, live for the use of the result.
unsafe fn state_of<'a>(object: *mut ffi::PyObject) -> &'a GatherState {
    // SAFETY: the extension begins with its FutureState, which is the first field (repr(C)).
    unsafe { &*std::ptr::from_ref(future_state(object)).cast::<GatherState>() }
}

/// `gather(*coros_or_futures, return_exceptions=False)`.
pub(crate) fn gather(args: &Args<'_>) -> Result<Option<Object>> {
    let Some([return_exceptions]) = args.known_keywords([&stdlib().names.return_exceptions]) else {
        return Ok(None);
    };
    let return_exceptions = return_exceptions.map_or(Ok(false), |given| call::truth(&given))?;
    if args.positional.is_empty() {
        return nothing().map(Some);
    }
    let mut gathering = Gathering::begin()?;
    for index in 0..args.positional.len() {
        let argument = args.at(index).expect("the index is in range");
        if let Err(raised) = gathering.add(&argument, return_exceptions) {
            return Err(gathering.abandon(raised));
        }
    }
    gathering.finish().map(Some)
}

fn nothing() -> Result<Object> {
    let outer = any::create(&call::call0(&stdlib().event_loop)?)?;
    // SAFETY: a new reference or null.
    any::set_result(&outer, unsafe { Object::steal(ffi::PyList_New(0)) }?)?;
    Ok(outer)
}

/// A `gather()` that is looking at its arguments.
struct Gathering {
    event_loop: Option<Object>,
    caller: Option<Object>,
    /// Made with the first child, whose loop it belongs to.
    outer: Option<Object>,
    /// The future of each argument so far.
    by_argument: Object,
    children: Vec<Object>,
    different: usize,
    /// Children that were done already.
    done: Vec<Object>,
}

impl Gathering {
    fn begin() -> Result<Self> {
        let (event_loop, caller) = if cfg!(Py_3_14) { current::running()? } else { (None, None) };
        // SAFETY: a new reference or null.
        let by_argument = unsafe { Object::steal(ffi::PyDict_New()) }?;
        Ok(Self {
            event_loop,
            caller,
            outer: None,
            by_argument,
            children: Vec::new(),
            different: 0,
            done: Vec::new(),
        })
    }

    fn add(&mut self, argument: &Object, return_exceptions: bool) -> Result<()> {
        if let Some(known) = call::dict_item(&self.by_argument, argument)? {
            self.children.push(known);
            return Ok(());
        }
        let future = ensure_future::ensure_future(argument, self.event_loop.as_ref())?;
        if self.event_loop.is_none() {
            self.event_loop = Some(any::loop_of(&future)?);
        }
        if !future.is(argument.as_ptr()) {
            // The caller has no hold on it, and need not be told that it was destroyed.
            tasks::forgive_destruction(&future)?;
        }
        self.different += 1;
        // SAFETY: a dict and two live objects.
        if unsafe { ffi::PyDict_SetItem(self.by_argument.as_ptr(), argument.as_ptr(), future.as_ptr()) } < 0 {
            return Err(Raised);
        }
        self.children.push(future.clone());
        let outer = self.outer(return_exceptions)?;
        if any::native(&future).is_none() {
            // SAFETY: a gathering future.
            let uncounted = unsafe { &state_of(outer.as_ptr()).uncounted };
            uncounted.set(uncounted.get() + 1);
        }
        if cfg!(Py_3_12) && any::done(&future)? {
            self.done.push(future);
            return Ok(());
        }
        if let Some(caller) = &self.caller {
            current::add_awaited_by(&future, caller)?;
        }
        CHILD_DONE.observe(&future, &outer)
    }

    fn outer(&mut self, return_exceptions: bool) -> Result<Object> {
        if let Some(outer) = &self.outer {
            return Ok(outer.clone());
        }
        let event_loop = self.event_loop.clone().expect("a child was made");
        let outer = create(event_loop)?;
        // SAFETY: just made.
        let state = unsafe { state_of(outer.as_ptr()) };
        state.return_exceptions.set(return_exceptions);
        state.caller.set(self.caller.clone());
        self.outer = Some(outer.clone());
        Ok(outer)
    }

    fn finish(self) -> Result<Object> {
        let outer = self.outer.expect("there is an argument");
        // SAFETY: a gathering future.
        let state = unsafe { state_of(outer.as_ptr()) };
        state.expected.set(self.different);
        // SAFETY: S1: a move; what was there is empty.
        unsafe { *state.children.get() = self.children };
        for child in self.done {
            if note(&outer, &child) {
                child_done(&outer, &child)?;
            }
        }
        Ok(outer)
    }

    /// Some argument was wrong: the children made so far go on, and nobody asks for their exceptions.
    fn abandon(self, raised: Raised) -> Raised {
        if let Some(outer) = &self.outer {
            // SAFETY: a gathering future.
            unsafe { state_of(outer.as_ptr()) }.abandoned.set(true);
        }
        // What is dropped here may run Python code, which must not find an exception set.
        let exception = raised.take_object();
        drop(self);
        Raised::from_object(&exception)
    }
}

fn create(event_loop: Object) -> Result<Object> {
    // SAFETY: the native class, whose extension is a GatherState.
    let outer = unsafe { allocate_exact(&GATHERINGS, classes().gathering, GatherState::new()) }?;
    // SAFETY: just made.
    let state = &unsafe { state_of(outer.as_ptr()) }.future;
    if Core::of(&event_loop).is_some_and(|core| !core.is_debug()) {
        state.bind_native(event_loop);
    } else {
        state.bind(Some(event_loop))?;
    }
    Ok(outer)
}

observer_kind!(
    /// A child of a gathering future is done.
    static CHILD_DONE, c"_done_callback", note, child_done
);

/// Answers whether the child's end decides anything, and counts it if not. One that failed is counted by its own
/// notification, and so is every other while such a notification is on its way: the last of them in their order is the
/// one that ends the gathering.
fn note(outer: &Object, child: &Object) -> bool {
    // SAFETY: observers of this kind are gathering futures.
    let state = unsafe { state_of(outer.as_ptr()) };
    let Some(future) = any::native(child) else { return true };
    let is_waiting = state.expected.get() == 0 || state.uncounted.get() > 0;
    let counts = !is_waiting
        && (state.is_over() || state.return_exceptions.get() || !future.has_failed())
        && current::discard_awaited_by_quietly(child, &state.caller);
    if !counts {
        state.uncounted.set(state.uncounted.get() + 1);
        return true;
    }
    state.finished.set(state.finished.get() + 1);
    if state.is_over() {
        future.bits.set(Bit::LogTraceback, false);
        return false;
    }
    state.is_complete()
}

/// The done-callback of a child.
fn child_done(outer: &Object, child: &Object) -> Result<()> {
    // SAFETY: observers of this kind are gathering futures.
    let state = unsafe { state_of(outer.as_ptr()) };
    if let Some(others) = state.uncounted.get().checked_sub(1) {
        state.uncounted.set(others);
        state.finished.set(state.finished.get() + 1);
    }
    if let Some(caller) = state.caller.get() {
        current::discard_awaited_by(child, &caller)?;
    }
    if state.is_over() {
        if !any::cancelled(child)? {
            any::exception(child)?;
        }
        return Ok(());
    }
    if !state.return_exceptions.get() {
        let failure =
            if any::cancelled(child)? { Some(any::cancelled_error(child)?) } else { any::exception(child)? };
        if let Some(exception) = failure {
            return settle(outer, state, Err(exception));
        }
    }
    if state.is_complete() { settle(outer, state, outcome(state)?) } else { Ok(()) }
}

/// The list of all results; or the exception of a gathering that was asked to be cancelled.
fn outcome(state: &GatherState) -> Result<std::result::Result<Object, Object>> {
    let children = state.children();
    let mut results = Vec::with_capacity(children.len());
    for child in &children {
        results.push(result_of(child)?);
    }
    if state.cancel_requested.get() {
        let last = children.last().expect("there is a child");
        return Ok(Err(any::cancelled_error(last)?));
    }
    list(results).map(Ok)
}

fn result_of(child: &Object) -> Result<Object> {
    if !any::cancelled(child)? {
        return match any::exception(child)? {
            Some(exception) => Ok(exception),
            None => any::result(child),
        };
    }
    let message = match any::native(child) {
        Some(state) => state.cancel_message().unwrap_or_else(Object::none),
        None => call::getattr(child, &stdlib().names.cancel_message)?,
    };
    let message = if message.is_none() { stdlib().names.empty.clone() } else { message };
    call::call1(&stdlib().cancelled_error, &message)
}

fn list(items: Vec<Object>) -> Result<Object> {
    // SAFETY: a new reference or null.
    let list = unsafe { Object::steal(ffi::PyList_New(items.len().cast_signed())) }?;
    for (index, item) in items.into_iter().enumerate() {
        // SAFETY: a new list with a free place at the index, which takes the reference over.
        unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), index.cast_signed(), item.into_ptr()) };
    }
    Ok(list)
}

fn settle(outer: &Object, state: &GatherState, outcome: std::result::Result<Object, Object>) -> Result<()> {
    match outcome {
        Ok(results) => state.future.set_result(outer, results)?,
        Err(exception) => state.future.set_exception(outer, &exception)?,
    }
    // Children that outlive the gathering are awaited no more.
    let Some(caller) = state.caller.take() else { return Ok(()) };
    state.children().iter().try_for_each(|child| current::discard_awaited_by(child, &caller))
}

/// Whether `future` is one that `gather` made.
#[inline]
pub(crate) fn is_gathering(future: &Object) -> bool {
    future.class() == classes().gathering
}

/// `cancel()`: asks the children; the gathering is over when they are.
pub(crate) fn cancel(outer: &Object, message: Option<&Object>) -> Result<bool> {
    // SAFETY: callers pass gathering futures.
    let state = unsafe { state_of(outer.as_ptr()) };
    if !state.future.is_pending() {
        return Ok(false);
    }
    let mut any_cancelled = false;
    for child in state.children() {
        any_cancelled |= tasks::cancel_by_name(&child, message)?;
    }
    if any_cancelled {
        state.cancel_requested.set(true);
    }
    Ok(any_cancelled)
}

unsafe extern "C" fn cancel_method(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on an instance, with this call's arguments.
        let (outer, args) = unsafe { (Object::borrow(object), Args::new(arguments, count, names)) };
        cancel(&outer, cancel_message(&args)?.as_ref()).map(boolean)
    })
}

unsafe extern "C" fn children(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on an instance.
        let children = unsafe { state_of(object) }.children();
        Ok(Object::from(make::list_of(py, children.iter().map(|child| child.bound(py)))?.into_any()))
    })
}

unsafe extern "C" fn cancel_requested(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called on an instance.
    enter(|_| Ok(boolean(unsafe { state_of(object) }.cancel_requested.get())))
}

static mut METHODS: [ffi::PyMethodDef; 2] = [
    fastcall(c"cancel", cancel_method, c"Cancel the children that are not done."),
    ffi::PyMethodDef::zeroed(),
];

static mut PROPERTIES: [ffi::PyGetSetDef; 3] = [
    property(c"_children", children, None),
    property(c"_cancel_requested", cancel_requested, None),
    NO_PROPERTY,
];

/// Freed instances.
static GATHERINGS: FreeList = FreeList::new();

impl Extension for GatherState {
    fn empty() -> Self {
        Self::new()
    }

    #[inline]
    fn must_report(&self) -> bool {
        self.future.bits.has(Bit::LogTraceback)
    }
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, data: *mut c_void) -> c_int {
    // SAFETY: an instance; the collector's function and data. The base's part and the class come first.
    unsafe {
        let answer = base::traverse_base(&stdlib().c_future, object, visit, data);
        if answer != 0 {
            return answer;
        }
        base::visit_state(object, visit, data, |each| {
            let state = state_of(object);
            state.future.visit(each);
            each(state.caller.as_ptr());
            (*state.children.get()).iter().for_each(|child| each(child.as_ptr()));
        })
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: an instance.
    let state = unsafe { state_of(object) };
    state.future.reset();
    state.caller.set(None);
    // SAFETY: S1: moved out whole before anything is dropped.
    drop(unsafe { std::mem::take(&mut *state.children.get()) });
    // SAFETY: the object begins with the base's layout.
    unsafe { base::clear_base(&stdlib().c_future, object) }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: this is `tp_dealloc`.
    unsafe { gc::nested(object, free) };
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    // SAFETY: `tp_dealloc` on an instance whose extension is a GatherState.
    unsafe {
        dealloc_with::<GatherState>(object, classes().gathering, &stdlib().c_future, &GATHERINGS);
    };
}

/// Makes the class, over the native Future whose state begins at `offset`.
pub(crate) fn make_class(future: *mut ffi::PyTypeObject, offset: usize) -> Result<Object> {
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw mut METHODS).cast()),
        slot(ffi::Py_tp_getset, (&raw mut PROPERTIES).cast()),
    ];
    let flags =
        ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_IMMUTABLETYPE | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let size = offset + size_of::<GatherState>();
    // SAFETY: the slots are of the documented types and static; the size covers base and state.
    unsafe { new_class(c"tulipa._tulipa._GatheringFuture", future.cast(), size, flags, slots) }
}
