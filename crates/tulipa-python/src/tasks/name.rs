//! A task's name: what it was given, else made of its number when somebody asks for it.
//!
//! From 3.14 on `python -m asyncio ps` reads it in another process's memory: a string, or an `int` of which it makes the
//! name. Such an `int` takes 32 bytes, so that of the tasks without a name only some show theirs, more than anybody reads
//! through; a crowd shows one string. Called by `class`, `methods` and, where there are such readers, `base_fields`.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::TaskState;
use crate::ffi::make;
use crate::ffi::{Object, Result};
use crate::futures::places::Place;

/// Numbers of tasks without a name; one series for the process, as in asyncio.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// A task was made that is named `name`: where asyncio names such tasks only then, each has taken a number before.
#[inline]
pub(crate) fn count_named(name: Option<&Object>, names_later: bool) {
    if names_later && name.is_some_and(|name| !name.is_none()) {
        NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    }
}

impl TaskState {
    #[inline]
    pub(super) fn take_number(&self) {
        self.future.set_number(NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
    }

    /// The task's name, made from its number the first time it is needed.
    pub(super) fn name(&self, py: Python<'_>) -> Result<Object> {
        let place = self.future.at(Place::Name);
        if let Some(name) = place.get().filter(|name| !stands_in(name)) {
            return Ok(name);
        }
        if self.future.number() == 0 {
            // A subclass whose `__init__` left this class's out.
            return Ok(Object::none());
        }
        let name = Object::from_bound(make::text(py, &format!("Task-{}", self.future.number()))?.as_any());
        self.put_name(name.clone());
        Ok(name)
    }

    /// `set_name`: anything but a string is turned into one.
    pub(super) fn set_name(&self, py: Python<'_>, name: &Object) -> Result<()> {
        let name = name.bound(py);
        let text = if name.is_exact_instance_of::<PyString>() { name } else { name.str()?.into_any() };
        self.put_name(text.into());
        Ok(())
    }

    fn put_name(&self, name: Object) {
        let place = self.future.at(Place::Name);
        forget(place);
        place.put(name);
    }
}

/// Before 3.14 nothing is shown.
#[cfg(not(Py_3_14))]
mod shown {
    use crate::ffi::{Object, Slot};

    pub(super) fn stands_in(_name: &Object) -> bool {
        false
    }

    pub(in crate::tasks) fn forget(_name: &Slot) {}
}

#[cfg(Py_3_14)]
mod shown {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pyo3::ffi;

    use crate::ffi::{Object, Result, Slot};
    use crate::futures::places::Place;
    use crate::stdlib::stdlib;
    use crate::tasks::TaskState;

    /// How many tasks show their number at a time.
    const MOST: usize = 1024;

    /// How many do now. Without a GIL it may be off by a few.
    static SHOWN: AtomicUsize = AtomicUsize::new(0);

    #[inline]
    fn is_number(name: *mut ffi::PyObject) -> bool {
        // SAFETY: null or a live object.
        !name.is_null() && unsafe { ffi::Py_TYPE(name) } == &raw mut ffi::PyLong_Type
    }

    /// Whether that is shown instead of a name that nobody has asked for yet.
    #[inline]
    pub(super) fn stands_in(name: &Object) -> bool {
        is_number(name.as_ptr()) || name.is(stdlib().unnamed.as_ptr())
    }

    /// Shows something of a task that has no name.
    #[inline]
    pub(in crate::tasks) fn show(task: &TaskState) -> Result<()> {
        let place = task.future.at(Place::Name);
        if !place.is_empty() {
            return Ok(());
        }
        let shown = SHOWN.load(Ordering::Relaxed);
        if shown >= MOST {
            place.put(stdlib().unnamed.clone());
            return Ok(());
        }
        // SAFETY: a new reference or null.
        place.put(unsafe { Object::steal(ffi::PyLong_FromUnsignedLongLong(task.future.number())) }?);
        SHOWN.store(shown + 1, Ordering::Relaxed);
        Ok(())
    }

    /// What lies at `name` is about to go.
    #[inline]
    pub(in crate::tasks) fn forget(name: &Slot) {
        if is_number(name.as_ptr()) {
            SHOWN.store(SHOWN.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        }
    }
}

pub(super) use shown::forget;
#[cfg(Py_3_14)]
pub(super) use shown::show;
use shown::stands_in;
