//! Opening many connections without overrunning the server's accept queue.
//!
//! A SYN that meets a full accept queue is dropped and sent again a second later, which would look like a slow server.
//! So connections are opened in batches, and the last of each batch makes one blocking exchange: the queue is first in,
//! first out, so its reply shows that the server has taken the whole batch. Called by `drive` and `hold`; it leaves
//! the sockets in blocking mode.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::address::Address;
use crate::exchange::Exchange;
use crate::wire::Wire;

/// Connections between two exchanges: fewer than asyncio's default backlog of 100, the smallest in use.
const BATCH: usize = 64;

/// How long a first reply may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where to connect, and how to speak there.
pub(crate) struct Server {
    /// The address.
    pub(crate) address: Address,
    /// For TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Opens `count` connections; with `greet_all` every one makes an exchange, else only the last of each batch.
pub(crate) fn open(
    server: &Server,
    count: usize,
    exchange: &impl Exchange,
    greet_all: bool,
) -> io::Result<Vec<Wire>> {
    let mut streams = Vec::with_capacity(count);
    for number in 1..=count {
        let failed = |error: io::Error| {
            let text = format!("connection {number} of {count} to {}: {error}", server.address);
            io::Error::new(error.kind(), text)
        };
        let socket = server.address.connect().map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut stream = Wire::new(socket, server.tls.as_ref()).map_err(failed)?;
        if greet_all || number % BATCH == 0 || number == count {
            greet(&mut stream, exchange)?;
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// One whole exchange, blocking.
fn greet(stream: &mut Wire, exchange: &impl Exchange) -> io::Result<()> {
    let mut exchange = exchange.clone();
    let mut written = 0;
    while written < exchange.request().len() {
        written += stream.write(&exchange.request()[written..])?;
    }
    stream.flush()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match stream.read(&mut buffer) {
            // What a blocking socket says when its read time-out has passed.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
            }
            result => result?,
        };
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a new connection"));
        }
        if exchange.receive(&buffer[..count])? > 0 {
            return Ok(());
        }
    }
}
