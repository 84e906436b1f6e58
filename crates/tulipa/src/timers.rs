//! Timers: jobs that become ready at a deadline, nearest first, equal deadlines in the order they were
//! scheduled.
//!
//! A 4-ary heap of small entries over a slab of jobs that know their place in the heap. A binary heap with
//! lazy deletion, asyncio's choice, keeps a cancelled timer and all it holds until its deadline; here
//! cancelling takes the entry out at once and hands the job back. Four children per node halve the depth, and
//! one node's children share two cache lines.
//!
//! Pure: time is an argument, and no job is run or dropped in here.

use crate::clock::Instant;
use crate::ready::KEPT;
use crate::slab::{Key, Slab};

/// Children per heap node.
const ARITY: usize = 4;
/// So many due timers are taken out one by one before it is asked how many there are.
const FEW: usize = 16;

/// Names one scheduled timer, for cancelling. Stale once the timer fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey(Key);

impl TimerKey {
    /// The key as one number. Never `u64::MAX`.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The key that [`TimerKey::to_bits`] gave; any other number names no timer.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }
}

/// What the heap orders. The job stays in the slab, so that a move is 24 bytes whatever the job's size.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When the job becomes ready.
    deadline: Instant,
    /// Scheduling order, which breaks ties.
    sequence: u64,
    /// The job's slot in the slab.
    slot: u32,
}

impl Entry {
    /// What entries fire in the order of.
    #[inline]
    const fn order(&self) -> (Instant, u64) {
        (self.deadline, self.sequence)
    }

    /// Whether this fires before `other`.
    #[inline]
    fn is_before(&self, other: &Self) -> bool {
        self.order() < other.order()
    }
}

/// A job and where its entry is.
#[derive(Debug)]
struct Timer<J> {
    /// Index of the entry in the heap; kept true by every move.
    position: u32,
    /// What becomes ready.
    job: J,
}

/// The set of pending timers.
#[derive(Debug)]
pub struct Timers<J> {
    /// Entry 0 is the nearest; the children of entry `i` are `4i + 1 ..= 4i + 4`.
    heap: Vec<Entry>,
    /// The jobs, each under the slot that its entry names.
    jobs: Slab<Timer<J>>,
    /// Number of the next timer scheduled.
    next_sequence: u64,
}

impl<J> Timers<J> {
    /// An empty set that has not allocated yet.
    pub const fn new() -> Self {
        Self { heap: Vec::new(), jobs: Slab::new(), next_sequence: 0 }
    }

    /// How many timers are pending. Cancelled ones are gone, not counted.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The nearest deadline.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// Schedules `job`. O(log n) at worst; one comparison when the deadline is the latest so far, as
    /// timeouts' mostly are.
    #[inline(always)]
    pub fn insert(&mut self, deadline: Instant, job: J) -> TimerKey {
        let position = self.heap.len();
        let key = self.jobs.insert(Timer { position: position as u32, job });
        let entry = Entry { deadline, sequence: self.next_sequence, slot: key.index() };
        self.next_sequence += 1;
        self.heap.push(entry);
        if position > 0 && entry.is_before(&self.heap[parent_of(position)]) {
            self.sift_up(position, entry);
        }
        TimerKey(key)
    }

    /// Takes a timer out and hands its job back; `None` if it fired or was cancelled before. O(1) for the
    /// entry at the heap's end, where the one scheduled last with the latest deadline is.
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<J> {
        let timer = self.jobs.remove(key.0)?;
        self.remove_entry(timer.position as usize);
        Some(timer.job)
    }

    /// Whether the timer has neither fired nor been cancelled.
    #[inline]
    pub fn is_pending(&self, key: TimerKey) -> bool {
        self.jobs.lookup(key.0).is_some()
    }

    /// Takes out the nearest timer if its deadline is not after `now`. Never early, not by a nanosecond.
    #[inline]
    pub fn pop_due(&mut self, now: Instant) -> Option<J> {
        let nearest = *self.heap.first()?;
        if nearest.deadline > now {
            return None;
        }
        self.remove_entry(0);
        self.jobs.remove_at(nearest.slot).map(|timer| timer.job)
    }

    /// Takes out every timer whose deadline is not after `now`, and hands the jobs over nearest first.
    ///
    /// Where most timers are due, as when a loop was held up or many were set for the same time, they are sorted, and
    /// what is left becomes a heap again: a few steps for each instead of a walk through all levels.
    pub fn take_due(&mut self, now: Instant, mut each: impl FnMut(J)) {
        for _ in 0..FEW {
            let Some(job) = self.pop_due(now) else { return };
            each(job);
        }
        let due = self.due_positions(now);
        if due.len() < self.heap.len() / 4 {
            while let Some(job) = self.pop_due(now) {
                each(job);
            }
            return;
        }
        let mut due: Vec<Entry> = due.into_iter().map(|position| self.heap[position]).collect();
        due.sort_unstable_by_key(Entry::order);
        self.heap.retain(|entry| entry.deadline > now);
        self.rebuild();
        for entry in due {
            each(self.jobs.remove_at(entry.slot).expect("an entry's timer is in the slab").job);
        }
    }

    /// Where the entries are that are due: parents are before their children, so the search ends below the first that
    /// is not.
    fn due_positions(&self, now: Instant) -> Vec<usize> {
        let is_due = |position: &usize| self.heap[*position].deadline <= now;
        let mut due: Vec<usize> = (0..self.heap.len().min(1)).filter(is_due).collect();
        let mut seen = 0;
        while let Some(position) = due.get(seen) {
            let first = ARITY * position + 1;
            due.extend((first..(first + ARITY).min(self.heap.len())).filter(is_due));
            seen += 1;
        }
        due
    }

    /// Makes a heap of the entries, however they lie.
    fn rebuild(&mut self) {
        for position in 0..self.heap.len() {
            self.place(position, self.heap[position]);
        }
        for position in (0..self.heap.len().div_ceil(ARITY)).rev() {
            self.sift_down(position, self.heap[position]);
        }
    }

    /// The pending timers, nearest deadline first.
    pub fn in_order(&self) -> impl Iterator<Item = (TimerKey, Instant, &J)> {
        let mut entries = self.heap.clone();
        entries.sort_unstable_by_key(Entry::order);
        entries.into_iter().filter_map(|entry| {
            let (key, timer) = self.jobs.at(entry.slot)?;
            Some((TimerKey(key), entry.deadline, &timer.job))
        })
    }

    /// The pending jobs, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = &J> {
        self.jobs.iter().map(|timer| &timer.job)
    }

    /// Gives back the memory of a burst that is over. For the end of a turn; a few comparisons where there is nothing
    /// to give.
    #[inline]
    pub fn settle(&mut self) {
        if self.heap.capacity() > KEPT.max(8 * self.heap.len()) {
            self.heap.shrink_to(KEPT);
        }
        self.jobs.settle();
    }

    /// Takes out every job, nearest deadline first.
    pub fn take_all(&mut self) -> Vec<J> {
        let jobs = std::iter::from_fn(|| self.pop_due(Instant::MAX)).collect();
        self.settle();
        jobs
    }

    /// Takes the entry at `position` out of the heap; the last entry fills the gap and finds its level.
    #[inline]
    fn remove_entry(&mut self, position: usize) {
        if position + 1 == self.heap.len() {
            self.heap.truncate(position);
            return;
        }
        let last = self.heap.pop().expect("an entry to remove is in the heap");
        if position > 0 && last.is_before(&self.heap[parent_of(position)]) {
            self.sift_up(position, last);
        } else {
            self.sift_down(position, last);
        }
    }

    /// Moves the gap at `position` towards the root until `entry` fits in it.
    fn sift_up(&mut self, mut position: usize, entry: Entry) {
        while position > 0 {
            let parent = parent_of(position);
            if !entry.is_before(&self.heap[parent]) {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        self.place(position, entry);
    }

    /// Moves the gap at `position` towards the leaves until `entry` fits in it.
    fn sift_down(&mut self, mut position: usize, entry: Entry) {
        while let Some(child) = self.nearest_child(position) {
            if !self.heap[child].is_before(&entry) {
                break;
            }
            self.place(position, self.heap[child]);
            position = child;
        }
        self.place(position, entry);
    }

    /// The child of `position` that fires first, if it has children.
    #[inline]
    fn nearest_child(&self, position: usize) -> Option<usize> {
        let first = ARITY * position + 1;
        let end = (first + ARITY).min(self.heap.len());
        let mut nearest = first;
        for child in first + 1..end {
            if self.heap[child].is_before(&self.heap[nearest]) {
                nearest = child;
            }
        }
        (first < end).then_some(nearest)
    }

    /// Puts `entry` at `position` and tells its timer.
    #[inline]
    fn place(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.jobs.at_mut(entry.slot).expect("an entry's timer is in the slab").position = position as u32;
    }
}

impl<J> Default for Timers<J> {
    fn default() -> Self {
        Self::new()
    }
}

/// The heap position above `position`, which is not the root.
#[inline]
const fn parent_of(position: usize) -> usize {
    (position - 1) / ARITY
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    impl<J> Timers<J> {
        /// Heap order, and every timer knows its place.
        fn check(&self) {
            assert_eq!(self.heap.len(), self.jobs.len());
            let mut places: Vec<_> = self.jobs.iter().map(|timer| timer.position as usize).collect();
            places.sort_unstable();
            assert!(places.iter().copied().eq(0..self.heap.len()));
            for (position, entry) in self.heap.iter().enumerate().skip(1) {
                assert!(self.heap[parent_of(position)].is_before(entry));
            }
        }
    }

    #[test]
    fn pure_equal_deadlines_fire_in_scheduling_order() {
        let mut timers = Timers::new();
        for job in 0..50 {
            timers.insert(at(7), job);
        }
        assert_eq!(timers.take_all(), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn pure_a_look_shows_what_will_fire_and_when() {
        let mut timers = Timers::new();
        for (deadline, job) in [(9, "c"), (3, "a"), (7, "gone"), (9, "d"), (5, "b")] {
            let key = timers.insert(at(deadline), job);
            if job == "gone" {
                timers.cancel(key);
            }
        }
        let seen: Vec<_> = timers.in_order().map(|(key, deadline, job)| (key, deadline, *job)).collect();
        let shown: Vec<_> = seen.iter().map(|(_, deadline, job)| (deadline.as_nanos(), *job)).collect();
        assert_eq!(shown, [(3, "a"), (5, "b"), (9, "c"), (9, "d")]);
        assert!(seen.into_iter().all(|(key, _, job)| timers.cancel(key) == Some(job)));
    }

    #[test]
    fn pure_never_early_by_a_nanosecond() {
        let mut timers = Timers::new();
        timers.insert(at(100), ());
        assert_eq!(timers.pop_due(at(99)), None);
        assert_eq!(timers.next_deadline(), Some(at(100)));
        assert_eq!(timers.pop_due(at(100)), Some(()));
        assert!(timers.is_empty());
    }

    #[test]
    fn pure_cancelling_hands_the_job_back_at_once() {
        let mut timers = Timers::default();
        let job = std::rc::Rc::new(());
        let key = timers.insert(at(5), job.clone());
        timers.insert(at(1), job.clone());
        drop(timers.cancel(key));
        assert_eq!(std::rc::Rc::strong_count(&job), 2);
        assert_eq!(timers.cancel(key), None);
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.iter().count(), 1);
    }

    #[test]
    fn pure_a_key_of_a_fired_timer_is_stale_even_if_its_slot_is_reused() {
        let mut timers = Timers::new();
        let old = timers.insert(at(1), "old");
        timers.pop_due(at(1));
        let new = timers.insert(at(1), "new");
        assert_eq!(timers.cancel(old), None);
        assert_eq!(timers.cancel(TimerKey::from_bits(new.to_bits())), Some("new"));
    }

    #[test]
    fn pure_a_burst_gives_its_memory_back() {
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..=KEPT as u64).map(|deadline| timers.insert(at(deadline), deadline)).collect();
        assert!(keys.iter().skip(2).all(|key| timers.cancel(*key).is_some()));
        timers.settle();
        assert!(timers.heap.capacity() <= KEPT);
        timers.check();
        assert_eq!(timers.take_all(), [0, 1]);
    }

    #[test]
    fn pure_many_due_at_once_come_in_order_and_leave_a_heap() {
        for left in [0, 1, 7, 100, 5000] {
            let mut timers = Timers::new();
            let deadlines: Vec<u64> = (0..1000).map(|step| step * 7919 % 1000).collect();
            let keys: Vec<_> =
                deadlines.iter().map(|&deadline| timers.insert(at(deadline), deadline)).collect();
            let late: Vec<_> = (0..left).map(|step| timers.insert(at(2000 - step % 900), 0)).collect();
            timers.cancel(keys[500]);
            let mut taken = Vec::new();
            timers.take_due(at(999), |deadline| taken.push(deadline));
            timers.check();
            assert_eq!(taken, (0..1000).filter(|&deadline| deadline != deadlines[500]).collect::<Vec<_>>());
            assert_eq!(timers.len(), left as usize);
            assert!(late.into_iter().all(|key| timers.cancel(key).is_some()));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Pop(u64),
        TakeDue(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..40_u64).prop_map(Step::Insert),
            2 => any::<usize>().prop_map(Step::Cancel),
            1 => (0..40_u64).prop_map(Step::Pop),
            1 => (0..40_u64).prop_map(Step::TakeDue),
        ]
    }

    proptest! {
        #[test]
        fn model_like_a_sorted_list(steps in prop::collection::vec(step(), 0..200)) {
            let mut timers = Timers::new();
            let mut keys = Vec::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(deadline) => {
                        let job = keys.len();
                        keys.push(timers.insert(at(deadline), job));
                        model.push((deadline, job));
                        model.sort_unstable();
                    }
                    Step::Cancel(choice) if !keys.is_empty() => {
                        let job = choice % keys.len();
                        let found = model.iter().position(|entry| entry.1 == job);
                        prop_assert_eq!(timers.cancel(keys[job]), found.map(|place| model.remove(place).1));
                    }
                    Step::Cancel(_) => {}
                    Step::Pop(now) => {
                        let due = model.first().is_some_and(|entry| entry.0 <= now);
                        prop_assert_eq!(timers.pop_due(at(now)), due.then(|| model.remove(0).1));
                    }
                    Step::TakeDue(now) => {
                        let mut taken = Vec::new();
                        timers.take_due(at(now), |job| taken.push(job));
                        let due = model.partition_point(|entry| entry.0 <= now);
                        prop_assert_eq!(taken, model.drain(..due).map(|entry| entry.1).collect::<Vec<_>>());
                    }
                }
                timers.check();
                prop_assert_eq!(timers.next_deadline(), model.first().map(|entry| at(entry.0)));
            }
            prop_assert_eq!(timers.take_all(), model.into_iter().map(|entry| entry.1).collect::<Vec<_>>());
        }
    }
}
