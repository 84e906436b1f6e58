//! The life of a stream: what each half is doing, whether the connection is being given up, and why.
//!
//! ```text
//!   Open --close()--> Flushing --emptied()--> Lost --take_loss()--> Closed
//!     \                  \---- fail(error) ---^
//!      \----- close() on an empty queue, or fail(error) -----------^  (Lost)
//! ```
//!
//! `Lost` means: reading and writing have ended, and the protocol is still to be told, once. The first error
//! wins; later ones are handed back. The machine does nothing by itself. Each transition answers what the
//! caller must do.

/// What became of a request to write.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Send it or queue it; also while closing, as long as the queue is still going out.
    Accept,
    /// A mistake of the caller: the writing half was ended by `write_eof`.
    AfterEof,
    /// The connection is lost: throw the bytes away.
    Discard,
}

/// What became of a request to end the writing half.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEof {
    /// Shut the descriptor's writing half down now.
    SendNow,
    /// When the queue has drained.
    Later,
    /// It was ended before, or the stream is closing.
    Already,
}

/// What became of a request to close.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Stop reading and report the loss.
    Now,
    /// Stop reading, and close when the queue has drained.
    AfterFlush,
    /// It was closing before.
    Already,
}

/// What became of an error.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Fail<E> {
    /// It is the reason of the loss: stop reading and writing, throw the queue away, report the loss.
    First,
    /// The stream was lost before; here is the error back.
    Already(E),
}

/// What an emptied queue means.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// Nothing more than that.
    Nothing,
    /// The end that `write_eof` asked for goes out now.
    SendEof,
    /// The stream was only waiting for this: report the loss.
    Lost,
}

/// The reading half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadSide {
    /// The protocol wants data.
    Open,
    /// It asked for a pause.
    Paused,
}

/// The writing half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteSide {
    /// Bytes are welcome.
    Open,
    /// `write_eof` waits for the queue.
    EofWanted,
    /// The peer has been told.
    EofSent,
}

/// The connection as a whole.
#[derive(Debug)]
enum Life<E> {
    /// Up.
    Open,
    /// Closing, with bytes still going out.
    Flushing,
    /// Down, the protocol not yet told; with the error if there was one.
    Lost(Option<E>),
    /// Down, and told.
    Closed,
}

/// The state machine of one stream; `E` is the embedder's error.
#[derive(Debug)]
pub struct StreamState<E> {
    /// The connection.
    life: Life<E>,
    /// The reading half, as the protocol wants it.
    read: ReadSide,
    /// Whether the peer has ended its half.
    read_eof: bool,
    /// The writing half.
    write: WriteSide,
}

/// Questions.
impl<E> StreamState<E> {
    /// A stream that reads and writes.
    pub const fn new() -> Self {
        Self { life: Life::Open, read: ReadSide::Open, read_eof: false, write: WriteSide::Open }
    }

    /// Whether the stream is closing, lost or closed.
    #[inline]
    pub const fn is_closing(&self) -> bool {
        !matches!(self.life, Life::Open)
    }

    /// Whether neither half works any more.
    #[inline]
    pub const fn is_lost(&self) -> bool {
        matches!(self.life, Life::Lost(_) | Life::Closed)
    }

    /// Whether the loss has been reported.
    pub const fn is_closed(&self) -> bool {
        matches!(self.life, Life::Closed)
    }

    /// Whether the protocol wants data: asyncio's `is_reading()`.
    #[inline]
    pub const fn is_reading(&self) -> bool {
        !self.is_closing() && matches!(self.read, ReadSide::Open)
    }

    /// Whether to watch the descriptor for data: it is wanted, and the peer has not ended its half.
    #[inline]
    pub const fn wants_read(&self) -> bool {
        self.is_reading() && !self.read_eof
    }

    /// Whether `write_eof` was called.
    pub const fn is_eof_written(&self) -> bool {
        !matches!(self.write, WriteSide::Open)
    }

    /// What to do with bytes to write.
    #[inline]
    pub const fn check_write(&self) -> Write {
        match (self.write, &self.life) {
            (WriteSide::EofWanted | WriteSide::EofSent, _) => Write::AfterEof,
            (WriteSide::Open, Life::Lost(_) | Life::Closed) => Write::Discard,
            (WriteSide::Open, Life::Open | Life::Flushing) => Write::Accept,
        }
    }

    /// The latched error, until it is taken with the loss.
    pub const fn error(&self) -> Option<&E> {
        match &self.life {
            Life::Lost(error) => error.as_ref(),
            Life::Open | Life::Flushing | Life::Closed => None,
        }
    }
}

/// Transitions.
impl<E> StreamState<E> {
    /// The protocol wants no data for now. Whether that is a change, so that watching stops.
    #[must_use]
    pub const fn pause_reading(&mut self) -> bool {
        let was_reading = self.is_reading();
        if was_reading {
            self.read = ReadSide::Paused;
        }
        was_reading
    }

    /// It wants data again. Whether that is a change, so that watching resumes. If the peer has ended its half, that is
    /// found, and is news, once more: it may be another protocol by now that waits for it.
    #[must_use]
    pub const fn resume_reading(&mut self) -> bool {
        let resumes = !self.is_closing() && matches!(self.read, ReadSide::Paused);
        if resumes {
            self.read = ReadSide::Open;
            self.read_eof = false;
        }
        resumes
    }

    /// The peer has ended its half, and the connection stays open: there is nothing more to read, until reading is
    /// resumed after a pause.
    pub const fn receive_eof(&mut self) {
        self.read_eof = true;
    }

    /// Ends the writing half, once the queue is empty.
    pub const fn write_eof(&mut self, queue_is_empty: bool) -> WriteEof {
        if self.is_closing() || self.is_eof_written() {
            return WriteEof::Already;
        }
        if queue_is_empty {
            self.write = WriteSide::EofSent;
            return WriteEof::SendNow;
        }
        self.write = WriteSide::EofWanted;
        WriteEof::Later
    }

    /// Closes, once the queue is empty.
    pub fn close(&mut self, queue_is_empty: bool) -> Close {
        if self.is_closing() {
            return Close::Already;
        }
        if queue_is_empty {
            self.life = Life::Lost(None);
            return Close::Now;
        }
        self.life = Life::Flushing;
        Close::AfterFlush
    }

    /// Gives the connection up because of `error`.
    pub fn fail(&mut self, error: E) -> Fail<E> {
        if self.is_lost() {
            return Fail::Already(error);
        }
        self.life = Life::Lost(Some(error));
        Fail::First
    }

    /// Gives the connection up without a reason: asyncio's `abort()`. Whether that is a change.
    #[must_use]
    pub fn abort(&mut self) -> bool {
        let is_change = !self.is_lost();
        if is_change {
            self.life = Life::Lost(None);
        }
        is_change
    }

    /// The queue has become empty.
    pub fn emptied(&mut self) -> Emptied {
        match (&self.life, self.write) {
            (Life::Flushing, _) => {
                self.life = Life::Lost(None);
                Emptied::Lost
            }
            (Life::Open, WriteSide::EofWanted) => {
                self.write = WriteSide::EofSent;
                Emptied::SendEof
            }
            _ => Emptied::Nothing,
        }
    }

    /// The moment to tell the protocol: the loss, with the error if there was one. `None` unless the stream
    /// is lost and this is the first call.
    pub fn take_loss(&mut self) -> Option<Option<E>> {
        if !matches!(self.life, Life::Lost(_)) {
            return None;
        }
        match std::mem::replace(&mut self.life, Life::Closed) {
            Life::Lost(error) => Some(error),
            Life::Open | Life::Flushing | Life::Closed => None,
        }
    }
}

impl<E> Default for StreamState<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pure_closing_waits_for_the_queue_and_reports_once() {
        let mut state = StreamState::<&str>::new();
        assert_eq!(state.close(false), Close::AfterFlush);
        assert!(state.is_closing() && !state.is_lost() && !state.is_reading());
        assert_eq!(state.check_write(), Write::Accept);
        assert_eq!(state.close(true), Close::Already);
        assert_eq!(state.take_loss(), None);
        assert_eq!(state.emptied(), Emptied::Lost);
        assert_eq!(state.check_write(), Write::Discard);
        assert_eq!(state.take_loss(), Some(None));
        assert_eq!(state.take_loss(), None);
        assert!(state.is_closed());
    }

    #[test]
    fn pure_the_first_error_is_the_one_reported() {
        let mut state = StreamState::new();
        assert_eq!(state.close(false), Close::AfterFlush);
        assert_eq!(state.fail("reset"), Fail::First);
        assert_eq!(state.fail("pipe"), Fail::Already("pipe"));
        assert!(!state.abort());
        assert_eq!(state.error(), Some(&"reset"));
        assert_eq!(state.emptied(), Emptied::Nothing);
        assert_eq!(state.take_loss(), Some(Some("reset")));
        assert_eq!(state.error(), None);
    }

    #[test]
    fn pure_half_close_leaves_reading_open() {
        let mut state = StreamState::<()>::new();
        assert_eq!(state.write_eof(false), WriteEof::Later);
        assert_eq!(state.write_eof(true), WriteEof::Already);
        assert_eq!(state.check_write(), Write::AfterEof);
        assert_eq!(state.emptied(), Emptied::SendEof);
        assert_eq!(state.emptied(), Emptied::Nothing);
        assert!(state.wants_read());
        state.receive_eof();
        assert!(!state.wants_read());
        assert!(state.is_reading());
    }

    #[test]
    fn pure_an_end_is_news_again_to_who_resumes_reading() {
        let mut state = StreamState::<()>::new();
        state.receive_eof();
        assert!(state.pause_reading());
        assert!(!state.wants_read());
        assert!(state.resume_reading());
        assert!(state.wants_read());
        state.receive_eof();
        assert!(!state.wants_read());
    }

    #[test]
    fn pure_pausing_twice_is_one_change() {
        let mut state = StreamState::<()>::new();
        assert!(!state.resume_reading());
        assert!(state.pause_reading());
        assert!(!state.pause_reading());
        assert!(!state.wants_read());
        assert!(state.resume_reading());
        assert!(state.abort());
        assert!(!state.pause_reading());
        assert!(!state.resume_reading());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Queue,
        Drain,
        Pause,
        Resume,
        WriteEof,
        Close,
        Fail(u8),
        Abort,
        TakeLoss,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Queue),
            Just(Step::Drain),
            Just(Step::Pause),
            Just(Step::Resume),
            Just(Step::WriteEof),
            Just(Step::Close),
            any::<u8>().prop_map(Step::Fail),
            Just(Step::Abort),
            Just(Step::TakeLoss),
        ]
    }

    /// The naive model: a handful of flags, changed the way asyncio's selector transport changes its own.
    #[derive(Debug, Default)]
    #[expect(clippy::struct_excessive_bools, reason = "flags are what the model is")]
    struct Flags {
        buffered: bool,
        paused: bool,
        closing: bool,
        eof: bool,
        shut_down: bool,
        lost: bool,
        told: bool,
        error: Option<u8>,
    }

    impl Flags {
        fn lose(&mut self, error: Option<u8>) {
            if !self.lost {
                (self.closing, self.lost, self.buffered, self.error) = (true, true, false, error);
            }
        }

        fn apply(&mut self, step: Step) {
            match step {
                Step::Queue => self.buffered |= !self.eof && !self.lost,
                Step::Drain => {
                    if std::mem::take(&mut self.buffered) {
                        if self.closing {
                            self.lose(None);
                        } else {
                            self.shut_down |= self.eof;
                        }
                    }
                }
                Step::Pause => self.paused |= !self.closing,
                Step::Resume => self.paused &= self.closing,
                Step::WriteEof => {
                    if !self.closing && !self.eof {
                        self.eof = true;
                        self.shut_down = !self.buffered;
                    }
                }
                Step::Close => {
                    if !self.closing {
                        self.closing = true;
                        if !self.buffered {
                            self.lose(None);
                        }
                    }
                }
                Step::Fail(error) => self.lose(Some(error)),
                Step::Abort => self.lose(None),
                Step::TakeLoss => {
                    if self.lost && !std::mem::replace(&mut self.told, true) {
                        self.error = None;
                    }
                }
            }
        }
    }

    /// A stream face reduced to two flags: it does what the answers say.
    #[derive(Default)]
    struct Face {
        state: StreamState<u8>,
        buffered: bool,
        shut_down: bool,
    }

    impl Face {
        fn apply(&mut self, step: Step) {
            let state = &mut self.state;
            match step {
                Step::Queue => self.buffered |= state.check_write() == Write::Accept,
                Step::Drain if std::mem::take(&mut self.buffered) => {
                    self.shut_down |= state.emptied() == Emptied::SendEof;
                }
                Step::Drain => {}
                Step::Pause => drop(state.pause_reading()),
                Step::Resume => drop(state.resume_reading()),
                Step::WriteEof => self.shut_down |= state.write_eof(!self.buffered) == WriteEof::SendNow,
                Step::Close => drop(state.close(!self.buffered)),
                Step::Fail(error) => self.buffered &= state.fail(error) != Fail::First,
                Step::Abort => self.buffered &= !state.abort(),
                Step::TakeLoss => drop(state.take_loss()),
            }
        }
    }

    proptest! {
        #[test]
        fn model_every_history_ends_like_the_flags(steps in prop::collection::vec(step(), 0..40)) {
            let (mut face, mut flags) = (Face::default(), Flags::default());
            for step in steps {
                face.apply(step);
                flags.apply(step);
                let state = &face.state;
                prop_assert_eq!(state.is_closing(), flags.closing);
                prop_assert_eq!(state.is_reading(), !flags.closing && !flags.paused);
                prop_assert_eq!(state.is_eof_written(), flags.eof);
                prop_assert_eq!(face.shut_down, flags.shut_down);
                prop_assert_eq!(state.is_lost(), flags.lost);
                prop_assert_eq!(state.is_closed(), flags.told);
                prop_assert_eq!(state.error().copied(), flags.error);
                prop_assert_eq!(face.buffered, flags.buffered);
            }
        }
    }
}
