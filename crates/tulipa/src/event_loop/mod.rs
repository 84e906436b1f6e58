//! The loop: one thread's ready queue, timers, watched descriptors, and the turn that serves them.
//!
//! [`Loop`] holds the state, [`Host`] says what a job and a source are and how to run a job, `turn.rs` is the
//! order of things. The embedder (the Rust runtime here, Python's loop elsewhere) calls [`Loop::turn`] until
//! it has enough.
//!
//! # The rule of borrows
//!
//! All methods take `&self`; state is in cells. A borrow never outlives the few lines that need it, and none
//! is held while anything foreign runs: a job, a host method other than `dispatch`, a waker, or the *drop* of
//! a job or a source, which may run arbitrary code that comes back here. So every method that takes something
//! out hands it to its caller. While the loop is parked nothing at all is borrowed: an embedder whose other
//! threads may enter (Python lets go of its lock there) can call any method.

mod carrier;
mod close;
mod host;
mod remote;
mod sources;
mod turn;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

pub use carrier::TaskHost;
pub use close::{Drained, DrainedTasks};
pub use host::Host;
pub use remote::Remote;

use crate::clock::Instant;
use crate::driver::{Driver, Interest, SystemDriver, SystemEvents, SystemNotifier, Token};
use crate::inject::Inbox;
use crate::patience::Patience;
use crate::ready::ReadyQueue;
use crate::slab::Slab;
use crate::task::{LoopId, OwnedTask};
use crate::timers::{TimerKey, Timers};
use sources::Sources;

/// An event loop for the jobs and sources of `H`.
///
/// # Examples
///
/// A host whose jobs are numbers, and one turn that runs two of them:
///
/// ```
/// use std::cell::RefCell;
/// use std::{io, ops::ControlFlow};
/// use tulipa::{Host, Loop, Readiness, Token};
///
/// struct Numbers(RefCell<Vec<u32>>);
///
/// impl Host for Numbers {
///     type Job = u32;
///     type Source = ();
///     type Break = io::Error;
///     fn dispatch((): &(), _: Token, _: Readiness, _: &mut impl FnMut(u32)) {}
///     fn run(&self, _: &Loop<Self>, job: u32) -> ControlFlow<io::Error> {
///         self.0.borrow_mut().push(job);
///         ControlFlow::Continue(())
///     }
///     fn wait_failed(&self, error: io::Error) -> io::Error {
///         error
///     }
/// }
///
/// let (host, event_loop) = (Numbers(RefCell::default()), Loop::new()?);
/// event_loop.schedule(1);
/// event_loop.schedule(2);
/// assert!(event_loop.turn(&host).is_continue());
/// assert_eq!(host.0.into_inner(), [1, 2]);
/// # io::Result::Ok(())
/// ```
pub struct Loop<H: Host> {
    /// Jobs that run in this or the next batch.
    ready: RefCell<ReadyQueue<H::Job>>,
    /// Jobs with a deadline.
    timers: RefCell<Timers<H::Job>>,
    /// The watched descriptors.
    sources: RefCell<Sources<H::Source>>,
    /// Jobs from other threads; shared with every `Remote`.
    inbox: Arc<Inbox<H::Job, SystemNotifier>>,
    /// What waits for the kernel; `None` once closed. Counted, so that a wait in progress outlives a `close`
    /// from another thread.
    driver: RefCell<Option<Rc<SystemDriver>>>,
    /// The buffer for the next wait; taken out while in use, so that nothing is borrowed while parked.
    events: Cell<SystemEvents>,
    /// Whether looking out for other threads has paid; made when first asked.
    patience: Cell<Option<Patience>>,
    /// Whether the turn must not wait.
    stopping: Cell<bool>,
    /// Tells this loop from all others.
    id: LoopId,
    /// The Rust tasks that live on this loop, done ones excepted.
    tasks: RefCell<Slab<OwnedTask>>,
}

impl<H: Host> Loop<H> {
    /// A loop with nothing to do.
    ///
    /// # Errors
    ///
    /// When the kernel has no descriptors left for it.
    pub fn new() -> io::Result<Self> {
        let (driver, notifier) = SystemDriver::open()?;
        Ok(Self {
            ready: RefCell::default(),
            timers: RefCell::default(),
            sources: RefCell::default(),
            inbox: Arc::new(Inbox::new(notifier)),
            driver: RefCell::new(Some(Rc::new(driver))),
            events: Cell::default(),
            patience: Cell::new(None),
            stopping: Cell::new(false),
            id: LoopId::new(),
            tasks: RefCell::default(),
        })
    }

    /// Puts a job at the end of the ready queue. During a batch: it runs in the next turn.
    #[inline]
    pub fn schedule(&self, job: H::Job) {
        self.ready.borrow_mut().push(job);
    }

    /// Lends the ready queue to `f`, which must neither call out nor drop a job.
    #[inline]
    pub fn with_ready<R>(&self, f: impl FnOnce(&mut ReadyQueue<H::Job>) -> R) -> R {
        f(&mut self.ready.borrow_mut())
    }

    /// How many jobs are ready, not counting those that other threads have sent since the turn began.
    #[inline]
    pub fn ready_len(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Takes the job that is next out of the ready queue, to be given to [`Host::run`].
    pub fn take_job(&self) -> Option<H::Job> {
        self.ready.borrow_mut().pop()
    }

    /// Has `job` become ready at `deadline`: never earlier, and after the timers with the same deadline that
    /// were scheduled before it.
    #[inline(always)]
    pub fn schedule_at(&self, deadline: Instant, job: H::Job) -> TimerKey {
        self.timers.borrow_mut().insert(deadline, job)
    }

    /// Takes a timer out at once and hands its job back; `None` if it has fired or was cancelled before.
    #[inline]
    pub fn cancel_timer(&self, key: TimerKey) -> Option<H::Job> {
        self.timers.borrow_mut().cancel(key)
    }

    /// Whether the timer has neither fired nor been cancelled.
    #[inline]
    pub fn is_timer_pending(&self, key: TimerKey) -> bool {
        self.timers.borrow().is_pending(key)
    }

    /// Shows the pending timers to `see`, which must neither call out nor drop a job: nearest deadline first.
    pub fn for_each_timer(&self, mut see: impl FnMut(TimerKey, Instant, &H::Job)) {
        self.timers.borrow().in_order().for_each(|(key, deadline, job)| see(key, deadline, job));
    }

    /// How many timers are pending.
    pub fn timers_len(&self) -> usize {
        self.timers.borrow().len()
    }

    /// The half that other threads may hold.
    pub fn remote(&self) -> Remote<H::Job> {
        Remote::new(Arc::clone(&self.inbox))
    }

    /// Has the next turns poll without waiting, until [`Loop::take_stop`]. Leaving the turns is the
    /// embedder's part.
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    /// Whether `stop` was called since the last `take_stop`.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Clears the stop request and says whether there was one.
    pub fn take_stop(&self) -> bool {
        self.stopping.replace(false)
    }

    /// The driver's name, for people.
    pub fn driver_name(&self) -> &'static str {
        SystemDriver::NAME
    }

    /// The driver's descriptor; `None` once closed.
    pub fn fileno(&self) -> Option<RawFd> {
        self.driver().map(|driver| driver.fileno())
    }

    /// A reference of one's own to the driver, so that no borrow outlives this line.
    fn driver(&self) -> Option<Rc<SystemDriver>> {
        self.driver.borrow().clone()
    }
}

/// Watched descriptors.
impl<H: Host> Loop<H> {
    /// Watches `fd`: whenever it becomes ready for what `interest` names, `H::dispatch` turns that into jobs.
    /// One registration per descriptor; the owner deregisters before it closes the descriptor.
    ///
    /// # Errors
    ///
    /// Hands the source back with what the kernel said: `EPERM` for a plain file, `EEXIST` for a descriptor
    /// watched already, `EBADF` for a number that is not open, or for a closed loop.
    pub fn register(
        &self,
        fd: RawFd,
        interest: Interest,
        source: H::Source,
    ) -> Result<Token, (io::Error, H::Source)> {
        match self.driver() {
            Some(driver) => self.sources.borrow_mut().register(&*driver, fd, interest, source),
            None => Err((closed(), source)),
        }
    }

    /// Changes what is wanted of a watched descriptor. [`Interest::NONE`] keeps the registration but asks the
    /// kernel nothing; a call that changes nothing costs no system call.
    ///
    /// # Errors
    ///
    /// `NotFound` for a stale token, otherwise what the kernel said; then the interest is as before.
    pub fn set_interest(&self, token: Token, interest: Interest) -> io::Result<()> {
        let driver = self.driver().ok_or_else(closed)?;
        self.sources.borrow_mut().set_interest(&*driver, token, interest)
    }

    /// Has the kernel look at a watched descriptor anew, so that what an [`Interest::EDGE`] has told, and was not used
    /// up, is told again.
    ///
    /// # Errors
    ///
    /// As of [`Loop::set_interest`].
    pub fn rewatch(&self, token: Token) -> io::Result<()> {
        let driver = self.driver().ok_or_else(closed)?;
        self.sources.borrow().rewatch(&*driver, token)
    }

    /// What is wanted of a watched descriptor at the moment; `None` for a stale token.
    pub fn interest(&self, token: Token) -> Option<Interest> {
        self.sources.borrow().interest(token)
    }

    /// The number of a watched descriptor; `None` for a stale token.
    pub fn descriptor(&self, token: Token) -> Option<RawFd> {
        self.sources.borrow().descriptor(token)
    }

    /// Lends the source to `f`, which must not call out: the table is borrowed. `None` for a stale token.
    pub fn with_source<R>(&self, token: Token, f: impl FnOnce(&mut H::Source) -> R) -> Option<R> {
        self.sources.borrow_mut().source_mut(token).map(f)
    }

    /// Stops watching and hands the source back; `None` for a stale token. Also right when the descriptor has
    /// been closed already, which took it out of the kernel's set.
    pub fn deregister(&self, token: Token) -> Option<H::Source> {
        let driver = self.driver();
        self.sources.borrow_mut().deregister(driver.as_deref(), token)
    }

    /// How many descriptors are registered.
    pub fn sources_len(&self) -> usize {
        self.sources.borrow().len()
    }
}

/// For a garbage collector.
impl<H: Host> Loop<H> {
    /// Shows every job to `visit`: ready, injected, and pending on a timer. What is borrowed at the moment is
    /// left out, which a collector must take as "still referenced".
    pub fn for_each_job(&self, visit: &mut dyn FnMut(&H::Job)) {
        if let Ok(ready) = self.ready.try_borrow() {
            ready.iter().for_each(&mut *visit);
        }
        if let Ok(timers) = self.timers.try_borrow() {
            timers.iter().for_each(&mut *visit);
        }
        self.inbox.for_each(visit);
    }

    /// Shows every source to `visit`, unless the table is borrowed at the moment.
    pub fn for_each_source(&self, visit: &mut dyn FnMut(&H::Source)) {
        if let Ok(sources) = self.sources.try_borrow() {
            sources.iter().for_each(visit);
        }
    }
}

impl<H: Host> std::fmt::Debug for Loop<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Loop").field("driver", &SystemDriver::NAME).finish_non_exhaustive()
    }
}

/// What a closed loop answers, the same as the kernel for a closed descriptor.
fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}
