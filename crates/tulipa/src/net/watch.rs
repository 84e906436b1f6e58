//! What a Rust socket and the loop share about a descriptor: how ready it is, and who waits for it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use crate::driver::Readiness;
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
    /// The task that waits for it.
    waiter: Cell<Option<Waker>>,
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

    /// Whether trying is worth while.
    #[inline]
    pub(super) fn is_ready(&self, direction: Direction) -> bool {
        self.half(direction).is_ready.get()
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

    /// Notes who waits. One task per direction: the last one is woken.
    pub(super) fn wait(&self, direction: Direction, waker: &Waker) {
        let slot = &self.half(direction).waiter;
        let before = slot.take();
        if before.as_ref().is_some_and(|before| before.will_wake(waker)) {
            slot.set(before);
            return;
        }
        slot.set(Some(waker.clone()));
        drop(before); // calls out
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
    /// Notes the readiness and pushes a job for each task that waited, the reader's first. Calls nobody:
    /// wakers are moved out, not dropped or called.
    pub fn dispatch(&self, readiness: Readiness, push: &mut impl FnMut(RustJob)) {
        let watch = &self.0;
        if readiness.is_behind_data() {
            watch.is_behind_data.set(true);
        }
        let halves = [(readiness.is_readable(), &watch.read), (readiness.is_writable(), &watch.write)];
        for (_, half) in halves.into_iter().filter(|(is_ready, _)| *is_ready) {
            half.is_ready.set(true);
            if let Some(waker) = half.waiter.take() {
                push(RustJob::Wake(waker));
            }
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

    #[test]
    fn pure_each_waiter_is_woken_once() {
        let source = RustSource(Watch::new(false));
        source.0.wait(Direction::Read, Waker::noop());
        source.0.wait(Direction::Write, Waker::noop());
        assert_eq!(woken(&source, Readiness::READABLE), 1);
        assert!(source.0.is_ready(Direction::Read) && !source.0.is_ready(Direction::Write));
        assert_eq!(woken(&source, Readiness::BOTH), 1);
        assert_eq!(woken(&source, Readiness::BOTH), 0);
    }

    #[test]
    fn pure_a_short_read_before_the_end_is_no_reason_to_wait() {
        let source = RustSource(Watch::new(false));
        woken(&source, Readiness::READABLE | Readiness::BEHIND_DATA);
        source.0.clear_after_short(Direction::Read);
        assert!(source.0.is_ready(Direction::Read), "no further edge will announce the end");
        source.0.clear(Direction::Read);
        assert!(!source.0.is_ready(Direction::Read));
    }
}
