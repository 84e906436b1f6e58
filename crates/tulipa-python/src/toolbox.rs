//! The list of asyncio's functions that are native: name, the module that defines the stock one, and what runs a call.

use crate::functions::Entry;
use crate::futures::chain;
use crate::{gather, operations, tasks, threads, timeouts};

pub(crate) const FUNCTIONS: &[(&str, &str, Entry)] = &[
    // From 3.14 on asyncio's own is in C, and walks the list in which native tasks are too.
    #[cfg(not(Py_3_14))]
    ("all_tasks", "asyncio.tasks", tasks::registry::all_tasks),
    ("as_completed", "asyncio.tasks", tasks::as_completed::as_completed),
    // From 3.12 on asyncio's own is in C.
    #[cfg(not(Py_3_12))]
    ("current_task", "asyncio.tasks", tasks::current::current_task),
    ("create_task", "asyncio.tasks", tasks::ensure_future::create_task),
    ("ensure_future", "asyncio.tasks", tasks::ensure_future::ensure_future_function),
    ("gather", "asyncio.tasks", gather::gather),
    ("iscoroutine", "asyncio.coroutines", tasks::iscoroutine),
    ("run_coroutine_threadsafe", "asyncio.tasks", chain::run_coroutine_threadsafe),
    ("shield", "asyncio.tasks", tasks::shield::shield),
    ("sleep", "asyncio.tasks", operations::sleep),
    ("timeout", "asyncio.timeouts", timeouts::timeout),
    ("timeout_at", "asyncio.timeouts", timeouts::timeout_at),
    ("to_thread", "asyncio.threads", threads::to_thread),
    ("wait", "asyncio.tasks", tasks::wait::wait),
    ("wait_for", "asyncio.tasks", timeouts::wait_for),
    ("wrap_future", "asyncio.futures", chain::wrap_future),
];

/// `tulipa.wait`, which makes tasks of coroutines, as asyncio's did before Python 3.11. What `install()` puts into asyncio
/// is the one above.
pub(crate) const LENIENT_WAIT: (&str, &str, Entry) = ("wait", "asyncio.tasks", tasks::wait::wait_leniently);
