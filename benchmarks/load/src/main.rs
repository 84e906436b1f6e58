//! The load side of the benchmarks: a closed-loop client for echo and HTTP, a holder of idle connections, and the
//! raw epoll echo server that the network rows take as their floor.
//!
//! Compiled and single-threaded, so that it is never slower than the server it drives. It assumes Linux and a server
//! on this machine. `python -m benchmarks` calls it; each command also works by hand. A command that succeeds prints
//! one JSON line; a command that fails says why on standard error and exits with 1, or with 3 when the server hangs.
//! Nothing here is part of Tulipa.

mod connect;
mod drive;
mod exchange;
mod floor;
mod hold;
mod report;
mod wire;

use std::io;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::connect::Server;
use crate::drive::{Plan, Until};
use crate::exchange::{Echo, Http};

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
}

/// Where the server is.
#[derive(Args)]
struct Target {
    /// Host name or address.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// TCP port.
    #[arg(long)]
    port: u16,
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
        Command::HttpLoad { target, path, load } => {
            report::print(&drive::run(&target.server()?, &Http::new(&target.host, &path), &load.plan())?)
        }
        Command::Connections { target, count, echo } => hold::run(&target.server()?, count as usize, echo),
        Command::Floor { port } => floor::run(port),
    }
}

impl Target {
    fn server(&self) -> io::Result<Server> {
        let address = (self.host.as_str(), self.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("{} has no address", self.host)))?;
        Ok(Server { address, tls: self.tls.then(wire::config).transpose()? })
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
