//! Having an operation wait in the driver, in the place where `add_reader` and `add_writer` put their handles.
//!
//! Two readers of one descriptor, and an operation beside a handle, therefore behave as in asyncio: the later one takes
//! the place. What differs is the price. When an operation is done its registration is not ended at once but **rests**
//! until the end of the next turn, in which its task runs: a task that receives, answers and receives again costs no
//! call to change what is watched. A resting registration serves operations on the very same socket only. Whoever else
//! wants the descriptor ends it first, because by then the number may be another file's, of which the kernel knows
//! nothing.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;

use pyo3::exceptions::PyRuntimeError;
use tulipa::{Interest, Token};

use super::super::core::Core;
use super::super::descriptors::{self, Side};
use super::super::job::Source;
use crate::errors::os_error;
use crate::ffi::make::Exception;
use crate::ffi::{Object, Result};
use crate::operations;
use crate::stdlib::stdlib;

/// The registrations that rest.
#[derive(Default)]
pub(crate) struct Resting(RefCell<Vec<Rest>>);

struct Rest {
    token: Token,
    /// The turn in which it came to rest has not ended.
    is_fresh: Cell<bool>,
}

impl Resting {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Puts who waits for an operation into its place.
pub(super) fn wait(core: &Core, side: Side, fd: RawFd, socket: &Object, waiter: &Object) -> Result<Token> {
    core.ensure_open()?;
    let known = core.descriptors.borrow().get(&fd).copied();
    let Some(token) = known else { return register(core, side, fd, socket, waiter, None) };
    match owner(core, token, socket) {
        Owner::Same => take_place(core, side, token, waiter)?,
        Owner::Another => {
            // Another socket object with the same number, which is closed or stands for the same descriptor.
            let others = end(core, token);
            return register(core, side, fd, socket, waiter, others);
        }
        Owner::Transport => {
            let text = format!("File descriptor {fd} is used by a transport that is being closed");
            return Err(PyRuntimeError::with_text(text).into());
        }
    }
    Ok(token)
}

/// Whose registration it is.
enum Owner {
    /// The same socket's, or one of `add_reader` or `add_writer` by number.
    Same,
    Another,
    Transport,
}

fn owner(core: &Core, token: Token, socket: &Object) -> Owner {
    let owner = core.engine.with_source(token, |source| match source {
        Source::Handles { file, .. } if file.is(socket.as_ptr()) => Owner::Same,
        Source::Handles { file, .. } if file.is_instance_of(stdlib().socket.as_ptr().cast()) => {
            Owner::Another
        }
        Source::Handles { .. } => Owner::Same,
        Source::Native(_) | Source::Idle(_) => Owner::Transport,
    });
    owner.unwrap_or(Owner::Another)
}

fn take_place(core: &Core, side: Side, token: Token, waiter: &Object) -> Result<()> {
    let interest = core.engine.interest(token).unwrap_or(Interest::NONE);
    core.engine.set_interest(token, interest | side.interest()).map_err(os_error)?;
    let waiter = waiter.clone();
    let old =
        core.engine.with_source(token, |source| side.place(source).and_then(|place| place.replace(waiter)));
    Ok(descriptors::cancel(old.flatten())?)
}

fn register(
    core: &Core,
    side: Side,
    fd: RawFd,
    socket: &Object,
    waiter: &Object,
    others: Option<Source>,
) -> Result<Token> {
    let (reader, writer) = match others {
        Some(Source::Handles { reader, writer, .. }) => (reader, writer),
        _ => (None, None),
    };
    let mut source = Source::Handles { file: socket.clone(), reader, writer };
    let old = side.place(&mut source).and_then(|place| place.replace(waiter.clone()));
    let interest = interest_of(&source);
    let token = core.register(fd, interest, source)?;
    descriptors::cancel(old)?;
    Ok(token)
}

fn interest_of(source: &Source) -> Interest {
    let Source::Handles { reader, writer, .. } = source else { return Interest::NONE };
    let wanted = |place: &Option<Object>, interest| if place.is_some() { interest } else { Interest::NONE };
    wanted(reader, Interest::READABLE) | wanted(writer, Interest::WRITABLE)
}

/// Ends a registration; what it stood for. `None` where it has ended already, and the number may be another's.
fn end(core: &Core, token: Token) -> Option<Source> {
    let fd = core.engine.descriptor(token)?;
    let source = core.engine.deregister(token);
    core.descriptors.borrow_mut().remove(&fd);
    source
}

/// The driver found the socket ready: who waits goes on, as asyncio has it with the next turn.
pub(crate) fn ready(core: &Core, waiter: &Object, token: Token) -> Result<()> {
    if take_out(core, token, waiter).is_some() {
        core.resting.0.borrow_mut().push(Rest { token, is_fresh: Cell::new(true) });
    }
    operations::expire(waiter)
}

/// Takes who waits out of its place and asks the driver for what is left; nothing, if another has the place.
pub(super) fn leave(core: &Core, token: Token, waiter: &Object) -> Result<()> {
    if take_out(core, token, waiter).is_none() { Ok(()) } else { settle_one(core, token) }
}

fn take_out(core: &Core, token: Token, waiter: &Object) -> Option<Object> {
    let take = |source: &mut Source| {
        let Source::Handles { reader, writer, .. } = source else { return None };
        let mut places = [reader, writer].into_iter();
        places.find(|place| place.as_ref().is_some_and(|object| object.is(waiter.as_ptr())))?.take()
    };
    core.engine.with_source(token, take)?
}

/// The end of a turn: registrations that came to rest in an earlier one, and are not in use again, end.
pub(crate) fn settle(core: &Core) -> Result<()> {
    let mut due = Vec::new();
    core.resting.0.borrow_mut().retain(|rest| {
        let stays = rest.is_fresh.replace(false);
        if !stays {
            due.push(rest.token);
        }
        stays
    });
    due.into_iter().try_for_each(|token| settle_one(core, token))
}

/// Asks the driver for no more than somebody waits for.
fn settle_one(core: &Core, token: Token) -> Result<()> {
    let wanted = core.engine.with_source(token, |source| match source {
        Source::Handles { .. } => Some(interest_of(source)),
        Source::Native(_) | Source::Idle(_) => None,
    });
    match wanted.flatten() {
        None => Ok(()),
        Some(Interest::NONE) => {
            drop(end(core, token));
            Ok(())
        }
        Some(interest) => Ok(core.engine.set_interest(token, interest).map_err(os_error)?),
    }
}

/// Ends the registration of `fd` if it rests: somebody else is about to use the descriptor.
pub(crate) fn forget_resting(core: &Core, fd: RawFd) {
    if !core.resting.is_empty() {
        let idle = |source: &mut Source| matches!(source, Source::Handles { reader: None, writer: None, .. });
        drop(end_if(core, fd, idle));
    }
}

/// Ends the registration of `fd` unless it is a transport's; what it stood for.
pub(crate) fn give_way(core: &Core, fd: RawFd) -> Option<Source> {
    end_if(core, fd, |source| matches!(source, Source::Handles { .. }))
}

fn end_if(core: &Core, fd: RawFd, condition: impl FnOnce(&mut Source) -> bool) -> Option<Source> {
    let token = core.descriptors.borrow().get(&fd).copied()?;
    if core.engine.with_source(token, condition)? { end(core, token) } else { None }
}
