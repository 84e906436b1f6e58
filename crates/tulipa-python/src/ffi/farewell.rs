//! What becomes of a thread that the end of the interpreter finds below a loop's run.
//!
//! A daemon thread that wants the interpreter while that ends is sent to sleep by CPython 3.14. Earlier ones end it with
//! `pthread_exit`, which on glibc unwinds the stack; that may not pass Rust's frames, and the process would abort. glibc
//! calls a thread's clean-up handlers on the way, each before it leaves the frame that the handler's record lies in. The
//! record here lies in no frame, so that its handler is called before the first is left, and sleeps as 3.14 does.
//!
//! Called around the run of a loop, and of a single job that was taken out of one: the places from which Rust calls code
//! that takes its time. It ends no thread that 3.14 would not end, and does nothing where threads end without unwinding.

/// Runs `body`, in which the thread is not ended but sleeps until the process is gone.
#[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
pub(crate) fn asleep<T>(body: impl FnOnce() -> T) -> T {
    let _registration = glibc::Registration::new();
    body()
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(Py_3_14))))]
#[inline]
pub(crate) fn asleep<T>(body: impl FnOnce() -> T) -> T {
    body()
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
mod glibc {
    use std::cell::{Cell, UnsafeCell};
    use std::ffi::{c_int, c_void};
    use std::ptr;

    /// `struct _pthread_cleanup_buffer`, filled in by glibc.
    #[repr(C)]
    struct Record {
        routine: Option<unsafe extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Record,
    }

    unsafe extern "C" {
        fn _pthread_cleanup_push(
            record: *mut Record,
            routine: unsafe extern "C" fn(*mut c_void),
            argument: *mut c_void,
        );
        fn _pthread_cleanup_pop(record: *mut Record, execute: c_int);
    }

    thread_local! {
        static THREAD: Thread = Thread {
            runs: Cell::new(0),
            record: Box::new(UnsafeCell::new(Record {
                routine: None,
                argument: ptr::null_mut(),
                cancel_type: 0,
                previous: ptr::null_mut(),
            })),
        };
    }

    struct Thread {
        /// How many runs there are on this thread: loops may be nested, and greenlets end theirs in any order.
        runs: Cell<usize>,
        /// On the heap: in a stack, that of the thread or one that is allocated, its frame would count.
        record: Box<UnsafeCell<Record>>,
    }

    pub(super) struct Registration;

    impl Registration {
        pub(super) fn new() -> Self {
            THREAD.with(|thread| {
                if thread.runs.replace(thread.runs.get() + 1) == 0 {
                    // SAFETY: F1: the record is registered nowhere, and stays where it is until it is taken back.
                    unsafe { _pthread_cleanup_push(thread.record.get(), sleep, ptr::null_mut()) };
                }
            });
            Self
        }
    }

    impl Drop for Registration {
        fn drop(&mut self) {
            THREAD.with(|thread| {
                thread.runs.set(thread.runs.get() - 1);
                if thread.runs.get() == 0 {
                    // SAFETY: F1: registered by this thread's first run.
                    unsafe { _pthread_cleanup_pop(thread.record.get(), 0) };
                }
            });
        }
    }

    unsafe extern "C" fn sleep(_: *mut c_void) {
        loop {
            // SAFETY: takes nothing; returns after a signal.
            unsafe { libc::pause() };
        }
    }
}
