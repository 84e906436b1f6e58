//! A turn's sends in one system call, where the kernel offers that.
//!
//! Only the plain case is taken together: a stream with one chunk to send, which is what a server's answers are.
//! Whatever is left, of these streams or of others, goes out one by one afterwards, as all does without a ring.

use std::cell::{Ref, RefCell};

use tulipa::driver::{MAX_SENDS, Outgoing, SendRing};
use tulipa::stream::WriteQueue;

use super::kind::Kind;
use super::stream::Stream;
use super::writing::{self, Sent};
use crate::ffi::raised::finally;
use crate::ffi::{Object, Result};

/// Streams from which on a ring is worth its fixed cost: two are even, from four on it is the cheaper way.
const WORTH_IT: usize = 4;

/// The ring of one loop.
#[derive(Default)]
pub(super) struct Batch(RefCell<State>);

#[derive(Default)]
enum State {
    /// No turn had enough to send yet.
    #[default]
    Unopened,
    Open(Box<SendRing>),
    /// The kernel or a container's rules forbid it.
    Unavailable,
}

/// A stream that is part of the batch, and what it sends, borrowed from its queue while the kernel reads it.
struct Member<'a> {
    transport: &'a Object,
    stream: &'a Stream,
    bytes: Ref<'a, [u8]>,
}

impl Batch {
    /// Closes the ring.
    pub(super) fn close(&self) {
        self.0.take();
    }

    /// Sends what can be sent together.
    #[inline]
    pub(super) fn send(&self, transports: &[Object]) -> Result<()> {
        if transports.len() < WORTH_IT {
            return Ok(());
        }
        transports.chunks(MAX_SENDS).try_for_each(|transports| self.send_some(transports))
    }

    /// The consequences are drawn when nothing is borrowed any more: they may call Python.
    fn send_some(&self, transports: &[Object]) -> Result<()> {
        let mut answers = Vec::with_capacity(transports.len());
        {
            let mut state = self.0.borrow_mut();
            let Some(ring) = state.ring() else { return Ok(()) };
            let members: Vec<_> = transports.iter().filter_map(Member::of).collect();
            let sends: Vec<_> = members.iter().map(Member::outgoing).collect();
            let all = ring.send(&sends, |index, written| {
                let Member { transport, stream, .. } = members[index];
                let offered = sends[index].bytes.len();
                answers.push((transport, stream, written.map(|written| Sent { offered, written })));
            });
            if all.is_err() {
                *state = State::Unavailable;
            }
        }
        let mut outcome = Ok(());
        for (transport, stream, sent) in answers {
            outcome = finally(outcome, || {
                writing::or_fatal(transport, stream, writing::settle(transport, stream, sent))
            });
        }
        outcome
    }
}

impl State {
    /// The ring, opened for this thread if need be: a loop can move to another thread, and a fork copies it.
    fn ring(&mut self) -> Option<&mut SendRing> {
        let open = matches!(self, Self::Open(ring) if ring.is_usable());
        if !open && !matches!(self, Self::Unavailable) {
            *self = SendRing::open().map_or(Self::Unavailable, |ring| Self::Open(Box::new(ring)));
        }
        match self {
            Self::Open(ring) => Some(ring),
            Self::Unopened | Self::Unavailable => None,
        }
    }
}

impl<'a> Member<'a> {
    /// A socket that has one chunk to send, and room in the kernel as far as we know.
    fn of(transport: &'a Object) -> Option<Self> {
        // SAFETY: only streams are listed.
        let stream: &Stream = unsafe { Stream::of(transport.as_ptr()) };
        if stream.kind.get() != Kind::Socket || stream.blocked.get() {
            return None;
        }
        let bytes = Ref::filter_map(stream.queue.borrow(), WriteQueue::sole).ok()?;
        Some(Self { transport, stream, bytes })
    }

    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing { fd: self.stream.fd.get(), bytes: &self.bytes }
    }
}
