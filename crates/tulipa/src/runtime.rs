//! The Rust host: a loop whose jobs are Rust tasks and nothing else.

use std::io;
use std::ops::ControlFlow;

use crate::clock::Instant;
use crate::driver::{Readiness, Token};
use crate::event_loop::{Host, Loop};
use crate::net::RustSource;
use crate::task::{JoinError, RustJob, spawn};

/// The host of a loop that only Rust uses.
#[derive(Debug, Default)]
pub struct RustHost;

impl Host for RustHost {
    type Job = RustJob;
    type Source = RustSource;
    type Break = io::Error;

    #[inline]
    fn is_far(&self, deadline: Instant) -> bool {
        deadline.is_far()
    }

    #[inline]
    fn dispatch(source: &RustSource, _: Token, readiness: Readiness, push: &mut impl FnMut(RustJob)) {
        source.dispatch(readiness, push);
    }

    #[inline]
    fn run(&self, event_loop: &Loop<Self>, job: RustJob) -> ControlFlow<io::Error> {
        event_loop.run_rust(job);
        ControlFlow::Continue(())
    }

    fn wait_failed(&self, error: io::Error) -> io::Error {
        error
    }
}

/// A loop for Rust programs. [`run`] makes one for one future; keep a `Runtime` to run several, with tasks
/// that live on between them.
///
/// # Examples
///
/// ```
/// let runtime = tulipa::Runtime::new()?;
/// let task = runtime.block_on(async { tulipa::spawn(async { "still here" }) })?;
/// assert_eq!(runtime.block_on(task)?.unwrap(), "still here");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Runtime {
    /// The loop.
    event_loop: Loop<RustHost>,
}

impl Runtime {
    /// A runtime with nothing to do.
    ///
    /// # Errors
    ///
    /// When the kernel has no descriptors left for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event_loop: Loop::new()? })
    }

    /// Runs `future` as a task, and all others with it, until it is done. The others stay for the next call.
    ///
    /// # Errors
    ///
    /// When the loop is stopped or closed before the future is done, or when waiting for the kernel fails, which only
    /// a broken process sees. The future is dropped then, in the next call or with the runtime.
    ///
    /// # Panics
    ///
    /// With the panic of `future`. Panics of other tasks go to their handles.
    pub fn block_on<F>(&self, future: F) -> io::Result<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.event_loop.enter(|| {
            let mut main = spawn(future);
            loop {
                match main.take_output() {
                    Some(Ok(output)) => return Ok(output),
                    Some(Err(JoinError::Panicked(panic))) => std::panic::resume_unwind(panic.into_payload()),
                    Some(Err(JoinError::Aborted)) => return Err(closed_meanwhile()),
                    None if self.event_loop.is_closed() => return Err(closed_meanwhile()),
                    None if self.event_loop.take_stop() => {
                        main.abort();
                        return Err(io::Error::other("the loop was stopped before the future was done"));
                    }
                    None => {}
                }
                if let ControlFlow::Break(error) = self.event_loop.turn(&RustHost) {
                    main.abort();
                    return Err(error);
                }
            }
        })
    }

    /// The loop itself.
    pub const fn event_loop(&self) -> &Loop<RustHost> {
        &self.event_loop
    }
}

impl Drop for Runtime {
    /// Drops what is left with the loop still current, so that sockets and timers find it.
    fn drop(&mut self) {
        self.event_loop.enter(|| drop(self.event_loop.close()));
    }
}

/// Runs `future` on a loop of its own, until it is done. Tasks that it leaves behind are dropped.
///
/// # Errors
///
/// When the kernel has no descriptors left for the loop, and as [`Runtime::block_on`] does.
///
/// # Panics
///
/// With the panic of `future`.
///
/// # Examples
///
/// ```
/// assert_eq!(tulipa::run(async { 1 + 1 })?, 2);
/// # std::io::Result::Ok(())
/// ```
pub fn run<F>(future: F) -> io::Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Runtime::new()?.block_on(future)
}

/// A task has closed the loop under the main future.
fn closed_meanwhile() -> io::Error {
    io::Error::other("the loop was closed before the future was done")
}
