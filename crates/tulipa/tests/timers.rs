//! Timers on a loop: never early, in order, and gone when cancelled.
#![cfg(not(loom))]

mod common;

use std::sync::Arc;

use common::{Job, Recorder};
use tulipa::{Instant, Loop};

#[test]
fn a_timer_is_never_early() {
    let (host, event_loop) = (Recorder::default(), Loop::new().unwrap());
    host.wait_for_timers(&event_loop, &[1, 90, 700, 1_001, 2_500]);
}

#[test]
fn only_due_timers_fire_and_equal_deadlines_keep_their_order() {
    let (host, event_loop) = (Recorder::at(50), Loop::new().unwrap());
    for (deadline, line) in [(51, "not yet"), (50, "b"), (49, "a"), (50, "c")] {
        event_loop.schedule_at(Instant::from_nanos(deadline), Job::Log(line));
    }
    event_loop.schedule(Job::Log("ready"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["ready", "a", "b", "c", "flush"]);
    assert_eq!(event_loop.timers_len(), 1);
}

#[test]
fn cancelling_frees_what_the_timer_holds_at_once() {
    let event_loop = Loop::<Recorder>::new().unwrap();
    let held = Arc::new(());
    let keys: Vec<_> = (0..100)
        .map(|nanos| event_loop.schedule_at(Instant::from_nanos(nanos), Job::Keep(Arc::clone(&held))))
        .collect();
    for (cancelled, key) in keys.iter().enumerate() {
        assert!(event_loop.is_timer_pending(*key));
        assert!(event_loop.cancel_timer(*key).is_some());
        assert!(!event_loop.is_timer_pending(*key));
        assert_eq!(Arc::strong_count(&held), 100 - cancelled);
    }
    assert_eq!(event_loop.timers_len(), 0);
    assert!(event_loop.cancel_timer(keys[0]).is_none());
}

#[test]
fn a_timer_set_by_a_timer_waits_for_the_next_turn() {
    let (host, event_loop) = (Recorder::at(10), Loop::new().unwrap());
    event_loop.schedule_at(
        Instant::from_nanos(1),
        Job::Do("outer", |event_loop| {
            event_loop.schedule_at(Instant::from_nanos(1), Job::Log("inner"));
        }),
    );
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["outer", "flush"]);
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["inner", "flush"]);
}
