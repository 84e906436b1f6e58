//! A host that writes down what happens to it, on a clock that stands still unless told.

#![allow(dead_code, unreachable_pub, reason = "shared by test files, each of which uses its part")]

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use tulipa::{Host, Instant, Interest, Loop, Readiness, Token};

/// What the recorder runs.
pub enum Job {
    /// Writes a line into the log.
    Log(&'static str),
    /// Calls a function with the loop, then logs the name.
    Do(&'static str, fn(&Loop<Recorder>)),
    /// Ends the turn.
    Break(&'static str),
    /// Keeps something alive; running it does nothing.
    Keep(std::sync::Arc<()>),
}

/// A source: the lines to log when it becomes readable or writable.
#[derive(Debug)]
pub struct Lines(pub &'static str, pub &'static str);

/// The host.
#[derive(Default)]
pub struct Recorder {
    /// What happened so far.
    log: RefCell<Vec<&'static str>>,
    /// The time, unless the real clock is used.
    pub virtual_now: Cell<Option<u64>>,
    /// Whether `now` fails.
    pub clock_fails: Cell<bool>,
    /// Whether the loop may look out for other threads before it sleeps.
    pub expects_news: Cell<bool>,
    /// How many turns have passed by without waiting.
    pub passes: Cell<u32>,
}

impl Recorder {
    /// A recorder whose clock stands at `nanos`.
    pub fn at(nanos: u64) -> Self {
        let recorder = Self::default();
        recorder.virtual_now.set(Some(nanos));
        recorder
    }

    /// The log since the last call.
    pub fn take_log(&self) -> Vec<&'static str> {
        self.log.take()
    }

    /// Writes a line.
    pub fn note(&self, line: &'static str) {
        self.log.borrow_mut().push(line);
    }

    /// Turns until `line` is written into the log, which then begins anew.
    pub fn turn_until(&self, event_loop: &Loop<Self>, line: &str) {
        while !self.take_log().contains(&line) {
            self.turn(event_loop);
        }
    }

    /// Timers that lie so many microseconds ahead, one after the other: each fires, and none early.
    pub fn wait_for_timers(&self, event_loop: &Loop<Self>, ahead: &[u64]) {
        for &micros in ahead {
            let deadline = Instant::now() + Duration::from_micros(micros);
            event_loop.schedule_at(deadline, Job::Log("fired"));
            self.turn_until(event_loop, "fired");
            assert!(Instant::now() >= deadline);
        }
    }

    /// One turn that must not break.
    pub fn turn(&self, event_loop: &Loop<Self>) {
        assert_eq!(event_loop.turn(self), ControlFlow::Continue(()));
    }
}

impl Host for Recorder {
    type Job = Job;
    type Source = Lines;
    type Break = &'static str;

    fn now(&self) -> Result<Instant, &'static str> {
        if self.clock_fails.get() {
            return Err("clock");
        }
        Ok(self.virtual_now.get().map_or_else(Instant::now, Instant::from_nanos))
    }

    fn dispatch(source: &Lines, _: Token, readiness: Readiness, push: &mut impl FnMut(Job)) {
        if readiness.is_readable() {
            push(Job::Log(source.0));
        }
        if readiness.is_writable() {
            push(Job::Log(source.1));
        }
    }

    fn run(&self, event_loop: &Loop<Self>, job: Job) -> ControlFlow<&'static str> {
        match job {
            Job::Log(line) => self.note(line),
            Job::Do(line, action) => {
                action(event_loop);
                self.note(line);
            }
            Job::Break(reason) => return ControlFlow::Break(reason),
            Job::Keep(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn park<R: Send>(&self, wait: impl FnOnce() -> R + Send) -> R {
        self.note("park");
        wait()
    }

    fn pass<R: Send>(&self, ask: impl FnOnce() -> R + Send) -> R {
        self.passes.set(self.passes.get() + 1);
        ask()
    }

    fn expects_news(&self) -> bool {
        self.expects_news.get()
    }

    fn wait_failed(&self, error: io::Error) -> &'static str {
        panic!("the wait failed: {error}");
    }

    fn flush(&self, _: &Loop<Self>) -> ControlFlow<Self::Break> {
        self.note("flush");
        ControlFlow::Continue(())
    }
}

/// Both directions.
pub fn both() -> Interest {
    Interest::READABLE | Interest::WRITABLE
}
