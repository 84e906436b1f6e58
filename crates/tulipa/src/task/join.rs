//! The spawner's end of a task.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
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

/// Why a task has no result.
pub enum JoinError {
    /// It was aborted, or its loop was closed.
    Aborted,
    /// It panicked, with this payload.
    Panicked(Box<dyn Any + Send>),
}

impl JoinError {
    /// The text of the panic, when it was a text, as `panic!` makes it.
    fn message(payload: &(dyn Any + Send)) -> Option<&str> {
        payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => formatter.write_str("the task was aborted"),
            Self::Panicked(payload) => match Self::message(&**payload) {
                Some(message) => write!(formatter, "the task panicked: {message}"),
                None => formatter.write_str("the task panicked"),
            },
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JoinError({self})")
    }
}

impl Error for JoinError {}
