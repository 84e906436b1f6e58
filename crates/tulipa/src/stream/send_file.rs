//! Sending a file through a socket: from where to send next, how much, and when it is done.
//!
//! Sans-IO like the rest of the core: the embedder calls [`sys::sendfile`](crate::sys::sendfile) with what
//! [`SendFile::piece`] says, and tells [`SendFile::advance`] what the kernel took.

/// The most to send by one call. Where the peer empties the socket as fast as it fills (256 MiB over loopback), one call
/// for all of it held the loop up for 45 to 99 ms; pieces of 1 MiB took at most 1.2 ms each, and no longer in all.
const MAX_PIECE: u64 = 1 << 20;

/// Asked for beyond the size that the file had at first: it may have grown.
const MIN_PIECE: u64 = 64 << 10;

/// What comes after a piece.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProgress {
    /// Send the next piece at once.
    Again,
    /// Send it when the socket is writable.
    Wait,
    /// Nothing is left.
    Done,
}

/// The state of one transfer.
#[derive(Clone, Debug)]
pub struct SendFile {
    /// Where in the file it began.
    start: u64,
    /// Bytes sent.
    sent: u64,
    /// Bytes to send; none: up to the file's end, wherever that is by then.
    count: Option<u64>,
    /// The file's size at first.
    size: u64,
}

impl SendFile {
    /// Sends from `offset` on: `count` bytes, or all of a file that is `size` bytes long now.
    pub const fn new(offset: u64, count: Option<u64>, size: u64) -> Self {
        Self { start: offset, sent: 0, count, size }
    }

    /// Bytes sent so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Where in the file the next piece begins.
    pub const fn position(&self) -> u64 {
        self.start.saturating_add(self.sent)
    }

    /// How much to send next; none when all that was asked for is sent.
    pub fn piece(&self) -> Option<usize> {
        let left = match self.count {
            Some(count) => count.saturating_sub(self.sent),
            None => self.size.saturating_sub(self.position()).max(MIN_PIECE),
        };
        let piece = usize::try_from(left.min(MAX_PIECE)).unwrap_or(usize::MAX);
        (piece > 0).then_some(piece)
    }

    /// Records that the kernel took `taken` bytes of the piece; none at all is the file's end.
    pub fn advance(&mut self, taken: usize) -> SendProgress {
        let Some(asked) = self.piece().filter(|_| taken > 0) else { return SendProgress::Done };
        self.sent += taken as u64;
        match self.piece() {
            None => SendProgress::Done,
            Some(_) if taken < asked || asked as u64 == MAX_PIECE => SendProgress::Wait,
            // The file should be at its end, which another call finds out without room in the socket.
            Some(_) => SendProgress::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_a_count_ends_the_transfer() {
        let mut file = SendFile::new(10, Some(100), 1000);
        assert_eq!(file.piece(), Some(100));
        assert_eq!(file.advance(60), SendProgress::Wait);
        assert_eq!((file.sent(), file.position(), file.piece()), (60, 70, Some(40)));
        assert_eq!(file.advance(40), SendProgress::Done);
        assert_eq!((file.sent(), file.piece()), (100, None));
    }

    #[test]
    fn pure_a_count_beyond_the_end_stops_there() {
        let mut file = SendFile::new(0, Some(100), 50);
        assert_eq!(file.advance(50), SendProgress::Wait);
        assert_eq!(file.advance(0), SendProgress::Done);
        assert_eq!(file.sent(), 50);
    }

    #[test]
    fn pure_without_a_count_the_end_is_asked_for() {
        let size = 3 * MAX_PIECE / 2;
        let mut file = SendFile::new(0, None, size);
        assert_eq!(file.piece(), Some(MAX_PIECE as usize));
        assert_eq!(file.advance(MAX_PIECE as usize), SendProgress::Wait);
        assert_eq!(file.advance(MAX_PIECE as usize / 2), SendProgress::Again);
        // Grown meanwhile.
        assert_eq!(file.piece(), Some(MIN_PIECE as usize));
        assert_eq!(file.advance(5), SendProgress::Wait);
        assert_eq!(file.advance(0), SendProgress::Done);
        assert_eq!(file.sent(), size + 5);
    }
}
