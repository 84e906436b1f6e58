//! One system call for the sends of many sockets, by io_uring.
//!
//! A turn's answers go out together at its end. Handing them to the kernel at once makes an echo to 10 or 100
//! connections 4 to 5 % cheaper than a call for each, the whole cost of the message counted. Nothing else
//! about the loop changes: epoll still says what is ready.
//!
//! Every send is marked "do not wait", for which the kernel neither retries nor polls. So each has its answer
//! when the one call returns, and no operation outlives the borrow of its bytes. Where the kernel has no
//! rings, or a container forbids them, [`SendRing::open`] fails and the caller sends one by one.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread::{self, ThreadId};

use io_uring::{IoUring, opcode, types};

/// Sends in one call at most; what a turn has beyond that goes in several. The gain per send is the same from
/// some eight on.
pub const MAX_SENDS: usize = 64;

/// One send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The socket.
    pub fd: RawFd,
    /// What to send.
    pub bytes: &'a [u8],
}

/// A ring for nothing but sends.
pub struct SendRing {
    /// The kernel's object; gone once it has refused a call.
    ring: Option<IoUring>,
    /// The one thread that may use it: the kernel was promised so.
    thread: ThreadId,
    /// The process that opened it. A forked child does not have its memory.
    process: u32,
}

impl SendRing {
    /// Opens a ring for the calling thread.
    ///
    /// # Errors
    ///
    /// `ENOSYS` or `EPERM` where there are no rings, `EINVAL` from kernels before 6.1, or what says that there
    /// is no descriptor or memory left.
    pub fn open() -> io::Result<Self> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(MAX_SENDS as u32)?;
        Ok(Self { ring: Some(ring), thread: thread::current().id(), process: std::process::id() })
    }

    /// Whether the calling thread opened the ring, in this very process, and it works. Otherwise it is of no
    /// use.
    pub fn is_usable(&self) -> bool {
        self.ring.is_some() && self.process == std::process::id() && self.thread == thread::current().id()
    }

    /// Sends each of `sends` and tells `answer` what became of it, by its index.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call, after which the ring is not usable any more. What had an answer by
    /// then has been told.
    ///
    /// # Panics
    ///
    /// When there are more than [`MAX_SENDS`], or the ring is not usable.
    pub fn send(
        &mut self,
        sends: &[Outgoing<'_>],
        answer: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<()> {
        assert!(self.is_usable(), "a ring is used by the thread that opened it, until it fails");
        // Taken out, and put back when nothing is under way: what ends early drops it, entries and all.
        let mut ring = self.ring.take().expect("usable");
        push(&mut ring, sends);
        submit(&mut ring, sends.len(), answer)?;
        self.ring = Some(ring);
        Ok(())
    }
}

/// Writes the entries of all sends.
fn push(ring: &mut IoUring, sends: &[Outgoing<'_>]) {
    let mut queue = ring.submission();
    for (index, send) in sends.iter().enumerate() {
        let length = u32::try_from(send.bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(send.fd), send.bytes.as_ptr(), length)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build()
            .user_data(index as u64);
        // SAFETY: the bytes are borrowed until `SendRing::send` ends, and by then every entry has its answer or
        // the ring, with what it still holds, is gone.
        unsafe { queue.push(&entry) }.expect("a ring has room for MAX_SENDS entries");
    }
}

/// Has the kernel do all of it, and hands out the answers.
fn submit(
    ring: &mut IoUring,
    sends: usize,
    mut answer: impl FnMut(usize, io::Result<usize>),
) -> io::Result<()> {
    let mut missing = sends;
    while missing > 0 {
        match ring.submit_and_wait(missing) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for completion in ring.completion() {
            missing -= 1;
            let result = completion.result();
            let sent = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            answer(completion.user_data() as usize, sent);
        }
    }
    Ok(())
}

impl Drop for SendRing {
    /// A forked child does not have the ring's memory, and may have put something else in its place: there nothing is
    /// unmapped, only the descriptor is closed.
    fn drop(&mut self) {
        if self.process == std::process::id() {
            return;
        }
        if let Some(ring) = self.ring.take() {
            let ring = ManuallyDrop::new(ring);
            // SAFETY: the child's own copy of the descriptor, which nobody else closes (E2).
            drop(unsafe { OwnedFd::from_raw_fd(ring.as_raw_fd()) });
        }
    }
}

impl std::fmt::Debug for SendRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SendRing").finish_non_exhaustive()
    }
}
