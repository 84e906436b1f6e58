//! TCP for Rust tasks.
//!
//! A socket is registered once, for both directions, edge-triggered: its readiness is remembered next to it;
//! the loop updates that, and the socket uses it up. That costs no `epoll_ctl` after the first, and nothing
//! needs to be switched off while nobody reads.

mod listener;
mod socket;
mod stream;
mod watch;

pub use listener::TcpListener;
pub use stream::TcpStream;
pub use watch::RustSource;
