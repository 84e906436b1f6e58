//! The load side of the benchmarks: a closed-loop client for echo, over streams and datagrams, and HTTP, a holder of idle
//! connections, the raw epoll echo server that the network rows take as their floor, and a server for HTTP clients.
//!
//! Compiled and single-threaded, so that it is never slower than the server it drives. It assumes Linux and a server
//! on this machine. `python -m benchmarks` calls it; each command also works by hand. A command that succeeds prints
//! one JSON line; a command that fails says why on standard error and exits with 1, or with 3 when the server hangs.
//! Nothing here is part of Tulipa.

mod address;
mod connect;
mod datagrams;
mod drive;
mod exchange;
mod floor;
mod hold;
mod http;
mod report;
mod wire;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::address::Address;
use crate::connect::Server;
use crate::drive::{Plan, Until};
use crate::exchange::{Echo, Exchange, Http};

/// Exit code when a server accepts, or is there at all, but does not answer.
const SILENT_SERVER: u8 = 3;

/// The command line.
#[derive(Parser)]
#[command(about = "Load generator and floor of Tulipa's benchmarks", version)]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// One benchmark role each.
#[derive(Subcommand)]
enum Command {
    /// Send messages to an echo server, each connection waiting for its replies, and check every byte.
    EchoLoad {
        #[command(flatten)]
        target: Target,
        /// Bytes in a message.
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
        size: u32,
        #[command(flatten)]
        load: Load,
    },
    /// Send datagrams to an echo server, each socket waiting for its replies, and check every byte.
    DatagramLoad {
        #[command(flatten)]
        target: Target,
        /// Bytes in a message.
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_507))]
        size: u32,
        #[command(flatten)]
        load: Load,
    },
    /// Send keep-alive GET requests to an HTTP/1.1 server, each connection waiting for its replies.
    HttpLoad {
        #[command(flatten)]
        target: Target,
        /// The path to ask for.
        #[arg(long, default_value = "/")]
        path: String,
        #[command(flatten)]
        load: Load,
    },
    /// Open connections to an echo server and hold them until standard input closes.
    Connections {
        #[command(flatten)]
        target: Target,
        /// How many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        /// Echo one byte on every connection, not only on the last of each batch.
        #[arg(long)]
        echo: bool,
    },
    /// Serve raw epoll echo: what the network rows cannot go below with this design. Ends when standard input closes.
    Floor {
        /// Port to listen on; 0 picks a free one, which is printed.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Answer GET requests over HTTP/1.1 with thirteen bytes of text. Ends when standard input closes.
    HttpServer {
        /// Port to listen on; 0 picks a free one, which is printed.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

/// Where the server is.
#[derive(Args)]
struct Target {
    /// Host name or address.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port.
    #[arg(long, required_unless_present = "unix")]
    port: Option<u16>,
    /// Path of a Unix socket, in place of host and port.
    #[arg(long, conflicts_with = "port")]
    unix: Option<PathBuf>,
    /// Speak TLS 1.3, and accept any certificate.
    #[arg(long)]
    tls: bool,
}

/// How hard and how long.
#[derive(Args)]
struct Load {
    /// Connections open at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Messages in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,
    /// Seconds to measure for.
    #[arg(long, default_value_t = 2.0, value_parser = seconds, conflicts_with = "messages")]
    seconds: f64,
    /// Measure this many messages instead.
    #[arg(long)]
    messages: Option<u64>,
    /// Seconds of load before measuring begins.
    #[arg(long, default_value_t = 0.2, value_parser = seconds)]
    warmup: f64,
    /// The server's process: its CPU time over the measured part is reported.
    #[arg(long)]
    server_pid: Option<i32>,
}

impl Load {
    fn plan(&self) -> Plan {
        let until = match self.messages {
            Some(messages) => Until::Messages(messages),
            None => Until::Elapsed(Duration::from_secs_f64(self.seconds)),
        };
        Plan {
            connections: self.connections as usize,
            depth: self.depth as usize,
            warmup: Duration::from_secs_f64(self.warmup),
            until,
            server_pid: self.server_pid,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tulipa-load: {error}");
            if error.kind() == io::ErrorKind::TimedOut {
                ExitCode::from(SILENT_SERVER)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    raise_descriptor_limit()?;
    match command {
        Command::EchoLoad { target, size, load } => {
            report::print(&drive::run(&target.server()?, &Echo::new(size as usize), &load.plan())?)
        }
        Command::DatagramLoad { target, size, load } => {
            let echo = Echo::new(size as usize);
            report::print(&datagrams::run(target.address()?, echo.request(), &load.plan())?)
        }
        Command::HttpLoad { target, path, load } => {
            report::print(&drive::run(&target.server()?, &Http::new(&target.host, &path), &load.plan())?)
        }
        Command::Connections { target, count, echo } => hold::run(&target.server()?, count as usize, echo),
        Command::Floor { port } => floor::run::<floor::Echo>(port),
        Command::HttpServer { port } => floor::run::<http::Requests>(port),
    }
}

impl Target {
    fn server(&self) -> io::Result<Server> {
        let address = match &self.unix {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Internet(self.address()?),
        };
        Ok(Server { address, tls: self.tls.then(wire::config).transpose()? })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        let port = self.port.ok_or_else(|| io::Error::other("a port is needed"))?;
        (self.host.as_str(), port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("{} has no address", self.host)))
    }
}

/// Ten thousand connections need more descriptors than the usual soft limit of 1024 allows.
fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err("expected seconds between 0 and 86400".to_owned()),
    }
}
