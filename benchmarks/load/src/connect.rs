//! Opening many connections without overrunning the server's accept queue.
//!
//! A SYN that meets a full accept queue is dropped and sent again a second later, which would look like a slow server.
//! So connections are opened in batches, and the last of each batch makes one blocking exchange: the queue is first in,
//! first out, so its reply shows that the server has taken the whole batch. Called by `drive` and `hold`; it leaves
//! the sockets in blocking mode.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::address::Address;
use crate::exchange::Exchange;

/// Connections between two exchanges: fewer than asyncio's default backlog of 100, the smallest in use.
const BATCH: usize = 64;

/// How long a first reply may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where to connect.
pub(crate) struct Server {
    /// The address.
    pub(crate) address: Address,
}

/// Opens `count` connections; with `greet_all` every one makes an exchange, else only the last of each batch.
pub(crate) fn open(
    server: &Server,
    count: usize,
    exchange: &impl Exchange,
    greet_all: bool,
) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    for number in 1..=count {
        let mut stream = server.address.connect().map_err(|error| {
            let text = format!("connection {number} of {count} to {}: {error}", server.address);
            io::Error::new(error.kind(), text)
        })?;
        if greet_all || number % BATCH == 0 || number == count {
            greet(&mut stream, exchange)?;
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// One whole exchange, blocking.
fn greet(stream: &mut TcpStream, exchange: &impl Exchange) -> io::Result<()> {
    let mut exchange = exchange.clone();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(exchange.request())?;
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
