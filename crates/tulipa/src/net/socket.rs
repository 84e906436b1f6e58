//! A socket registered with the current loop, under the listener and the stream.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::watch::{Direction, RustSource, Waiting, Watch};
use crate::driver::{Interest, Token};
use crate::task::{LoopId, spend_budget, with_loop};

/// An open, registered, non-blocking socket. Stays on its loop's thread.
#[derive(Debug)]
pub(super) struct Socket {
    /// The loop that watches it.
    loop_id: LoopId,
    /// Its name there.
    token: Token,
    /// What the loop tells about it.
    watch: Rc<Watch>,
    /// The descriptor. Closed after `drop` has deregistered it.
    fd: OwnedFd,
    /// Its loop is on this thread only.
    stays: PhantomData<Rc<()>>,
}

impl Socket {
    /// Registers a non-blocking socket with the current loop. `is_ready`: trying at once may succeed.
    pub(super) fn new(fd: OwnedFd, is_ready: bool) -> io::Result<Self> {
        let watch = Watch::new(is_ready);
        let source = RustSource(Rc::clone(&watch));
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
        let (loop_id, token) = with_loop(None, |carrier| {
            let carrier = carrier.ok_or_else(|| io::Error::other("no Tulipa loop runs on this thread"))?;
            io::Result::Ok((carrier.id(), carrier.register(fd.as_raw_fd(), interest, source)?))
        })?;
        Ok(Self { loop_id, token, watch, fd, stays: PhantomData })
    }

    /// The descriptor's number.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Waits until a direction is ready.
    pub(super) async fn ready(&self, direction: Direction) -> io::Result<()> {
        let mut waiting = self.watch.waiting(direction);
        poll_fn(|context| self.poll_ready(&mut waiting, context)).await
    }

    /// Does `operation` as soon as it does not block.
    pub(super) async fn perform<R>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(RawFd) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut waiting = self.watch.waiting(direction);
        poll_fn(|context| {
            loop {
                ready!(self.poll_ready(&mut waiting, context))?;
                // Behind the waiting, or a task that asks many idle sockets would spend it on nothing.
                ready!(spend_budget(context));
                match operation(self.fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch.clear(direction),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    answer => return Poll::Ready(answer),
                }
            }
        })
        .await
    }

    /// The same for moving `room` bytes; less than that means that the next attempt would block.
    pub(super) async fn transfer(
        &self,
        direction: Direction,
        room: usize,
        operation: impl FnMut(RawFd) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let moved = self.perform(direction, operation).await?;
        if moved < room {
            self.watch.clear_after_short(direction);
        }
        Ok(moved)
    }

    /// Whether a direction is believed ready; if not, the task is woken when it is. A task of another loop would sleep
    /// for good: while that one turns, ours does not.
    fn poll_ready(&self, waiting: &mut Waiting<'_>, context: &Context<'_>) -> Poll<io::Result<()>> {
        let is_elsewhere =
            || with_loop(None, |carrier| carrier.is_some_and(|carrier| carrier.id() != self.loop_id));
        match waiting.poll(context) {
            Poll::Pending if is_elsewhere() => {
                Poll::Ready(Err(io::Error::other("the socket belongs to another Tulipa loop")))
            }
            answer => answer.map(Ok),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    /// Outside its loop the registration cannot be taken out; closing the descriptor then ends it for the
    /// kernel, and closing the loop for the table.
    fn drop(&mut self) {
        with_loop(Some(self.loop_id), |carrier| {
            if let Some(carrier) = carrier {
                carrier.deregister(self.token);
            }
        });
    }
}
