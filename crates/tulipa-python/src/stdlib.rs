//! What the native classes need of the standard library: names, classes and functions, looked up once.
//!
//! Filled when the module is first imported, never changed afterwards, shared by all loops and threads.

use std::sync::OnceLock;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::ffi::Object;

macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Attribute and keyword names, interned so that look-ups compare by address.
        pub(crate) struct Names { $(pub(crate) $field: Object),* }

        impl Names {
            fn new(py: Python<'_>) -> Self {
                Self { $($field: Object::from_bound(PyString::intern(py, $text).as_any())),* }
            }
        }
    };
}

names! {
    add_done_callback = "add_done_callback",
    asyncio_future_blocking = "_asyncio_future_blocking",
    attach = "_attach",
    detach = "_detach",
    buffer_updated = "buffer_updated",
    call_exception_handler = "call_exception_handler",
    call_soon = "call_soon",
    callback = "callback",
    cancel = "cancel",
    close = "close",
    connection_lost = "connection_lost",
    context = "context",
    coro = "coro",
    delay = "delay",
    data = "data",
    list_of_data = "list_of_data",
    protocol = "protocol",
    data_received = "data_received",
    join = "join",
    eof_received = "eof_received",
    exc = "exc",
    nbytes = "nbytes",
    sizehint = "sizehint",
    transport = "transport",
    force_close = "_force_close",
    get_buffer = "get_buffer",
    get_debug = "get_debug",
    get_loop = "get_loop",
    private_loop = "_loop",
    msg = "msg",
    name = "name",
    result = "result",
    throw = "throw",
    when = "when",
    write = "write",
    pause_writing = "pause_writing",
    pending = "pending",
    resume_writing = "resume_writing",
    eager_start = "eager_start",
    connection_made = "connection_made",
    task_class = "Task",
}

macro_rules! functions {
    ($($(#[$cfg:meta])* $field:ident = $module:literal . $text:literal),* $(,)?) => {
        /// Classes and functions of the standard library.
        pub(crate) struct Stdlib {
            pub(crate) names: Names,
            pub(crate) behaviour: Behaviour,
            $($(#[$cfg])* pub(crate) $field: Object),*
        }

        impl Stdlib {
            fn new(py: Python<'_>) -> PyResult<Self> {
                Ok(Self {
                    names: Names::new(py),
                    behaviour: Behaviour::probe(py)?,
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
    base_event_loop = "asyncio.base_events"."BaseEventLoop",
    logger = "asyncio.log"."logger",
    buffered_protocol = "asyncio.protocols"."BufferedProtocol",
    abstract_transport = "asyncio.transports"."_FlowControlMixin",
    transport_socket = "asyncio.trsock"."TransportSocket",
    sendfile_mode = "asyncio.constants"."_SendfileMode",
    socket = "socket"."socket",
    warn = "warnings"."warn",
    abstract_handle = "asyncio.events"."Handle",
    abstract_timer_handle = "asyncio.events"."TimerHandle",
    cancelled_error = "asyncio.exceptions"."CancelledError",
    invalid_state_error = "asyncio.exceptions"."InvalidStateError",
    extract_stack = "asyncio.format_helpers"."extract_stack",
    format_callback_source = "asyncio.format_helpers"."_format_callback_source",
    future_repr = "asyncio.base_futures"."_future_repr",
    task_repr = "asyncio.base_tasks"."_task_repr",
    task_get_stack = "asyncio.base_tasks"."_task_get_stack",
    task_print_stack = "asyncio.base_tasks"."_task_print_stack",
    iscoroutine = "asyncio.coroutines"."iscoroutine",
    event_loop = "_asyncio"."get_event_loop",
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

/// Where point releases of one Python differ: asked of the running one instead of its version number.
pub(crate) struct Behaviour {
    /// `set_exception(StopIteration())` wraps it in a RuntimeError; older releases refuse it.
    pub(crate) wraps_stop_iteration: bool,
    /// The class of the callable that a stock C task hands to `call_soon` for its next step.
    pub(crate) c_task_step: Object,
    /// Whether `loop.create_task` hands keywords that it does not know on to the Task.
    pub(crate) create_task_passes_keywords: bool,
    /// Where the C Task keeps what others read in its memory.
    #[cfg(Py_3_14)]
    pub(crate) base_fields: Option<crate::tasks::base_fields::BaseFields>,
    /// Whether `_format_callback_source` takes `debug=`.
    pub(crate) format_takes_debug: bool,
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
        #[cfg(Py_3_14)]
        let base_fields = {
            py.run(PROBE_AWAITED, Some(&scope), None)?;
            crate::tasks::base_fields::BaseFields::find(&scope)?
        };
        let behaviour = Self {
            #[cfg(Py_3_14)]
            base_fields,
            wraps_stop_iteration: found("wraps_stop_iteration")?.is_truthy()?,
            c_task_step: Object::from_bound(&c_task_step),
            create_task_passes_keywords: found("create_task_passes_keywords")?.is_truthy()?,
            format_takes_debug: found("format_takes_debug")?.is_truthy()?,
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
from asyncio.base_events import BaseEventLoop
from asyncio.format_helpers import _format_callback_source

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
task = Task(coroutine, loop=recorder, name=name)
step_class = type(recorder.callback)
del recorder.callback
task._log_destroy_pending = False
coroutine.close()

future = Future(loop=recorder)
try:
    future.set_exception(StopIteration())
except TypeError:
    wraps_stop_iteration = False
else:
    wraps_stop_iteration = True
    future.exception()

format_takes_debug = "debug" in inspect.signature(_format_callback_source).parameters
create_task_passes_keywords = "kwargs" in inspect.signature(BaseEventLoop.create_task).parameters
"#;

/// A stock future that `task` awaits.
#[cfg(Py_3_14)]
const PROBE_AWAITED: &std::ffi::CStr = cr#"
from _asyncio import future_add_to_awaited_by
awaited = Future(loop=recorder)
future_add_to_awaited_by(awaited, task)
"#;

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
