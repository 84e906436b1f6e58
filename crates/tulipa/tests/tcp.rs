//! TCP over real sockets.
#![cfg(not(loom))]

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tulipa::{TcpListener, TcpStream, run, spawn, timeout, yield_now};

/// Any free port.
fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A connected pair.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(anywhere())?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?))
}

/// Sends back what it reads, until the end.
async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            received => stream.write_all(&buffer[..received]).await?,
        }
    }
}

#[test]
fn a_thousand_connections_are_echoed() {
    const CONNECTIONS: usize = 1000;
    allow_descriptors(2 * CONNECTIONS as u64 + 100);
    let echoed = run(async {
        let listener = TcpListener::bind(anywhere()).unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            loop {
                let stream = listener.accept().await.unwrap();
                drop(spawn(echo(stream)));
            }
        });
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            clients.push((number, TcpStream::connect(address).await.unwrap()));
        }
        // All are open at once; each has its own conversation.
        let conversations: Vec<_> = clients
            .into_iter()
            .map(|(number, client)| {
                spawn(async move {
                    for round in 0..3 {
                        let sent = format!("{number:08}{round:08}");
                        client.write_all(sent.as_bytes()).await.unwrap();
                        let mut answer = [0; 16];
                        client.read_exact(&mut answer).await.unwrap();
                        assert_eq!(answer, sent.as_bytes());
                    }
                })
            })
            .collect();
        let mut echoed = 0;
        for conversation in conversations {
            conversation.await.unwrap();
            echoed += 1;
        }
        server.abort();
        echoed
    });
    assert_eq!(echoed.unwrap(), CONNECTIONS);
}

/// Raises this process's limit, as far as it may.
fn allow_descriptors(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_cur.max(wanted);
    // SAFETY: as above.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "needs {wanted} descriptors");
}

#[test]
fn much_data_flows_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    run(async {
        let (client, server) = pair().await.unwrap();
        let (client, server) = (Rc::new(client), spawn(echo(server)));
        let writer = Rc::clone(&client);
        let sent: Rc<Vec<u8>> = Rc::new((0..SIZE).map(|byte| (byte % 251) as u8).collect());
        let to_send = Rc::clone(&sent);
        let writing = spawn(async move {
            writer.write_all(&to_send).await?;
            writer.shutdown(Shutdown::Write)
        });
        let mut received = vec![0; SIZE];
        client.read_exact(&mut received).await.unwrap();
        assert!(received == *sent);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        writing.await.unwrap().unwrap();
        server.await.unwrap().unwrap();
    })
    .unwrap();
}

#[test]
fn after_a_short_read_the_end_of_the_stream_is_still_seen() {
    run(async {
        let (client, server) = pair().await.unwrap();
        client.write_all(b"bye").await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
        server.write_all(b"still open").await.unwrap();
        assert_eq!(client.read(&mut buffer).await.unwrap(), 10);
    })
    .unwrap();
}

#[test]
fn gathered_slices_arrive_in_order() {
    run(async {
        let (client, server) = pair().await.unwrap();
        client.set_nodelay(true).unwrap();
        let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        assert_eq!(client.write_vectored(&slices).await.unwrap(), 7);
        let mut buffer = [0; 7];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"one two");
        drop(client);
        assert_eq!(server.read_exact(&mut buffer).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    })
    .unwrap();
}

#[test]
fn more_slices_than_the_kernel_takes_are_written_in_part() {
    run(async {
        let (client, server) = pair().await.unwrap();
        let slices = vec![IoSlice::new(b"x"); 1500];
        assert_eq!(client.write_vectored(&slices).await.unwrap(), 1024);
        server.read_exact(&mut [0; 1024]).await.unwrap();
    })
    .unwrap();
}

#[test]
fn several_tasks_wait_for_connections_and_who_gives_up_keeps_nobody_waiting() {
    run(async {
        let listener = Rc::new(TcpListener::bind(anywhere()).unwrap());
        let address = listener.local_addr().unwrap();
        let accepting: Vec<_> = (0..3)
            .map(|_| {
                let listener = Rc::clone(&listener);
                spawn(async move { listener.accept().await.map(drop) })
            })
            .collect();
        yield_now().await;
        accepting[2].abort();
        assert!(timeout(Duration::ZERO, listener.accept()).await.is_err());
        let _clients =
            (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        for (number, task) in accepting.into_iter().enumerate() {
            assert_eq!(task.await.is_ok(), number < 2);
        }
    })
    .unwrap();
}

#[test]
fn waiting_for_many_sockets_in_one_task_sleeps_until_one_is_ready() {
    const CONNECTIONS: usize = 200; // more than a task may use in one go
    allow_descriptors(2 * CONNECTIONS as u64 + 100);
    run(async {
        let mut pairs = Vec::new();
        for _ in 0..CONNECTIONS {
            pairs.push(pair().await.unwrap());
        }
        let pairs = Rc::new(pairs);
        let mut buffers = vec![[0; 1]; CONNECTIONS];
        let mut reads: Vec<_> = pairs
            .iter()
            .zip(&mut buffers)
            .map(|((_, server), buffer)| Box::pin(server.read(buffer)))
            .collect();
        let (polls, last) = (Cell::new(0), CONNECTIONS - 1);
        let writer = Rc::clone(&pairs);
        drop(spawn(async move {
            for _ in 0..10 {
                yield_now().await;
            }
            writer[last].0.write_all(b"!").await.unwrap();
        }));
        let first = poll_fn(|context| {
            polls.set(polls.get() + 1);
            let found = reads.iter_mut().position(|read| read.as_mut().poll(context).is_ready());
            found.map_or(Poll::Pending, Poll::Ready)
        });
        assert_eq!(first.await, last);
        assert!(polls.get() < 10, "the task has woken itself: {polls:?}");
    })
    .unwrap();
}

#[test]
fn a_socket_of_another_loop_is_an_error_instead_of_a_wait_for_ever() {
    run(async {
        let (client, _server) = pair().await.unwrap();
        let outcome = run(async move { client.read(&mut [0; 1]).await }).unwrap();
        assert!(outcome.unwrap_err().to_string().contains("another Tulipa loop"));
    })
    .unwrap();
}

#[test]
fn a_refused_connection_and_a_vanished_peer_are_errors() {
    run(async {
        let address = TcpListener::bind(anywhere()).unwrap().local_addr().unwrap();
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let (client, server) = pair().await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        drop(server);
        let error = loop {
            if let Err(error) = client.write(b"anybody there?").await {
                break error;
            }
            yield_now().await;
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    })
    .unwrap();
}

#[test]
fn a_busy_reader_does_not_starve_the_others() {
    run(async {
        let (client, server) = pair().await.unwrap();
        let flood = spawn(async move {
            let bytes = vec![0; 1 << 16];
            loop {
                client.write_all(&bytes).await.unwrap();
            }
        });
        let reads = Rc::new(Cell::new(0_u64));
        let counted = Rc::clone(&reads);
        let reader = spawn(async move {
            loop {
                // One byte at a time: the socket has more every time.
                server.read(&mut [0]).await.unwrap();
                counted.set(counted.get() + 1);
            }
        });
        while reads.get() < 1000 {
            yield_now().await;
        }
        flood.abort();
        reader.abort();
    })
    .unwrap();
}

#[test]
fn outside_a_loop_sockets_are_an_error() {
    assert!(TcpListener::bind(anywhere()).unwrap_err().to_string().contains("no Tulipa loop"));
}
