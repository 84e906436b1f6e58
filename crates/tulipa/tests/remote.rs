//! Jobs and wake-ups from other threads.
#![cfg(not(loom))]

mod common;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Job, Lines, Recorder};
use tulipa::{Interest, Loop};

#[test]
fn a_job_from_another_thread_wakes_a_sleeping_loop() {
    let (host, event_loop) = (Recorder::default(), Loop::new().unwrap());
    let remote = event_loop.remote();
    let sender = thread::spawn(move || remote.schedule(Job::Log("from afar")).ok().unwrap());
    host.turn_until(&event_loop, "from afar");
    sender.join().unwrap();
}

#[test]
fn a_bare_notification_wakes_a_sleeping_loop() {
    let (host, event_loop) = (Recorder::default(), Loop::new().unwrap());
    let remote = event_loop.remote();
    let notifier = thread::spawn(move || remote.notify());
    // The turn has nothing to run and no deadline: it ends because of the notification or never.
    host.turn(&event_loop);
    notifier.join().unwrap();
}

#[test]
fn a_notification_before_the_wait_is_not_lost() {
    let (host, event_loop) = (Recorder::default(), Loop::new().unwrap());
    event_loop.remote().schedule(Job::Log("early")).ok().unwrap();
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["early", "flush"]);
}

/// A loop that looks out before it sleeps: whether it finds the other thread quick enough or not, nothing is missed.
fn expecting() -> (Recorder, Loop<Recorder>) {
    let host = Recorder::default();
    host.expects_news.set(true);
    (host, Loop::new().unwrap())
}

#[test]
fn looking_out_finds_what_other_threads_send_in_answer() {
    let (host, event_loop) = expecting();
    let remote = event_loop.remote();
    let (ask, asked) = mpsc::channel();
    let answering = thread::spawn(move || {
        while let Ok(pause) = asked.recv() {
            thread::sleep(pause);
            remote.schedule(Job::Log("answer")).ok().unwrap();
        }
    });
    for round in 0..200 {
        // Some are in time to be found, some come when it sleeps already.
        ask.send(Duration::from_micros(10 * (round % 20))).unwrap();
        host.turn_until(&event_loop, "answer");
    }
    drop(ask);
    answering.join().unwrap();
}

#[test]
fn looking_out_finds_descriptors_that_become_ready() {
    let (host, event_loop) = expecting();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("readable", "")).unwrap();
    let writing = thread::spawn(move || {
        peer.write_all(b"x").unwrap();
        peer
    });
    host.turn_until(&event_loop, "readable");
    writing.join().unwrap();
}

#[test]
fn looking_out_makes_no_timer_early_and_loses_none() {
    let (host, event_loop) = expecting();
    host.wait_for_timers(&event_loop, &[1, 40, 60, 100, 3000]);
}

#[test]
fn jobs_of_many_threads_all_arrive_each_threads_in_order() {
    const THREADS: usize = 4;
    const JOBS: usize = 2000;
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let (host, event_loop) = (Recorder::default(), Loop::new().unwrap());
    let senders: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| {
            let remote = event_loop.remote();
            thread::spawn(move || {
                for _ in 0..JOBS {
                    let job = Job::Do(name, |_| {
                        SEEN.fetch_add(1, Ordering::Relaxed);
                    });
                    remote.schedule(job).ok().unwrap();
                }
            })
        })
        .collect();
    assert_eq!(senders.len(), THREADS);
    while SEEN.load(Ordering::Relaxed) < THREADS * JOBS {
        host.turn(&event_loop);
    }
    for sender in senders {
        sender.join().unwrap();
    }
    let log = host.take_log();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(log.iter().filter(|line| **line == name).count(), JOBS);
    }
}

#[test]
fn a_closed_loop_hands_jobs_back() {
    let event_loop = Loop::<Recorder>::new().unwrap();
    let remote = event_loop.remote();
    remote.schedule(Job::Log("waiting")).ok().unwrap();
    let drained = event_loop.close();
    assert_eq!(drained.ready.len(), 1);
    assert!(matches!(remote.schedule(Job::Log("late")), Err(Job::Log("late"))));
    drop(event_loop);
    assert!(remote.schedule(Job::Log("later")).is_err());
    remote.notify();
}
