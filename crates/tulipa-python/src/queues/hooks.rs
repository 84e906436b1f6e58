//! What a subclass of a queue has overridden, found out once per queue: everything else goes past Python.

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::class::{LifoQueue, PriorityQueue, Queue};
use crate::ffi::make;

/// A method that asyncio's code calls on the queue itself, so that a subclass may have its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Init,
    Get,
    Put,
    Size,
    Empty,
    Full,
    GetNowait,
    PutNowait,
    WakeNext,
}

const ALL: [(Hook, &str); 9] = [
    (Hook::Init, "_init"),
    (Hook::Get, "_get"),
    (Hook::Put, "_put"),
    (Hook::Size, "qsize"),
    (Hook::Empty, "empty"),
    (Hook::Full, "full"),
    (Hook::GetNowait, "get_nowait"),
    (Hook::PutNowait, "put_nowait"),
    (Hook::WakeNext, "_wakeup_next"),
];

impl Hook {
    pub(super) fn name(self) -> &'static str {
        ALL[self as usize].1
    }
}

/// The order in which a queue hands out its items.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Fifo,
    Priority,
    Lifo,
}

impl Order {
    /// That of the first native class in the order in which methods are looked up.
    pub(super) fn of(class: &Bound<'_, PyType>) -> Self {
        let of_native = |native: Bound<'_, PyAny>| {
            [Self::Fifo, Self::Priority, Self::Lifo]
                .into_iter()
                .find(|order| native.is(order.class(class.py())))
        };
        class.mro().iter().find_map(of_native).unwrap_or(Self::Fifo)
    }

    fn class(self, py: Python<'_>) -> Bound<'_, PyType> {
        match self {
            Self::Fifo => py.get_type::<Queue>(),
            Self::Priority => py.get_type::<PriorityQueue>(),
            Self::Lifo => py.get_type::<LifoQueue>(),
        }
    }
}

/// A set of hooks.
#[derive(Clone, Copy)]
pub(super) struct Overridden(u16);

impl Overridden {
    pub(super) const NONE: Self = Self(0);

    /// What `class` has its own version of.
    pub(super) fn in_class(class: &Bound<'_, PyType>, order: Order) -> PyResult<Self> {
        let native = order.class(class.py());
        if class.is(&native) {
            return Ok(Self::NONE);
        }
        let mut found = Self::NONE;
        for (hook, name) in ALL {
            let name = make::interned(class.py(), name)?;
            if !class.getattr(&name)?.is(&native.getattr(&name)?) {
                found.0 |= 1 << hook as u16;
            }
        }
        Ok(found)
    }

    #[inline]
    pub(super) fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u16) != 0
    }
}
