//! The list of asyncio's functions that are native.

use crate::functions::Entry;
use crate::futures::chain;
use crate::{gather, operations, tasks, threads, timeouts};

/// A native function, and the stock one that it stands for.
pub(crate) struct Native {
    /// What the extension module has it by.
    pub(crate) name: &'static str,
    /// Where programs find it, as it says itself.
    pub(crate) home: &'static str,
    /// The stock one's module, and its name there.
    pub(crate) stock: (&'static str, &'static str),
    pub(crate) entry: Entry,
}

const fn native(name: &'static str, module: &'static str, entry: Entry) -> Native {
    Native { name, home: "tulipa", stock: (module, name), entry }
}

pub(crate) const FUNCTIONS: &[Native] = &[
    // From 3.14 on asyncio's own is in C, and walks the list in which native tasks are too.
    #[cfg(not(Py_3_14))]
    native("all_tasks", "asyncio.tasks", tasks::registry::all_tasks),
    native("as_completed", "asyncio.tasks", tasks::as_completed::as_completed),
    // From 3.12 on asyncio's own is in C.
    #[cfg(not(Py_3_12))]
    native("current_task", "asyncio.tasks", tasks::current::current_task),
    native("create_task", "asyncio.tasks", tasks::ensure_future::create_task),
    native("ensure_future", "asyncio.tasks", tasks::ensure_future::ensure_future_function),
    native("gather", "asyncio.tasks", gather::gather),
    native("iscoroutine", "asyncio.coroutines", tasks::iscoroutine),
    native("run_coroutine_threadsafe", "asyncio.tasks", chain::run_coroutine_threadsafe),
    native("shield", "asyncio.tasks", tasks::shield::shield),
    native("sleep", "asyncio.tasks", operations::sleep),
    native("timeout", "asyncio.timeouts", timeouts::timeout),
    native("timeout_at", "asyncio.timeouts", timeouts::timeout_at),
    native("to_thread", "asyncio.threads", threads::to_thread),
    // What `install()` puts into asyncio. `tulipa.wait` makes tasks of coroutines, as asyncio's did before Python 3.11.
    Native { home: "tulipa._tulipa", ..native("wait", "asyncio.tasks", tasks::wait::wait) },
    Native { name: "lenient_wait", ..native("wait", "asyncio.tasks", tasks::wait::wait_leniently) },
    native("wait_for", "asyncio.tasks", timeouts::wait_for),
    native("wrap_future", "asyncio.futures", chain::wrap_future),
];
