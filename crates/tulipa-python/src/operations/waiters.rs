//! `Waiters`: who waits on a primitive, in order. What asyncio's classes keep in a deque of futures.
//!
//! A waiter knows its place in the list by a ticket, so that one in the middle, cancelled, leaves at once: its place
//! stays empty until those before it have gone, or until the empty ones outnumber the others. Python code sees a
//! deque, into which subclasses may put futures of their own; such have no ticket and are searched for.

use std::cell::UnsafeCell;
use std::collections::VecDeque;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use pyo3::{PyTraverseError, PyVisit};

use super::{Waiter, is_waiter};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Result, Slot, call, native};
use crate::stdlib::stdlib;

/// Below so many places a list is not worth tidying.
const FEW: usize = 64;

struct List {
    places: VecDeque<Option<Object>>,
    /// The ticket of the first place.
    first: u64,
    /// How many places are taken. The first and the last always are, in a list that is not empty.
    taken: usize,
}

/// A deque of waiters and other futures.
#[pyclass(module = "tulipa._tulipa", frozen, weakref)]
pub(crate) struct Waiters(UnsafeCell<List>);

// SAFETY: S1: touched by attached threads only; nothing is borrowed while Python code may run.
unsafe impl Send for Waiters {}
// SAFETY: as above.
unsafe impl Sync for Waiters {}

impl Waiters {
    fn new() -> Self {
        Self(UnsafeCell::new(List { places: VecDeque::new(), first: 0, taken: 0 }))
    }

    /// Runs `body` on the list. It must drop no reference and call nobody.
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut List) -> R) -> R {
        // SAFETY: S1: what `body` may do is said above, and this is called from this file alone.
        body(unsafe { &mut *self.0.get() })
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.with(|list| list.taken)
    }

    #[inline]
    pub(crate) fn push(&self, waiter: Object) {
        self.with(|list| {
            give_ticket(&waiter, list.first + list.places.len() as u64);
            list.places.push_back(Some(waiter));
            list.taken += 1;
        });
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Object> {
        self.with(List::pop)
    }

    /// Takes `waiter` out; whether it was there.
    #[inline]
    pub(crate) fn remove(&self, waiter: &Object) -> bool {
        let removed = self.with(|list| {
            let index = list.index_of(waiter)?;
            if index == 0 {
                return list.pop();
            }
            let removed = list.places[index].take();
            list.taken -= 1;
            list.trim();
            removed
        });
        removed.is_some()
    }

    /// The first waiter at or behind `ticket`, and the ticket behind it: to walk the list, which may change meanwhile.
    #[inline]
    pub(crate) fn next(&self, ticket: u64) -> Option<(Object, u64)> {
        self.with(|list| {
            let start = ticket.saturating_sub(list.first) as usize;
            (start..list.places.len())
                .find_map(|index| Some((list.places[index].clone()?, list.first + index as u64 + 1)))
        })
    }

    fn snapshot(&self) -> Vec<Object> {
        self.with(|list| list.places.iter().flatten().cloned().collect())
    }

    fn empty(&self) {
        let places = self.with(|list| {
            list.first += list.places.len() as u64;
            list.taken = 0;
            std::mem::take(&mut list.places)
        });
        drop(places);
    }
}

impl List {
    /// Takes out who comes first.
    #[inline]
    fn pop(&mut self) -> Option<Object> {
        let first = self.places.pop_front()?;
        self.first += 1;
        self.taken -= 1;
        self.trim();
        first
    }

    #[inline]
    fn index_of(&self, waiter: &Object) -> Option<usize> {
        let holds = |place: &Option<Object>| place.as_ref().is_some_and(|other| other.is(waiter.as_ptr()));
        if is_waiter(waiter) {
            // SAFETY: a waiter, kept alive by the reference.
            let ticket = unsafe { Waiter::of(waiter.as_ptr()) }.ticket.get();
            // No list is so long that the lower half of a ticket would name two places. A ticket of another list, or of
            // none, names a place that holds somebody else.
            #[allow(clippy::cast_possible_truncation, reason = "the lower half is what is compared")]
            let index = ticket.wrapping_sub(self.first as u32) as usize;
            return self.places.get(index).is_some_and(holds).then_some(index);
        }
        self.places.iter().position(holds)
    }

    /// Drops empty places at both ends, and all of them once they are the greater part.
    #[inline]
    fn trim(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        while let Some(None) = self.places.back() {
            self.places.pop_back();
        }
        if self.places.len() > FEW && self.taken < self.places.len() / 2 {
            self.tidy();
        }
    }

    #[cold]
    fn tidy(&mut self) {
        // New numbers begin behind all old ones, so that no ticket ever means two places.
        self.first += self.places.len() as u64;
        self.places.retain(Option::is_some);
        for (index, waiter) in self.places.iter().enumerate() {
            if let Some(waiter) = waiter {
                give_ticket(waiter, self.first + index as u64);
            }
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "waiters keep the lower half")]
fn give_ticket(waiter: &Object, ticket: u64) {
    if is_waiter(waiter) {
        // SAFETY: a waiter, kept alive by the reference.
        unsafe { Waiter::of(waiter.as_ptr()) }.ticket.set(ticket as u32);
    }
}

#[pymethods]
impl Waiters {
    #[pyo3(name = "append")]
    fn append_method(&self, waiter: &Bound<'_, PyAny>) {
        self.push(Object::from_bound(waiter));
    }

    #[pyo3(name = "popleft")]
    fn popleft_method(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let first = self.pop().ok_or_else(|| PyIndexError::with_text("pop from an empty deque"))?;
        Ok(first.bound(py).unbind())
    }

    #[pyo3(name = "remove")]
    fn remove_method(&self, waiter: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.remove(&Object::from_bound(waiter)) {
            return Ok(());
        }
        Err(PyValueError::with_text("deque.remove(x): x not in deque"))
    }

    #[pyo3(name = "clear")]
    fn clear_method(&self) {
        self.empty();
    }

    fn __len__(&self) -> usize {
        self.len()
    }

    fn __contains__(&self, waiter: &Bound<'_, PyAny>) -> bool {
        let waiter = Object::from_bound(waiter);
        self.with(|list| list.index_of(&waiter).is_some())
    }

    fn __getitem__(&self, py: Python<'_>, index: isize) -> PyResult<Py<PyAny>> {
        let entries = self.snapshot();
        let place =
            if index < 0 { entries.len().checked_add_signed(index) } else { usize::try_from(index).ok() };
        match place.and_then(|place| entries.get(place)) {
            Some(waiter) => Ok(waiter.bound(py).unbind()),
            None => Err(PyIndexError::with_text("deque index out of range")),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        make::list_of(py, self.snapshot().iter().map(|waiter| waiter.bound(py)))?.try_iter()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<Text<String>> {
        let list = make::list_of(py, self.snapshot().iter().map(|waiter| waiter.bound(py)))?;
        Ok(Text(format!("deque({})", list.repr()?)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        // SAFETY: S1: the collector neither calls out nor changes lists while it visits.
        let list = unsafe { &*self.0.get() };
        list.places.iter().flatten().try_for_each(|waiter| visit.call(waiter.as_py()))
    }

    fn __clear__(&self) {
        self.empty();
    }
}

/// A primitive's list, which exists once something has waited.
pub(crate) struct WaitList(Slot);

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self(Slot::empty())
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.0
    }

    /// The list, to be used before Python code can run, which may have the primitive forget it.
    #[inline]
    fn get(&self) -> Option<&Waiters> {
        let list = self.0.as_ptr();
        // SAFETY: the slot holds a list, once it is made.
        (!list.is_null()).then(|| unsafe { native(list) })
    }

    /// A reference to the list, which is made now if nothing has waited yet.
    pub(crate) fn get_or_new(&self) -> Result<Object> {
        if let Some(list) = self.0.get() {
            return Ok(list);
        }
        // SAFETY: attached.
        let list = Object::from(Bound::new(unsafe { Python::assume_attached() }, Waiters::new())?.into_any());
        self.0.put(list.clone());
        Ok(list)
    }

    /// The list as Python code sees it.
    pub(crate) fn visible(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.get_or_new()?.bound(py).unbind())
    }

    /// As `visible`, but None where nothing has waited yet.
    pub(crate) fn visible_if_made(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.or_none().bound(py).unbind()
    }

    /// `_waiters = ...`: None, or futures in their order.
    pub(crate) fn replace(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        self.reset();
        if !waiters.is_none() {
            // Filled before it becomes the list: iterating runs Python code, which may replace that meanwhile.
            let list = Bound::new(waiters.py(), Waiters::new())?;
            for waiter in waiters.try_iter()? {
                list.get().push(waiter?.into());
            }
            self.0.put(list.into_any().into());
        }
        Ok(())
    }

    /// Forgets the list, as a second `__init__` does.
    pub(crate) fn reset(&self) {
        self.0.set(None);
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.get().map_or(0, Waiters::len)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&self, waiter: Object) -> Result<()> {
        if let Some(list) = self.get() {
            list.push(waiter);
            return Ok(());
        }
        let list = self.get_or_new()?;
        // SAFETY: just made as a list, and kept alive by the reference.
        unsafe { native::<Waiters>(list.as_ptr()) }.push(waiter);
        Ok(())
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Object> {
        self.get()?.pop()
    }

    #[inline]
    pub(crate) fn remove(&self, waiter: &Object) -> bool {
        self.get().is_some_and(|list| list.remove(waiter))
    }

    /// The first waiter at or behind `ticket`, and where to go on.
    #[inline]
    pub(crate) fn next(&self, ticket: u64) -> Option<(Object, u64)> {
        self.get()?.next(ticket)
    }

    /// Whether one of them was not cancelled.
    #[inline]
    pub(crate) fn any_not_cancelled(&self) -> Result<bool> {
        let mut place = 0;
        while let Some((waiter, next)) = self.next(place) {
            if !is_cancelled(&waiter)? {
                return Ok(true);
            }
            place = next;
        }
        Ok(false)
    }
}

/// `waiter.cancelled()`, of a waiter or another future.
#[inline]
pub(crate) fn is_cancelled(waiter: &Object) -> Result<bool> {
    if is_waiter(waiter) {
        // SAFETY: a waiter, kept alive by the reference.
        return Ok(unsafe { Waiter::of(waiter.as_ptr()) }.is_cancelled());
    }
    call::truth(&call::method0(waiter, &stdlib().names.cancelled)?)
}

/// `waiter.done()`, of a waiter or another future.
#[inline]
pub(crate) fn is_done(waiter: &Object) -> Result<bool> {
    if is_waiter(waiter) {
        // SAFETY: a waiter, kept alive by the reference.
        return Ok(!unsafe { Waiter::of(waiter.as_ptr()) }.is_pending());
    }
    call::truth(&call::method0(waiter, &stdlib().names.done)?)
}

/// Ends the wait of a waiter, or of another future by `set_result(result)`; `false` where it was over.
#[inline]
pub(crate) fn wake(waiter: &Object, result: impl FnOnce() -> Object) -> Result<bool> {
    if is_done(waiter)? {
        return Ok(false);
    }
    if is_waiter(waiter) {
        // SAFETY: a waiter, kept alive by the reference.
        unsafe { Waiter::of(waiter.as_ptr()) }.wake(waiter)?;
    } else {
        call::method1(waiter, &stdlib().names.set_result, &result())?;
    }
    Ok(true)
}
