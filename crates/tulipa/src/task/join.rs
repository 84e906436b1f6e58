//! The spawner's end of a task.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use super::raw::TaskRef;

/// Awaits a task's result. Dropping it leaves the task running. Stays on the loop's thread.
#[must_use = "dropping the handle detaches the task; write `drop(spawn(..))` if that is meant"]
pub struct JoinHandle<T> {
    /// The task; its output type is `T`.
    task: TaskRef,
    /// Gives out a `T`, and keeps the handle off other threads.
    output: PhantomData<Rc<T>>,
}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// `T` is the task's output type, this is the task's only handle, and this is its loop's thread (T1).
    pub(super) const unsafe fn new(task: TaskRef) -> Self {
        Self { task, output: PhantomData }
    }

    /// Ends the task: its future is dropped when its turn comes, not in here, so no foreign code runs in this
    /// call. The handle then gives [`JoinError::Aborted`]. A task that is done stays done.
    pub fn abort(&self) {
        // SAFETY: handles stay on the loop's thread (T1).
        unsafe { self.task.abort() };
    }

    /// Whether the task is done; then awaiting the handle does not wait.
    pub fn is_finished(&self) -> bool {
        self.task.is_done()
    }

    /// The result, once the task is done.
    pub(crate) fn take_output(&mut self) -> Option<Result<T, JoinError>> {
        // SAFETY: handles stay on the loop's thread (T1), and `T` is the output type, as `new` was promised.
        unsafe { self.task.take_output() }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// When polled again after it gave its result.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_finished() {
            // SAFETY: handles stay on the loop's thread (T1).
            unsafe { self.task.set_join_waker(context.waker()) };
            return Poll::Pending;
        }
        Poll::Ready(self.take_output().expect("a JoinHandle is not polled after it gave its result"))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: handles stay on the loop's thread, and this was the only one (T1).
        unsafe { self.task.detach() };
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Why a task has no result. May go to any thread, as errors are expected to.
pub enum JoinError {
    /// It was aborted, or its loop was closed.
    Aborted,
    /// It panicked.
    Panicked(Panic),
}

/// What a task panicked with. The payload need not be `Sync`, so it is looked at under a lock.
pub struct Panic(Mutex<Box<dyn Any + Send>>);

impl Panic {
    /// A caught panic.
    pub(super) fn new(payload: Box<dyn Any + Send>) -> Self {
        Self(Mutex::new(payload))
    }

    /// The payload, for [`std::panic::resume_unwind`] or a downcast.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Panic {
    /// With the text of the panic, when it was a text, as `panic!` makes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = payload.downcast_ref::<&str>().copied();
        match text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)) {
            Some(text) => write!(formatter, "the task panicked: {text}"),
            None => formatter.write_str("the task panicked"),
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Panic({self})")
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => formatter.write_str("the task was aborted"),
            Self::Panicked(panic) => panic.fmt(formatter),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JoinError({self})")
    }
}

impl Error for JoinError {}
