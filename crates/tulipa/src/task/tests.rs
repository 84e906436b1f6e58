//! The life of a task without a kernel under it, so that Miri can follow every access: a carrier made of a
//! queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use super::{Carrier, Claim, JoinError, LoopId, OwnedTask, RustJob, Sink, enter, spawn, yield_now};
use crate::clock::Instant;
use crate::driver::{Interest, Token};
use crate::net::RustSource;
use crate::slab::{Key, Slab};
use crate::timers::TimerKey;

/// Jobs from other threads.
#[derive(Default)]
struct Mailbox(Mutex<Vec<RustJob>>);

impl Sink for Mailbox {
    fn inject(&self, job: RustJob) -> bool {
        self.0.lock().unwrap().push(job);
        true
    }
}

/// A loop reduced to its queues.
struct Queues {
    id: LoopId,
    is_closed: Cell<bool>,
    ready: RefCell<VecDeque<RustJob>>,
    tasks: RefCell<Slab<OwnedTask>>,
    mailbox: Arc<Mailbox>,
}

impl Queues {
    fn new() -> Self {
        let (ready, tasks) = (RefCell::default(), RefCell::default());
        Self { id: LoopId::new(), is_closed: Cell::new(false), ready, tasks, mailbox: Arc::default() }
    }

    /// Runs jobs until none is left.
    fn run_all(&self) {
        enter(self, || {
            loop {
                self.ready.borrow_mut().extend(self.mailbox.0.lock().unwrap().drain(..));
                let Some(job) = self.ready.borrow_mut().pop_front() else { break };
                self.run(job);
            }
        });
    }

    fn run(&self, job: RustJob) {
        let runnable = match job {
            RustJob::Run(runnable) => runnable,
            RustJob::Wake(waker) => match super::Runnable::claim(waker) {
                Claim::Task(runnable) => runnable,
                Claim::AlreadyScheduled => return,
                Claim::Foreign(waker) => return waker.wake(),
            },
        };
        assert_eq!(runnable.loop_id(), self.id);
        // SAFETY: each test uses its queues on one thread (T1).
        if let Some(key) = unsafe { runnable.run() } {
            let task = self.tasks.borrow_mut().remove(key);
            drop(task);
        }
    }
}

impl Carrier for Queues {
    fn id(&self) -> LoopId {
        self.id
    }
    fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
    fn schedule(&self, job: RustJob) {
        self.ready.borrow_mut().push_back(job);
    }
    fn schedule_at(&self, _: Instant, _: RustJob) -> TimerKey {
        unreachable!("these tests set no timers")
    }
    fn is_timer_pending(&self, _: TimerKey) -> bool {
        false
    }
    fn cancel_timer(&self, _: TimerKey) {}
    fn register(&self, _: RawFd, _: Interest, _: RustSource) -> io::Result<Token> {
        unreachable!("these tests open no sockets")
    }
    fn deregister(&self, _: Token) {}
    fn adopt(&self, task: OwnedTask) -> Key {
        self.tasks.borrow_mut().insert(task)
    }
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::<Mailbox>::clone(&self.mailbox)
    }
}

#[test]
fn pure_a_task_runs_to_its_end_and_gives_its_output() {
    let queues = Queues::new();
    let mut task = enter(&queues, || {
        spawn(async {
            yield_now().await;
            String::from("done")
        })
    });
    assert!(!task.is_finished());
    queues.run_all();
    assert_eq!(task.take_output().unwrap().unwrap(), "done");
    assert!(task.take_output().is_none());
    assert!(queues.tasks.borrow().is_empty());
}

#[test]
fn pure_outputs_and_futures_are_dropped_once_whoever_goes_first() {
    let count = Rc::new(());
    let queues = Queues::new();
    let spawn_one = |waits: bool| {
        let held = Rc::clone(&count);
        enter(&queues, || {
            spawn(async move {
                if waits {
                    pending::<()>().await;
                }
                held
            })
        })
    };
    let kept = spawn_one(false);
    drop(spawn_one(false));
    let aborted = spawn_one(true);
    drop(spawn_one(true));
    queues.run_all();
    assert_eq!(Rc::strong_count(&count), 4);
    drop(kept);
    aborted.abort();
    queues.run_all();
    assert_eq!(Rc::strong_count(&count), 2);
    drop(queues);
    assert_eq!(Rc::strong_count(&count), 1);
    assert!(aborted.is_finished());
}

#[test]
fn pure_panics_become_errors() {
    let queues = Queues::new();
    let mut task = enter(&queues, || spawn(async { std::panic::panic_any(5_u8) }));
    queues.run_all();
    let Some(Err::<(), _>(JoinError::Panicked(panic))) = task.take_output() else { panic!("no panic") };
    assert_eq!(panic.into_payload().downcast_ref::<u8>(), Some(&5));
}

/// Panics when dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn pure_a_future_and_its_output_that_both_panic_when_dropped_end_their_task_only() {
    let queues = Queues::new();
    let mut task = enter(&queues, || {
        let bomb = Bomb;
        spawn(poll_fn(move |_| {
            let _ = &bomb;
            Poll::Ready(Bomb)
        }))
    });
    queues.run_all();
    let Some(Err(error)) = task.take_output() else { panic!("no error") };
    assert_eq!(error.to_string(), "the task panicked: dropped");
}

#[test]
fn pure_a_closed_loop_drops_what_is_spawned_on_it() {
    /// Spawns more when dropped.
    struct Chain(u32, Rc<Cell<u32>>);
    impl Drop for Chain {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            if let Some(left) = self.0.checked_sub(1) {
                let next = Self(left, Rc::clone(&self.1));
                let mut task = spawn(async move { drop(next) });
                assert!(matches!(task.take_output(), Some(Err(JoinError::Aborted))));
            }
        }
    }
    let (queues, count) = (Queues::new(), Rc::default());
    queues.is_closed.set(true);
    enter(&queues, || drop(Chain(5, Rc::clone(&count))));
    assert_eq!(count.get(), 6);
    assert!(queues.tasks.borrow().is_empty() && queues.ready.borrow().is_empty());
}

#[test]
fn pure_a_claimed_waker_runs_in_place_and_only_once() {
    let queues = Queues::new();
    let kept: Rc<Cell<Option<Waker>>> = Rc::default();
    let (keep, polls) = (Rc::clone(&kept), Rc::new(Cell::new(0)));
    let counted = Rc::clone(&polls);
    let task = enter(&queues, || {
        spawn(poll_fn::<(), _>(move |context| {
            counted.set(counted.get() + 1);
            keep.set(Some(context.waker().clone()));
            Poll::Pending
        }))
    });
    queues.run_all();
    let waker = kept.take().unwrap();
    queues.schedule(RustJob::Wake(waker.clone()));
    enter(&queues, || waker.wake());
    assert_eq!(queues.ready.borrow().len(), 2);
    queues.run_all();
    assert_eq!(polls.get(), 2, "the second wake-up found the task scheduled");
    queues.schedule(RustJob::Wake(Waker::noop().clone()));
    queues.run_all();
    drop(task);
}

#[test]
fn pure_wakers_on_other_threads_race_with_the_tasks_end() {
    let queues = Queues::new();
    let threads: Rc<RefCell<Vec<thread::JoinHandle<()>>>> = Rc::default();
    let started = Rc::clone(&threads);
    let mut task = enter(&queues, || {
        spawn(poll_fn(move |context| {
            let mut started = started.borrow_mut();
            if started.len() == 2 {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            started.push(thread::spawn(move || {
                waker.wake_by_ref();
                drop(waker.clone());
                waker.wake();
            }));
            Poll::Pending
        }))
    });
    while !task.is_finished() {
        queues.run_all();
        thread::yield_now();
    }
    assert!(task.take_output().unwrap().is_ok());
    for thread in threads.take() {
        thread.join().unwrap();
    }
}

#[test]
fn pure_joining_wakes_the_joiner_and_the_last_waker_counts() {
    let queues = Queues::new();
    let mut outer = enter(&queues, || {
        let inner = spawn(async {
            yield_now().await;
            3
        });
        spawn(async move { inner.await.unwrap() + 1 })
    });
    queues.run_all();
    assert_eq!(outer.take_output().unwrap().unwrap(), 4);
}
