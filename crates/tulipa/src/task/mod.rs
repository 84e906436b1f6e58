//! Rust tasks: `async fn` on a Tulipa loop, whatever its host.
//!
//! A task is a future in one allocation, polled by the loop that it was spawned on and by no other. The
//! loop's queue carries it as a [`RustJob`]; a host whose job type can hold one (`From<RustJob>`) carries
//! Rust tasks among its own jobs, in one order. Wakers may go to any thread. On the loop's thread a wake-up
//! is one push on the ready queue; from elsewhere it goes through the loop's inbox.
//!
//! | file | what |
//! |---|---|
//! | `raw` | the allocation: header, reference count, life of the future. Nearly all the unsafe code of tasks |
//! | `job` | what the ready queue holds: a task to run, or a waker to call |
//! | `join` | the spawner's end: await the result, abort |
//! | `current` | which loop runs on this thread; `spawn` |
//! | `budget` | why a task that is never blocked yields nevertheless |
//! | `yielding` | `yield_now` |

mod budget;
mod current;
mod job;
mod join;
mod raw;
#[cfg(test)]
mod tests;
mod yielding;

pub(crate) use budget::spend_budget;
pub use current::spawn;
pub(crate) use current::{Carrier, LoopId, Sink, enter, with_loop};
pub(crate) use job::Claim;
pub use job::{Runnable, RustJob};
pub use join::{JoinError, JoinHandle, Panic};
pub(crate) use raw::OwnedTask;
pub use yielding::yield_now;
