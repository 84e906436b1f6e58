//! Running out of descriptors while accepting: the caller's error, and the connection waits. A process of its
//! own, because the limit is the process's.
#![cfg(not(loom))]

use tulipa::{TcpListener, TcpStream, run};

/// Sets the limit of descriptors and returns the one before.
fn set_limit(limit: libc::rlim_t) -> libc::rlim_t {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `before` is valid for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before) }, 0);
    let after = libc::rlimit { rlim_cur: limit, rlim_max: before.rlim_max };
    // SAFETY: `after` is valid for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const after) }, 0);
    before.rlim_cur
}

#[test]
fn too_many_open_files_is_the_callers_error_and_the_connection_waits() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // Descriptors above the limit stay open; only new ones are refused.
        let before = set_limit(0);
        for _ in 0..2 {
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        set_limit(before);
        let served = listener.accept().await.unwrap();
        assert_eq!(served.peer_addr().unwrap(), client.local_addr().unwrap());
    })
    .unwrap();
}
