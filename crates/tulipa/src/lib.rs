//! Tulipa's engine: an event loop in the image of asyncio, in pure Rust.
//!
//! One thread, one loop, and asyncio's order of things: a program that knows in which order its callbacks run
//! under asyncio knows it here. The loop is generic over its [`Host`], so that Python's handles and tasks, or
//! Rust's, are plain values in one queue. Rust programs need not care:
//!
//! ```
//! use std::time::Duration;
//!
//! let answer = tulipa::run(async {
//!     let question = tulipa::spawn(async {
//!         tulipa::sleep(Duration::from_millis(1)).await;
//!         6 * 7
//!     });
//!     question.await.unwrap()
//! })?;
//! assert_eq!(answer, 42);
//! # std::io::Result::Ok(())
//! ```
//!
//! # The layers, lowest first
//!
//! Each knows only those above it in this list. One name goes the other way: the current loop takes descriptors for
//! [`RustSource`], which stands in [`net`] beside the sockets that it is for.
//!
//! | module | what | may |
//! |---|---|---|
//! | [`sys`] | the system calls | call the kernel; more than half of the `unsafe` is here |
//! | [`clock`] | [`Instant`] | read the time of the loop, alone |
//! | [`ready`], [`slab`], [`timers`] | data structures of the loop | nothing: pure |
//! | [`inject`] | the inbox: jobs and wake-ups from other threads | lock, shortly |
//! | [`patience`] | whether a thread looks out for another before it sleeps | nothing but spin, shortly |
//! | [`stream`] | the sans-IO core of a byte stream | nothing: pure |
//! | [`driver`] | kernel events to completions, by epoll; many sends in one call | block |
//! | [`task`] | Rust futures as jobs; most of the other `unsafe` | call wakers |
//! | [`event_loop`] | the [`Loop`]; read `turn.rs` first | call the host |
//! | [`time`], [`net`] | what Rust tasks await | use the current loop |
//! | the runtime | [`run`], [`Runtime`]: the Rust host | turn the loop |
//!
//! # Promises
//!
//! - A turn runs what was ready when its batch began and not what that schedules: no chain of jobs starves
//!   I/O.
//! - A timer never fires early, equal deadlines fire in scheduling order, a cancelled timer is gone at once.
//! - Waking the loop from another thread costs a system call only if it sleeps. Switching tasks costs none.
//! - What the kernel or a user says is never a panic. No borrow or lock is held while foreign code runs.
//!
//! Linux only, for now. What asks the kernel is in [`sys`] and [`driver`].

pub mod clock;
pub mod driver;
pub mod event_loop;
pub mod inject;
pub mod net;
pub mod patience;
mod primitives;
pub mod ready;
mod runtime;
pub mod slab;
pub mod stream;
pub mod sys;
pub mod task;
pub mod time;
pub mod timers;

pub use clock::Instant;
pub use driver::{Interest, Readiness, Token};
pub use event_loop::{Drained, Host, Loop, Remote, TaskHost};
pub use net::{RustSource, TcpListener, TcpStream};
pub use patience::Patience;
pub use runtime::{Runtime, RustHost, run};
pub use task::{JoinError, JoinHandle, Panic, Runnable, RustJob, spawn, yield_now};
pub use time::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout};
pub use timers::TimerKey;

/// Has the examples of the crate's first page compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
