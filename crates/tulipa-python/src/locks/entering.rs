//! `async with` on a primitive: its own `acquire()` and `release()`, also where a subclass has overridden them.

use super::is_exactly_any;
use crate::ffi::{Object, Result, Slot, call};
use crate::operations::{self, Machine, Step};
use crate::stdlib::{cancelled_error, stdlib};

/// `__aenter__` of a subclass: `await self.acquire()`.
pub(super) struct Enter(Slot);

impl Enter {
    pub(super) fn new(primitive: Object) -> Self {
        Self(Slot::holding(primitive))
    }
}

impl Machine for Enter {
    fn qualified_name(&self) -> &'static str {
        "_ContextManagerMixin.__aenter__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        operations::awaiting(&call::method0(&self.0.or_none(), &stdlib().names.acquire)?)
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}

/// `__aexit__`: `self.release()`, by `directly` where no subclass has come in between.
pub(super) struct Exit {
    primitive: Slot,
    directly: fn(&Object) -> Result<()>,
}

impl Exit {
    pub(super) fn new(primitive: Object, directly: fn(&Object) -> Result<()>) -> Self {
        Self { primitive: Slot::holding(primitive), directly }
    }
}

impl Machine for Exit {
    fn qualified_name(&self) -> &'static str {
        "_ContextManagerMixin.__aexit__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let primitive = self.primitive.or_none();
        if is_exactly_any(&primitive) {
            (self.directly)(&primitive)?;
        } else {
            call::method0(&primitive, &stdlib().names.release)?;
        }
        Ok(Step::Done(Object::none()))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.primitive);
    }
}

/// Whether what was thrown is a cancellation, which some clean-ups are for.
#[inline]
pub(super) fn is_cancellation(exception: &Object) -> bool {
    exception.is_instance_of(cancelled_error().cast())
}
