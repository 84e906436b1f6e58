//! The primitives that threads meet on, switchable: the real ones, or loom's under `--cfg loom`.
//!
//! Only [`inject`](crate::inject) uses them, because nothing else of the engine is shared between threads
//! save task headers, whose one shared word is checked by their own tests.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
