//! The only raw calls into CPython's C API, one small wrapper per file.
//!
//! Everything here assumes that the calling thread is attached to the interpreter (it holds the GIL, or on
//! a free-threaded build an attached thread state). Nothing here knows what a Future or a loop is.

pub(crate) mod args;
pub(crate) mod attached;
pub(crate) mod audit;
pub(crate) mod buffer;
pub(crate) mod call;
pub(crate) mod class;
pub(crate) mod context;
pub(crate) mod draft;
pub(crate) mod entry;
pub(crate) mod farewell;
pub(crate) mod fields;
pub(crate) mod followed;
pub(crate) mod interpreter;
pub(crate) mod make;
pub(crate) mod method;
pub(crate) mod native;
pub(crate) mod object;
pub(crate) mod once;
pub(crate) mod raised;
pub(crate) mod recursion;
pub(crate) mod sharing;
pub(crate) mod slot;

pub(crate) use method::Method;
pub(crate) use native::native;
pub(crate) use object::Object;
pub(crate) use once::Once;
pub(crate) use raised::{Raised, Result};
pub(crate) use slot::Slot;
