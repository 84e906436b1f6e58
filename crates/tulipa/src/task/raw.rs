//! The allocation of a task, and all unsafe code about what is in it.
//!
//! ```text
//!   Task<F> = [ Header: references, state, vtable, loop, local part | stage: Future, then Output, then Empty ]
//! ```
//!
//! Who may touch what (the invariants are numbered in SAFETY.md):
//!
//! - `references` and `state` are atomics, for any thread. Everything else in the header is constant after
//!   the task's birth, save the local part.
//! - The local part and the stage belong to the loop's thread (T1). They are reached through `Runnable::run`
//!   (which the loop calls for its own tasks only), `OwnedTask` and `JoinHandle` (which are not `Send`).
//! - While the future is polled or dropped the task is `busy`, and nobody else touches the stage (T2): user
//!   code below us on the stack may abort the task, close the loop, or run a turn.
//! - When the last reference goes, on whatever thread, the stage is `Empty` (T3): the loop's `OwnedTask`
//!   empties it of the future before it lets go, `JoinHandle` of the output.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::budget::refill_budget;
use super::current::{Carrier, LoopId, Sink};
use super::job::Runnable;
use super::join::{JoinError, JoinHandle, Panic};
use crate::slab::Key;

/// A `Runnable` of the task exists: waking it again does nothing.
const SCHEDULED: u8 = 1;
/// The future is gone: waking does nothing any more.
const DONE: u8 = 2;

/// What all tasks have in common, at the start of each.
struct Header {
    /// Runnables, wakers, the loop's own handle, the join handle.
    references: AtomicUsize,
    /// `SCHEDULED` and `DONE`.
    state: AtomicU8,
    /// What depends on the future's type.
    vtable: &'static Vtable,
    /// The loop that polls the task.
    loop_id: LoopId,
    /// The way there from other threads.
    sink: Arc<dyn Sink>,
    /// For the loop's thread only (T1).
    local: Local,
}

/// What only the loop's thread touches.
#[derive(Default)]
struct Local {
    /// Where the loop keeps the task.
    key: Cell<Option<Key>>,
    /// The future is being polled or dropped, below us on the stack (T2).
    busy: Cell<bool>,
    /// It was to be polled while busy: once more, then.
    again: Cell<bool>,
    /// It shall be dropped instead of polled.
    aborted: Cell<bool>,
    /// The join handle is gone: nobody wants the output.
    detached: Cell<bool>,
    /// Who awaits the join handle.
    join_waker: Cell<Option<Waker>>,
}

/// A task as it lies in memory. `repr(C)`: a pointer to it is a pointer to its header.
#[repr(C)]
struct Task<F: Future> {
    /// First, and never moved.
    header: Header,
    /// The future and later its output (T1, T2).
    stage: UnsafeCell<Stage<F>>,
}

/// What a task holds at each stage of its life.
enum Stage<F: Future> {
    /// Alive. Pinned: it stays where it is until dropped.
    Future(F),
    /// Done, the output not yet fetched.
    Output(Result<F::Output, JoinError>),
    /// Done and fetched.
    Empty,
}

/// The operations that depend on the future's type. All but `free` need T1, and a task that is not busy (T2).
struct Vtable {
    /// Polls the future; whether it is done. A panic is an output too.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Drops the future; the output is "aborted".
    cancel: unsafe fn(NonNull<Header>),
    /// Moves the output to where the pointer says: an `Option<Result<F::Output, JoinError>>`.
    take_output: unsafe fn(NonNull<Header>, NonNull<()>),
    /// Drops the output, if it is still there.
    drop_output: unsafe fn(NonNull<Header>),
    /// Gives the memory back. Any thread, last reference only (T3).
    free: unsafe fn(NonNull<Header>),
}

/// Starts a task on `carrier`, whose thread this is.
pub(super) fn spawn<F>(future: F, carrier: &dyn Carrier) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let header = Header {
        references: AtomicUsize::new(1),
        state: AtomicU8::new(SCHEDULED),
        vtable: const { &Task::<F>::VTABLE },
        loop_id: carrier.id(),
        sink: carrier.sink(),
        local: Local::default(),
    };
    let stage = UnsafeCell::new(Stage::Future(future));
    let task = NonNull::from(Box::leak(Box::new(Task { header, stage })));
    let task = TaskRef(task.cast());
    let owned = OwnedTask { task: task.clone(), stays: PhantomData };
    if carrier.is_closed() {
        drop(owned); // calls out: the future goes at once, as the others have
    } else {
        task.header().local.key.set(Some(carrier.adopt(owned)));
        carrier.schedule(super::RustJob::Run(Runnable::new(task.clone())));
    }
    // SAFETY: the output type is the future's, no other handle is made, and this is the loop's thread.
    unsafe { JoinHandle::new(task) }
}

/// A counted reference to a task, for any thread.
#[derive(Debug)]
pub(super) struct TaskRef(NonNull<Header>);

// SAFETY: what any thread may do with a reference touches atomics and constants only; the rest is behind
// unsafe functions that demand the loop's thread (T1), and the last reference finds nothing to drop but
// memory and an `Arc<dyn Sink>`, which is Send and Sync (T3).
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

/// For any thread.
impl TaskRef {
    /// The task's header.
    fn header(&self) -> &Header {
        // SAFETY: a counted reference keeps the allocation alive.
        unsafe { self.0.as_ref() }
    }

    /// The loop that the task belongs to.
    pub(super) fn loop_id(&self) -> LoopId {
        self.header().loop_id
    }

    /// The way to it from other threads.
    pub(super) fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.header().sink)
    }

    /// Whether the future is gone.
    pub(super) fn is_done(&self) -> bool {
        self.header().state.load(Ordering::Acquire) & DONE != 0
    }

    /// Announces that the task is to run. Whether the caller must see to it: not if it is done or queued
    /// already. Always a read-modify-write, so that what the waking thread wrote before is seen by the poll
    /// that follows.
    pub(super) fn mark_scheduled(&self) -> bool {
        self.header().state.fetch_or(SCHEDULED, Ordering::AcqRel) & (SCHEDULED | DONE) == 0
    }

    /// The task that `waker` wakes, if it is one of ours.
    pub(super) fn from_waker(waker: Waker) -> Result<Self, Waker> {
        if !std::ptr::eq(waker.vtable(), &raw const WAKER) {
            return Err(waker);
        }
        let waker = ManuallyDrop::new(waker);
        // SAFETY: the vtable says that the data is a counted header pointer; the count passes from the waker
        // to us.
        Ok(unsafe { Self::from_data(waker.data()) })
    }

    /// # Safety
    ///
    /// `data` came from `into_data`, and its count passes to the new reference.
    unsafe fn from_data(data: *const ()) -> Self {
        // SAFETY: `into_data` gave out a non-null pointer.
        Self(unsafe { NonNull::new_unchecked(data.cast_mut()) }.cast())
    }

    /// The reference as a waker's data, count included.
    fn into_data(self) -> *const () {
        ManuallyDrop::new(self).0.as_ptr().cast_const().cast()
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // Relaxed, as in `Arc`: whoever clones has a reference already. An overflow would take more
        // references than memory can hold, or a loop that leaks them; an abort is the only safe answer, as in
        // `Arc`.
        if self.header().references.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        if self.header().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Pairs with the Release of every other drop: their uses of the task come before its end.
        fence(Ordering::Acquire);
        let free = self.header().vtable.free;
        // SAFETY: that was the last reference, and the stage is empty by now (T3).
        unsafe { free(self.0) };
    }
}

/// For the loop's thread: every caller promises T1.
impl TaskRef {
    /// Polls the future once; when it is done, the key under which the loop keeps the task.
    pub(super) unsafe fn run(&self) -> Option<Key> {
        let header = self.header();
        header.state.fetch_and(!SCHEDULED, Ordering::AcqRel);
        if self.is_done() {
            return None;
        }
        if header.local.busy.replace(true) {
            // A turn inside the future's own poll. It must not be polled twice at once.
            header.local.again.set(true);
            return None;
        }
        let mut is_done = false;
        if !header.local.aborted.get() {
            // SAFETY: the waker below borrows our reference, and is not dropped.
            let waker = ManuallyDrop::new(unsafe { Waker::new(self.0.as_ptr().cast_const().cast(), &WAKER) });
            refill_budget();
            // SAFETY: T1 from the caller; T2, `busy` was not set before.
            is_done = unsafe { (header.vtable.poll)(self.0, &mut Context::from_waker(&waker)) };
        }
        if !is_done && header.local.aborted.get() {
            // SAFETY: as above.
            unsafe { (header.vtable.cancel)(self.0) };
            is_done = true;
        }
        header.local.busy.set(false);
        if is_done {
            // SAFETY: T1 from the caller, and the future is gone.
            unsafe { self.finish() };
            return header.local.key.get();
        }
        if header.local.again.take() && self.mark_scheduled() {
            Runnable::new(self.clone()).schedule();
        }
        None
    }

    /// Has the future dropped instead of polled, when its turn comes.
    pub(super) unsafe fn abort(&self) {
        self.header().local.aborted.set(true);
        if self.mark_scheduled() {
            Runnable::new(self.clone()).schedule();
        }
    }

    /// Notes who awaits the output.
    pub(super) unsafe fn set_join_waker(&self, waker: &Waker) {
        let slot = &self.header().local.join_waker;
        let before = slot.take();
        if before.as_ref().is_some_and(|before| before.will_wake(waker)) {
            slot.set(before);
            return;
        }
        slot.set(Some(waker.clone()));
        drop(before); // calls out
    }

    /// The output, if the task is done and it was not taken. The caller also promises that `T` is its type.
    pub(super) unsafe fn take_output<T>(&self) -> Option<Result<T, JoinError>> {
        if !self.is_done() {
            return None;
        }
        let mut output: Option<Result<T, JoinError>> = None;
        // SAFETY: T1 and the type from the caller; a task that is done is not busy (T2).
        unsafe { (self.header().vtable.take_output)(self.0, NonNull::from(&mut output).cast()) };
        output
    }

    /// The join handle goes, and with it the interest in the output.
    pub(super) unsafe fn detach(&self) {
        let local = &self.header().local;
        local.detached.set(true);
        if self.is_done() {
            // SAFETY: T1 from the caller; a task that is done is not busy (T2).
            unsafe { (self.header().vtable.drop_output)(self.0) };
        }
        drop(local.join_waker.take()); // calls out
    }

    /// Drops the future of a task whose loop lets go of it.
    unsafe fn abandon(&self) {
        let local = &self.header().local;
        if self.is_done() {
            return;
        }
        local.aborted.set(true);
        if local.busy.replace(true) {
            return; // closed from inside its own poll: `run`, below us on the stack, drops it
        }
        // SAFETY: T1 from the caller; T2, `busy` was not set before.
        unsafe { (self.header().vtable.cancel)(self.0) };
        local.busy.set(false);
        // SAFETY: T1 from the caller, and the future is gone.
        unsafe { self.finish() };
    }

    /// The future is gone: drops the output if nobody wants it, otherwise tells who does.
    unsafe fn finish(&self) {
        let header = self.header();
        header.state.fetch_or(DONE, Ordering::AcqRel);
        if header.local.detached.get() {
            // SAFETY: T1 from the caller; nobody else is interested in the stage any more.
            unsafe { (header.vtable.drop_output)(self.0) };
        }
        if let Some(waker) = header.local.join_waker.take() {
            waker.wake(); // calls out
        }
    }
}

/// The loop's own reference. Dropping it before the task is done drops the future. Not `Send`.
#[derive(Debug)]
pub(crate) struct OwnedTask {
    /// The task.
    task: TaskRef,
    /// Keeps every drop of a future on the loop's thread.
    stays: PhantomData<Rc<()>>,
}

/// T1 rests on it: none of these is `Send`.
const _: () = {
    // A type that is Send has two candidates for `A`, and naming the method would be ambiguous.
    trait AmbiguousIfSend<A> {
        fn check() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    impl<T: ?Sized + Send> AmbiguousIfSend<u8> for T {}
    let _ = <OwnedTask as AmbiguousIfSend<_>>::check;
    let _ = <JoinHandle<()> as AmbiguousIfSend<_>>::check;
    let _ = <crate::Loop<crate::RustHost> as AmbiguousIfSend<_>>::check;
};

impl Drop for OwnedTask {
    fn drop(&mut self) {
        // SAFETY: the loop and what it drains into are not Send, so this is the loop's thread (T1).
        unsafe { self.task.abandon() };
    }
}

impl<F: Future> Task<F> {
    /// The operations for this type of future.
    const VTABLE: Vtable = Vtable {
        poll: Self::poll,
        cancel: Self::cancel,
        take_output: Self::take_output,
        drop_output: Self::drop_output,
        free: Self::free,
    };

    /// # Safety
    ///
    /// `task` is the header of a live `Task<F>`; T1 and T2 for the length of `'a`.
    unsafe fn stage<'a>(task: NonNull<Header>) -> &'a mut Stage<F> {
        // SAFETY: the header is the first field of a live `Task<F>`, and the pointer was made from the whole
        // of it.
        let stage = unsafe { &raw const (*task.cast::<Self>().as_ptr()).stage };
        // SAFETY: as above; nobody else refers to the stage, by T1 and T2.
        unsafe { &mut *UnsafeCell::raw_get(stage) }
    }

    unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> bool {
        // SAFETY: the vtable's contract.
        let stage = unsafe { Self::stage(task) };
        let Stage::Future(future) = stage else { return true };
        // SAFETY: the future stays in its allocation until it is dropped there.
        let future = unsafe { Pin::new_unchecked(future) };
        let output = match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(JoinError::Panicked(Panic::new(payload))),
        };
        *stage = Stage::Output(match drop_in_place(stage) {
            Ok(()) => output,
            Err(payload) => {
                // What it would have given goes as well; a second panic has been reported by the hook.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(output)));
                Err(JoinError::Panicked(Panic::new(payload)))
            }
        });
        true
    }

    unsafe fn cancel(task: NonNull<Header>) {
        // SAFETY: the vtable's contract.
        let stage = unsafe { Self::stage(task) };
        let error = match drop_in_place(stage) {
            Ok(()) => JoinError::Aborted,
            Err(payload) => JoinError::Panicked(Panic::new(payload)),
        };
        *stage = Stage::Output(Err(error));
    }

    unsafe fn take_output(task: NonNull<Header>, destination: NonNull<()>) {
        // SAFETY: the vtable's contract.
        let stage = unsafe { Self::stage(task) };
        if let Stage::Output(output) = std::mem::replace(stage, Stage::Empty) {
            // SAFETY: the caller has an `Option` of this type there.
            unsafe { destination.cast::<Option<Result<F::Output, JoinError>>>().write(Some(output)) };
        }
    }

    unsafe fn drop_output(task: NonNull<Header>) {
        // SAFETY: the vtable's contract.
        let stage = unsafe { Self::stage(task) };
        // A panic in the output's destructor has no one left to report to but the panic hook, which has run.
        drop(drop_in_place(stage));
    }

    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: `task` was leaked from a box of this type, and this is the last reference.
        drop(unsafe { Box::from_raw(task.cast::<Self>().as_ptr()) });
    }
}

/// Empties the stage where it lies, as pinning demands; a panic on the way is caught.
fn drop_in_place<F: Future>(stage: &mut Stage<F>) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| *stage = Stage::Empty))
}

/// How wakers of tasks work; their data is a counted header pointer. A static, so that its address tells our
/// wakers from others.
static WAKER: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

unsafe fn clone_waker(data: *const ()) -> RawWaker {
    // SAFETY: the data of our wakers; the count stays with the waker that is cloned.
    let task = ManuallyDrop::new(unsafe { TaskRef::from_data(data) });
    RawWaker::new(TaskRef::clone(&task).into_data(), &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the data of our wakers; the count passes to us.
    let task = unsafe { TaskRef::from_data(data) };
    if task.mark_scheduled() {
        Runnable::new(task).schedule();
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the data of our wakers; the count stays with the waker.
    let task = ManuallyDrop::new(unsafe { TaskRef::from_data(data) });
    if task.mark_scheduled() {
        Runnable::new(TaskRef::clone(&task)).schedule();
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the data of our wakers; the count passes to us.
    drop(unsafe { TaskRef::from_data(data) });
}
