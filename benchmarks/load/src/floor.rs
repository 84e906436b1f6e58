//! `floor`: the cheapest echo server that a single-threaded readiness design allows, to which network rows compare; and,
//! with another answer, `http-server`.
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

/// What one connection says to what it hears.
pub(crate) trait Service: Default {
    /// Takes bytes as they arrive and gives what is to be sent.
    ///
    /// # Errors
    /// Ends the connection.
    fn answer<'a>(&'a mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]>;
}

/// Says the same.
#[derive(Default)]
pub(crate) struct Echo;

impl Service for Echo {
    fn answer<'a>(&'a mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        Ok(bytes)
    }
}

/// Runs the command.
pub(crate) fn run<S: Service>(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, INPUT))?;
    report::print(&Listening { port: listener.local_addr()?.port() })?;
    serve::<S>(&listener, &epoll)
}

fn serve<S: Service>(listener: &TcpListener, epoll: &Epoll) -> io::Result<()> {
    let mut connections: Vec<Option<Connection<S>>> = Vec::new();
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

fn accept<S: Service>(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection<S>>>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, FIRST + connections.len() as u64))?;
                connections.push(Some(Connection { stream, service: S::default(), pending: Vec::new() }));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A connection, and what could not be written back yet. While something is pending nothing is read.
struct Connection<S> {
    stream: TcpStream,
    service: S,
    pending: Vec<u8>,
}

impl<S: Service> Connection<S> {
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
            Self::reply(&mut self.stream, &mut self.pending, &pending)?;
            if self.pending.is_empty() {
                epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, data))?;
            }
            return Ok(true);
        }
        let count = self.stream.read(buffer)?;
        let answer = self.service.answer(&buffer[..count])?;
        Self::reply(&mut self.stream, &mut self.pending, answer)?;
        if !self.pending.is_empty() {
            epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLOUT, data))?;
        }
        Ok(count > 0)
    }

    /// Writes what the socket takes and keeps the rest.
    fn reply(stream: &mut TcpStream, pending: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
        let written = match stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            result => result?,
        };
        pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}
