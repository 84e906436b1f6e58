//! A turn's requests in one system call, so that the load generator costs less than any server that it measures.
//!
//! A send is most of what a message costs on either side. One by one they would keep the generator as busy as a good
//! server, which would then be measured while it waits. Where the kernel has no rings nothing is sent here, and the
//! caller sends one by one.

use std::io;

use tulipa::driver::{MAX_SENDS, Outgoing, SendRing};

use crate::drive::{Connection, is_retry};
use crate::exchange::Exchange;

/// The ring, where there is one.
pub(crate) struct Burst(Option<SendRing>);

impl Burst {
    /// Opens the ring for this thread.
    pub(crate) fn open() -> Self {
        Self(SendRing::open().ok())
    }

    /// Sends what the connections at `indices` owe, as far as their sockets take it.
    ///
    /// # Errors
    /// What a socket says, unless it is only full.
    pub(crate) fn send<E: Exchange>(
        &mut self,
        connections: &mut [Connection<E>],
        indices: &[usize],
    ) -> io::Result<()> {
        let Some(ring) = &mut self.0 else { return Ok(()) };
        for indices in indices.chunks(MAX_SENDS).filter(|indices| indices.len() > 1) {
            for (index, sent) in send_some(ring, connections, indices)? {
                match sent {
                    Ok(count) => connections[index].wrote(count),
                    Err(error) if is_retry(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// One call of the ring, and what became of each send.
fn send_some<E: Exchange>(
    ring: &mut SendRing,
    connections: &[Connection<E>],
    indices: &[usize],
) -> io::Result<Vec<(usize, io::Result<usize>)>> {
    let plain: Vec<_> =
        indices.iter().filter_map(|&index| Some((index, connections[index].plain()?))).collect();
    let sends: Vec<_> = plain.iter().map(|&(_, (fd, bytes))| Outgoing { fd, bytes }).collect();
    let mut answers = Vec::with_capacity(sends.len());
    ring.send(&sends, |at, sent| answers.push((plain[at].0, sent)))?;
    Ok(answers)
}
