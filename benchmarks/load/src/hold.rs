//! `connections`: opens connections and holds them, silent, until standard input closes.
//!
//! The harness reads the server's memory between the JSON line and the end of input. At most one byte travels on any
//! connection, so what is measured is the connection and not its buffers.

use std::io::{self, Read};
use std::time::Instant;

use serde::Serialize;

use crate::connect::Server;
use crate::exchange::Echo;
use crate::{connect, report};

/// What the command prints once all connections stand.
#[derive(Serialize)]
struct Held {
    /// How many stand.
    connections: usize,
    /// How long it took to open them.
    seconds: f64,
}

/// Runs the command.
pub(crate) fn run(server: &Server, count: usize, greet_all: bool) -> io::Result<()> {
    let begin = Instant::now();
    let streams = connect::open(server, count, &Echo::new(1), greet_all)?;
    report::print(&Held { connections: streams.len(), seconds: begin.elapsed().as_secs_f64() })?;
    io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
    Ok(())
}
