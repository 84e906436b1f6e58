//! The order within a turn, and what a break leaves behind.
#![cfg(not(loom))]

mod common;

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Job, Lines, Recorder, both};
use tulipa::{Host, Instant, Interest, Loop};

#[test]
fn ready_jobs_come_before_io_and_io_before_timers() {
    let (host, event_loop) = (Recorder::at(100), Loop::new().unwrap());
    let (socket, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    event_loop.schedule_at(Instant::from_nanos(100), Job::Log("timer"));
    event_loop.register(socket.as_raw_fd(), both(), Lines("readable", "writable")).unwrap();
    event_loop.schedule(Job::Log("ready"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["ready", "readable", "writable", "timer", "flush"]);
}

#[test]
fn what_other_threads_sent_comes_after_the_ready_jobs_and_before_io() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    let (socket, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("readable", "")).unwrap();
    event_loop.remote().schedule(Job::Log("remote 1")).ok().unwrap();
    event_loop.remote().schedule(Job::Log("remote 2")).ok().unwrap();
    event_loop.schedule(Job::Log("ready"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["ready", "remote 1", "remote 2", "readable", "flush"]);
}

#[test]
fn what_a_batch_schedules_runs_in_the_next_turn() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    event_loop.schedule(Job::Do("first", |event_loop| event_loop.schedule(Job::Log("later"))));
    event_loop.schedule(Job::Log("second"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["first", "second", "flush"]);
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["later", "flush"]);
}

#[test]
fn a_chain_of_jobs_does_not_starve_io() {
    fn again(event_loop: &Loop<Recorder>) {
        event_loop.schedule(Job::Do("chain", again));
    }
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    let (socket, mut peer) = UnixStream::pair().unwrap();
    event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("readable", "")).unwrap();
    again(&event_loop);
    host.turn(&event_loop);
    peer.write_all(b"x").unwrap();
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["chain", "flush", "chain", "readable", "flush"]);
}

#[test]
fn a_break_keeps_the_rest_in_order_and_flushes() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    for job in [Job::Log("one"), Job::Break("enough"), Job::Log("two"), Job::Log("three")] {
        event_loop.schedule(job);
    }
    assert_eq!(event_loop.turn(&host), ControlFlow::Break("enough"));
    assert_eq!(host.take_log(), ["one", "flush"]);
    event_loop.schedule(Job::Log("four"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["two", "three", "four", "flush"]);
}

#[test]
fn a_failing_clock_breaks_the_turn_and_loses_nothing() {
    let (host, event_loop) = (Recorder::at(10), Loop::new().unwrap());
    event_loop.schedule_at(Instant::from_nanos(5), Job::Log("timer"));
    event_loop.schedule(Job::Log("ready"));
    host.clock_fails.set(true);
    assert_eq!(event_loop.turn(&host), ControlFlow::Break("clock"));
    host.clock_fails.set(false);
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["ready", "timer", "flush"]);
}

#[test]
fn a_stopping_loop_does_not_wait() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    event_loop.stop();
    assert!(event_loop.is_stopping());
    host.turn(&event_loop);
    assert!(event_loop.take_stop());
    assert!(!event_loop.take_stop());
    assert_eq!(host.take_log(), ["flush"]);
}

#[test]
fn a_turn_inside_a_job_runs_what_is_left_and_the_outer_turn_goes_on() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    event_loop.schedule(Job::Do("outer", |event_loop| {
        let inner = Recorder::at(0);
        inner.turn(event_loop);
        assert_eq!(inner.take_log(), ["next", "flush"]);
    }));
    event_loop.schedule(Job::Log("next"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["outer", "flush"]);
}

#[test]
fn who_gathers_runs_the_jobs() {
    let (host, event_loop) = (Recorder::at(100), Loop::new().unwrap());
    event_loop.schedule_at(Instant::from_nanos(100), Job::Log("timer"));
    event_loop.schedule_at(Instant::from_nanos(u64::MAX), Job::Log("never"));
    event_loop.schedule(Job::Do("ready", |event_loop| event_loop.schedule(Job::Log("later"))));
    assert_eq!(event_loop.choose_timeout(&host), ControlFlow::Continue(Some(Duration::ZERO)));
    assert_eq!(event_loop.poll(&host, None), ControlFlow::Continue(()));
    assert_eq!((event_loop.ready_len(), host.take_log().len()), (1, 0));
    assert_eq!(event_loop.fire_timers(&host), ControlFlow::Continue(()));
    assert_eq!((event_loop.ready_len(), host.take_log().len()), (2, 0));
    while let Some(job) = event_loop.take_job() {
        assert_eq!(host.run(&event_loop, job), ControlFlow::Continue(()));
    }
    assert_eq!(host.take_log(), ["ready", "timer", "later"]);
    assert_eq!(event_loop.poll(&host, Some(Duration::from_millis(1))), ControlFlow::Continue(()));
    assert_eq!((event_loop.ready_len(), host.take_log()), (0, vec!["park"]));
}

#[test]
fn who_waits_otherwise_has_the_turn_finished() {
    let (host, event_loop) = (Recorder::at(100), Loop::new().unwrap());
    let late = event_loop.schedule_at(Instant::from_nanos(101), Job::Log("late"));
    event_loop.schedule_at(Instant::from_nanos(100), Job::Log("timer"));
    event_loop.schedule(Job::Log("ready"));
    let mut seen = Vec::new();
    event_loop.for_each_timer(|key, deadline, _| seen.push((key, deadline.as_nanos())));
    assert_eq!((seen[0].1, seen[1]), (100, (late, 101)));
    assert_eq!(event_loop.finish(&host), ControlFlow::Continue(()));
    assert_eq!(host.take_log(), ["ready", "timer", "flush"]);
    assert_eq!(event_loop.timers_len(), 1);
}

#[test]
fn a_turn_with_jobs_passes_by_the_host_and_one_that_waits_parks() {
    let (host, event_loop) = (Recorder::at(0), Loop::new().unwrap());
    event_loop.schedule(Job::Log("job"));
    host.turn(&event_loop);
    assert_eq!(host.passes.take(), 1);
    let (socket, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("readable", "")).unwrap();
    event_loop.schedule(Job::Log("job"));
    host.turn(&event_loop);
    assert_eq!(host.passes.take(), 1);
    assert_eq!(host.take_log(), ["job", "flush", "job", "readable", "flush"]);
    host.turn(&event_loop);
    assert_eq!(host.passes.take(), 0);
    assert_eq!(host.take_log(), ["park", "readable", "flush"]);
}

#[test]
fn a_signal_runs_its_handlers_and_can_break_the_turn() {
    struct Interruptible;
    impl tulipa::Host for Interruptible {
        type Job = ();
        type Source = ();
        type Break = &'static str;
        fn dispatch((): &(), _: tulipa::Token, _: tulipa::Readiness, _: &mut impl FnMut(())) {}
        fn run(&self, _: &Loop<Self>, (): ()) -> ControlFlow<&'static str> {
            ControlFlow::Continue(())
        }
        fn park<R: Send>(&self, wait: impl FnOnce() -> R + Send) -> R {
            // Signals this very thread until one has ended the wait: the first may come before it.
            let (is_over, waiting) = (AtomicBool::new(false), this_thread());
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        // SAFETY: the thread is alive, it waits for this scope's end.
                        assert_eq!(unsafe { libc::pthread_kill(waiting, libc::SIGUSR1) }, 0);
                        thread::yield_now();
                    }
                });
                let answer = wait();
                is_over.store(true, Ordering::Relaxed);
                answer
            })
        }
        fn interrupted(&self) -> ControlFlow<&'static str> {
            ControlFlow::Break("signal")
        }
        fn wait_failed(&self, error: std::io::Error) -> &'static str {
            panic!("{error}")
        }
    }
    fn this_thread() -> libc::pthread_t {
        // SAFETY: no arguments, no failure.
        unsafe { libc::pthread_self() }
    }
    extern "C" fn ignore(_: libc::c_int) {}
    // SAFETY: the handler does nothing, so it is safe in any context.
    unsafe { libc::signal(libc::SIGUSR1, ignore as *const () as libc::sighandler_t) };
    let event_loop = Loop::<Interruptible>::new().unwrap();
    assert_eq!(event_loop.turn(&Interruptible), ControlFlow::Break("signal"));
}
