//! How long one stream may read before the others have their turn.

/// Reads granted per readiness event. A stream that fills its buffer each time is repeated this often at
/// most: the next event costs some 650 ns (the wait and the dispatch), which is a few per cent of reading 16
/// x 64 KiB.
const READS_PER_EVENT: u32 = 16;

/// Decides after each read whether to read again for the same readiness event.
///
/// # Examples
///
/// ```
/// use tulipa::stream::ReadBudget;
///
/// let mut budget = ReadBudget::new();
/// assert!(budget.spend(4096, 4096)); // the buffer was filled: there may be more
/// assert!(!budget.spend(4096, 100)); // a short read: the socket is empty now
/// ```
#[derive(Debug)]
pub struct ReadBudget {
    /// Reads left for this event.
    left: u32,
    /// What the last read says of the socket.
    socket: Socket,
}

/// What is left in a socket after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    /// Perhaps more.
    Unknown,
    /// No more data, as far as a short read says so.
    NoData,
    /// Nothing.
    Empty,
}

impl ReadBudget {
    /// The budget of one readiness event.
    pub const fn new() -> Self {
        Self { left: READS_PER_EVENT, socket: Socket::Unknown }
    }

    /// Records a read of `received` bytes into `room`; whether another is worth while. Not after a short read: the
    /// socket is most likely empty, and if it is not, level-triggered readiness will say so, or edges after a look
    /// anew ([`ReadBudget::is_used_up`]). Reading on until `WouldBlock` was measured to cost an echo server 4 to 7 per
    /// cent.
    #[must_use]
    pub const fn spend(&mut self, room: usize, received: usize) -> bool {
        self.left = self.left.saturating_sub(1);
        self.socket = if received < room { Socket::NoData } else { Socket::Unknown };
        self.left > 0 && received == room && received > 0
    }

    /// Records a read that would have blocked.
    pub const fn would_block(&mut self) {
        self.socket = Socket::Empty;
    }

    /// Whether nothing is left to read, so that an edge tells of what comes. A short read does not say so when there is
    /// more than data to find, as `is_behind_data` says.
    #[inline]
    pub const fn is_used_up(&self, is_behind_data: bool) -> bool {
        match self.socket {
            Socket::Unknown => false,
            Socket::NoData => !is_behind_data,
            Socket::Empty => true,
        }
    }
}

impl Default for ReadBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_full_reads_go_on_until_the_budget_is_spent() {
        let mut budget = ReadBudget::default();
        let granted = (1..100).take_while(|_| budget.spend(10, 10)).count() + 1;
        assert_eq!(granted, READS_PER_EVENT as usize);
    }

    #[test]
    fn pure_short_reads_and_the_end_of_stream_stop() {
        assert!(!ReadBudget::new().spend(10, 9));
        assert!(!ReadBudget::new().spend(10, 0));
        assert!(!ReadBudget::new().spend(0, 0));
    }

    #[test]
    fn pure_only_the_last_read_says_whether_all_is_read() {
        let mut budget = ReadBudget::new();
        assert!(!budget.is_used_up(false));
        for (received, used_up) in [(10, false), (9, true), (10, false), (0, true)] {
            let _ = budget.spend(10, received);
            assert_eq!(budget.is_used_up(false), used_up);
            assert!(!budget.is_used_up(true));
        }
        budget.would_block();
        assert!(budget.is_used_up(true));
    }
}
