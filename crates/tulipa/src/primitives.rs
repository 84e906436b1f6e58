//! The primitives that threads meet on, switchable: the real ones, or loom's under `--cfg loom`.
//!
//! Only [`inject`](crate::inject) uses them: what else threads share has no interleaving to explore. A task's header
//! is checked by its own tests; of the driver, the number of the notifier's descriptor and what the kernel was found to
//! lack are single values that change once.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
