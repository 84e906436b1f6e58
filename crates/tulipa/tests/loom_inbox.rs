//! Every interleaving of the inbox and its notifier, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p tulipa --test loom_inbox --release`.
#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use tulipa::inject::{Inbox, Notify};
use tulipa::ready::ReadyQueue;

/// What epoll and the eventfd are to the loop: a signal that stays until it is waited for.
struct Signal {
    state: Mutex<(bool, usize)>,
    raised: Condvar,
    closed: AtomicBool,
}

impl Notify for &'static Signal {
    fn notify(&self) {
        assert!(!self.closed.load(Ordering::Relaxed));
        let mut state = self.state.lock().unwrap();
        *state = (true, state.1 + 1);
        self.raised.notify_one();
    }
}

impl Signal {
    /// A signal that lives as long as one run of the model.
    fn leak() -> &'static Self {
        let (state, raised, closed) = (Mutex::new((false, 0)), Condvar::new(), AtomicBool::new(false));
        Box::leak(Box::new(Self { state, raised, closed }))
    }

    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.0 {
            state = self.raised.wait(state).unwrap();
        }
        state.0 = false;
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

/// The loop's side of a turn, as `turn.rs` does it.
fn turn<J>(inbox: &Inbox<J, &'static Signal>, signal: &Signal, ready: &mut ReadyQueue<J>) {
    let notified = inbox.drain_into(ready);
    if !notified && ready.is_empty() && inbox.begin_park() {
        signal.wait();
        inbox.end_park();
    }
    inbox.drain_into(ready);
}

#[test]
fn a_notification_without_a_job_ends_the_turn_it_meets_or_the_next() {
    loom::model(|| {
        let signal = Signal::leak();
        let inbox = Arc::new(Inbox::new(signal));
        let notifier = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.notify())
        };
        // Lost, it would leave the turn asleep, which loom reports as a deadlock.
        turn(&inbox, signal, &mut ReadyQueue::<()>::new());
        notifier.join().unwrap();
    });
}

#[test]
fn no_job_is_lost_and_each_senders_jobs_stay_in_order() {
    loom::model(|| {
        let signal = Signal::leak();
        let inbox = Arc::new(Inbox::new(signal));
        let senders = [1, 2].map(|sender| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.push(sender).unwrap())
        });
        let (mut ready, mut seen) = (ReadyQueue::new(), Vec::new());
        // If a wake-up were lost, the loop would sleep for ever, which loom reports as a deadlock.
        while seen.len() < 2 {
            turn(&inbox, signal, &mut ready);
            seen.extend(ready.take_all());
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn one_senders_jobs_arrive_in_order_and_cost_a_call_per_sleep_at_most() {
    loom::model(|| {
        let signal = Signal::leak();
        let inbox = Arc::new(Inbox::new(signal));
        let sender = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                inbox.push(1).unwrap();
                inbox.push(2).unwrap();
            })
        };
        let (mut ready, mut seen, mut turns) = (ReadyQueue::new(), Vec::new(), 0);
        while seen.len() < 2 {
            turn(&inbox, signal, &mut ready);
            turns += 1;
            seen.extend(ready.take_all());
        }
        sender.join().unwrap();
        assert_eq!(seen, [1, 2]);
        assert!(signal.calls() <= turns);
    });
}

#[test]
fn a_job_is_either_drained_or_handed_back_by_close() {
    loom::model(|| {
        let signal = Signal::leak();
        let inbox = Arc::new(Inbox::new(signal));
        let sender = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.push(()).is_ok())
        };
        let mut ready = ReadyQueue::new();
        inbox.drain_into(&mut ready);
        let kept = ready.len() + inbox.close().len();
        assert_eq!(sender.join().unwrap(), kept == 1);
    });
}

#[test]
fn a_notifier_that_is_idle_when_the_loop_closes_is_called_no_more() {
    loom::model(|| {
        let signal = Signal::leak();
        let inbox = Arc::new(Inbox::new(signal));
        let sender = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || [1, 2].map(|job| inbox.push(job).is_ok()))
        };
        // A short sleep, from which something else may wake the loop.
        if inbox.begin_park() {
            inbox.end_park();
        }
        inbox.close();
        if let Some(signal) = inbox.idle_notifier() {
            signal.closed.store(true, Ordering::Relaxed);
        }
        sender.join().unwrap();
        assert!(inbox.idle_notifier().is_some());
    });
}

/// What an interpreter's lock allows: its holder puts jobs on the loop's own queue, and the loop lets go of the lock
/// only to sleep.
#[test]
fn whoever_excludes_the_loop_need_not_repeat_a_notification() {
    loom::model(|| {
        let signal = Signal::leak();
        let inbox = Arc::new(Inbox::new(signal));
        let queue = Arc::new(Mutex::new(Vec::new()));
        let sender = {
            let (inbox, queue) = (Arc::clone(&inbox), Arc::clone(&queue));
            thread::spawn(move || {
                for job in [1, 2] {
                    let mut held = queue.lock().unwrap();
                    held.push(job);
                    if !inbox.is_notified() {
                        inbox.notify();
                    }
                }
            })
        };
        let (mut none, mut seen) = (ReadyQueue::<()>::new(), Vec::new());
        let mut held = queue.lock().unwrap();
        // As above, a lost wake-up would be a deadlock.
        while seen.len() < 2 {
            if !inbox.drain_into(&mut none) && held.is_empty() && inbox.begin_park() {
                drop(held);
                signal.wait();
                held = queue.lock().unwrap();
                inbox.end_park();
            }
            inbox.drain_into(&mut none);
            seen.append(&mut held);
        }
        drop(held);
        sender.join().unwrap();
        assert_eq!(seen, [1, 2]);
    });
}
