//! `floor`: the cheapest echo server that a single-threaded readiness design allows, to which network rows compare.
//!
//! Level-triggered epoll, one shared read buffer, one read and one write per message, no timers, no fairness, no
//! back-pressure beyond one pending reply per connection. It prints its port and serves until standard input closes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::Serialize;

use crate::report;

/// Event data of the listening socket and of standard input; connections count up from `FIRST`.
const LISTENER: u64 = 0;
const INPUT: u64 = 1;
const FIRST: u64 = 2;

/// What the command prints once it listens.
#[derive(Serialize)]
struct Listening {
    /// Where to connect.
    port: u16,
}

/// Runs the command.
pub(crate) fn run(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, INPUT))?;
    report::print(&Listening { port: listener.local_addr()?.port() })?;
    serve(&listener, &epoll)
}

fn serve(listener: &TcpListener, epoll: &Epoll) -> io::Result<()> {
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        for event in &events[..count] {
            match event.data() {
                LISTENER => accept(listener, epoll, &mut connections)?,
                INPUT if io::stdin().read(&mut [0; 64])? == 0 => return Ok(()),
                INPUT => {}
                data => {
                    let slot = &mut connections[(data - FIRST) as usize];
                    let Some(connection) = slot else { continue };
                    // A failed connection ends alone: dropping its socket also takes it out of the epoll set.
                    if !matches!(connection.handle(event.events(), epoll, data, &mut buffer), Ok(true)) {
                        *slot = None;
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, FIRST + connections.len() as u64))?;
                connections.push(Some(Connection { stream, pending: Vec::new() }));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A connection, and what could not be written back yet. While something is pending nothing is read.
struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Connection {
    /// Answers one event; false when the client is done.
    fn handle(
        &mut self,
        events: EpollFlags,
        epoll: &Epoll,
        data: u64,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        if events.contains(EpollFlags::EPOLLOUT) {
            let pending = std::mem::take(&mut self.pending);
            self.reply(&pending)?;
            if self.pending.is_empty() {
                epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, data))?;
            }
            return Ok(true);
        }
        let count = self.stream.read(buffer)?;
        self.reply(&buffer[..count])?;
        if !self.pending.is_empty() {
            epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLOUT, data))?;
        }
        Ok(count > 0)
    }

    /// Writes what the socket takes and keeps the rest.
    fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match self.stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            result => result?,
        };
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}
