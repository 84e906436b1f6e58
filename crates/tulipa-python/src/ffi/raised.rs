//! `Raised`: "the exception is set in the interpreter", the C convention as a Rust error type.
//!
//! It is zero bytes wide, so passing an exception on costs nothing. `PyErr` is used where an exception is
//! looked at or made; the two convert into each other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyBaseException, PySystemError};
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

use super::Object;
use super::make::{self, Exception, Text};

/// Proof that the interpreter's exception indicator is set.
#[derive(Debug)]
#[must_use]
pub(crate) struct Raised;

pub(crate) type Result<T> = std::result::Result<T, Raised>;

#[allow(clippy::unused_self, reason = "the value is the proof that the indicator is set")]
impl Raised {
    /// Takes the exception out of the indicator.
    pub(crate) fn take(self, py: Python<'_>) -> PyErr {
        PyErr::take(py).unwrap_or_else(nothing_raised)
    }

    /// Takes the exception out of the indicator, as an object with its traceback attached.
    ///
    /// Not by way of a `PyErr`: where none of PyO3's own functions is running, PyO3 puts off the release of what it held.
    pub(crate) fn take_object(self) -> Object {
        // SAFETY: attached (O1).
        unsafe { Object::owned_opt(fetch()) }.unwrap_or_else(|| {
            // SAFETY: as above.
            let py = unsafe { Python::assume_attached() };
            nothing_raised().into_value(py).into_bound(py).into_any().into()
        })
    }

    /// Forgets the exception.
    pub(crate) fn clear(self) {
        // SAFETY: attached (O1).
        unsafe { ffi::PyErr_Clear() };
    }

    /// Sets `exception` as the indicator, keeping its traceback.
    pub(crate) fn from_object(exception: &Object) -> Self {
        // SAFETY: attached (O1).
        let py = unsafe { Python::assume_attached() };
        PyErr::from_value(exception.bound(py)).restore(py);
        Self
    }

    /// Whether the exception that is set is an instance of `class`.
    pub(crate) fn matches(&self, class: *mut ffi::PyObject) -> bool {
        // SAFETY: the indicator is set, and `class` is a live class.
        unsafe { ffi::PyErr_ExceptionMatches(class) != 0 }
    }

    /// Takes the exception out of the indicator, for who reports it; an error where it must leave the loop at once.
    pub(crate) fn caught(self) -> Result<Object> {
        let exception = self.take_object();
        if leaves_the_loop(&exception) { Err(Self::from_object(&exception)) } else { Ok(exception) }
    }
}

/// What the interpreter says of somebody who fails and sets no exception, as CPython's own functions may where memory
/// runs out.
#[cold]
fn nothing_raised() -> PyErr {
    PySystemError::with_text("error return without exception set")
}

/// The exception that is set, which is set no longer; null where none was.
///
/// # Safety
/// Attached.
#[cfg(Py_3_12)]
unsafe fn fetch() -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::PyErr_GetRaisedException() }
}

/// The exception that is set, which is set no longer; null where none was.
///
/// # Safety
/// Attached.
#[cfg(not(Py_3_12))]
unsafe fn fetch() -> *mut ffi::PyObject {
    let [mut class, mut value, mut traceback] = [std::ptr::null_mut(); 3];
    // SAFETY: places for three references, each of which may be null; making an exception of them keeps that so.
    unsafe {
        ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback);
        ffi::PyErr_NormalizeException(&raw mut class, &raw mut value, &raw mut traceback);
        if !value.is_null() && !traceback.is_null() {
            ffi::PyException_SetTraceback(value, traceback);
        }
        ffi::Py_XDECREF(class);
        ffi::Py_XDECREF(traceback);
    }
    value
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        // Told to PyO3, or it would keep what making the exception leaves over until somebody is attached by its means.
        // While the interpreter ends it lets nobody in.
        let mut error = Some(error);
        Python::try_attach(|py| error.take().map(|error| restore(py, error)));
        if let Some(error) = error {
            // SAFETY: a `PyErr` is turned into the indicator only while attached (O1).
            restore(unsafe { Python::assume_attached() }, error);
        }
        Self
    }
}

/// Sets the indicator; an exception that PyO3 has not made yet is made now.
fn restore(py: Python<'_>, error: PyErr) {
    let _: Result<()> = caught(|| {
        error.restore(py);
        Err(Raised)
    });
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        // SAFETY: attached (O1).
        raised.take(unsafe { Python::assume_attached() })
    }
}

/// Whether an exception must leave the loop at once: `KeyboardInterrupt` or `SystemExit`.
pub(crate) fn leaves_the_loop(exception: &Object) -> bool {
    // SAFETY: the exception classes live as long as the interpreter.
    let (interrupt, exit) = unsafe { (ffi::PyExc_KeyboardInterrupt, ffi::PyExc_SystemExit) };
    exception.is_instance_of(interrupt.cast()) || exception.is_instance_of(exit.cast())
}

/// What a C entry point answers when it fails, or succeeds.
pub(crate) trait Answer {
    type Raw;
    const FAILED: Self::Raw;
    fn answer(self) -> Self::Raw;
}

impl Answer for Object {
    type Raw = *mut ffi::PyObject;
    const FAILED: Self::Raw = std::ptr::null_mut();
    #[inline]
    fn answer(self) -> Self::Raw {
        self.into_ptr()
    }
}

impl Answer for () {
    type Raw = std::ffi::c_int;
    const FAILED: Self::Raw = -1;
    #[inline]
    fn answer(self) -> Self::Raw {
        0
    }
}

/// Runs the body of a C entry point: errors become the indicator, and so does a panic, which must never
/// unwind into C.
#[inline]
pub(crate) fn enter<A: Answer>(body: impl FnOnce(Python<'_>) -> Result<A>) -> A::Raw {
    // SAFETY: CPython calls entry points on attached threads only.
    let py = unsafe { Python::assume_attached() };
    match caught(|| body(py)) {
        Ok(answer) => answer.answer(),
        Err(Raised) => A::FAILED,
    }
}

/// Runs `body`, in which a panic is an exception as any other.
#[inline]
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(raise_panic(payload.as_ref())))
}

#[cold]
fn raise_panic(payload: &(dyn std::any::Any + Send)) -> Raised {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("panic in Rust code");
    if text == OUT_OF_MEMORY {
        // SAFETY: attached; the exception is one that CPython keeps for this.
        unsafe { ffi::PyErr_NoMemory() };
        return Raised;
    }
    // SAFETY: attached (O1).
    let py = unsafe { Python::assume_attached() };
    // Not as a `PyErr`: to make one of it would begin the panic anew.
    make::text(py, text).map_or_else(Raised::from, |text| PanicException::raise(py, &text))
}

/// What PyO3 panics with where it asked for an object that there is no memory for. Ours asks in ways that can fail
/// (`make`); this is for what PyO3 does by itself, as making exceptions of its own.
const OUT_OF_MEMORY: &str = "PyObject pointer is null";

/// An exception of class `class` with one string argument, set in the indicator.
#[cold]
pub(crate) fn raise(class: &Object, text: String) -> Raised {
    // SAFETY: attached (O1).
    let py = unsafe { Python::assume_attached() };
    match class.bound(py).call1((Text(text),)) {
        Ok(exception) => PyErr::from_value(exception).into(),
        Err(error) => error.into(),
    }
}

/// `raise exception`, as the statement does it: what is being handled becomes the context.
#[cold]
pub(crate) fn raise_object(exception: &Object) -> Raised {
    // SAFETY: a live exception instance and its class.
    unsafe { ffi::PyErr_SetObject(exception.class().cast(), exception.as_ptr()) };
    Raised
}

/// Sets `exception` as the `__context__` of the exception that is set, as a failing `finally` does.
#[cold]
pub(crate) fn chain(raised: Raised, earlier: &Object) -> Raised {
    // SAFETY: attached (O1).
    let py = unsafe { Python::assume_attached() };
    let later = raised.take(py);
    // SAFETY: both are live exception objects; the call steals one reference to the second.
    unsafe { ffi::PyException_SetContext(later.value(py).as_ptr(), earlier.clone().into_ptr()) };
    later.into()
}

/// Does `then` whatever became of what was before, as `finally` does: while an exception is set nothing of Python may be
/// called. Where both raise, the later exception has the earlier one as its context.
#[inline]
pub(crate) fn finally(before: Result<()>, then: impl FnOnce() -> Result<()>) -> Result<()> {
    match before {
        Ok(()) => then(),
        Err(raised) => finally_raised(raised, then),
    }
}

#[cold]
fn finally_raised(raised: Raised, then: impl FnOnce() -> Result<()>) -> Result<()> {
    let earlier = raised.take_object();
    match then() {
        Ok(()) => Err(Raised::from_object(&earlier)),
        Err(later) => Err(chain(later, &earlier)),
    }
}

/// Reports an exception that has nowhere to go (`sys.unraisablehook`), naming the object it belongs to.
#[cold]
pub(crate) fn unraisable(raised: Raised, source: &Object) {
    // SAFETY: attached (O1).
    let py = unsafe { Python::assume_attached() };
    raised.take(py).write_unraisable(py, Some(&source.bound(py)));
}

/// Whether `object` is an exception instance.
pub(crate) fn is_exception(object: &Object) -> bool {
    // SAFETY: attached (O1).
    object.bound(unsafe { Python::assume_attached() }).is_instance_of::<PyBaseException>()
}
