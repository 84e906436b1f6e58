//! The loop's methods that programs call for every callback, task and timer, as C entry points.
//!
//! PyO3's would take arguments apart through a tuple and a dict; these read them where the caller left them. They
//! are put into the class when the module is made, as method descriptors, so Python sees no difference: CPython's
//! descriptors check that they are called on a loop before they come here.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::core::Core;
use super::descriptors::{self, Side};
use super::handles::{self, Parts};
use super::job::{self, Job};
use super::{EventLoop, clock, timers};
use crate::executors;
use crate::ffi::args::{Args, missing_arguments, mistaken, shown};
use crate::ffi::class::{add_methods, fastcall, noargs};
use crate::ffi::make::{self, Text};
use crate::ffi::raised::enter;
use crate::ffi::{Object, Result, call};
use crate::futures;
use crate::stdlib::stdlib;
use crate::tasks::{self, Arguments};

static mut METHODS: [ffi::PyMethodDef; 10] = [
    fastcall(
        c"call_soon",
        call_soon,
        c"call_soon($self, callback, *args, context=None)\n--\n\nHave the loop call callback(*args) in its next iteration.",
    ),
    fastcall(
        c"call_soon_threadsafe",
        call_soon_threadsafe,
        c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nLike call_soon, from any thread; wakes the loop up.",
    ),
    fastcall(
        c"call_later",
        call_later,
        c"call_later($self, delay, callback, *args, context=None)\n--\n\nHave the loop call callback(*args) in delay seconds.",
    ),
    fastcall(
        c"call_at",
        call_at,
        c"call_at($self, when, callback, *args, context=None)\n--\n\nHave the loop call callback(*args) when its clock shows when, in seconds.",
    ),
    noargs(c"time", time, c"time($self)\n--\n\nThe loop's clock in seconds: time.monotonic()."),
    noargs(c"create_future", create_future, c"create_future($self)\n--\n\nCreate a Future attached to the loop."),
    fastcall(
        c"create_task",
        create_task,
        c"create_task($self, coro, **kwargs)\n--\n\nSchedule a coroutine, and return its Task.",
    ),
    fastcall(
        c"_add_reader",
        add::<false>,
        c"_add_reader($self, fd, callback, *args, context=None)\n--\n\nHave the loop call callback(*args) when fd can be read.",
    ),
    fastcall(
        c"_add_writer",
        add::<true>,
        c"_add_writer($self, fd, callback, *args, context=None)\n--\n\nHave the loop call callback(*args) when fd can be written.",
    ),
    fastcall(
        c"run_in_executor",
        run_in_executor,
        c"run_in_executor($self, executor, func, *args)\n--\n\nHave an executor call func(*args); the returned Future has the answer.",
    ),
];

/// Puts the methods into the class; called by the module's initialisation.
pub(crate) fn add_to(class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: the table is static, and its functions take loops.
    unsafe { add_methods(class, &raw mut METHODS) }
}

/// # Safety
/// `object` is a loop, live for the entry point's run.
#[inline]
unsafe fn this<'a>(object: *mut ffi::PyObject) -> (Object, &'a Core) {
    // SAFETY: passed on.
    unsafe { (Object::borrow(object), Core::inside(object)) }
}

/// The arguments of `function(leading..., *rest, context=None)`.
struct Scheduling<'a, const N: usize> {
    leading: [Object; N],
    rest: &'a [*mut ffi::PyObject],
    context: Option<Object>,
}

impl<'a, const N: usize> Scheduling<'a, N> {
    #[inline]
    fn parse(function: &str, names: [&Object; N], args: &Args<'a>) -> Result<Self> {
        let context = args.sole_keyword(&stdlib().names.context);
        if let (Some(context), true) = (context, args.positional.len() >= N) {
            let (leading, rest) = args.positional.split_at(N);
            // SAFETY: arguments live for the call.
            let leading = std::array::from_fn(|index| unsafe { Object::borrow(leading[index]) });
            return Ok(Self { leading, rest, context });
        }
        Self::parse_named(function, names, args)
    }

    /// Some of the leading arguments came by name, or something is wrong.
    #[cold]
    fn parse_named(function: &str, names: [&Object; N], args: &Args<'a>) -> Result<Self> {
        let (leading, rest) = args.positional.split_at(args.positional.len().min(N));
        let mut by_name = names.map(|name| args.named_value(name));
        let mut found = [const { None }; N];
        for (index, place) in found.iter_mut().enumerate() {
            // SAFETY: arguments live for the call.
            *place = leading.get(index).map(|&value| unsafe { Object::borrow(value) });
            if place.is_some() && by_name[index].is_some() {
                let text = format!("got multiple values for argument '{}'", shown(names[index]));
                return Err(mistaken(function, &text));
            }
            *place = place.take().or_else(|| by_name[index].take());
        }
        args.refuse_others(function, &names, &stdlib().names.context)?;
        if found.iter().any(Option::is_none) {
            let missing = (0..N).filter(|&index| found[index].is_none());
            return Err(missing_arguments(function, missing.map(|index| names[index])));
        }
        let leading = found.map(|value| value.expect("missing ones were refused"));
        Ok(Self { leading, rest, context: args.named_value(&stdlib().names.context) })
    }
}

/// `args` as the tuple that a Handle keeps.
#[inline]
fn tuple(args: &[*mut ffi::PyObject]) -> Result<Object> {
    // SAFETY: a new tuple or null.
    let tuple = unsafe { Object::steal(ffi::PyTuple_New(args.len().cast_signed())) }?;
    for (index, &argument) in args.iter().enumerate() {
        // SAFETY: arguments live for the call; the place is in the new tuple, which steals the reference.
        unsafe {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index.cast_signed(), Object::borrow(argument).into_ptr());
        };
    }
    Ok(tuple)
}

unsafe extern "C" fn call_soon(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on a loop, with this call's arguments.
        let (core, args) = unsafe { (Core::inside(object), Args::new(arguments, count, names)) };
        let given = Scheduling::parse("BaseEventLoop.call_soon", [&stdlib().names.callback], &args)?;
        let [callback] = given.leading;
        core.ensure_open()?;
        if core.is_debug() {
            // SAFETY: called on a loop.
            check_debug(&unsafe { Object::borrow(object) }, &callback, "call_soon", true)?;
        } else if let Some(job) = job::from_stock_task(&callback, given.rest, given.context.as_ref()) {
            core.schedule(job);
            return Ok(Object::none());
        }
        let parts = Parts { callback, arguments: tuple(given.rest)?, context: given.context };
        let handle = handles::new_queued_handle(object, core, parts)?;
        core.schedule(Job::Handle(handle.clone()));
        Ok(handle)
    })
}

unsafe extern "C" fn call_soon_threadsafe(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on a loop, with this call's arguments.
        let (core, args) = unsafe { (Core::inside(object), Args::new(arguments, count, names)) };
        let given =
            Scheduling::parse("BaseEventLoop.call_soon_threadsafe", [&stdlib().names.callback], &args)?;
        let [callback] = given.leading;
        core.ensure_open()?;
        if core.is_debug() {
            // SAFETY: called on a loop.
            check_debug(&unsafe { Object::borrow(object) }, &callback, "call_soon_threadsafe", false)?;
        }
        let parts = Parts { callback, arguments: tuple(given.rest)?, context: given.context };
        let handle = handles::new_thread_safe_handle(object, core, parts)?;
        core.schedule_from_anywhere(Job::Handle(handle.clone()))?;
        Ok(handle)
    })
}

/// What asyncio looks at in debug mode: the thread, where it matters, and the callback.
#[cold]
pub(super) fn check_debug(
    event_loop: &Object,
    callback: &Object,
    method: &str,
    own_thread: bool,
) -> Result<()> {
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    let event_loop = event_loop.bound(py);
    if own_thread {
        event_loop.call_method0(Text("_check_thread"))?;
    }
    event_loop.call_method1(Text("_check_callback"), (callback.bound(py), Text(method)))?;
    Ok(())
}

unsafe extern "C" fn call_later(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on a loop, with this call's arguments.
        let ((event_loop, core), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let known = [&stdlib().names.delay, &stdlib().names.callback];
        let given = Scheduling::parse("BaseEventLoop.call_later", known, &args)?;
        let [delay, callback] = given.leading;
        let when = timers::after(&event_loop, core, &delay)?;
        let parts = Parts { callback, arguments: tuple(given.rest)?, context: given.context };
        timers::call_at(&event_loop, core, when, parts)
    })
}

unsafe extern "C" fn call_at(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on a loop, with this call's arguments.
        let ((event_loop, core), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let known = [&stdlib().names.when, &stdlib().names.callback];
        let given = Scheduling::parse("BaseEventLoop.call_at", known, &args)?;
        let [when, callback] = given.leading;
        let parts = Parts { callback, arguments: tuple(given.rest)?, context: given.context };
        timers::call_at(&event_loop, core, when, parts)
    })
}

unsafe extern "C" fn time(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| clock::time())
}

unsafe extern "C" fn create_future(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    enter(|_| {
        // SAFETY: called on a loop.
        let (event_loop, core) = unsafe { this(object) };
        futures::create(event_loop, core)
    })
}

unsafe extern "C" fn create_task(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    enter(|py| {
        // SAFETY: called on a loop, with this call's arguments.
        let ((event_loop, core), args) = unsafe { (this(object), Args::new(arguments, count, names)) };
        let coroutine = coroutine_of(&args)?;
        core.ensure_open()?;
        let known = &stdlib().names;
        let keywords = args.known_keywords([&known.coro, &known.name, &known.context, &known.eager_start]);
        let own = core.task_factory.is_empty() && tasks::is_usual_class();
        let [_, name, context, eager] = match keywords {
            // Tasks can start eagerly since 3.12, and asyncio's own method can be told so since 3.13.3: no reason to wait.
            Some(keywords) if own && (keywords[3].is_none() || cfg!(Py_3_12)) => keywords,
            _ => return create_by_asyncio(py, &event_loop, &coroutine, &args),
        };
        let eager_start = eager.map_or(Ok(false), |eager| call::truth(&eager))?;
        tasks::create(py, event_loop, core, Arguments { coroutine, name, context, eager_start })
    })
}

/// The one positional argument of `create_task`, which may also come by name.
#[inline]
fn coroutine_of(args: &Args<'_>) -> Result<Object> {
    const FUNCTION: &str = "BaseEventLoop.create_task";
    let named = args.named_value(&stdlib().names.coro);
    match (args.at(0), named) {
        (Some(_), Some(_)) => Err(mistaken(FUNCTION, "got multiple values for argument 'coro'")),
        (None, None) => Err(missing_arguments(FUNCTION, [&stdlib().names.coro].into_iter())),
        _ if args.positional.len() > 1 => {
            let count = args.positional.len() + 1;
            Err(mistaken(FUNCTION, &format!("takes 2 positional arguments but {count} were given")))
        }
        (positional, named) => Ok(positional.or(named).expect("one of the two was found")),
    }
}

/// What a factory, or another class of tasks, is given, and who sets the name, differs from Python to Python, as does
/// what is said of an unknown keyword: asyncio's own method knows.
#[cold]
fn create_by_asyncio(
    py: Python<'_>,
    event_loop: &Object,
    coroutine: &Object,
    args: &Args<'_>,
) -> Result<Object> {
    let keywords = make::dict(py)?;
    args.for_each_named(|name, value| {
        if name.is(stdlib().names.coro.as_ptr()) {
            return Ok(());
        }
        keywords.set_item(name.bound(py), value.bound(py))
    })?;
    let method = stdlib().base_event_loop.bound(py).getattr(Text("create_task"))?;
    Ok(method.call((event_loop.bound(py), coroutine.bound(py)), Some(&keywords))?.into())
}

/// `_add_reader`, or `_add_writer`.
unsafe extern "C" fn add<const WRITER: bool>(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let (side, function) = if WRITER {
        (Side::Writer, "BaseSelectorEventLoop._add_writer")
    } else {
        (Side::Reader, "BaseSelectorEventLoop._add_reader")
    };
    enter(|py| {
        // SAFETY: called on a loop, with this call's arguments.
        let (event_loop, args) = unsafe { (Object::borrow(object), Args::new(arguments, count, names)) };
        watch(py, &event_loop, side, function, &args)
    })
}

fn watch(py: Python<'_>, event_loop: &Object, side: Side, function: &str, args: &Args<'_>) -> Result<Object> {
    let names = &stdlib().names;
    let given = Scheduling::parse(function, [&names.fd, &names.callback], args)?;
    let [file, callback] = given.leading.each_ref().map(|value| value.bound(py));
    let event_loop = event_loop.bound(py).cast_into::<EventLoop>().map_err(PyErr::from)?;
    let rest = tuple(given.rest)?.bound(py).cast_into().map_err(PyErr::from)?;
    let context = given.context.filter(|context| !context.is_none()).map(|context| context.bound(py));
    let handle = descriptors::add(&event_loop, side, &file, (&callback, &rest, context.as_ref()))?;
    Ok(Object::from_bound(handle.bind(py)))
}

unsafe extern "C" fn run_in_executor(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    const FUNCTION: &str = "BaseEventLoop.run_in_executor";
    enter(|py| {
        // SAFETY: called on a loop, with this call's arguments.
        let (event_loop, args) = unsafe { (Object::borrow(object), Args::new(arguments, count, names)) };
        let names = &stdlib().names;
        let given = Scheduling::parse(FUNCTION, [&names.executor, &names.func], &args)?;
        if given.context.is_some() {
            return Err(mistaken(FUNCTION, "got an unexpected keyword argument 'context'"));
        }
        let [executor, function] = given.leading.each_ref().map(|value| value.bound(py));
        let event_loop = event_loop.bound(py).cast_into::<EventLoop>().map_err(PyErr::from)?;
        let rest = tuple(given.rest)?.bound(py).cast_into().map_err(PyErr::from)?;
        let future = executors::run_in_executor(&event_loop, &executor, &function, &rest)?;
        Ok(Object::from_bound(future.bind(py)))
    })
}
