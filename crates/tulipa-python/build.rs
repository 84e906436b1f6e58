//! Passes the running Python's version flags (`Py_3_12`, `Py_GIL_DISABLED`, ...) on to the sources.
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
