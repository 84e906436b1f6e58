//! What the load commands measure, and the one JSON line they print.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use nix::time::ClockId;
use nix::unistd::Pid;
use serde::Serialize;

/// The result of a load command.
#[derive(Serialize)]
pub(crate) struct Measured {
    /// Replies that arrived in the measured part.
    pub(crate) messages: u64,
    /// Its length.
    pub(crate) seconds: f64,
    /// CPU time this process took for it: near `seconds`, the load was the bottleneck and only the server's CPU time
    /// per message says something about the server.
    pub(crate) load_cpu_seconds: f64,
    /// CPU time of all threads of the server, living and ended.
    pub(crate) server_cpu_seconds: Option<f64>,
    /// Median time from a request to its whole reply.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// The slowest reply.
    pub(crate) max_us: f64,
}

/// An empty histogram of nanoseconds: three digits, up to a minute.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid")
}

/// A value of the histogram at a quantile, in microseconds.
pub(crate) fn microseconds(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

/// CPU seconds of a process (this one without `pid`). The kernel's process clock counts in nanoseconds and keeps what
/// ended threads took; `/proc/PID/stat` counts in ticks and `/proc/PID/schedstat` sees one thread.
pub(crate) fn cpu_time(pid: Option<i32>) -> io::Result<f64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.unwrap_or(0)))?;
    let now = clock.now()?;
    Ok(now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9)
}

/// Prints a result as one line and flushes it, for whoever waits at the other end of a pipe.
pub(crate) fn print(result: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, result)?;
    output.write_all(b"\n")?;
    output.flush()
}
