//! The interpreter's audit events, for what the standard library's own functions would have told.

use std::ffi::{CStr, c_char, c_int};

use super::{Object, Raised, Result};

unsafe extern "C" {
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}

/// `sys.audit(event, first, second)`. A hook may raise to forbid what is about to be done.
#[inline]
pub(crate) fn tell(event: &CStr, first: &Object, second: &Object) -> Result<()> {
    // SAFETY: the format asks for two objects, which are live.
    let forbidden = unsafe { PySys_Audit(event.as_ptr(), c"OO".as_ptr(), first.as_ptr(), second.as_ptr()) };
    if forbidden != 0 { Err(Raised) } else { Ok(()) }
}
