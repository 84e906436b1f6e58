//! The parts of a turn, one by one: nanoseconds per job, timer, and message from another thread.
//! `cargo bench -p tulipa --bench structures`.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tulipa::timers::Timers;
use tulipa::{Host, Instant, Loop, Readiness, Token};

/// A host that adds up its jobs.
struct Adder;

impl Host for Adder {
    type Job = [u64; 3];
    type Source = ();
    type Break = io::Error;
    fn dispatch((): &(), _: Token, _: Readiness, _: &mut impl FnMut([u64; 3])) {}
    #[inline]
    fn run(&self, _: &Loop<Self>, job: [u64; 3]) -> ControlFlow<io::Error> {
        black_box(job);
        ControlFlow::Continue(())
    }
    fn wait_failed(&self, error: io::Error) -> io::Error {
        error
    }
}

const JOBS: u64 = 1000;

fn turn(criterion: &mut Criterion) {
    let event_loop = Loop::<Adder>::new().unwrap();
    let mut group = criterion.benchmark_group("turn");
    group.throughput(Throughput::Elements(JOBS));
    group.bench_function("schedule and run, per job of 1000", |bencher| {
        bencher.iter(|| {
            for job in 0..JOBS {
                event_loop.schedule([job; 3]);
            }
            assert!(event_loop.turn(&Adder).is_continue());
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("one job", |bencher| {
        bencher.iter(|| {
            event_loop.schedule([1; 3]);
            assert!(event_loop.turn(&Adder).is_continue());
        });
    });
    let remote = event_loop.remote();
    group.bench_function("one job through the inbox", |bencher| {
        bencher.iter(|| {
            remote.schedule([1; 3]).unwrap();
            assert!(event_loop.turn(&Adder).is_continue());
        });
    });
    group.finish();
}

/// Deadlines without an order to exploit.
fn scattered(count: usize) -> Vec<Instant> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Instant::from_nanos(state >> 33)
    };
    (0..count).map(|_| next()).collect()
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for pending in [0, 1000, 100_000] {
        let mut timers = Timers::new();
        for deadline in scattered(pending) {
            timers.insert(deadline, [0_u64; 3]);
        }
        group.bench_function(BenchmarkId::new("insert and cancel the latest", pending), |bencher| {
            bencher.iter(|| {
                let key = timers.insert(Instant::MAX, [1; 3]);
                black_box(timers.cancel(key))
            });
        });
        let deadlines = scattered(1024);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("insert and cancel anywhere", pending), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % deadlines.len();
                let key = timers.insert(deadlines[next], [1; 3]);
                black_box(timers.cancel(key))
            });
        });
    }
    let deadlines = scattered(1000);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("insert 1000 and fire them in order, per timer", |bencher| {
        bencher.iter(|| {
            let mut timers = Timers::new();
            for &deadline in &deadlines {
                timers.insert(deadline, [1_u64; 3]);
            }
            while let Some(job) = timers.pop_due(Instant::MAX) {
                black_box(job);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, turn, timers);
criterion_main!(benches);
