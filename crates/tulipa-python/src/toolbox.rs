//! The list of asyncio's functions that are native: name, the module that defines the stock one, and what runs a call.

use crate::functions::Entry;
use crate::futures::chain;
use crate::{gather, operations, tasks, threads, timeouts};

pub(crate) const FUNCTIONS: &[(&str, &str, Entry)] = &[
    ("as_completed", "asyncio.tasks", tasks::as_completed::as_completed),
    ("create_task", "asyncio.tasks", tasks::ensure_future::create_task),
    ("ensure_future", "asyncio.tasks", tasks::ensure_future::ensure_future_function),
    ("gather", "asyncio.tasks", gather::gather),
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
