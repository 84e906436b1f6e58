//! The extension module `tulipa._tulipa`: its table of contents.

mod addresses;
mod errors;
mod event_loop;
mod executors;
mod ffi;
mod functions;
mod futures;
mod gather;
mod gc;
mod locks;
mod marks;
mod names;
mod operations;
mod queues;
mod sslproto;
mod stdlib;
mod streams;
mod taskgroups;
mod tasks;
mod threads;
mod timeouts;
mod toolbox;
mod transports;

use pyo3::prelude::*;

/// Native asyncio.
///
/// A build without a GIL gets one when it imports this, until the tests pass there with threads in parallel: slots and
/// registries rely on one thread at a time (S1).
#[pymodule(gil_used = true)]
mod _tulipa {
    use pyo3::prelude::*;
    use pyo3::types::PyType;

    #[pymodule_export]
    use crate::event_loop::EventLoop;
    #[pymodule_export]
    use crate::executors::WorkQueue;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::ffi::interpreter::claim()?;
        crate::ffi::followed::initialise();
        crate::stdlib::initialise(py)?;
        let classes = crate::futures::initialise(py)?;
        let handles = crate::event_loop::handles::initialise(py)?;
        crate::event_loop::methods::add_to(&py.get_type::<EventLoop>())?;
        crate::event_loop::sock::add_to(&py.get_type::<EventLoop>())?;
        let add = |name: &str, class: *mut pyo3::ffi::PyTypeObject| {
            // SAFETY: native classes live for ever.
            let class = unsafe { Bound::from_borrowed_ptr(py, class.cast()) };
            module.add(name, class.cast_into::<PyType>().map_err(PyErr::from)?)
        };
        let operations = crate::operations::initialise(py)?;
        for (name, class) in crate::streams::initialise(py)? {
            add(name, class)?;
        }
        for (name, class) in crate::transports::initialise(py)? {
            add(name, class)?;
        }
        for (name, class) in crate::sslproto::initialise()? {
            add(name, class)?;
        }
        add("Future", classes.future)?;
        add("Task", classes.task)?;
        add("Operation", operations.operation)?;
        add("Waiter", operations.waiter)?;
        crate::locks::add_to(module)?;
        crate::queues::add_to(module)?;
        module.add_class::<crate::taskgroups::TaskGroup>()?;
        crate::functions::show_coroutine_methods(&py.get_type::<crate::taskgroups::TaskGroup>(), "asyncio")?;
        add("Timeout", crate::timeouts::initialise(py)?)?;
        add("Handle", handles.handle)?;
        add("TimerHandle", handles.timer_handle)?;
        for function in crate::toolbox::FUNCTIONS {
            module.add(function.name, crate::functions::stand_for(py, function)?.bound(py))?;
        }
        make_unnamed_classes(py);
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// PyO3 makes a class when it is first used, which for these may be when memory has run out.
    fn make_unnamed_classes(py: Python<'_>) {
        py.get_type::<crate::event_loop::driven::TakenJob>();
        py.get_type::<crate::executors::queue::Withdrawn>();
        py.get_type::<crate::futures::extras::Extras>();
        py.get_type::<crate::operations::waiters::Waiters>();
        py.get_type::<crate::tasks::as_completed::AsCompletedIterator>();
        py.get_type::<crate::tasks::callables::TaskStepMethWrapper>();
        py.get_type::<crate::tasks::registry::ScheduledTasks>();
        py.get_type::<crate::tasks::wait::Completion>();
        py.get_type::<crate::transports::listener::Listening>();
        py.get_type::<crate::transports::sending::Sending>();
    }
}
