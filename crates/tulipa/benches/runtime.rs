//! Rust tasks and TCP, beside tokio's current-thread runtime: `cargo bench -p tulipa --bench runtime`.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

const STEPS: u64 = 1000;
/// Round trips per connection and iteration.
const ROUNDS: u64 = 50;

/// tokio's runtime of the same kind: one thread, and a set of tasks that stay on it.
fn tokio_runtime() -> (tokio::runtime::Runtime, LocalSet) {
    (tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), LocalSet::new())
}

fn yielding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("yield");
    group.throughput(Throughput::Elements(STEPS));
    let runtime = tulipa::Runtime::new().unwrap();
    group.bench_function("tulipa", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let task = tulipa::spawn(async {
                    for _ in 0..STEPS {
                        tulipa::yield_now().await;
                    }
                });
                task.await.unwrap();
            })
        });
    });
    let (runtime, local) = tokio_runtime();
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| {
            local.block_on(&runtime, async {
                let task = tokio::task::spawn_local(async {
                    for _ in 0..STEPS {
                        tokio::task::yield_now().await;
                    }
                });
                task.await.unwrap();
            });
        });
    });
    group.finish();
}

fn spawning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spawn and await");
    group.throughput(Throughput::Elements(STEPS));
    let runtime = tulipa::Runtime::new().unwrap();
    group.bench_function("tulipa", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..STEPS).map(|step| tulipa::spawn(async move { step })).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            })
        });
    });
    let (runtime, local) = tokio_runtime();
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| {
            local.block_on(&runtime, async {
                let tasks: Vec<_> =
                    (0..STEPS).map(|step| tokio::task::spawn_local(async move { step })).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
    });
    group.finish();
}

/// A timeout that does not strike: started, and cancelled when the work is done.
fn timeouts(criterion: &mut Criterion) {
    const LIMIT: Duration = Duration::from_secs(10);
    let mut group = criterion.benchmark_group("timeout around a yield");
    group.throughput(Throughput::Elements(STEPS));
    let runtime = tulipa::Runtime::new().unwrap();
    group.bench_function("tulipa", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for _ in 0..STEPS {
                    tulipa::timeout(LIMIT, tulipa::yield_now()).await.unwrap();
                }
            })
        });
    });
    let (runtime, local) = tokio_runtime();
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| {
            local.block_on(&runtime, async {
                for _ in 0..STEPS {
                    tokio::time::timeout(LIMIT, tokio::task::yield_now()).await.unwrap();
                }
            });
        });
    });
    group.finish();
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// One iteration of a Tulipa echo: `connections` clients, each sending 64 bytes and awaiting them, again and
/// again.
async fn tulipa_echo(connections: u64) {
    let listener = tulipa::TcpListener::bind(anywhere()).unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            tulipa::spawn(async move {
                let stream = tulipa::TcpStream::connect(address).await.unwrap();
                let mut buffer = [0; 64];
                for _ in 0..ROUNDS {
                    stream.write_all(&buffer).await.unwrap();
                    stream.read_exact(&mut buffer).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..connections {
        let stream = listener.accept().await.unwrap();
        drop(tulipa::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(received @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..received]).await.unwrap();
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
}

/// The same on tokio.
async fn tokio_echo(connections: u64) {
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            tokio::task::spawn_local(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let mut buffer = [0; 64];
                for _ in 0..ROUNDS {
                    stream.write_all(&buffer).await.unwrap();
                    stream.read_exact(&mut buffer).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(tokio::task::spawn_local(async move {
            let mut buffer = [0; 4096];
            while let Ok(received @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..received]).await.unwrap();
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
}

/// Client and server on one thread: a round trip is two sends, two receives and their share of the waiting.
fn echo(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tcp echo, per round trip");
    for connections in [1, 10, 100] {
        group.throughput(Throughput::Elements(connections * ROUNDS));
        let runtime = tulipa::Runtime::new().unwrap();
        group.bench_function(BenchmarkId::new("tulipa", connections), |bencher| {
            bencher.iter(|| runtime.block_on(tulipa_echo(connections)));
        });
        let (runtime, local) = tokio_runtime();
        group.bench_function(BenchmarkId::new("tokio", connections), |bencher| {
            bencher.iter(|| local.block_on(&runtime, tokio_echo(connections)));
        });
    }
    group.finish();
}

criterion_group!(benches, yielding, spawning, timeouts, echo);
criterion_main!(benches);
