//! The extension module `tulipa._tulipa`: its table of contents.

mod errors;
mod event_loop;
mod ffi;
mod futures;
mod gc;
mod sslproto;
mod stdlib;
mod tasks;
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

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::stdlib::initialise(py)?;
        let classes = crate::futures::initialise(py)?;
        let handles = crate::event_loop::handles::initialise(py)?;
        crate::event_loop::methods::add_to(&py.get_type::<EventLoop>())?;
        let add = |name: &str, class: *mut pyo3::ffi::PyTypeObject| {
            // SAFETY: native classes live for ever.
            let class = unsafe { Bound::from_borrowed_ptr(py, class.cast()) };
            module.add(name, class.cast_into::<PyType>().map_err(PyErr::from)?)
        };
        let stream_transport = crate::transports::initialise(py)?;
        add("StreamTransport", stream_transport)?;
        let tls = crate::sslproto::initialise(py)?;
        add("SSLProtocol", tls.protocol)?;
        add("SSLTransport", tls.transport)?;
        add("Future", classes.future)?;
        add("Task", classes.task)?;
        add("Handle", handles.handle)?;
        add("TimerHandle", handles.timer_handle)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
