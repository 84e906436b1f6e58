//! What a Rust socket and the loop share about a descriptor: how ready it is, and who waits for it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::driver::Readiness;
use crate::slab::{Key, Slab};
use crate::task::RustJob;

/// A direction of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Receiving, accepting.
    Read,
    /// Sending, connecting.
    Write,
}

/// One direction's share.
#[derive(Default)]
struct Half {
    /// Trying is worth while: the kernel said so, or nobody has tried yet.
    is_ready: Cell<bool>,
    /// Who waits for it. All are woken: who comes first may take all there is, or may have given up by then.
    waiters: RefCell<Slab<Waker>>,
}

/// The readiness of one descriptor.
#[derive(Default)]
pub(super) struct Watch {
    /// For receiving.
    read: Half,
    /// For sending.
    write: Half,
    /// The peer's end, an error or urgent data has been reported. Edges come once, so a short read is no proof
    /// that nothing is left.
    is_behind_data: Cell<bool>,
}

impl Watch {
    /// A watch that believes a direction ready or not, until told otherwise.
    pub(super) fn new(is_ready: bool) -> Rc<Self> {
        let watch = Self::default();
        watch.read.is_ready.set(is_ready);
        watch.write.is_ready.set(is_ready);
        Rc::new(watch)
    }

    /// The share of a direction.
    const fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// The kernel said `WouldBlock`: whatever was believed, wait for the next edge.
    pub(super) fn clear(&self, direction: Direction) {
        self.half(direction).is_ready.set(false);
        if direction == Direction::Read {
            self.is_behind_data.set(false);
        }
    }

    /// A read or write moved less than was asked for, so the next would block. Saves the call that would say
    /// so.
    pub(super) fn clear_after_short(&self, direction: Direction) {
        if direction == Direction::Write || !self.is_behind_data.get() {
            self.half(direction).is_ready.set(false);
        }
    }

    /// A place for one who will wait for a direction.
    pub(super) const fn waiting(&self, direction: Direction) -> Waiting<'_> {
        Waiting { watch: self, direction, place: None }
    }
}

/// One who waits for a direction, until dropped.
pub(super) struct Waiting<'a> {
    /// What is waited for.
    watch: &'a Watch,
    /// Of the two.
    direction: Direction,
    /// Where the waker is, or was until it was needed.
    place: Option<Key>,
}

impl Waiting<'_> {
    /// Whether the direction is believed ready; if not, the task is woken when it is.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let half = self.watch.half(self.direction);
        if half.is_ready.get() {
            return Poll::Ready(());
        }
        let will_be_woken =
            |place| half.waiters.borrow().lookup(place).is_some_and(|waker| waker.will_wake(context.waker()));
        if !self.place.is_some_and(will_be_woken) {
            self.leave();
            let waker = context.waker().clone(); // calls out
            self.place = Some(half.waiters.borrow_mut().insert(waker));
        }
        Poll::Pending
    }

    /// Waits no more.
    fn leave(&mut self) {
        let Some(place) = self.place.take() else { return };
        let waker = self.watch.half(self.direction).waiters.borrow_mut().remove(place);
        drop(waker); // calls out
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watch")
            .field("readable", &self.read.is_ready.get())
            .field("writable", &self.write.is_ready.get())
            .field("behind_data", &self.is_behind_data.get())
            .finish_non_exhaustive()
    }
}

/// What the loop keeps for a descriptor that Rust code watches. A host's source type has a place for it.
#[derive(Debug)]
pub struct RustSource(pub(super) Rc<Watch>);

impl RustSource {
    /// Notes the readiness and pushes a job for each task that waited, readers first. Calls nobody:
    /// wakers are moved out, not dropped or called.
    pub fn dispatch(&self, readiness: Readiness, push: &mut impl FnMut(RustJob)) {
        let watch = &self.0;
        if readiness.is_behind_data() {
            watch.is_behind_data.set(true);
        }
        let halves = [(readiness.is_readable(), &watch.read), (readiness.is_writable(), &watch.write)];
        for (_, half) in halves.into_iter().filter(|(is_ready, _)| *is_ready) {
            half.is_ready.set(true);
            half.waiters.borrow_mut().drain().for_each(|waker| push(RustJob::Wake(waker)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(source: &RustSource, readiness: Readiness) -> usize {
        let mut jobs = Vec::new();
        source.dispatch(readiness, &mut |job| jobs.push(job));
        jobs.len()
    }

    /// One who has begun to wait.
    fn waiting(source: &RustSource, direction: Direction) -> Waiting<'_> {
        let mut waiting = source.0.waiting(direction);
        for _ in 0..2 {
            assert!(waiting.poll(&Context::from_waker(Waker::noop())).is_pending());
        }
        waiting
    }

    #[test]
    fn pure_each_waiter_is_woken_once() {
        let source = RustSource(Watch::new(false));
        let (mut reader, _other, _writer) = (
            waiting(&source, Direction::Read),
            waiting(&source, Direction::Read),
            waiting(&source, Direction::Write),
        );
        assert_eq!(woken(&source, Readiness::READABLE), 2);
        assert!(reader.poll(&Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(woken(&source, Readiness::BOTH), 1);
        assert_eq!(woken(&source, Readiness::BOTH), 0);
    }

    #[test]
    fn pure_who_gave_up_is_not_woken_and_takes_nobodys_place() {
        let source = RustSource(Watch::new(false));
        let gone = waiting(&source, Direction::Read);
        let _stays = waiting(&source, Direction::Read);
        drop(gone);
        assert_eq!(woken(&source, Readiness::READABLE), 1);
    }

    #[test]
    fn pure_a_short_read_before_the_end_is_no_reason_to_wait() {
        let source = RustSource(Watch::new(false));
        woken(&source, Readiness::READABLE | Readiness::BEHIND_DATA);
        source.0.clear_after_short(Direction::Read);
        assert!(source.0.read.is_ready.get(), "no further edge will announce the end");
        source.0.clear(Direction::Read);
        assert!(!source.0.read.is_ready.get());
    }
}
