//! Rust tasks: results, aborts, panics, wake-ups from anywhere.
#![cfg(not(loom))]

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use tulipa::{
    Instant, JoinError, JoinHandle, Runtime, RustHost, Sleep, run, sleep, spawn, timeout, yield_now,
};

/// Counts its drops.
#[derive(Clone, Default)]
struct Guard(Rc<Cell<u32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Guard {
    /// A guard, and the number of guards of this family dropped so far.
    fn counted() -> (Self, Rc<Cell<u32>>) {
        let guard = Self::default();
        let count = Rc::clone(&guard.0);
        (guard, count)
    }
}

#[test]
fn tasks_take_turns_in_the_order_they_were_spawned() {
    let log = run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let log = Rc::clone(&log);
                spawn(async move {
                    for step in 0..2 {
                        log.borrow_mut().push((step, task));
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        log.take()
    });
    assert_eq!(log.unwrap(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
}

#[test]
fn a_panic_is_the_handles_error_and_nobody_elses() {
    let error = run(async {
        let panics: JoinHandle<()> = spawn(async { panic!("on purpose: {}", 7) });
        let fine = spawn(async { 1 });
        let error = panics.await.unwrap_err();
        assert_eq!(fine.await.unwrap(), 1);
        error
    })
    .unwrap();
    assert!(matches!(error, JoinError::Panicked(_)));
    assert_eq!(error.to_string(), "the task panicked: on purpose: 7");
}

#[test]
fn a_panic_of_the_main_future_reaches_the_caller() {
    let payload = catch_unwind(|| run(async { panic!("main") })).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"main"));
}

#[test]
fn a_panic_in_a_destructor_is_reported_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    run(async {
        let bomb = Bomb;
        let task = spawn(async move {
            let _bomb = bomb;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        assert_eq!(task.await.unwrap_err().to_string(), "the task panicked: bomb");
    })
    .unwrap();
}

#[test]
fn abort_drops_the_future_in_its_turn_not_in_the_call() {
    run(async {
        let (guard, drops) = Guard::counted();
        let task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        assert_eq!(drops.get(), 0);
        assert!(!task.is_finished());
        assert!(matches!(task.await, Err(JoinError::Aborted)));
        assert_eq!(drops.get(), 1);
    })
    .unwrap();
}

#[test]
fn abort_before_the_first_poll_and_after_the_end() {
    run(async {
        let (guard, drops) = Guard::counted();
        let early = spawn(async move {
            let _guard = guard;
            unreachable!("aborted before it ran");
        });
        early.abort();
        assert!(matches!(early.await, Err(JoinError::Aborted)));
        assert_eq!(drops.get(), 1);

        let late = spawn(async { 5 });
        yield_now().await;
        assert!(late.is_finished());
        late.abort();
        assert_eq!(late.await.unwrap(), 5);
    })
    .unwrap();
}

#[test]
fn a_task_may_abort_itself() {
    run(async {
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let handle = Rc::clone(&own);
        let (guard, drops) = Guard::counted();
        *own.borrow_mut() = Some(spawn(async move {
            let _guard = guard;
            handle.borrow().as_ref().unwrap().abort();
            yield_now().await;
            unreachable!("aborted");
        }));
        yield_now().await;
        assert_eq!(drops.get(), 1);
        let handle = own.take().unwrap();
        assert!(matches!(handle.await, Err(JoinError::Aborted)));
    })
    .unwrap();
}

#[test]
fn a_detached_task_runs_to_its_end_and_its_output_is_dropped() {
    run(async {
        let (guard, drops) = Guard::counted();
        drop(spawn(async move { guard }));
        yield_now().await;
        assert_eq!(drops.get(), 1);
        let (guard, drops) = Guard::counted();
        let finished = spawn(async move { guard });
        yield_now().await;
        assert_eq!(drops.get(), 0);
        drop(finished);
        assert_eq!(drops.get(), 1);
    })
    .unwrap();
}

#[test]
fn tasks_left_behind_are_dropped_with_the_loop_and_their_handles_say_so() {
    let (guard, drops) = Guard::counted();
    let handle: Rc<Cell<Option<JoinHandle<()>>>> = Rc::default();
    let keep = Rc::clone(&handle);
    run(async move {
        keep.set(Some(spawn(async move {
            let _guard = guard;
            sleep(Duration::from_secs(3600)).await;
        })));
        yield_now().await;
    })
    .unwrap();
    assert_eq!(drops.get(), 1);
    let task = handle.take().unwrap();
    assert!(matches!(run(task).unwrap(), Err(JoinError::Aborted)));
}

#[test]
fn a_runtimes_tasks_live_on_between_calls() {
    let runtime = Runtime::new().unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    runtime
        .block_on(async move {
            drop(spawn(async move {
                loop {
                    counted.set(counted.get() + 1);
                    yield_now().await;
                }
            }));
        })
        .unwrap();
    let before = count.get();
    runtime.block_on(yield_now()).unwrap();
    assert!(count.get() > before);
}

#[test]
fn a_waker_works_from_any_thread_and_after_its_task_is_gone() {
    let waker = run(async {
        let mut polls = 0;
        poll_fn(move |context| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(context.waker().clone());
            }
            let waker = context.waker().clone();
            drop(thread::spawn(move || {
                waker.wake_by_ref();
                waker.wake();
            }));
            Poll::Pending
        })
        .await
    })
    .unwrap();
    // Neither task nor loop exist any more.
    thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    })
    .join()
    .unwrap();
}

#[test]
fn wake_ups_from_many_threads_are_not_lost() {
    const WAKES: u32 = 500;
    run(async {
        for _ in 0..WAKES {
            let mut woken = None;
            poll_fn(|context| {
                let waking: Option<thread::JoinHandle<()>> = woken.take();
                if let Some(thread) = waking {
                    thread.join().unwrap();
                    return Poll::Ready(());
                }
                let waker = context.waker().clone();
                woken = Some(thread::spawn(move || waker.wake()));
                Poll::Pending
            })
            .await;
        }
    })
    .unwrap();
}

#[test]
fn a_turn_inside_a_task_runs_the_others_but_not_the_task_itself() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let inner = Rc::clone(&runtime);
    runtime
        .block_on(async move {
            let ran = Rc::new(Cell::new(false));
            let mark = Rc::clone(&ran);
            drop(spawn(async move { mark.set(true) }));
            let mut polls = 0;
            poll_fn(|context| {
                polls += 1;
                if polls == 2 {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                assert!(inner.event_loop().turn(&RustHost).is_continue());
                assert!(ran.get());
                Poll::Pending
            })
            .await;
            assert_eq!(polls, 2);
        })
        .unwrap();
}

#[test]
fn a_task_may_close_the_loop_it_runs_on() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let (guard, drops) = Guard::counted();
    let inner = Rc::clone(&runtime);
    let outcome = runtime.block_on(async move {
        let task = spawn(async move {
            let _guard = guard;
            drop(inner.event_loop().close());
            pending::<()>().await;
        });
        poll_fn(|_| if task.is_finished() { Poll::Ready(()) } else { Poll::Pending }).await;
    });
    // The main future was dropped with everything else, in the middle of the batch.
    assert!(outcome.unwrap_err().to_string().contains("closed"));
    assert_eq!(drops.get(), 1);
    assert!(runtime.block_on(pending::<()>()).is_err());
}

#[test]
fn stopping_the_loop_ends_the_call_and_the_next_one_runs() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let (guard, drops) = Guard::counted();
    let inner = Rc::clone(&runtime);
    let outcome = runtime.block_on(async move {
        let _guard = guard;
        inner.event_loop().stop();
        pending::<()>().await;
    });
    assert!(outcome.unwrap_err().to_string().contains("stopped"));
    assert_eq!(runtime.block_on(async { 1 }).unwrap(), 1);
    assert_eq!(drops.get(), 1);
}

#[test]
fn what_destructors_spawn_while_the_runtime_is_dropped_is_dropped_too() {
    /// Says good-bye in a task of its own, so many times.
    struct Farewell(u32, Guard);
    impl Drop for Farewell {
        fn drop(&mut self) {
            if let Some(left) = self.0.checked_sub(1) {
                let next = Self(left, self.1.clone());
                drop(spawn(async move { drop(next) }));
            }
        }
    }
    let (guard, drops) = Guard::counted();
    run(async {
        let farewell = Farewell(4, guard);
        drop(spawn(async move {
            let _farewell = farewell;
            pending::<()>().await;
        }));
    })
    .unwrap();
    assert_eq!(drops.get(), 5);
}

#[test]
fn a_panic_goes_to_any_thread_as_an_error() {
    let outcome = run(async {
        let failing: JoinHandle<()> = spawn(async { panic!("on purpose") });
        failing.await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    assert_eq!(outcome.unwrap().unwrap_err().to_string(), "the task panicked: on purpose");
}

#[test]
fn sleeping_is_never_too_short_and_cancelling_removes_the_timer() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let inner = Rc::clone(&runtime);
    runtime
        .block_on(async move {
            let before = Instant::now();
            sleep(Duration::from_micros(300)).await;
            assert!(Instant::now().saturating_duration_since(before) >= Duration::from_micros(300));

            let asleep = spawn(sleep(Duration::from_secs(3600)));
            yield_now().await;
            assert_eq!(inner.event_loop().timers_len(), 1);
            asleep.abort();
            assert!(asleep.await.is_err());
            assert_eq!(inner.event_loop().timers_len(), 0);
        })
        .unwrap();
}

#[test]
fn a_timeout_gives_up_and_a_ready_future_wins() {
    run(async {
        assert!(timeout(Duration::from_micros(10), pending::<()>()).await.is_err());
        assert_eq!(timeout(Duration::ZERO, async { 3 }).await, Ok(3));
        let slow = timeout(Duration::from_secs(3600), sleep(Duration::from_micros(10)));
        assert_eq!(slow.await, Ok(()));
    })
    .unwrap();
}

#[test]
fn a_sleep_follows_the_task_that_polls_it() {
    run(async {
        let mut moved = Box::pin(sleep(Duration::from_micros(50)));
        // Polled first under a waker that wakes nobody.
        let polled = moved.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Pending);
        spawn(moved).await.unwrap();
    })
    .unwrap();
}

/// A sleep whose timer is on the current loop.
async fn begun(delay: Duration) -> Pin<Box<Sleep>> {
    let mut sleeping = Box::pin(sleep(delay));
    assert!(poll_fn(|context| Poll::Ready(sleeping.as_mut().poll(context))).await.is_pending());
    sleeping
}

#[test]
fn a_sleep_is_not_too_short_on_another_loop() {
    const DELAY: Duration = Duration::from_millis(2);
    let start = Instant::now();
    let sleeping = run(begun(DELAY)).unwrap();
    run(sleeping).unwrap();
    assert!(Instant::now() - start >= DELAY);

    run(async {
        let start = Instant::now();
        let sleeping = begun(DELAY).await;
        run(sleeping).unwrap();
        assert!(Instant::now() - start >= DELAY);
    })
    .unwrap();
}

#[test]
fn a_closed_loop_ends_no_sleep_early() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let inner = Rc::clone(&runtime);
    let is_pending = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_pending);
    let outcome = runtime.block_on(async move {
        let mut sleeping = begun(Duration::from_secs(3600)).await;
        poll_fn(|context| {
            drop(inner.event_loop().close());
            seen.set(sleeping.as_mut().poll(context).is_pending());
            Poll::<()>::Pending
        })
        .await;
    });
    assert!(outcome.is_err() && is_pending.get());
}

#[test]
fn a_timeout_is_not_much_larger_than_what_it_wraps() {
    let future = async {
        let large = [0_u8; 1024];
        yield_now().await;
        large.len()
    };
    let bare = size_of_val(&future);
    let nested = timeout(Duration::ZERO, timeout(Duration::ZERO, timeout(Duration::ZERO, future)));
    assert!(size_of_val(&nested) < bare + 3 * 64);
    assert_eq!(run(nested).unwrap().unwrap().unwrap(), Ok(1024));
}

#[test]
fn outside_a_loop_spawning_is_a_clear_panic() {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(spawn(async {})))).unwrap_err();
    let message = payload
        .downcast_ref::<String>()
        .map_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned(), Clone::clone);
    assert!(message.contains("no Tulipa loop runs on this thread"), "{message}");
}
