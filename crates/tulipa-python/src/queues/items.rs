//! How a queue keeps its items.
//!
//! A plain queue keeps them on Rust's side until a program looks at `_queue`; from then on they are in the deque that
//! it was shown. The other two keep a list from the start, `_queue` too. A program may put any object there.

use std::cell::UnsafeCell;
use std::collections::VecDeque;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::hooks::Order;
use crate::ffi::make::{self, Exception};
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::stdlib::stdlib;

pub(super) struct Items {
    /// What was put into a plain queue whose `_queue` nobody has asked for.
    hidden: UnsafeCell<VecDeque<Object>>,
    /// `_queue`.
    shown: Slot,
}

impl Items {
    pub(super) const fn new() -> Self {
        Self { hidden: UnsafeCell::new(VecDeque::new()), shown: Slot::empty() }
    }

    /// Runs `body` on the hidden items. It must drop no reference and call nobody.
    #[inline]
    fn with<R>(&self, body: impl FnOnce(&mut VecDeque<Object>) -> R) -> R {
        // SAFETY: S1: what `body` may do is said above, and this is called from this file alone.
        body(unsafe { &mut *self.hidden.get() })
    }

    /// Begins empty.
    pub(super) fn begin(&self, order: Order) -> Result<()> {
        drop(self.with(std::mem::take));
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        self.shown.set(match order {
            Order::Fifo => None,
            _ => Some(make::list(py)?.into_any().into()),
        });
        Ok(())
    }

    /// `_queue`, shown from now on.
    pub(super) fn show(&self, py: Python<'_>) -> PyResult<Object> {
        if let Some(shown) = self.shown.get() {
            return Ok(shown);
        }
        let hidden = self.snapshot(py)?;
        let deque: Object = stdlib().deque.bound(py).call1((hidden,))?.into();
        self.shown.put(deque.clone());
        drop(self.with(std::mem::take));
        Ok(deque)
    }

    pub(super) fn replace(&self, shown: Object) {
        self.shown.put(shown);
        drop(self.with(std::mem::take));
    }

    /// The items as a list; what is hidden stays so.
    pub(super) fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if let Some(shown) = self.shown.get() {
            let list = make::list(py)?;
            for item in shown.bound(py).try_iter()? {
                list.append(item?)?;
            }
            return Ok(list);
        }
        let copies = self.with(|hidden| hidden.iter().cloned().collect::<Vec<_>>());
        make::list_of(py, copies.iter().map(|item| item.bound(py)))
    }

    #[inline]
    pub(super) fn len(&self) -> Result<usize> {
        match self.shown.get() {
            None => Ok(self.with(|hidden| hidden.len())),
            // SAFETY: a live object.
            Some(shown) => match unsafe { ffi::PyObject_Size(shown.as_ptr()) } {
                -1 => Err(Raised),
                length => Ok(length.cast_unsigned()),
            },
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> Result<bool> {
        match self.shown.get() {
            None => Ok(self.with(|hidden| hidden.is_empty())),
            Some(shown) => Ok(!call::truth(&shown)?),
        }
    }

    #[inline]
    pub(super) fn push(&self, order: Order, item: Object) -> Result<()> {
        let Some(shown) = self.shown.get() else {
            self.with(|hidden| hidden.push_back(item));
            return Ok(());
        };
        match order {
            Order::Priority => call::call2(&stdlib().heappush, &shown, &item).map(drop),
            _ => call::method1(&shown, &stdlib().names.append, &item).map(drop),
        }
    }

    /// Takes the next item out. None is left: what asyncio's code would raise.
    #[inline]
    pub(super) fn pop(&self, order: Order) -> Result<Object> {
        let Some(shown) = self.shown.get() else {
            let item = self.with(VecDeque::pop_front);
            return item
                .ok_or_else(|| pyo3::exceptions::PyIndexError::with_text("pop from an empty deque").into());
        };
        match order {
            Order::Fifo => call::method0(&shown, &stdlib().names.popleft),
            Order::Lifo => call::method0(&shown, &stdlib().names.pop),
            Order::Priority => call::call1(&stdlib().heappop, &shown),
        }
    }

    pub(super) fn visit<E>(
        &self,
        mut each: impl FnMut(&Object) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        // SAFETY: S1: the collector neither calls out nor changes the items while it visits.
        unsafe { &*self.hidden.get() }.iter().try_for_each(&mut each)?;
        self.shown.peek().map_or(Ok(()), each)
    }

    pub(super) fn clear(&self) {
        drop(self.with(std::mem::take));
        self.shown.set(None);
    }
}
