//! `to_thread()`: a function called in a thread of the loop's default executor.

use crate::ffi::args::Args;
use crate::ffi::{Object, Result, Slot, call, context};
use crate::operations::{self, Machine, Step, awaiting, running_loop};
use crate::stdlib::stdlib;

/// `to_thread(func, /, *args, **kwargs)`.
pub(crate) fn to_thread(args: &Args<'_>) -> Result<Option<Object>> {
    if args.positional.is_empty() {
        return Ok(None);
    }
    let (arguments, keywords) = args.collected()?;
    let machine = ToThread { arguments: Slot::holding(arguments), keywords: Slot::empty() };
    machine.keywords.set(keywords);
    operations::new(machine).map(Some)
}

struct ToThread {
    /// The function and its arguments, in a tuple.
    arguments: Slot,
    /// A dict, where there are keywords.
    keywords: Slot,
}

impl Machine for ToThread {
    fn qualified_name(&self) -> &'static str {
        "to_thread"
    }

    fn start(&self, _this: &Object) -> Result<Step> {
        let event_loop = running_loop()?;
        let run = call::getattr(&context::copy_current()?, &stdlib().names.run)?;
        let function = call::partial(&run, &self.arguments.or_none(), self.keywords.get().as_ref())?;
        let arguments = [event_loop.as_ptr(), Object::none().as_ptr(), function.as_ptr()];
        let name = &stdlib().names.run_in_executor;
        awaiting(&call::vectorcall_method(&arguments, name, std::ptr::null_mut())?)
    }

    fn resume(&self, value: Object) -> Result<Step> {
        Ok(Step::Done(value))
    }

    fn each_slot(&self, each: &mut dyn FnMut(&Slot)) {
        each(&self.arguments);
        each(&self.keywords);
    }
}
