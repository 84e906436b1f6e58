//! The closed loop: every connection keeps `depth` requests in flight and sends the next when a reply is complete.
//!
//! Three phases: warm-up, measured, draining. Draining waits for what is in flight, so that the server sees orderly
//! closes, and proves that no reply was lost. Level-triggered epoll; interest in writing only while a write is blocked.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::connect::{self, Server};
use crate::exchange::Exchange;
use crate::report::{self, Measured};
use crate::wire::Wire;

/// Without any event for this long, the server is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What to do, for how long.
pub(crate) struct Plan {
    /// Connections open at once.
    pub(crate) connections: usize,
    /// Requests in flight on each.
    pub(crate) depth: usize,
    /// Load before the measured part.
    pub(crate) warmup: Duration,
    /// When the measured part ends.
    pub(crate) until: Until,
    /// Whose CPU time to read.
    pub(crate) server_pid: Option<i32>,
}

/// The end of the measured part.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After so many replies.
    Messages(u64),
}

/// Runs the plan against the server.
///
/// # Errors
/// Whatever the sockets say; `TimedOut` when the server stops answering; `InvalidData` when it answers wrongly.
pub(crate) fn run(server: &Server, exchange: &impl Exchange, plan: &Plan) -> io::Result<Measured> {
    let mut driver = Driver::open(server, exchange, plan)?;
    let measured = measure(plan, |latencies| driver.turn(latencies))?;
    driver.drain()?;
    Ok(measured)
}

/// Warms up and measures: `turn` waits once and notes the replies that came.
pub(crate) fn measure(
    plan: &Plan,
    mut turn: impl FnMut(&mut Histogram<u64>) -> io::Result<()>,
) -> io::Result<Measured> {
    drive(plan.server_pid, Until::Elapsed(plan.warmup), &mut turn)?;
    drive(plan.server_pid, plan.until, &mut turn)
}

/// Keeps the load up until the phase ends.
fn drive(
    server_pid: Option<i32>,
    until: Until,
    turn: &mut impl FnMut(&mut Histogram<u64>) -> io::Result<()>,
) -> io::Result<Measured> {
    let server_cpu = || server_pid.map(|pid| report::cpu_time(Some(pid))).transpose();
    let mut latencies = report::latencies();
    let (begin, load_begin, server_begin) = (Instant::now(), report::cpu_time(None)?, server_cpu()?);
    while match until {
        Until::Elapsed(duration) => begin.elapsed() < duration,
        Until::Messages(messages) => latencies.len() < messages,
    } {
        turn(&mut latencies)?;
    }
    let (seconds, server_end) = (begin.elapsed().as_secs_f64(), server_cpu()?);
    Ok(Measured {
        messages: latencies.len(),
        seconds,
        load_cpu_seconds: report::cpu_time(None)? - load_begin,
        server_cpu_seconds: server_begin.zip(server_end).map(|(begin, end)| end - begin),
        p50_us: report::microseconds(&latencies, 0.5),
        p99_us: report::microseconds(&latencies, 0.99),
        max_us: report::microseconds(&latencies, 1.0),
    })
}

/// All connections and the epoll object that watches them; an event's data is an index into `connections`.
struct Driver<E> {
    epoll: Epoll,
    connections: Vec<Connection<E>>,
    /// Where every read lands.
    buffer: Vec<u8>,
    /// False while draining: replies no longer lead to requests.
    sending: bool,
}

impl<E: Exchange> Driver<E> {
    /// Connects and puts the first requests in flight.
    fn open(server: &Server, exchange: &E, plan: &Plan) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // One more than is ever in flight, so that any run of owed bytes is one contiguous slice.
        let requests: Rc<[u8]> = exchange.request().repeat(plan.depth + 1).into();
        let mut connections = Vec::with_capacity(plan.connections);
        for (index, stream) in
            connect::open(server, plan.connections, exchange, false)?.into_iter().enumerate()
        {
            stream.socket.set_nonblocking(true)?;
            epoll.add(&stream.socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            connections.push(Connection::new(stream, exchange.clone(), Rc::clone(&requests)));
        }
        let mut driver = Self { epoll, connections, buffer: vec![0; 256 * 1024], sending: true };
        let now = Instant::now();
        for index in 0..plan.connections {
            driver.connections[index].ask(plan.depth, now);
            driver.flush(index)?;
        }
        Ok(driver)
    }

    /// Waits for every reply still owed.
    fn drain(&mut self) -> io::Result<()> {
        self.sending = false;
        let mut ignored = report::latencies();
        while self.connections.iter().any(|connection| !connection.asked.is_empty()) {
            self.turn(&mut ignored)?;
        }
        Ok(())
    }

    /// One wait and everything it brought.
    fn turn(&mut self, latencies: &mut Histogram<u64>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let patience = EpollTimeout::try_from(PATIENCE).expect("ten seconds fit in an epoll time-out");
        let count = match self.epoll.wait(&mut events, patience) {
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            result => result?,
        };
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server stopped answering"));
        }
        for event in &events[..count] {
            self.handle(event.data() as usize, event.events(), latencies)?;
        }
        Ok(())
    }

    fn handle(&mut self, index: usize, events: EpollFlags, latencies: &mut Histogram<u64>) -> io::Result<()> {
        if events.contains(EpollFlags::EPOLLOUT) {
            self.flush(index)?;
        }
        if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Ok(());
        }
        let connection = &mut self.connections[index];
        let replies = connection.read(&mut self.buffer)?;
        if replies == 0 {
            return Ok(());
        }
        let now = Instant::now();
        connection.answered(replies, now, latencies)?;
        if self.sending {
            connection.ask(replies, now);
            self.flush(index)?;
        }
        Ok(())
    }

    /// Writes what a connection owes and keeps its interest in step with whether that blocked.
    fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let blocked = !connection.write()?;
        if blocked != connection.blocked {
            connection.blocked = blocked;
            let interest =
                if blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll.modify(&connection.stream.socket, &mut EpollEvent::new(interest, index as u64))?;
        }
        Ok(())
    }
}

/// One connection and what is in flight on it.
struct Connection<E> {
    stream: Wire,
    exchange: E,
    /// `depth + 1` requests in a row, shared by all connections.
    requests: Rc<[u8]>,
    /// Bytes of asked requests that are not written yet.
    owed: usize,
    /// Where in a request the next write begins.
    at: usize,
    /// When each request in flight was asked, oldest first.
    asked: VecDeque<Instant>,
    /// Whether the last write could not finish.
    blocked: bool,
}

impl<E: Exchange> Connection<E> {
    fn new(stream: Wire, exchange: E, requests: Rc<[u8]>) -> Self {
        Self { stream, exchange, requests, owed: 0, at: 0, asked: VecDeque::new(), blocked: false }
    }

    /// Reads what one event announced; how many replies that completed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut replies = 0;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed a connection",
                    ));
                }
                Err(error) if is_retry(&error) => return Ok(replies),
                result => result?,
            };
            replies += self.exchange.receive(&buffer[..count])?;
            // One read per event: what is left in the socket is reported again, and the others get their turn. What is
            // decrypted already is not reported.
            if !self.stream.holds_data() {
                return Ok(replies);
            }
        }
    }

    /// Puts requests in flight; the caller writes them.
    fn ask(&mut self, count: usize, now: Instant) {
        self.owed += count * self.exchange.request().len();
        self.asked.extend(std::iter::repeat_n(now, count));
    }

    /// Takes replies off what is in flight.
    fn answered(&mut self, count: usize, now: Instant, latencies: &mut Histogram<u64>) -> io::Result<()> {
        for _ in 0..count {
            let Some(asked) = self.asked.pop_front() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "more replies than requests"));
            };
            latencies.saturating_record((now - asked).as_nanos() as u64);
        }
        Ok(())
    }

    /// Writes until nothing is owed (true) or the socket is full (false).
    fn write(&mut self) -> io::Result<bool> {
        while self.owed > 0 {
            match self.stream.write(&self.requests[self.at..self.at + self.owed]) {
                Ok(count) => {
                    self.owed -= count;
                    self.at = (self.at + count) % self.exchange.request().len();
                }
                Err(error) if is_retry(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match self.stream.flush() {
            Err(error) if is_retry(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

pub(crate) fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
