//! Where futures and tasks keep their references: in fields that asyncio's C classes have for references of their own.
//!
//! The base's part of an instance would be empty otherwise, a hundred bytes and more of each. Its fields are visited,
//! cleared and given back by the base class, and read by nothing of it: its methods ask first whether it has a loop, and
//! that field stays empty. What others read in a task's memory, its coroutine and its name, lies where they look for it.
//!
//! Fields are found out once, by looking for known objects in the memory of stock ones. Where that fails each instance
//! has words of its own for them. Called by `class`, which lays instances out, and by the states of both classes.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::FutureState;
use crate::ffi::make::Exception;
use crate::ffi::{Object, Slot};
use crate::stdlib::stdlib;

/// One reference of an instance. Futures have the first three.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Place {
    /// The loop, in the base's field for an exception.
    Loop,
    /// How the future ended, or what a task waits on, in that for a result.
    Outcome,
    /// What few have, in that for a callback.
    Extras,
    /// One that CPython has made: whoever looks into another process takes it for that.
    Coroutine,
    Context,
    Name,
    /// A coroutine of any other make, in the base's field for the message of a cancellation.
    Foreign,
}

const PLACES: usize = 7;

/// The references of a future.
pub(crate) const OF_FUTURE: [Place; 3] = [Place::Loop, Place::Outcome, Place::Extras];

/// Those that a task has besides.
pub(crate) const OF_TASK: [Place; 4] = [Place::Coroutine, Place::Context, Place::Name, Place::Foreign];

/// Offsets of the base's fields, by place.
pub(crate) struct Places([usize; PLACES]);

impl Places {
    /// Looks into the stock objects that the probe's program has made.
    pub(crate) fn find(scope: &Bound<'_, PyDict>) -> PyResult<Option<Self>> {
        let task = named(scope, "task")?;
        let searches: [(Object, &str); PLACES] = [
            (named(scope, "failed")?, "failure"),
            (named(scope, "settled")?, "outcome"),
            (named(scope, "heard")?, "hears"),
            (task.clone(), "coroutine"),
            (task.clone(), "context"),
            (task, "name"),
            (named(scope, "cancelled")?, "message"),
        ];
        let mut offsets = [0; PLACES];
        for (offset, (memory, name)) in offsets.iter_mut().zip(&searches) {
            let Some(found) = place_of(memory, &named(scope, name)?) else { return Ok(None) };
            *offset = found;
        }
        Ok(Some(Self(offsets)))
    }
}

/// Where the state begins in an instance. Written once, before the first is made, as is what follows.
static OFFSET: AtomicUsize = AtomicUsize::new(0);

/// How far before the state each place lies.
static DISTANCES: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];

/// Where the state begins in instances of Future and Task.
#[inline]
pub(crate) fn offset() -> usize {
    OFFSET.load(Ordering::Relaxed)
}

/// Settles where everything lies in instances whose base takes `size` bytes. Returns where the state begins.
pub(super) fn lay_out(size: usize) -> usize {
    let (offset, places) = match &stdlib().behaviour.places {
        Some(Places(found)) => (size, *found),
        None => {
            (size + PLACES * size_of::<Slot>(), std::array::from_fn(|index| size + index * size_of::<Slot>()))
        }
    };
    for (distance, place) in DISTANCES.iter().zip(places) {
        distance.store(offset - place, Ordering::Relaxed);
    }
    OFFSET.store(offset, Ordering::Relaxed);
    offset
}

/// Whether the base class visits the references.
#[inline]
pub(super) fn are_the_bases() -> bool {
    stdlib().behaviour.places.is_some()
}

impl FutureState {
    /// The reference at `place`, of which `OF_TASK` are tasks' only.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> &Slot {
        let distance = DISTANCES[place as usize].load(Ordering::Relaxed);
        // SAFETY: C10: states lie in instances, so far behind a field of one nullable owned pointer, which is what `Slot` is.
        unsafe { &*ptr::from_ref(self).wrapping_byte_sub(distance).cast::<Slot>() }
    }

    /// Shows the collector the references at `places` that the base does not.
    pub(crate) fn visit_places(&self, places: &[Place], visit: &mut dyn FnMut(*mut ffi::PyObject)) {
        if !are_the_bases() {
            for &place in places {
                visit(self.at(place).as_ptr());
            }
        }
    }
}

/// Gives the references at `places` of an instance up that is being freed.
///
/// # Safety
/// `object` is a native future, or a task where the places are a task's, whose memory is still there.
#[inline]
pub(crate) unsafe fn empty<const N: usize>(object: *mut ffi::PyObject, places: [Place; N]) {
    for place in places {
        // SAFETY: passed on.
        unsafe { inside(object, place) }.set(None);
    }
}

/// As `FutureState::at`, of an instance whose state may be gone.
///
/// # Safety
/// As for `empty`.
#[inline]
pub(crate) unsafe fn inside<'a>(object: *mut ffi::PyObject, place: Place) -> &'a Slot {
    let distance = DISTANCES[place as usize].load(Ordering::Relaxed);
    // SAFETY: C10: so far into the instance lies one nullable owned pointer.
    unsafe { &*object.byte_add(offset() - distance).cast::<Slot>() }
}

/// What the probe's program calls so.
pub(crate) fn named(scope: &Bound<'_, PyDict>, name: &str) -> PyResult<Object> {
    let found = scope.get_item(name)?;
    Ok(found.ok_or_else(|| pyo3::exceptions::PyKeyError::with_text(name))?.into())
}

/// How many words of an object are CPython's own: counts, the class, and without a GIL more.
pub(crate) const HEADER: usize = size_of::<ffi::PyObject>() / size_of::<usize>();

/// The base part of a stock object, word by word.
pub(crate) fn words(object: &Object) -> &[usize] {
    // SAFETY: a live class.
    let size = unsafe { (*object.class()).tp_basicsize }.cast_unsigned();
    // SAFETY: an instance has as many initialised bytes as its class says.
    unsafe { std::slice::from_raw_parts(object.as_ptr().cast::<usize>(), size / size_of::<usize>()) }
}

/// Where `object` is referred to in `memory`. Found twice it would be a guess.
pub(crate) fn place_of(memory: &Object, object: &Object) -> Option<usize> {
    let words = words(memory);
    let mut places = (HEADER..words.len()).filter(|&index| words[index] == object.as_ptr() as usize);
    places.next().filter(|_| places.next().is_none()).map(|index| index * size_of::<usize>())
}
