//! The closed loop over datagrams: every socket keeps `depth` messages in flight and sends the next when a reply comes.
//!
//! The network may lose a datagram, and does when a receive buffer is full. What has no reply for a while is sent again;
//! its latency then counts from the first time. Late replies to what was sent twice are ignored.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::drive::{self, PATIENCE, Plan, is_retry};
use crate::report::Measured;

/// How long a reply may take until the message is sent again.
const RESEND: Duration = Duration::from_millis(50);

/// Runs the plan against the server at `address` with messages of `payload`.
///
/// # Errors
/// Whatever the sockets say; `TimedOut` when the server stops answering; `InvalidData` when it answers wrongly.
pub(crate) fn run(address: SocketAddr, payload: &[u8], plan: &Plan) -> io::Result<Measured> {
    let mut driver = Driver::open(address, payload, plan)?;
    drive::measure(plan, |latencies| driver.turn(latencies))
}

/// All sockets and the epoll object that watches them; an event's data is an index into `sockets`.
struct Driver<'a> {
    epoll: Epoll,
    sockets: Vec<Socket>,
    payload: &'a [u8],
    /// Where replies land: one byte longer than they may be.
    buffer: Vec<u8>,
    /// When overdue messages were last looked for, and when the last reply came.
    looked: Instant,
    replied: Instant,
}

/// A connected socket, and when each message in flight was asked, oldest first.
struct Socket {
    socket: UdpSocket,
    asked: VecDeque<Instant>,
}

impl<'a> Driver<'a> {
    /// Connects and puts the first messages in flight.
    fn open(address: SocketAddr, payload: &'a [u8], plan: &Plan) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut sockets = Vec::with_capacity(plan.connections);
        let now = Instant::now();
        for index in 0..plan.connections {
            let own: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(own)?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            let mut socket = Socket { socket, asked: VecDeque::new() };
            for _ in 0..plan.depth {
                socket.ask(payload, now)?;
            }
            sockets.push(socket);
        }
        let buffer = vec![0; payload.len() + 1];
        Ok(Self { epoll, sockets, payload, buffer, looked: now, replied: now })
    }

    /// One wait and everything it brought.
    fn turn(&mut self, latencies: &mut Histogram<u64>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let timeout = EpollTimeout::try_from(RESEND).expect("50 milliseconds fit in an epoll time-out");
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            result => result?,
        };
        let now = Instant::now();
        for event in &events[..count] {
            self.receive(event.data() as usize, now, latencies)?;
        }
        if now - self.looked >= RESEND {
            self.looked = now;
            self.send_overdue(now)?;
        }
        Ok(())
    }

    /// One reply. What else has come is reported again, and the other sockets get their turn.
    fn receive(&mut self, index: usize, now: Instant, latencies: &mut Histogram<u64>) -> io::Result<()> {
        let socket = &mut self.sockets[index];
        let length = match socket.socket.recv(&mut self.buffer) {
            Err(error) if is_retry(&error) => return Ok(()),
            result => result?,
        };
        if &self.buffer[..length] != self.payload {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs from what was sent"));
        }
        self.replied = now;
        let Some(asked) = socket.asked.pop_front() else { return Ok(()) };
        latencies.saturating_record((now - asked).as_nanos() as u64);
        socket.ask(self.payload, now)
    }

    fn send_overdue(&mut self, now: Instant) -> io::Result<()> {
        if now - self.replied >= PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server stopped answering"));
        }
        for socket in &self.sockets {
            for _ in socket.asked.iter().filter(|&&asked| now - asked >= RESEND) {
                socket.send(self.payload)?;
            }
        }
        Ok(())
    }
}

impl Socket {
    /// Puts a message in flight.
    fn ask(&mut self, payload: &[u8], now: Instant) -> io::Result<()> {
        self.asked.push_back(now);
        self.send(payload)
    }

    /// A full send buffer is one more way to lose a message.
    fn send(&self, payload: &[u8]) -> io::Result<()> {
        match self.socket.send(payload) {
            Err(error) if is_retry(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}
