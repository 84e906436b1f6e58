//! Entering a group.

use super::TaskGroup;
use crate::ffi::{Object, Result, Slot, native};
use crate::operations::{Machine, Step};

/// `__aenter__`.
pub(super) struct Enter(pub(super) Slot);

impl Machine for Enter {
    fn qualified_name(&self) -> &'static str {
        "TaskGroup.__aenter__"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let object = self.0.or_none();
        // SAFETY: made for groups only, and not started once it is cleared.
        let group: &TaskGroup = unsafe { native(object.as_ptr()) };
        group.enter(&object)?;
        Ok(Step::Done(object))
    }

    fn resume(&self, _value: Object) -> Result<Step> {
        Ok(Step::Done(Object::none()))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.0);
    }
}
