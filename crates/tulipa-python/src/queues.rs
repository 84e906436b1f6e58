//! Queue, PriorityQueue and LifoQueue: items between tasks, with asyncio's hooks for subclasses.
//!
//! `state` is what a queue does between waits, `items` how it keeps what was put, `hooks` knows what a subclass has
//! overridden, `machines` are `get()`, `put()` and `join()`, and `class` is what Python sees.

mod class;
mod hooks;
mod items;
mod machines;
mod state;

use pyo3::prelude::*;
use pyo3::types::PyModule;

use crate::gc::nesting::nested_classes;
use crate::locks::add;
use crate::stdlib::stdlib;

nested_classes!(class::Queue, class::PriorityQueue, class::LifoQueue);

/// Adds the classes to the module, with the exceptions, which are asyncio's where it has them.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add::<class::Queue>(module, c"Queue")?;
    add::<class::PriorityQueue>(module, c"PriorityQueue")?;
    add::<class::LifoQueue>(module, c"LifoQueue")?;
    module.add("QueueShutDown", stdlib().queue_shut_down.bound(module.py()))
}
