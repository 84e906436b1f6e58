//! Sends of many sockets in one call.
#![cfg(not(loom))]

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;

use tulipa::driver::{MAX_SENDS, Outgoing, SendRing};

/// A ring; without one where this system has none, and then for one of the documented reasons.
fn ring() -> Option<SendRing> {
    SendRing::open()
        .inspect_err(|error| {
            let code = error.raw_os_error();
            assert!(matches!(code, Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)), "{error}");
        })
        .ok()
}

fn pairs(count: usize) -> Vec<(UnixStream, UnixStream)> {
    (0..count).map(|_| UnixStream::pair().unwrap()).collect()
}

#[test]
fn every_peer_gets_its_own() {
    let Some(mut ring) = ring() else { return };
    let mut pairs = pairs(MAX_SENDS);
    for round in 0..3 {
        let texts: Vec<_> = (0..MAX_SENDS).map(|index| format!("{round}/{index}")).collect();
        let descriptors = pairs.iter().map(|pair| pair.0.as_raw_fd());
        let sends: Vec<_> =
            descriptors.zip(&texts).map(|(fd, text)| Outgoing { fd, bytes: text.as_bytes() }).collect();
        let mut sent = vec![0; MAX_SENDS];
        ring.send(&sends, |index, written| sent[index] = written.unwrap()).unwrap();
        for ((pair, text), sent) in pairs.iter_mut().zip(&texts).zip(sent) {
            let mut received = vec![0; sent];
            pair.1.read_exact(&mut received).unwrap();
            assert_eq!(received, text.as_bytes());
        }
    }
}

#[test]
fn each_has_its_own_answer() {
    let Some(mut ring) = ring() else { return };
    let (full, gone, fine) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    full.0.set_nonblocking(true).unwrap();
    while io::Write::write(&mut &full.0, &[0; 4096]).is_ok() {}
    drop(gone.1);
    let large = vec![7; 64 << 20];
    let sends = [
        Outgoing { fd: full.0.as_raw_fd(), bytes: b"no room" },
        Outgoing { fd: gone.0.as_raw_fd(), bytes: b"nobody there" },
        Outgoing { fd: -1, bytes: b"no socket" },
        Outgoing { fd: fine.0.as_raw_fd(), bytes: &large },
    ];
    let mut answers: [Option<io::Result<usize>>; 4] = [const { None }; 4];
    ring.send(&sends, |index, answer| answers[index] = Some(answer)).unwrap();
    let [full, gone, none, fine] = answers.map(Option::unwrap);
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(none.unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert!((1..large.len()).contains(&fine.unwrap()), "a part, as much as fits");
    ring.send(&[], |_, _| unreachable!("nothing was sent")).unwrap();
}

#[test]
fn it_belongs_to_the_thread_that_opened_it() {
    let Some(ring) = ring() else { return };
    assert!(ring.is_usable());
    assert!(!thread::spawn(move || ring.is_usable()).join().unwrap());
}
