//! The coroutines of a StreamReader: `read`, `readexactly`, and waiting for data.
//!
//! Each looks at the buffer first, and so is over in one call where that holds enough.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;

use super::buffer::new_bytes;
use super::errors;
use super::reader::Reader;
use crate::ffi::make;
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::operations::{self, Machine, Step};
use crate::stdlib::stdlib;

/// The reader of a machine that is not over.
#[inline]
pub(super) fn state(reader: &Object) -> &Reader {
    // SAFETY: machines are made for native readers, and not stepped once their slots are cleared.
    unsafe { Reader::of(reader.as_ptr()) }
}

/// Raises `exception` where a coroutine waited for data.
pub(super) fn give_up(reader: &Slot, exception: &Object) -> Raised {
    state(&reader.or_none()).waiter.set(None);
    Raised::from_object(exception)
}

/// `read(n)` for an n that is not negative.
pub(super) struct Read {
    reader: Slot,
    most: usize,
}

impl Read {
    pub(super) fn new(reader: &Object, most: usize) -> Self {
        Self { reader: Slot::holding(reader.clone()), most }
    }

    #[inline]
    fn take(&self, reader: &Reader) -> Result<Step> {
        let data = reader.buffer.take(self.most.min(reader.buffer.len()))?;
        reader.maybe_resume()?;
        Ok(Step::Done(data))
    }
}

impl Machine for Read {
    fn qualified_name(&self) -> &'static str {
        "StreamReader.read"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        &["StreamReader.read", "StreamReader._wait_for_data"]
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let reader = self.reader.or_none();
        let reader = state(&reader);
        reader.check()?;
        if self.most == 0 {
            return Ok(Step::Done(new_bytes(b"")?));
        }
        if reader.buffer.is_empty() && !reader.eof.get() {
            return reader.wait("read").map(Step::Park);
        }
        self.take(reader)
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        let reader = self.reader.or_none();
        let reader = state(&reader);
        reader.waiter.set(None);
        self.take(reader)
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        Err(give_up(&self.reader, &exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
    }
}

/// `read()`: everything until the end of the stream.
pub(super) struct ReadAll {
    reader: Slot,
    /// What was taken so far; it goes back if the coroutine is given up.
    taken: Cell<Vec<u8>>,
}

impl ReadAll {
    pub(super) fn new(reader: &Object) -> Self {
        Self { reader: Slot::holding(reader.clone()), taken: Cell::new(Vec::new()) }
    }

    /// Takes what there is. The limit bounds what lies in the buffer, not what is returned.
    fn go_on(&self, reader: &Reader) -> Result<Step> {
        reader.check()?;
        let mut taken = self.taken.take();
        reader.buffer.look(|bytes| taken.extend_from_slice(bytes));
        if reader.eof.get() {
            let all = new_bytes(&taken);
            reader.buffer.clear()?;
            reader.maybe_resume()?;
            return all.map(Step::Done);
        }
        self.taken.set(taken);
        if !reader.buffer.is_empty() {
            reader.buffer.clear()?;
            reader.maybe_resume()?;
        }
        reader.wait("read").map(Step::Park)
    }
}

impl Machine for ReadAll {
    fn qualified_name(&self) -> &'static str {
        "StreamReader.read"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        &["StreamReader.read", "StreamReader._wait_for_data"]
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        self.go_on(state(&self.reader.or_none()))
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        let reader = self.reader.or_none();
        let reader = state(&reader);
        reader.waiter.set(None);
        self.go_on(reader)
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        let reader = self.reader.or_none();
        let taken = self.taken.take();
        if !taken.is_empty() {
            state(&reader).buffer.prepend(&taken)?;
        }
        Err(give_up(&self.reader, &exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
    }
}

/// `read()` of a reader whose `read(n)` is not the native one: `read(limit)` until there is no more.
pub(super) struct ReadPieces {
    reader: Slot,
    pieces: Slot,
}

impl ReadPieces {
    pub(super) fn new(reader: &Object) -> Self {
        Self { reader: Slot::holding(reader.clone()), pieces: Slot::empty() }
    }

    fn next(&self) -> Result<Step> {
        let reader = self.reader.or_none();
        let limit = call::getattr(&reader, &stdlib().names.private_limit)?;
        operations::awaiting(&call::method1(&reader, &stdlib().names.read, &limit)?)
    }
}

impl Machine for ReadPieces {
    fn qualified_name(&self) -> &'static str {
        "StreamReader.read"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        state(&self.reader.or_none()).check()?;
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        self.pieces.put(make::list(py)?.into_any().into());
        self.next()
    }

    fn resume(&self, piece: Object) -> Result<Step> {
        let pieces = self.pieces.or_none();
        if !call::truth(&piece)? {
            return call::method1(&new_bytes(b"")?, &stdlib().names.join, &pieces).map(Step::Done);
        }
        // SAFETY: the list that `start` made, and a live object.
        if unsafe { ffi::PyList_Append(pieces.as_ptr(), piece.as_ptr()) } < 0 {
            return Err(Raised);
        }
        self.next()
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
        each(&self.pieces);
    }
}

/// `readexactly(n)` for an n that is not negative.
pub(super) struct ReadExactly {
    reader: Slot,
    count: usize,
    /// The count as it was given, where that is something else.
    given: Slot,
}

impl ReadExactly {
    pub(super) fn new(reader: &Object, count: usize) -> Self {
        Self { reader: Slot::holding(reader.clone()), count, given: Slot::empty() }
    }

    pub(super) fn expecting(reader: &Object, count: usize, given: Object) -> Self {
        Self { reader: Slot::holding(reader.clone()), count, given: Slot::holding(given) }
    }

    #[inline]
    fn go_on(&self, reader: &Reader) -> Result<Step> {
        let len = reader.buffer.len();
        if len < self.count {
            if !reader.eof.get() {
                return reader.wait("readexactly").map(Step::Park);
            }
            let partial = reader.buffer.take(len)?;
            // SAFETY: attached.
            let py = unsafe { Python::assume_attached() };
            return Err(match self.given.get() {
                Some(given) => errors::incomplete_read(&partial, given.bound(py)),
                None => errors::incomplete_read(&partial, self.count),
            });
        }
        let data = reader.buffer.take(self.count)?;
        reader.maybe_resume()?;
        Ok(Step::Done(data))
    }
}

impl Machine for ReadExactly {
    fn qualified_name(&self) -> &'static str {
        "StreamReader.readexactly"
    }

    fn waits_in(&self) -> &'static [&'static str] {
        &["StreamReader.readexactly", "StreamReader._wait_for_data"]
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let reader = self.reader.or_none();
        let reader = state(&reader);
        reader.check()?;
        if self.count == 0 {
            return Ok(Step::Done(new_bytes(b"")?));
        }
        self.go_on(reader)
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        let reader = self.reader.or_none();
        let reader = state(&reader);
        reader.waiter.set(None);
        self.go_on(reader)
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        Err(give_up(&self.reader, &exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
        each(&self.given);
    }
}

/// `_wait_for_data(name)`, which libraries call that look into the buffer themselves.
pub(super) struct WaitForData {
    reader: Slot,
    name: Slot,
}

impl WaitForData {
    pub(super) fn new(reader: &Object, name: &Object) -> Self {
        Self { reader: Slot::holding(reader.clone()), name: Slot::holding(name.clone()) }
    }
}

impl Machine for WaitForData {
    fn qualified_name(&self) -> &'static str {
        "StreamReader._wait_for_data"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        let name = self.name.or_none().bound(py).str()?.to_string();
        state(&self.reader.or_none()).wait(&name).map(Step::Park)
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        state(&self.reader.or_none()).waiter.set(None);
        Ok(Step::Done(Object::none()))
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        Err(give_up(&self.reader, &exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
        each(&self.name);
    }
}
