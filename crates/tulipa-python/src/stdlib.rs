//! What the native classes need of the standard library: names, classes and functions, looked up once.
//!
//! Filled when the module is first imported, never changed afterwards, shared by all loops and threads.

use std::sync::OnceLock;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::event_loop::clock;
use crate::ffi::Object;

macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Attribute and keyword names, interned so that look-ups compare by address.
        #[cfg_attr(not(Py_3_14), allow(dead_code, reason = "some names are asked for on later Pythons only"))]
        pub(crate) struct Names { $(pub(crate) $field: Object),* }

        impl Names {
            fn new(py: Python<'_>) -> Self {
                Self { $($field: Object::from_bound(PyString::intern(py, $text).as_any())),* }
            }
        }
    };
}

names! {
    current_task = "current_task",
    acquire = "acquire",
    obj = "obj",
    add_done_callback = "add_done_callback",
    arg = "arg",
    call_soon_threadsafe = "call_soon_threadsafe",
    future = "future",
    is_closed = "is_closed",
    private_closed = "_closed",
    io_refs = "_io_refs",
    set_running_or_notify_cancel = "set_running_or_notify_cancel",
    cancel_message = "_cancel_message",
    cancelled = "cancelled",
    cancelling = "cancelling",
    uncancel = "uncancel",
    time = "time",
    monotonic = "monotonic",
    all_completed = "ALL_COMPLETED",
    first_completed = "FIRST_COMPLETED",
    first_exception = "FIRST_EXCEPTION",
    fs = "fs",
    return_when = "return_when",
    call_at = "call_at",
    run = "run",
    run_in_executor = "run_in_executor",
    unhandled_errors = "unhandled errors in a TaskGroup",
    fut = "fut",
    timeout = "timeout",
    create_future = "create_future",
    create_task = "create_task",
    done = "done",
    empty = "",
    exception = "exception",
    log_destroy_pending = "_log_destroy_pending",
    loop_ = "loop",
    make_cancelled_error = "_make_cancelled_error",
    remove_done_callback = "remove_done_callback",
    return_exceptions = "return_exceptions",
    set_exception = "set_exception",
    set_result = "set_result",
    set_running_loop = "_set_running_loop",
    set_origin_tracking = "_set_coroutine_origin_tracking",
    set_asyncgen_hooks = "set_asyncgen_hooks",
    append = "append",
    asyncio_future_blocking = "_asyncio_future_blocking",
    sock_recv = "sock_recv",
    sock_recv_into = "sock_recv_into",
    sock_recvfrom = "sock_recvfrom",
    sock_recvfrom_into = "sock_recvfrom_into",
    sock_sendall = "sock_sendall",
    sock_sendto = "sock_sendto",
    sock_connect = "sock_connect",
    sock_accept = "sock_accept",
    private_transports = "_transports",
    attach = "_attach",
    detach = "_detach",
    buffer_updated = "buffer_updated",
    call_exception_handler = "call_exception_handler",
    call_soon = "call_soon",
    call_later = "call_later",
    callback = "callback",
    cancel = "cancel",
    close = "close",
    connection_lost = "connection_lost",
    context = "context",
    coro = "coro",
    coro_or_future = "coro_or_future",
    delay = "delay",
    data = "data",
    addr = "addr",
    datagram_received = "datagram_received",
    error_received = "error_received",
    list_of_data = "list_of_data",
    protocol = "protocol",
    data_received = "data_received",
    join = "join",
    eof_received = "eof_received",
    force_close = "_force_close",
    nbytes = "nbytes",
    sizehint = "sizehint",
    get_buffer = "get_buffer",
    get_debug = "get_debug",
    get_loop = "get_loop",
    private_loop = "_loop",
    private_args = "_args",
    private_callback = "_callback",
    msg = "msg",
    name = "name",
    locked = "locked",
    pop = "pop",
    popleft = "popleft",
    release = "release",
    result = "result",
    throw = "throw",
    wait = "wait",
    when = "when",
    pending = "pending",
    pause_writing = "pause_writing",
    resume_writing = "resume_writing",
    eager_start = "eager_start",
    connection_made = "connection_made",
    task_class = "Task",
    add_worker = "_add_worker",
    native_queue = "_native_queue",
    stream_reader_wr = "_stream_reader_wr",
    private_buffer = "_buffer",
    private_eof = "_eof",
    private_limit = "_limit",
    waiter = "_waiter",
    abort = "abort",
    can_write_eof = "can_write_eof",
    drain = "drain",
    drain_helper = "_drain_helper",
    exc = "exc",
    executor = "executor",
    fd = "fd",
    func = "func",
    feed_data = "feed_data",
    feed_eof = "feed_eof",
    func_name = "func_name",
    get_close_waiter = "_get_close_waiter",
    get_extra_info = "get_extra_info",
    is_closing = "is_closing",
    n = "n",
    pause_reading = "pause_reading",
    private_client_connected_cb = "_client_connected_cb",
    read = "read",
    readline = "readline",
    readuntil = "readuntil",
    replace_transport = "_replace_transport",
    replace_writer = "_replace_writer",
    resume_reading = "resume_reading",
    separator = "separator",
    set_transport = "set_transport",
    source_traceback = "_source_traceback",
    sslcontext = "sslcontext",
    server_hostname = "server_hostname",
    ssl_handshake_timeout = "ssl_handshake_timeout",
    ssl_shutdown_timeout = "ssl_shutdown_timeout",
    default = "default",
    stream = "stream",
    transport = "transport",
    write = "write",
    write_eof = "write_eof",
    writelines = "writelines",
}

macro_rules! functions {
    ($($(#[$cfg:meta])* $field:ident = $module:literal . $text:literal),* $(,)?) => {
        /// Classes and functions of the standard library.
        pub(crate) struct Stdlib {
            pub(crate) names: Names,
            pub(crate) behaviour: Behaviour,
            /// What tasks of a crowd that have no name show to other processes: a string of its own, told by its address.
            #[cfg(Py_3_14)]
            pub(crate) unnamed: Object,
            /// `time.monotonic`, as long as nobody has replaced it: see `clock`.
            pub(crate) monotonic: Option<Object>,
            /// asyncio's `QueueShutDown`, or one of the same kind where it has none.
            pub(crate) queue_shut_down: Object,
            $($(#[$cfg])* pub(crate) $field: Object),*
        }

        impl Stdlib {
            fn new(py: Python<'_>) -> PyResult<Self> {
                Ok(Self {
                    names: Names::new(py),
                    behaviour: Behaviour::probe(py)?,
                    #[cfg(Py_3_14)]
                    unnamed: Object::text(py, "Task")?,
                    monotonic: clock::own_monotonic(py)?,
                    queue_shut_down: queue_shut_down(py)?,
                    $($(#[$cfg])* $field: Object::from_bound(&py.import($module)?.getattr($text)?)),*
                })
            }
        }
    };
}

functions! {
    c_future = "_asyncio"."Future",
    c_task = "_asyncio"."Task",
    tasks_namespace = "asyncio.tasks"."__dict__",
    partial = "functools"."partial",
    base_exception_group = "builtins"."BaseExceptionGroup",
    base_event_loop = "asyncio.base_events"."BaseEventLoop",
    logger = "asyncio.log"."logger",
    abstract_protocol = "asyncio.protocols"."Protocol",
    incomplete_read_error = "asyncio.exceptions"."IncompleteReadError",
    limit_overrun_error = "asyncio.exceptions"."LimitOverrunError",
    stream_reader = "asyncio.streams"."StreamReader",
    buffered_protocol = "asyncio.protocols"."BufferedProtocol",
    abstract_transport = "asyncio.transports"."_FlowControlMixin",
    abstract_datagram_transport = "asyncio.transports"."DatagramTransport",
    read_transport = "asyncio.transports"."ReadTransport",
    transport_socket = "asyncio.trsock"."TransportSocket",
    sendfile_mode = "asyncio.constants"."_SendfileMode",
    socket = "socket"."socket",
    selector_event_loop = "asyncio.selector_events"."BaseSelectorEventLoop",
    warn = "warnings"."warn",
    warn_never_awaited = "warnings"."_warn_unawaited_coroutine",
    running_loop = "_asyncio"."get_running_loop",
    running_loop_or_none = "_asyncio"."_get_running_loop",
    set_result_unless_cancelled = "asyncio.futures"."_set_result_unless_cancelled",
    isnan = "math"."isnan",
    time_namespace = "time"."__dict__",
    events = "asyncio"."events",
    abstract_handle = "asyncio.events"."Handle",
    abstract_timer_handle = "asyncio.events"."TimerHandle",
    convert_future_exception = "asyncio.futures"."_convert_future_exc",
    address_family = "socket"."AddressFamily",
    socket_kind = "socket"."SocketKind",
    to_enum = "socket"."_intenum_converter",
    gaierror = "socket"."gaierror",
    af_inet = "socket"."AF_INET",
    af_inet6 = "socket"."AF_INET6",
    sock_stream = "socket"."SOCK_STREAM",
    sock_dgram = "socket"."SOCK_DGRAM",
    concurrent_future = "concurrent.futures"."Future",
    cancelled_error = "asyncio.exceptions"."CancelledError",
    sendfile_not_available = "asyncio.exceptions"."SendfileNotAvailableError",
    invalid_state_error = "asyncio.exceptions"."InvalidStateError",
    broken_barrier_error = "asyncio.exceptions"."BrokenBarrierError",
    queue_empty = "asyncio.queues"."QueueEmpty",
    queue_full = "asyncio.queues"."QueueFull",
    deque = "collections"."deque",
    heappush = "heapq"."heappush",
    heappop = "heapq"."heappop",
    abc_meta = "abc"."ABCMeta",
    generic_alias = "types"."GenericAlias",
    barrier_state = "asyncio.locks"."_BarrierState",
    extract_stack = "asyncio.format_helpers"."extract_stack",
    format_callback_source = "asyncio.format_helpers"."_format_callback_source",
    future_repr = "asyncio.base_futures"."_future_repr",
    task_repr = "asyncio.base_tasks"."_task_repr",
    task_get_stack = "asyncio.base_tasks"."_task_get_stack",
    task_print_stack = "asyncio.base_tasks"."_task_print_stack",
    iscoroutine = "asyncio.coroutines"."iscoroutine",
    event_loop = "_asyncio"."get_event_loop",
    ensure_future = "asyncio.tasks"."ensure_future",
    #[cfg(Py_3_14)]
    current_task = "_asyncio"."current_task",
    register_task = "_asyncio"."_register_task",
    unregister_task = "_asyncio"."_unregister_task",
    enter_task = "_asyncio"."_enter_task",
    leave_task = "_asyncio"."_leave_task",
    #[cfg(not(Py_3_14))]
    current_tasks = "_asyncio"."_current_tasks",
    #[cfg(Py_3_12)]
    register_eager_task = "_asyncio"."_register_eager_task",
    #[cfg(Py_3_12)]
    unregister_eager_task = "_asyncio"."_unregister_eager_task",
    #[cfg(Py_3_12)]
    swap_current_task = "_asyncio"."_swap_current_task",
    #[cfg(Py_3_14)]
    add_to_awaited_by = "_asyncio"."future_add_to_awaited_by",
    #[cfg(Py_3_14)]
    discard_from_awaited_by = "_asyncio"."future_discard_from_awaited_by",
}

/// Before 3.13 asyncio's queues cannot be shut down; ours can on every Python.
fn queue_shut_down(py: Python<'_>) -> PyResult<Object> {
    let queues = py.import("asyncio.queues")?;
    if queues.hasattr("QueueShutDown")? {
        return Ok(queues.getattr("QueueShutDown")?.into());
    }
    let doc = c"Raised when putting on to or getting from a shut-down Queue.";
    let class = PyErr::new_type(py, c"tulipa.QueueShutDown", Some(doc), None, None)?;
    Ok(class.into_bound(py).into_any().into())
}

/// Where point releases of one Python differ: asked of the running one instead of its version number.
#[allow(clippy::struct_excessive_bools, reason = "each is one answer of the probe")]
pub(crate) struct Behaviour {
    /// `set_exception(StopIteration())` wraps it in a RuntimeError; older releases refuse it.
    pub(crate) wraps_stop_iteration: bool,
    /// The class of the callable that a stock C task hands to `call_soon` for its next step.
    pub(crate) c_task_step: Object,
    /// asyncio's own `BaseEventLoop.create_task`, or None where somebody has wrapped it already.
    pub(crate) create_task: Object,
    /// Where asyncio's C classes keep references.
    pub(crate) places: Option<crate::futures::places::Places>,
    /// Where the C Task keeps what others read in its memory.
    #[cfg(Py_3_14)]
    pub(crate) base_fields: Option<crate::tasks::base_fields::BaseFields>,
    /// Whether a TaskGroup closes the coroutine of a task that it refuses.
    pub(crate) group_closes_refused: bool,
    /// Whether a TaskGroup deals with a task that is done when it was made there and then.
    pub(crate) group_deals_with_done_at_once: bool,
    /// Whether a TaskGroup's tasks, and those of `create_task`, are named once they are made, and take a number before.
    pub(crate) group_names_later: bool,
    pub(crate) create_task_names_later: bool,
    /// Whether a TaskGroup leaves the parent's count of cancellations as it should be.
    pub(crate) group_keeps_cancel_count: bool,
    /// Whether classes derived from CancelledError are cancellations to a TaskGroup.
    pub(crate) group_knows_subclasses: bool,
    /// The same of a Timeout, which then also puts its TimeoutError between other exceptions and the cancellation.
    pub(crate) timeout_knows_subclasses: bool,
    /// Whether what a function for new connections raises is reported as such, instead of as the loop's callback's.
    pub(crate) streams_report: bool,
    /// Whether the exception of a shielded future that nobody waits for any more is logged.
    pub(crate) shield_logs: bool,
    /// A semaphore that is acquired after a wait lets go on all that may; in older releases, one.
    pub(crate) semaphore_wakes_all: bool,
    /// A wait on a condition that ends by an exception hands its notification on; in older releases it is lost.
    pub(crate) condition_passes_on: bool,
    /// Whether `_format_callback_source` takes `debug=`.
    pub(crate) format_takes_debug: bool,
    /// Whether sending a file moves its position also when nothing was sent.
    pub(crate) sendfile_always_seeks: bool,
    pub(crate) socket: crate::event_loop::sock::Members,
    /// Where contexts keep their variables, and threads their context.
    pub(crate) context_fields: Option<crate::event_loop::contexts::Fields>,
}

impl Behaviour {
    fn probe(py: Python<'_>) -> PyResult<Self> {
        let scope = PyDict::new(py);
        py.run(PROBE, Some(&scope), None)?;
        let found =
            |name: &str| scope.get_item(name)?.ok_or_else(|| PyAttributeError::new_err(name.to_owned()));
        let c_task_step = found("step_class")?;
        if !c_task_step.is_instance_of::<pyo3::types::PyType>() {
            return Err(PyTypeError::new_err("a stock task scheduled no step"));
        }
        let places = crate::futures::places::Places::find(&scope)?;
        #[cfg(Py_3_14)]
        let base_fields = {
            py.run(PROBE_AWAITED, Some(&scope), None)?;
            // A task that shows neither coroutine nor name would stop those who read it.
            if places.is_some() { crate::tasks::base_fields::BaseFields::find(&scope)? } else { None }
        };
        let behaviour = Self {
            places,
            #[cfg(Py_3_14)]
            base_fields,
            wraps_stop_iteration: found("wraps_stop_iteration")?.is_truthy()?,
            c_task_step: Object::from_bound(&c_task_step),
            create_task: Object::from_bound(&found("create_task")?),
            group_closes_refused: found("group_closes_refused")?.is_truthy()?,
            group_deals_with_done_at_once: found("group_deals_with_done_at_once")?.is_truthy()?,
            group_names_later: found("group_names_later")?.is_truthy()?,
            create_task_names_later: found("create_task_names_later")?.is_truthy()?,
            group_keeps_cancel_count: found("group_keeps_cancel_count")?.is_truthy()?,
            group_knows_subclasses: found("group_knows_subclasses")?.is_truthy()?,
            timeout_knows_subclasses: found("timeout_knows_subclasses")?.is_truthy()?,
            streams_report: found("streams_report")?.is_truthy()?,
            shield_logs: found("shield_logs")?.is_truthy()?,
            semaphore_wakes_all: found("semaphore_wakes_all")?.is_truthy()?,
            condition_passes_on: found("condition_passes_on")?.is_truthy()?,
            format_takes_debug: found("format_takes_debug")?.is_truthy()?,
            sendfile_always_seeks: found("sendfile_always_seeks")?.is_truthy()?,
            socket: crate::event_loop::sock::Members::find(py)?,
            context_fields: crate::event_loop::contexts::Fields::find(py)?,
        };
        // The class in there refers to the scope: without this its objects would wait for the collector.
        scope.clear();
        Ok(behaviour)
    }
}

/// Drives stock objects on a loop that does nothing but remember what it was asked to schedule.
const PROBE: &std::ffi::CStr = cr#"
import inspect
from _asyncio import Future, Task
from asyncio import base_events, tasks
from asyncio.format_helpers import _format_callback_source
from asyncio.streams import StreamReaderProtocol
from asyncio.taskgroups import TaskGroup
from asyncio.timeouts import Timeout
from asyncio.locks import Condition, Semaphore
from asyncio.unix_events import _UnixSelectorEventLoop
from contextvars import copy_context

class Recorder:
    def get_debug(self):
        return False
    def is_running(self):
        return True
    def call_soon(self, callback, *args, context=None):
        self.callback = callback
    def call_exception_handler(self, context):
        pass

async def nothing():
    pass

recorder = Recorder()
coroutine = nothing()
name = "-".join(("probe", "name"))
context = copy_context()
task = Task(coroutine, loop=recorder, name=name, context=context)
step_class = type(recorder.callback)
del recorder.callback
task._log_destroy_pending = False
coroutine.close()

settled, failed, heard, cancelled = [Future(loop=recorder) for _ in range(4)]
outcome, failure, message = object(), Exception(), object()
cancelled.cancel(message)
settled.set_result(outcome)
failed.set_exception(failure)
failed.exception()

def hears(future):
    pass

heard.add_done_callback(hears)

future = Future(loop=recorder)
try:
    future.set_exception(StopIteration())
except TypeError:
    wraps_stop_iteration = False
else:
    wraps_stop_iteration = True
    future.exception()

create_task = vars(base_events.BaseEventLoop)["create_task"]
if getattr(create_task, "__globals__", None) is not vars(base_events):
    create_task = None
update_position = _UnixSelectorEventLoop._sock_sendfile_update_filepos
sendfile_always_seeks = "total_sent" not in inspect.signature(update_position).parameters
format_takes_debug = "debug" in inspect.signature(_format_callback_source).parameters

def names(function):
    return function.__code__.co_names

create = names(TaskGroup.create_task)
leave = names(getattr(TaskGroup, "_aexit", TaskGroup.__aexit__))
group_closes_refused = "close" in create
group_deals_with_done_at_once = create.index("_on_task_done") < create.index("add_done_callback")
group_names_later = "_set_task_name" in create
create_task_names_later = "_set_task_name" in names(tasks.create_task)
group_keeps_cancel_count = "cancelling" in leave
group_knows_subclasses = "issubclass" in leave
timeout_knows_subclasses = "issubclass" in names(Timeout.__aexit__)
streams_report = "Exception" in names(StreamReaderProtocol.connection_made)
shield_logs = hasattr(tasks, "_log_on_exception")
# The releases that changed these rules are known by what their private methods are and answer.
semaphore_wakes_all = Semaphore()._wake_up_next() is False
condition_passes_on = hasattr(Condition, "_notify")
"#;

/// A stock future that `task` awaits.
#[cfg(Py_3_14)]
const PROBE_AWAITED: &std::ffi::CStr = cr"
from _asyncio import future_add_to_awaited_by
awaited = Future(loop=recorder)
future_add_to_awaited_by(awaited, task)
";

static STDLIB: OnceLock<Stdlib> = OnceLock::new();

/// Looks everything up; called by the module's initialisation, before any class is made.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    if STDLIB.get().is_none() {
        let stdlib = Stdlib::new(py)?;
        // A second thread that imported at the same moment found the same objects.
        let _ = STDLIB.set(stdlib);
    }
    Ok(())
}

/// The standard library's objects.
#[inline]
pub(crate) fn stdlib() -> &'static Stdlib {
    STDLIB.get().expect("the module was initialised before any of its classes could be used")
}

/// `asyncio.CancelledError` as a class pointer.
#[inline]
pub(crate) fn cancelled_error() -> *mut ffi::PyObject {
    stdlib().cancelled_error.as_ptr()
}
