//! The ready queue: jobs that will run, first in, first out.
//!
//! The loop owns one and is its only user. It never runs or drops a job by itself: whoever takes a job out
//! decides what becomes of it, outside any borrow of the queue.

use std::collections::VecDeque;

/// What has room for no more than this keeps it when it empties: as much as a busy server's turns fill.
pub(crate) const KEPT: usize = 4096;

/// A growing ring of jobs. Pushing and popping move one job and touch one index each.
#[derive(Debug)]
pub struct ReadyQueue<J> {
    /// Oldest job at the front.
    jobs: VecDeque<J>,
}

impl<J> ReadyQueue<J> {
    /// An empty queue that has not allocated yet.
    pub const fn new() -> Self {
        Self { jobs: VecDeque::new() }
    }

    /// Puts a job behind all others.
    #[inline]
    pub fn push(&mut self, job: J) {
        self.jobs.push_back(job);
    }

    /// Puts a job before all others.
    pub fn push_first(&mut self, job: J) {
        self.jobs.push_front(job);
    }

    /// The youngest job, to be changed in its place.
    #[inline]
    pub fn last_mut(&mut self) -> Option<&mut J> {
        self.jobs.back_mut()
    }

    /// Takes the oldest job.
    #[inline]
    pub fn pop(&mut self) -> Option<J> {
        self.jobs.pop_front()
    }

    /// Takes the oldest job of a queue that is known to have one, as it lies there. Through an `Option` it would be
    /// taken apart and put together again, which costs as much as all the rest of the queue.
    ///
    /// # Panics
    ///
    /// When nothing waits.
    #[inline]
    pub fn take(&mut self) -> J {
        assert!(!self.jobs.is_empty(), "a job waits");
        // SAFETY: a queue that is not empty has a first job.
        unsafe { self.jobs.pop_front().unwrap_unchecked() }
    }

    /// Moves every job of `other` behind those already here, keeping their order.
    pub fn append(&mut self, other: &mut VecDeque<J>) {
        if self.jobs.is_empty() {
            // The buffers change hands, and no job is moved.
            std::mem::swap(&mut self.jobs, other);
        }
        self.jobs.append(other);
    }

    /// Gives back the memory of a burst that is over: of a hundred thousand tasks that were started at once, say.
    /// For the end of a turn; one comparison where there is nothing to give.
    #[inline]
    pub fn settle(&mut self) {
        if self.jobs.capacity() > KEPT.max(8 * self.jobs.len()) {
            self.jobs.shrink_to(KEPT);
        }
    }

    /// How many jobs wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The jobs, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &J> {
        self.jobs.iter()
    }

    /// Hands back every job, oldest first, and the memory with them.
    pub fn take_all(&mut self) -> VecDeque<J> {
        std::mem::take(&mut self.jobs)
    }
}

impl<J> Default for ReadyQueue<J> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_first_in_first_out_across_growth_and_wrap() {
        let mut queue = ReadyQueue::new();
        let mut next_out = 0;
        for pushed in 0..1000_u32 {
            queue.push(pushed);
            if pushed % 3 == 0 {
                assert_eq!(queue.pop(), Some(next_out));
                next_out += 1;
            }
        }
        while !queue.is_empty() {
            assert_eq!(queue.take(), next_out);
            next_out += 1;
        }
        assert_eq!(next_out, 1000);
        assert!(queue.is_empty());
    }

    #[test]
    fn pure_a_burst_gives_its_memory_back_and_a_turn_keeps_it() {
        let mut queue = ReadyQueue::new();
        (0..KEPT).for_each(|job| queue.push(job));
        let kept = queue.jobs.capacity();
        while queue.pop().is_some() {}
        queue.settle();
        assert_eq!(queue.jobs.capacity(), kept);

        (0..10 * KEPT).for_each(|job| queue.push(job));
        while queue.len() > 3 {
            queue.pop();
        }
        queue.settle();
        assert!(queue.jobs.capacity() <= 2 * KEPT);
        assert_eq!(queue.take_all().len(), 3);
    }

    #[test]
    fn pure_the_youngest_can_be_changed_in_place() {
        let mut queue = ReadyQueue::new();
        assert_eq!(queue.last_mut(), None);
        (1..4).for_each(|job| queue.push(job));
        *queue.last_mut().unwrap() = 30;
        assert_eq!(queue.take_all(), [1, 2, 30]);
    }

    #[test]
    fn pure_appended_jobs_come_after_those_already_there() {
        let mut queue = ReadyQueue::default();
        queue.push(1);
        let mut more = VecDeque::from([2, 3]);
        queue.append(&mut more);
        assert!(more.is_empty());
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(queue.take_all(), [1, 2, 3]);
        assert_eq!(queue.len(), 0);
    }
}
