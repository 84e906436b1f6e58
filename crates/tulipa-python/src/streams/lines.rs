//! `readuntil`, `readline` and iteration: up to a separator, within the limit.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;

use super::errors;
use super::reader::Reader;
use super::reading::state;
use super::separators::{Separators, normalise};
use crate::ffi::make::{self, Exception, Text};
use crate::ffi::{Object, Raised, Result, Slot, call};
use crate::operations::{self, Machine, Step};
use crate::stdlib::stdlib;

/// Which of the coroutines it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Until,
    Line,
    /// `__anext__`.
    Next,
}

impl Kind {
    fn qualified_name(self) -> &'static str {
        match self {
            Self::Until => "StreamReader.readuntil",
            Self::Line => "StreamReader.readline",
            Self::Next => "StreamReader.__anext__",
        }
    }

    fn waits_in(self) -> &'static [&'static str] {
        const UNTIL: &[&str] = &[
            "StreamReader.__anext__",
            "StreamReader.readline",
            "StreamReader.readuntil",
            "StreamReader._wait_for_data",
        ];
        match self {
            Self::Until => &UNTIL[2..],
            Self::Line => &UNTIL[1..],
            Self::Next => UNTIL,
        }
    }
}

const NOT_FOUND: &str = "Separator is not found, and chunk exceed the limit";
const TOO_FAR: &str = "Separator is found, but chunk is longer than limit";

/// One of the three, on a reader whose methods are all native.
pub(super) struct ReadUntil {
    reader: Slot,
    /// As `Separators` reads them, once checked.
    separators: Slot,
    /// How much of the buffer is known to hold no separator's beginning.
    offset: Cell<usize>,
    kind: Kind,
}

/// What a look at the buffer gave.
enum Look {
    Found(usize),
    /// The limit is exceeded: how much of the buffer comes before the separator, or was searched.
    TooLong {
        text: &'static str,
        consumed: usize,
    },
    NotYet,
}

impl ReadUntil {
    /// `separator` is `None` for a newline.
    pub(super) fn new(reader: &Object, separator: Option<Object>, kind: Kind) -> Self {
        let separators = Slot::empty();
        separators.set(separator);
        Self { reader: Slot::holding(reader.clone()), separators, offset: Cell::new(0), kind }
    }

    /// Searches what was not searched before.
    #[inline]
    fn look(&self, reader: &Reader, separators: &Separators<'_>) -> Look {
        let limit = reader.limit.get();
        reader.buffer.look(|bytes| {
            if bytes.len() < self.offset.get() + separators.shortest() {
                return Look::NotYet;
            }
            if let Some(found) = separators.find(bytes, self.offset.get()) {
                if found.start > limit {
                    return Look::TooLong { text: TOO_FAR, consumed: found.start };
                }
                return Look::Found(found.end);
            }
            // The last bytes may be the beginning of a separator.
            self.offset.set((bytes.len() + 1).saturating_sub(separators.longest()));
            if self.offset.get() > limit {
                return Look::TooLong { text: NOT_FOUND, consumed: self.offset.get() };
            }
            Look::NotYet
        })
    }

    #[inline]
    fn go_on(&self, reader: &Reader) -> Result<Step> {
        let separators = self.separators.or_none();
        match self.look(reader, &Separators::new(&separators)) {
            Look::Found(end) => {
                let data = reader.buffer.take(end)?;
                reader.maybe_resume()?;
                Ok(Step::Done(data))
            }
            Look::TooLong { text, consumed } => Err(self.too_long(reader, text, consumed)?),
            // The last chunk may have brought both a separator and the end: so the end counts only now.
            Look::NotYet if reader.eof.get() => self.ended(reader),
            Look::NotYet => reader.wait("readuntil").map(Step::Park),
        }
    }

    fn ended(&self, reader: &Reader) -> Result<Step> {
        let partial = reader.buffer.take(reader.buffer.len())?;
        match self.kind {
            Kind::Until => Err(errors::incomplete_read(&partial, None::<usize>)),
            Kind::Next if !call::truth(&partial)? => Err(errors::end_of_lines()),
            Kind::Line | Kind::Next => Ok(Step::Done(partial)),
        }
    }

    /// What an exception of the reader's comes to.
    #[cold]
    fn failed(&self, exception: &Object) -> Result<Step> {
        if self.kind == Kind::Until {
            return Err(Raised::from_object(exception));
        }
        match line_failed(&self.reader.or_none(), exception)? {
            line if self.kind == Kind::Next && !call::truth(&line)? => Err(errors::end_of_lines()),
            line => Ok(Step::Done(line)),
        }
    }

    /// `readuntil` leaves what is too long in the buffer; `readline` drops it, with its newline where that came.
    #[cold]
    fn too_long(&self, reader: &Reader, text: &'static str, consumed: usize) -> Result<Raised> {
        if self.kind == Kind::Until {
            return Ok(errors::limit_overrun(text, consumed));
        }
        drop_line(reader, consumed)?;
        Ok(errors::line_too_long(text, consumed))
    }
}

/// What `readline` makes of an exception that `readuntil` has raised: a line at the end of the stream may be without its
/// newline, and one that is too long is dropped.
fn line_failed(reader: &Object, exception: &Object) -> Result<Object> {
    let stdlib = stdlib();
    let is = |class: &Object| exception.is_instance_of(class.as_ptr().cast::<ffi::PyTypeObject>());
    // SAFETY: attached.
    let py = unsafe { Python::assume_attached() };
    if is(&stdlib.incomplete_read_error) {
        return Ok(exception.bound(py).getattr(Text("partial"))?.into());
    }
    if !is(&stdlib.limit_overrun_error) {
        return Err(Raised::from_object(exception));
    }
    let consumed: usize = exception.bound(py).getattr(Text("consumed"))?.extract()?;
    let text = exception.bound(py).getattr(Text("args"))?.get_item(0)?;
    drop_line(state(reader), consumed)?;
    let error = pyo3::exceptions::PyValueError::with(py, &text);
    Err(crate::ffi::raised::chain(error.into(), exception))
}

fn drop_line(reader: &Reader, consumed: usize) -> Result<()> {
    let complete = reader.buffer.look(|bytes| bytes.get(consumed) == Some(&b'\n'));
    if complete {
        reader.buffer.consume(consumed + 1)?;
    } else {
        reader.buffer.clear()?;
    }
    reader.maybe_resume()
}

impl Machine for ReadUntil {
    fn qualified_name(&self) -> &'static str {
        self.kind.qualified_name()
    }

    fn waits_in(&self) -> &'static [&'static str] {
        self.kind.waits_in()
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        if let Some(given) = self.separators.get() {
            self.separators.put(normalise(&given)?);
        }
        let reader = self.reader.or_none();
        // SAFETY: made for native readers.
        let reader = unsafe { Reader::of(reader.as_ptr()) };
        if let Err(raised) = reader.check() {
            return self.failed(&raised.take_object());
        }
        self.go_on(reader)
    }

    fn resume(&self, _waiter: Object) -> Result<Step> {
        let reader = self.reader.or_none();
        // SAFETY: made for native readers, and not stepped once the slot is cleared.
        let reader = unsafe { Reader::of(reader.as_ptr()) };
        reader.waiter.set(None);
        self.go_on(reader)
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        state(&self.reader.or_none()).waiter.set(None);
        self.failed(&exception)
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
        each(&self.separators);
    }
}

/// `readline` and iteration on a reader with methods of its own: by its `readuntil` and its `readline`.
pub(super) struct ByMethod {
    reader: Slot,
    kind: Kind,
}

impl ByMethod {
    pub(super) fn new(reader: &Object, kind: Kind) -> Self {
        Self { reader: Slot::holding(reader.clone()), kind }
    }
}

impl Machine for ByMethod {
    fn qualified_name(&self) -> &'static str {
        self.kind.qualified_name()
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let (reader, names) = (self.reader.or_none(), &stdlib().names);
        let awaited = if self.kind == Kind::Next {
            call::method0(&reader, &names.readline)?
        } else {
            // SAFETY: attached.
            let newline = make::bytes(unsafe { Python::assume_attached() }, b"\n")?;
            call::method1(&reader, &names.readuntil, &newline.into_any().into())?
        };
        operations::awaiting(&awaited)
    }

    fn resume(&self, line: Object) -> Result<Step> {
        // SAFETY: attached.
        let py = unsafe { Python::assume_attached() };
        if self.kind == Kind::Next && line.bound(py).eq(make::bytes(py, b"")?)? {
            return Err(errors::end_of_lines());
        }
        Ok(Step::Done(line))
    }

    fn throw(&self, _waiter: Option<&Object>, exception: Object) -> Result<Step> {
        if self.kind == Kind::Line {
            return line_failed(&self.reader.or_none(), &exception).map(Step::Done);
        }
        Err(Raised::from_object(&exception))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.reader);
    }
}
