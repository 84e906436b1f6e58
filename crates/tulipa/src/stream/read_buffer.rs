//! Bytes that have come in and that nobody has asked for yet.
//!
//! One contiguous piece: what is taken from its front leaves a gap, which is closed only when room is needed, so that
//! taking ten thousand lines moves nothing ten thousand times. An empty buffer owns no memory.

/// A queue of bytes that can be looked at as a whole.
///
/// # Examples
///
/// ```
/// use tulipa::stream::ReadBuffer;
///
/// let mut buffer = ReadBuffer::new();
/// buffer.append(b"one\ntwo");
/// assert_eq!(buffer.as_slice(), b"one\ntwo");
/// buffer.consume(4);
/// assert_eq!(buffer.as_slice(), b"two");
/// ```
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// The gap, and what has come in behind it.
    bytes: Vec<u8>,
    /// Length of the gap.
    start: usize,
}

impl ReadBuffer {
    /// An empty buffer, without memory.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), start: 0 }
    }

    /// What there is, in the order it came.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `data` at the end. Each byte is moved a constant number of times on average, since the gap is closed only
    /// when it is at least as long as what lies behind it, and where the memory would have to grow otherwise.
    #[inline]
    pub fn append(&mut self, data: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < data.len() && self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(data);
    }

    /// Puts `data` before everything else: bytes that were taken, and not used after all.
    pub fn prepend(&mut self, data: &[u8]) {
        self.bytes.splice(..self.start, data.iter().copied());
        self.start = 0;
    }

    /// Takes the first `count` bytes away.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "more bytes taken than there are");
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Empties the buffer and gives its memory back.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Action {
        Append(Vec<u8>),
        Prepend(Vec<u8>),
        Consume(usize),
        Clear,
    }

    fn action() -> impl Strategy<Value = Action> {
        let data = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            4 => data().prop_map(Action::Append),
            1 => data().prop_map(Action::Prepend),
            4 => (0..60usize).prop_map(Action::Consume),
            1 => Just(Action::Clear),
        ]
    }

    proptest! {
        #[test]
        fn pure_it_is_a_queue(actions in proptest::collection::vec(action(), 0..60)) {
            let (mut buffer, mut model) = (ReadBuffer::new(), Vec::<u8>::new());
            for action in actions {
                match action {
                    Action::Append(data) => {
                        buffer.append(&data);
                        model.extend(data);
                    }
                    Action::Prepend(data) => {
                        buffer.prepend(&data);
                        model.splice(..0, data);
                    }
                    Action::Consume(count) => {
                        let count = count.min(model.len());
                        buffer.consume(count);
                        model.drain(..count);
                    }
                    Action::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(buffer.as_slice(), &model[..]);
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn pure_an_empty_buffer_owns_no_memory() {
        let mut buffer = ReadBuffer::new();
        buffer.append(&[7; 1000]);
        buffer.consume(1000);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn pure_a_steady_stream_does_not_grow_the_memory() {
        let mut buffer = ReadBuffer::new();
        buffer.append(&[1; 100]);
        for _ in 0..10_000 {
            buffer.append(&[2; 64]);
            buffer.consume(64);
        }
        assert!(buffer.bytes.capacity() < 2048, "{}", buffer.bytes.capacity());
    }
}
