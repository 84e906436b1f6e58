//! Watched descriptors: tokens that go stale, interests, and what the kernel refuses.
#![cfg(not(loom))]

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use common::{Job, Lines, Recorder, both};
use tulipa::{Interest, Loop, Token};

/// A loop, and a socket that has something to read.
fn with_readable_socket() -> (Recorder, Loop<Recorder>, UnixStream, UnixStream) {
    let (socket, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    (Recorder::at(0), Loop::new().unwrap(), socket, peer)
}

/// One turn that does not wait.
fn poll(host: &Recorder, event_loop: &Loop<Recorder>) -> Vec<&'static str> {
    event_loop.stop();
    host.turn(event_loop);
    event_loop.take_stop();
    host.take_log()
}

#[test]
fn a_token_is_stale_after_deregistration_even_if_its_slot_is_reused() {
    let (host, event_loop, socket, peer) = with_readable_socket();
    let old = event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("old", "")).unwrap();
    assert!(event_loop.deregister(old).is_some());
    let new = event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("new", "")).unwrap();
    assert_ne!(old, new);
    assert!(event_loop.deregister(old).is_none());
    assert!(event_loop.with_source(old, |_| ()).is_none());
    assert_eq!(event_loop.set_interest(old, Interest::NONE).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(event_loop.interest(old), None);
    assert_eq!(event_loop.with_source(Token::from_bits(new.to_bits()), |lines| lines.0), Some("new"));
    assert_eq!(poll(&host, &event_loop), ["new", "flush"]);
    drop(peer);
}

#[test]
fn an_event_under_a_stale_token_is_ignored() {
    let (host, event_loop, socket, _peer) = with_readable_socket();
    let token = event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("stale", "")).unwrap();
    // A duplicate keeps the kernel's watch alive when its owner closes the descriptor without deregistering
    // first.
    let duplicate = socket.try_clone().unwrap();
    drop(socket);
    assert_eq!(poll(&host, &event_loop), ["stale", "flush"]);
    assert!(event_loop.deregister(token).is_some());
    assert_eq!(poll(&host, &event_loop), ["flush"]);
    let other = event_loop.register(duplicate.as_raw_fd(), Interest::READABLE, Lines("new", "")).unwrap();
    assert_eq!(poll(&host, &event_loop), ["new", "flush"]);
    assert!(event_loop.deregister(other).is_some());
}

#[test]
fn deregistering_after_the_descriptor_was_closed_works() {
    let (_, event_loop, socket, _peer) = with_readable_socket();
    let token = event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("", "")).unwrap();
    drop(socket);
    assert!(event_loop.deregister(token).is_some());
    assert_eq!(event_loop.sources_len(), 0);
}

#[test]
fn a_level_is_reported_until_it_is_used_up_and_an_edge_once() {
    let (host, event_loop, mut socket, _peer) = with_readable_socket();
    let token = event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("level", "")).unwrap();
    assert_eq!(poll(&host, &event_loop), ["level", "flush"]);
    assert_eq!(poll(&host, &event_loop), ["level", "flush"]);
    event_loop.set_interest(token, Interest::READABLE | Interest::EDGE).unwrap();
    assert_eq!(poll(&host, &event_loop), ["level", "flush"]);
    assert_eq!(poll(&host, &event_loop), ["flush"]);
    event_loop.rewatch(token).unwrap();
    assert_eq!(poll(&host, &event_loop), ["level", "flush"]);
    assert_eq!(poll(&host, &event_loop), ["flush"]);
    event_loop.set_interest(token, Interest::READABLE).unwrap();
    socket.read_exact(&mut [0]).unwrap();
    assert_eq!(poll(&host, &event_loop), ["flush"]);
}

#[test]
fn without_interest_even_a_hang_up_is_silent() {
    let (host, event_loop, socket, peer) = with_readable_socket();
    let token = event_loop.register(socket.as_raw_fd(), Interest::NONE, Lines("read", "write")).unwrap();
    drop(peer);
    assert_eq!(poll(&host, &event_loop), ["flush"]);
    event_loop.set_interest(token, both()).unwrap();
    assert_eq!(poll(&host, &event_loop), ["read", "write", "flush"]);
    event_loop.set_interest(token, Interest::WRITABLE).unwrap();
    assert_eq!(poll(&host, &event_loop), ["write", "flush"]);
    event_loop.set_interest(token, Interest::NONE).unwrap();
    assert_eq!(event_loop.interest(token), Some(Interest::NONE));
    assert_eq!(poll(&host, &event_loop), ["flush"]);
}

#[test]
fn a_hang_up_runs_reader_and_writer() {
    let (host, event_loop, socket, peer) = with_readable_socket();
    event_loop.register(socket.as_raw_fd(), both(), Lines("read", "write")).unwrap();
    drop(peer);
    assert_eq!(poll(&host, &event_loop), ["read", "write", "flush"]);
}

#[test]
fn a_background_source_does_not_make_a_busy_loop_ask_the_kernel() {
    let (host, event_loop, socket, _peer) = with_readable_socket();
    let quiet = Interest::READABLE | Interest::BACKGROUND;
    event_loop.register(socket.as_raw_fd(), quiet, Lines("signal", "")).unwrap();
    event_loop.schedule(Job::Log("busy"));
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["busy", "flush"]);
    host.turn(&event_loop);
    assert_eq!(host.take_log(), ["park", "signal", "flush"]);
}

#[test]
fn what_the_kernel_refuses_comes_back_with_the_source() {
    let (_, event_loop, socket, _peer) = with_readable_socket();
    let refused = |fd| {
        let (error, source) = event_loop.register(fd, Interest::READABLE, Lines("mine", "")).err().unwrap();
        assert_eq!(source.0, "mine");
        error.raw_os_error()
    };
    assert_eq!(refused(File::open("/proc/self/exe").unwrap().as_raw_fd()), Some(libc::EPERM));
    assert_eq!(refused(-1), Some(libc::EBADF));
    event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("first", "")).unwrap();
    assert_eq!(refused(socket.as_raw_fd()), Some(libc::EEXIST));
    assert_eq!(event_loop.sources_len(), 1);
    drop(event_loop.close());
    let (error, _) =
        event_loop.register(socket.as_raw_fd(), Interest::READABLE, Lines("late", "")).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}
