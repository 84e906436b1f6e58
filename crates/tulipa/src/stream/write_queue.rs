//! The write queue: chunks not yet accepted by the kernel, counted in bytes against two water marks.
//!
//! Chunks are kept as they were given (Python's `bytes`, a `Vec`) and lent to one vectored write; nothing is
//! copied together. A stream face owns one. It never drops a chunk: written ones are handed to the caller,
//! because dropping a Python object runs foreign code.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Slices worth offering to one `writev`. The kernel allows 1024, but gathering more than some dozens gains
/// nothing: by then the socket's send buffer is full or the fixed cost of the call is spread thin.
pub const SLICES_AT_ONCE: usize = 64;

/// asyncio's default high mark.
const DEFAULT_HIGH: usize = 64 * 1024;
/// asyncio's default low mark, a quarter of it.
const DEFAULT_LOW: usize = 16 * 1024;

/// What a change of the queue means for whoever fills it.
#[must_use = "a producer that is not told keeps writing, or never resumes"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing changed.
    None,
    /// The queue has risen above the high mark: the producer shall pause.
    Paused,
    /// The queue has fallen to the low mark: the producer may resume.
    Resumed,
}

/// Chunks waiting to be written, oldest first.
#[derive(Debug)]
pub struct WriteQueue<B> {
    /// The chunks; only of the first may a part be written already.
    chunks: VecDeque<B>,
    /// How many bytes of the first chunk are written.
    offset: usize,
    /// Bytes not yet written, over all chunks, and what each chunk counts beyond its bytes.
    len: usize,
    /// What a chunk counts beyond its bytes: nothing in a stream.
    overhead: usize,
    /// Above this the producer pauses.
    high: usize,
    /// At this or below it resumes.
    low: usize,
    /// Whether the producer was told to pause.
    paused: bool,
}

impl<B: AsRef<[u8]>> WriteQueue<B> {
    /// An empty queue with asyncio's water marks, 64 KiB and 16 KiB.
    pub const fn new() -> Self {
        Self::of_messages(0)
    }

    /// An empty queue of whole messages, each of which counts `overhead` bytes for its header. They leave one by one,
    /// by [`WriteQueue::pop`].
    pub const fn of_messages(overhead: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            offset: 0,
            overhead,
            len: 0,
            high: DEFAULT_HIGH,
            low: DEFAULT_LOW,
            paused: false,
        }
    }

    /// Bytes waiting.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the producer was told to pause and not yet to resume.
    #[inline]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// The high and the low mark, in bytes.
    pub const fn limits(&self) -> (usize, usize) {
        (self.high, self.low)
    }

    /// Sets the marks; `low` is at most `high`, which the caller checks. May pause the producer, but as in
    /// asyncio never resumes it: that waits for the next byte written.
    pub fn set_limits(&mut self, high: usize, low: usize) -> Pressure {
        debug_assert!(low <= high, "the low mark is not above the high one");
        (self.high, self.low) = (high, low);
        self.pressure_after_growth()
    }

    /// Puts a chunk at the end. An empty one is legal: it leaves with the next [`WriteQueue::advance`].
    #[inline]
    pub fn push(&mut self, chunk: B) -> Pressure {
        self.append(chunk);
        self.pressure_after_growth()
    }

    /// As `push`, leaving the marks alone: for a caller that tries to send first and asks
    /// [`WriteQueue::pressure_after_growth`] about what is left.
    #[inline]
    pub fn append(&mut self, chunk: B) {
        self.len += chunk.as_ref().len() + self.overhead;
        self.chunks.push_back(chunk);
    }

    /// Takes the first chunk out, whole: a message was sent, or given up.
    pub fn pop(&mut self) -> Option<(B, Pressure)> {
        let first = self.chunks.pop_front()?;
        self.len -= first.as_ref().len() - std::mem::take(&mut self.offset) + self.overhead;
        Some((first, self.pressure_after_loss()))
    }

    /// How many chunks wait.
    #[inline]
    pub fn count(&self) -> usize {
        self.chunks.len()
    }

    /// Fills `slices` with what waits, oldest first, and returns how many were filled; the rest is left as it
    /// was.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(self.pieces()) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// What is left to write, where it lies in one piece.
    #[inline]
    pub fn sole(&self) -> Option<&[u8]> {
        if self.chunks.len() == 1 {
            return self.first().filter(|piece| !piece.is_empty());
        }
        let mut pieces = self.pieces();
        let only = pieces.next()?;
        pieces.next().is_none().then_some(only)
    }

    /// What is left of the first chunk.
    #[inline]
    pub fn first(&self) -> Option<&[u8]> {
        self.chunks.front().map(|first| &first.as_ref()[self.offset..])
    }

    /// What is left of each chunk, oldest first, without empty ones.
    #[inline]
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.offset;
        let rest = move |chunk| &B::as_ref(chunk)[std::mem::take(&mut skip)..];
        self.chunks.iter().map(rest).filter(|piece| !piece.is_empty())
    }

    /// Records that the kernel took `written` bytes. Chunks written to their end go to `release`.
    ///
    /// # Panics
    ///
    /// If `written` is more than there is.
    pub fn advance(&mut self, written: usize, release: &mut impl FnMut(B)) -> Pressure {
        debug_assert!(self.overhead == 0, "messages leave one by one");
        assert!(written <= self.len, "the kernel takes no more than it was offered");
        self.len -= written;
        self.offset += written;
        while let Some(first) = self.chunks.front() {
            let size = first.as_ref().len();
            if self.offset < size {
                break;
            }
            self.offset -= size;
            self.chunks.pop_front().into_iter().for_each(&mut *release);
        }
        self.pressure_after_loss()
    }

    /// Hands back every chunk, the first one possibly written in part. For an aborted connection: says
    /// nothing about pressure, since nobody will write again.
    pub fn take_all(&mut self) -> VecDeque<B> {
        (self.offset, self.len) = (0, 0);
        std::mem::take(&mut self.chunks)
    }

    /// Resumes the producer at the low mark.
    const fn pressure_after_loss(&mut self) -> Pressure {
        if self.paused && self.len <= self.low {
            self.paused = false;
            return Pressure::Resumed;
        }
        Pressure::None
    }

    /// The chunks, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &B> {
        self.chunks.iter()
    }

    /// Pauses when the high mark is passed; reaching it exactly is still fine.
    #[inline]
    pub const fn pressure_after_growth(&mut self) -> Pressure {
        if self.paused || self.len <= self.high {
            return Pressure::None;
        }
        self.paused = true;
        Pressure::Paused
    }
}

impl<B: AsRef<[u8]>> Default for WriteQueue<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the queue would put on the wire, from its first `limit` slices.
    fn gathered(queue: &WriteQueue<Vec<u8>>, limit: usize) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); limit];
        let filled = queue.slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn pure_a_partial_write_continues_inside_the_chunk() {
        let mut queue = WriteQueue::new();
        let mut released = Vec::new();
        for chunk in ["abc", "", "defg"] {
            assert_eq!(queue.push(chunk.as_bytes().to_vec()), Pressure::None);
        }
        assert_eq!(queue.advance(4, &mut |chunk| released.push(chunk)), Pressure::None);
        assert_eq!(released, [b"abc".to_vec(), Vec::new()]);
        assert_eq!(gathered(&queue, 8), b"efg");
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.advance(3, &mut drop), Pressure::None);
        assert!(queue.is_empty());
    }

    #[test]
    #[should_panic(expected = "no more than it was offered")]
    fn pure_more_than_there_is_cannot_have_been_written() {
        let mut queue = WriteQueue::new();
        queue.append(vec![7; 10]);
        let _ = queue.advance(11, &mut drop);
    }

    #[test]
    fn pure_the_sole_and_the_first_piece_are_what_is_left_of_them() {
        let mut queue = WriteQueue::new();
        assert_eq!((queue.sole(), queue.first()), (None, None));
        queue.append(b"abcd".to_vec());
        let _ = queue.advance(1, &mut drop);
        assert_eq!((queue.sole(), queue.first()), (Some(&b"bcd"[..]), Some(&b"bcd"[..])));
        queue.append(b"ef".to_vec());
        assert_eq!((queue.sole(), queue.first()), (None, Some(&b"bcd"[..])));
        let _ = queue.advance(4, &mut drop);
        assert_eq!((queue.sole(), queue.first()), (Some(&b"f"[..]), Some(&b"f"[..])));
        queue.append(Vec::new());
        assert_eq!(queue.sole(), Some(&b"f"[..]), "an empty chunk is no piece");
        let _ = queue.advance(1, &mut drop);
        queue.append(Vec::new());
        assert_eq!(queue.sole(), None);
    }

    #[test]
    fn pure_marks_are_crossed_as_in_asyncio() {
        let mut queue = WriteQueue::new();
        assert_eq!(queue.limits(), (65536, 16384));
        assert_eq!(queue.set_limits(4, 2), Pressure::None);
        assert_eq!(queue.push(vec![0; 4]), Pressure::None);
        assert_eq!(queue.push(vec![0; 1]), Pressure::Paused);
        assert_eq!(queue.push(vec![0; 1]), Pressure::None);
        assert_eq!(queue.advance(3, &mut drop), Pressure::None);
        assert_eq!(queue.advance(1, &mut drop), Pressure::Resumed);
        assert_eq!(queue.set_limits(1, 0), Pressure::Paused);
        assert_eq!(queue.set_limits(10, 10), Pressure::None);
        assert!(queue.is_paused());
    }

    #[test]
    fn pure_messages_leave_whole_and_count_their_headers() {
        let mut queue = WriteQueue::of_messages(8);
        assert_eq!(queue.set_limits(20, 10), Pressure::None);
        assert_eq!(queue.push(b"abc".to_vec()), Pressure::None);
        assert_eq!(queue.push(Vec::new()), Pressure::None);
        assert_eq!((queue.len(), queue.count()), (19, 2));
        assert_eq!(queue.push(b"de".to_vec()), Pressure::Paused);
        assert_eq!(queue.pop(), Some((b"abc".to_vec(), Pressure::None)));
        assert!(!queue.is_empty(), "an empty message is one");
        assert_eq!(queue.pop(), Some((Vec::new(), Pressure::Resumed)));
        assert_eq!(queue.pop(), Some((b"de".to_vec(), Pressure::None)));
        assert_eq!((queue.pop(), queue.len()), (None, 0));
    }

    #[test]
    fn pure_no_more_slices_than_asked_for() {
        let mut queue = WriteQueue::new();
        for byte in 0..5 {
            let _ = queue.push(vec![byte]);
        }
        assert_eq!(gathered(&queue, 3), [0, 1, 2]);
        assert_eq!(queue.take_all().len(), 5);
        assert!(queue.is_empty());
    }

    /// One step of the model test.
    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        /// Thousandths of what waits.
        Advance(usize),
        Limits(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Push),
            (0..=1000_usize).prop_map(Step::Advance),
            (0..40_usize, 0..40_usize).prop_map(|(a, b)| Step::Limits(a.max(b), a.min(b))),
        ]
    }

    /// The naive model: all bytes in one vector.
    #[derive(Default)]
    struct Model {
        bytes: Vec<u8>,
        limits: (usize, usize),
        paused: bool,
    }

    impl Model {
        fn grown(&mut self) -> Pressure {
            if !self.paused && self.bytes.len() > self.limits.0 {
                self.paused = true;
                return Pressure::Paused;
            }
            Pressure::None
        }

        fn apply(&mut self, step: &Step) -> Pressure {
            match step {
                Step::Push(chunk) => {
                    self.bytes.extend(chunk);
                    self.grown()
                }
                Step::Limits(high, low) => {
                    self.limits = (*high, *low);
                    self.grown()
                }
                Step::Advance(share) => {
                    self.bytes.drain(..self.bytes.len() * share / 1000);
                    if self.paused && self.bytes.len() <= self.limits.1 {
                        self.paused = false;
                        return Pressure::Resumed;
                    }
                    Pressure::None
                }
            }
        }
    }

    proptest! {
        #[test]
        fn model_the_queue_is_one_run_of_bytes(steps in prop::collection::vec(step(), 0..60)) {
            let mut queue = WriteQueue::new();
            let mut model = Model { limits: queue.limits(), ..Model::default() };
            for step in &steps {
                let expected = model.apply(step);
                let pressure = match step {
                    Step::Push(chunk) => queue.push(chunk.clone()),
                    Step::Limits(high, low) => queue.set_limits(*high, *low),
                    Step::Advance(share) => queue.advance(queue.len() * share / 1000, &mut drop),
                };
                prop_assert_eq!(pressure, expected);
                prop_assert_eq!(queue.len(), model.bytes.len());
                prop_assert_eq!(queue.is_paused(), model.paused);
                prop_assert_eq!(gathered(&queue, 100), model.bytes.clone());
            }
        }
    }
}
