//! One turn of the loop: the page to read first.
//!
//! The order is asyncio's, because programs depend on it: what was ready stays ahead of what the kernel
//! reports, that ahead of due timers, and what a batch schedules waits for the next turn, so that no chain of
//! jobs starves I/O.
//!
//! Two costs are avoided. A turn that has jobs and watches nothing makes no system call of its own, though it passes by
//! the host ([`Host::pass`]), which may have others to let in. And a turn that must wait enters [`Host::park`] once,
//! whatever number of events it comes back with.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{Host, Loop};
use crate::driver::{Driver, SystemDriver, SystemEvents};
use crate::patience::{self, Patience};

impl<H: Host> Loop<H> {
    /// Exactly one iteration. A turn of a closed loop finds nothing to do and does not wait.
    ///
    /// # Errors
    ///
    /// `Break` when the host said so: in a job, on a signal, or reading its clock. Nothing is lost: what was
    /// not run is still queued.
    pub fn turn(&self, host: &H) -> ControlFlow<H::Break> {
        self.poll(host, None)?;
        self.finish(host)
    }

    /// The rest of a turn: the timers that are due, the batch, and what that leaves to be sent. For those who wait for
    /// [`Loop::choose_timeout`] themselves.
    ///
    /// # Errors
    ///
    /// As of [`Loop::turn`].
    #[inline]
    pub fn finish(&self, host: &H) -> ControlFlow<H::Break> {
        self.fire_timers(host)?; // 4
        let outcome = self.run_batch(host); // 5
        let flushed = host.flush(self); // 6
        outcome?;
        flushed
    }

    /// What comes before timers and the batch: afterwards all that has happened outside is in the ready queue. Waits no
    /// longer than `limit`. For those who make turns themselves, with [`Loop::fire_timers`] after it, then
    /// [`Loop::take_job`] and [`Host::run`], and flush before they come here again.
    ///
    /// # Errors
    ///
    /// As of [`Loop::turn`].
    #[inline]
    pub fn poll(&self, host: &H, limit: Option<Duration>) -> ControlFlow<H::Break> {
        let timeout = self.choose_timeout(host)?; // 1
        let timeout =
            limit.map_or(timeout, |limit| Some(timeout.map_or(limit, |timeout| timeout.min(limit))));
        let events = self.wait(host, timeout)?; // 2
        self.collect_completions(events); // 3
        ControlFlow::Continue(())
    }

    /// 1. How long may the turn wait? Not at all if there is something to run, the loop is stopping or
    ///    somebody has notified it; else until the nearest deadline; else (`None`) for as long as it takes.
    ///
    /// # Errors
    ///
    /// As of [`Loop::turn`].
    #[inline]
    pub fn choose_timeout(&self, host: &H) -> ControlFlow<H::Break, Option<Duration>> {
        let notified = self.drain_inbox();
        if notified || self.is_stopping() || self.ready_len() > 0 {
            return ControlFlow::Continue(Some(Duration::ZERO));
        }
        let deadline = self.timers.borrow().next_deadline();
        let Some(deadline) = deadline else { return ControlFlow::Continue(None) };
        match host.now() {
            Ok(now) => ControlFlow::Continue(Some(deadline.saturating_duration_since(now))),
            Err(reason) => ControlFlow::Break(reason),
        }
    }

    /// 2. Asks the kernel, waiting if the turn may. `None`: there was no need to ask, the loop has looked out in vain
    ///    instead, or a signal came; its handler can break the turn.
    fn wait(&self, host: &H, timeout: Option<Duration>) -> ControlFlow<H::Break, Option<SystemEvents>> {
        let may_wait = timeout != Some(Duration::ZERO);
        if !may_wait && !self.sources.borrow().wants_polling() {
            host.pass(|| ());
            return ControlFlow::Continue(None);
        }
        let Some(driver) = self.driver() else { return ControlFlow::Continue(None) };
        let driver = &*driver;
        let found = if may_wait && host.expects_news() { self.look_out(host, driver, timeout) } else { None };
        if found == Some(false) {
            // What a signal has set off meanwhile is for the next turn, as what is due by now.
            return ControlFlow::Continue(None);
        }
        let mut events = self.events.take();
        let answer = if may_wait && found.is_none() && self.inbox.begin_park() {
            let answer = host.park(|| driver.wait(&mut events, timeout));
            self.inbox.end_park();
            answer
        } else {
            host.pass(|| driver.wait(&mut events, Some(Duration::ZERO)))
        };
        match answer {
            Ok(()) => ControlFlow::Continue(Some(events)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.set(events);
                host.interrupted()?;
                ControlFlow::Continue(None)
            }
            Err(error) => ControlFlow::Break(host.wait_failed(error)),
        }
    }

    /// Looks out shortly for news from another thread, and from the kernel, instead of sleeping. Says whether there is
    /// any; `None` where that has not paid lately, or a deadline is near.
    #[cold]
    fn look_out(&self, host: &H, driver: &SystemDriver, timeout: Option<Duration>) -> Option<bool> {
        if timeout.is_some_and(|timeout| timeout < patience::BUDGET) {
            return None;
        }
        let (mut patience, inbox) = (self.patience.take().unwrap_or_default(), self.inbox.watch());
        let came = patience
            .is_worth_it()
            .then(|| host.park(|| Patience::look_out(|| inbox.is_notified(), || driver.has_news())));
        if came.is_some() {
            // The kernel's news would have woken the loop as well.
            patience.learn(inbox.is_notified());
        }
        self.patience.set(Some(patience));
        came
    }

    /// 3. Turns what the kernel said into ready jobs, behind what other threads sent while the loop slept.
    fn collect_completions(&self, events: Option<SystemEvents>) {
        self.drain_inbox();
        let Some(events) = events else { return };
        {
            let (sources, mut ready) = (self.sources.borrow(), self.ready.borrow_mut());
            for completion in SystemDriver::completions(&events) {
                if let Some((source, readiness)) = sources.resolve(completion) {
                    H::dispatch(source, completion.token, readiness, &mut |job| ready.push(job));
                }
            }
        }
        self.events.set(events);
    }

    /// 4. Makes due timers ready, by one reading of the clock at most.
    ///
    /// # Errors
    ///
    /// As of [`Loop::turn`].
    #[inline]
    pub fn fire_timers(&self, host: &H) -> ControlFlow<H::Break> {
        let deadline = self.timers.borrow().next_deadline();
        if deadline.is_none_or(|deadline| host.is_far(deadline)) {
            return ControlFlow::Continue(());
        }
        let now = match host.now() {
            Ok(now) => now,
            Err(reason) => return ControlFlow::Break(reason),
        };
        let (mut timers, mut ready) = (self.timers.borrow_mut(), self.ready.borrow_mut());
        timers.take_due(now, |job| ready.push(job));
        ControlFlow::Continue(())
    }

    /// 5. Runs the jobs that are ready now, and not those that they schedule.
    fn run_batch(&self, host: &H) -> ControlFlow<H::Break> {
        for _ in 0..self.ready_len() {
            let mut ready = self.ready.borrow_mut();
            if ready.is_empty() {
                break; // before its time: a job has closed the loop, or run a turn of its own
            }
            let job = ready.take();
            drop(ready);
            host.run(self, job)?;
        }
        self.ready.borrow_mut().settle();
        self.timers.borrow_mut().settle();
        ControlFlow::Continue(())
    }

    /// Takes over what other threads have sent. Says whether they have notified the loop, with or without a
    /// job.
    #[inline]
    fn drain_inbox(&self) -> bool {
        self.inbox.drain_into(&mut self.ready.borrow_mut())
    }
}
