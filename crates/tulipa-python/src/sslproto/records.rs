//! Where TLS records begin and end in what has come in, read from their five-byte headers.
//!
//! Pure: neither Python nor I/O. Who knows that no whole record is waiting need not ask the ssl module, which answers
//! "not yet" by an exception. A record that holds no data for the program (a session ticket, say) counts too: asking
//! once too often is only slow.

/// Content type, version and length.
const HEADER: usize = 5;
/// The largest body of a record: 16 KiB of data, and what the oldest ciphers may add.
const MAX_BODY: usize = (1 << 14) + 2048;

/// The place in the stream, and how much of it was not read yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Records {
    /// The header of the record that is coming in, as far as it is here.
    header: [u8; HEADER],
    /// How much of that.
    filled: usize,
    /// How much of its body is still to come.
    missing: usize,
    /// How much of the record is here.
    partial: usize,
    /// Whole records that were not read yet.
    whole: usize,
    /// All bytes that were not read yet.
    unread: usize,
    /// A header was no header: the ssl module shall say what it thinks of the rest.
    broken: bool,
}

impl Records {
    /// Takes in the beginning of `data`, up to the end of the record in which it exceeds `limit`; how much that is.
    pub(super) fn advance(&mut self, data: &[u8], limit: usize) -> usize {
        let mut taken = 0;
        while taken < data.len() && taken < limit {
            if self.broken {
                taken = data.len();
                self.whole += 1;
                break;
            }
            taken += self.step(&data[taken..]);
        }
        self.unread += taken;
        taken
    }

    /// Header or body of one record, as far as it is here.
    fn step(&mut self, data: &[u8]) -> usize {
        let mut taken = 0;
        if self.filled < HEADER {
            taken = data.len().min(HEADER - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
            self.filled += taken;
            if self.filled < HEADER {
                self.partial += taken;
                return taken;
            }
            self.missing = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            if !matches!(self.header[0], 20..=24) || self.header[1] != 3 || self.missing > MAX_BODY {
                self.broken = true;
                self.whole += 1;
                return taken;
            }
        }
        let body = (data.len() - taken).min(self.missing);
        self.missing -= body;
        self.partial += taken + body;
        if self.missing == 0 {
            (self.filled, self.partial) = (0, 0);
            self.whole += 1;
        }
        taken + body
    }

    /// Whether reading is worth while.
    pub(super) fn is_readable(&self) -> bool {
        self.whole > 0
    }

    /// One record was read to its end.
    pub(super) fn read_one(&mut self) {
        self.whole = self.whole.saturating_sub(1);
        if self.whole == 0 {
            self.unread = self.partial;
        }
    }

    /// The ssl module has nothing to read before more comes in.
    pub(super) fn read_all(&mut self) {
        (self.whole, self.unread) = (0, self.partial);
    }

    /// Bytes that were not read yet: no more data than these can come out.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut record = vec![kind, 3, 3, (length >> 8) as u8, length as u8];
        record.resize(HEADER + length, 0xaa);
        record
    }

    #[test]
    fn pure_records_are_counted_across_any_split() {
        let stream = [record(23, 100), record(21, 2), record(23, 0), record(22, 300)].concat();
        for size in 1..stream.len() {
            let mut records = Records::default();
            for part in stream.chunks(size) {
                assert_eq!(records.advance(part, usize::MAX), part.len());
            }
            assert_eq!((records.whole, records.unread()), (4, stream.len()), "in pieces of {size}");
        }
    }

    #[test]
    fn pure_a_batch_ends_with_the_record_that_exceeds_the_limit() {
        let stream = [record(23, 100), record(23, 100), record(23, 100)].concat();
        let mut records = Records::default();
        assert_eq!(records.advance(&stream, 106), 210);
        assert_eq!(records.whole, 2);
        records.read_one();
        assert!(records.is_readable());
        records.read_one();
        assert!(!records.is_readable());
        assert_eq!(records.unread(), 0);
        assert_eq!(records.advance(&stream[210..250], 1), 40);
        assert!(!records.is_readable());
        assert_eq!(records.unread(), 40);
    }

    #[test]
    fn pure_what_is_no_record_is_shown_to_the_ssl_module_at_once() {
        let mut records = Records::default();
        assert_eq!(records.advance(b"GET / HTTP/1.1\r\n", usize::MAX), 16);
        assert!(records.is_readable());
        records.read_all();
        assert!(!records.is_readable());
        assert_eq!(records.advance(b"more", usize::MAX), 4);
        assert!(records.is_readable());
    }
}
