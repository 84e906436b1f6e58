//! The core of a byte stream, without the descriptor: what is still to be written, how far each half has
//! come, and how much to read at once.
//!
//! Sans-IO: nothing here makes a system call or reads a clock. A face of a stream (a Python transport, say)
//! owns the descriptor, does what the answers say, and feeds back what the kernel replied. The rules are
//! those of asyncio's selector transports.

mod budget;
mod read_buffer;
mod send_file;
mod state;
mod write_queue;

pub use budget::ReadBudget;
pub use read_buffer::ReadBuffer;
pub use send_file::{SendFile, SendProgress};
pub use state::{Close, Emptied, Fail, StreamState, Write, WriteEof};
pub use write_queue::{Pressure, SLICES_AT_ONCE, WriteQueue};
