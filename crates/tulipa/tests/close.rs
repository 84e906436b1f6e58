//! Closing a loop: everything is handed back, and nothing is borrowed while it is dropped.
#![cfg(not(loom))]

mod common;

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use common::{Job, Lines, Recorder};
use tulipa::{Host, Instant, Interest, Loop, Readiness, Token};

#[test]
fn everything_inside_is_handed_back_once() {
    let event_loop = Loop::<Recorder>::new().unwrap();
    let (socket, _peer) = UnixStream::pair().unwrap();
    event_loop.schedule(Job::Log("ready"));
    event_loop.remote().schedule(Job::Log("sent")).ok().unwrap();
    event_loop.schedule_at(Instant::from_nanos(9), Job::Log("second"));
    event_loop.schedule_at(Instant::from_nanos(3), Job::Log("first"));
    let token = event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("", "")).unwrap();
    let mut seen = 0;
    event_loop.for_each_job(&mut |_| seen += 1);
    event_loop.for_each_source(&mut |_| seen += 1);
    assert_eq!(seen, 5);

    assert!(event_loop.fileno().is_some() && !event_loop.is_closed());
    let drained = event_loop.close();
    assert!(matches!(drained.ready[..], [Job::Log("ready"), Job::Log("sent")]));
    assert!(matches!(drained.timers[..], [Job::Log("first"), Job::Log("second")]));
    assert_eq!((drained.sources.len(), drained.tasks.len()), (1, 0));
    assert!(event_loop.fileno().is_none() && event_loop.is_closed());
    assert!(event_loop.deregister(token).is_none());

    let again = event_loop.close();
    assert!(again.ready.is_empty() && again.timers.is_empty() && again.sources.is_empty());
}

#[test]
fn a_turn_of_a_closed_loop_does_not_wait() {
    let (host, event_loop) = (Recorder::default(), Loop::new().unwrap());
    drop(event_loop.close());
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["flush"]);
}

#[test]
fn a_job_may_close_the_loop_it_runs_on() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    event_loop.schedule(Job::Do("closed", |event_loop| drop(event_loop.close())));
    event_loop.schedule(Job::Log("never"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["closed", "flush"]);
}

/// A host whose jobs and sources use the loop when they are dropped, as Python's destructors may.
struct Reentrant;

/// Uses every part of the loop in its destructor.
struct Busybody(Rc<Loop<Reentrant>>, Rc<Cell<u32>>);

impl Drop for Busybody {
    fn drop(&mut self) {
        let Self(event_loop, drops) = self;
        drops.set(drops.get() + 1);
        event_loop.schedule(None);
        let key = event_loop.schedule_at(Instant::MAX, None);
        assert!(event_loop.cancel_timer(key).is_some());
        event_loop.for_each_source(&mut |_| ());
        assert!(event_loop.register(-1, Interest::READABLE, None).is_err());
    }
}

impl Host for Reentrant {
    type Job = Option<Busybody>;
    type Source = Option<Busybody>;
    type Break = io::Error;
    fn dispatch(_: &Self::Source, _: Token, _: Readiness, _: &mut impl FnMut(Self::Job)) {}
    fn run(&self, _: &Loop<Self>, job: Self::Job) -> ControlFlow<io::Error> {
        drop(job);
        ControlFlow::Continue(())
    }
    fn wait_failed(&self, error: io::Error) -> io::Error {
        error
    }
}

#[test]
fn destructors_may_use_the_loop() {
    let event_loop = Rc::new(Loop::<Reentrant>::new().unwrap());
    let drops = Rc::new(Cell::new(0));
    let busybody = || Some(Busybody(Rc::clone(&event_loop), Rc::clone(&drops)));
    let (socket, _peer) = UnixStream::pair().unwrap();

    event_loop.schedule(busybody());
    assert!(event_loop.turn(&Reentrant).is_continue());
    let key = event_loop.schedule_at(Instant::from_nanos(1), busybody());
    drop(event_loop.cancel_timer(key));
    let token = event_loop.register(socket.as_raw_fd(), Interest::READABLE, busybody()).ok().unwrap();
    drop(event_loop.deregister(token));
    assert_eq!(drops.get(), 3);

    event_loop.schedule(busybody());
    event_loop.schedule_at(Instant::from_nanos(1), busybody());
    event_loop.register(socket.as_raw_fd(), Interest::READABLE, busybody()).ok().unwrap();
    drop(event_loop.close());
    assert_eq!(drops.get(), 6);
}
