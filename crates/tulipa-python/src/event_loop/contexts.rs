//! Contexts that tasks, Handles and done-callbacks share for as long as none of them changes a variable.
//!
//! Each of them has a context of its own: a copy of the one that was current. Most never set a variable, so their
//! copies stay equal, and to make, collect and free them would be a sixth of what a short task costs. So what is made in
//! one context shares one copy, the template, in which nothing ever runs; and what runs does so in a copy of the
//! template, which the next one gets if it comes back as it went. Who has set a variable keeps that copy for himself,
//! and so does everyone whose context somebody else holds or asks for.
//!
//! Whether a context was changed is seen by the map of variables in it, which is immutable: a change puts another in
//! its place. Where contexts keep it, and threads their current context, is found out once; where that fails, and on
//! builds without a GIL, everyone gets a copy at once.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::ffi::make::Text;
use crate::ffi::{Object, Raised, Result, Slot, context};
use crate::futures::places::{HEADER, words};
use crate::stdlib::stdlib;

/// What a task or a callback is to run in.
#[derive(Clone)]
pub(crate) enum Context {
    /// Nobody else's.
    Own(Object),
    /// A template.
    Shared(Object),
}

impl Context {
    /// The context itself, for eyes and hands other than the loop's.
    pub(crate) fn into_own(self) -> Result<Object> {
        match self {
            Self::Own(context) => Ok(context),
            Self::Shared(template) => context::copy(&template),
        }
    }

    /// Whether it is a template, and the object.
    #[inline]
    pub(crate) fn split(self) -> (bool, Object) {
        match self {
            Self::Own(context) => (false, context),
            Self::Shared(template) => (true, template),
        }
    }

    /// What `split` gave.
    #[inline]
    pub(crate) fn join(shared: bool, context: Object) -> Self {
        if shared { Self::Shared(context) } else { Self::Own(context) }
    }

    /// As `Handle` takes it: None stands for the current one.
    #[inline]
    pub(crate) fn or_current(self) -> Result<Self> {
        if self.object().is_none() { context::copy_current().map(Self::Own) } else { Ok(self) }
    }

    /// The object, whichever it is.
    pub(crate) fn object(&self) -> &Object {
        let (Self::Own(context) | Self::Shared(context)) = self;
        context
    }
}

/// Who has a context of its own, or the template of one until it is needed.
pub(crate) trait Holder {
    /// Its own context; `None` while it has a template.
    fn own(&self) -> Option<Object>;
    /// Takes what it has: a reference less.
    fn take(&self) -> Object;
    fn put(&self, context: Context);
}

/// One loop's.
pub(crate) struct Contexts {
    /// A copy of the context that was current last.
    template: Slot,
    /// A copy of a template that nobody runs in.
    spare: Slot,
}

impl Contexts {
    pub(super) const fn new() -> Self {
        Self { template: Slot::empty(), spare: Slot::empty() }
    }

    pub(super) fn slots(&self) -> [&Slot; 2] {
        [&self.template, &self.spare]
    }

    /// The current context as it is now.
    #[inline]
    pub(crate) fn current(&self) -> Result<Context> {
        let Some(variables) = fields().and_then(Fields::current) else {
            return context::copy_current().map(Context::Own);
        };
        if let Some(template) = self.template.get().filter(|template| variables == variables_of(template)) {
            return Ok(Context::Shared(template));
        }
        let template = context::copy_current()?;
        self.template.put(template.clone());
        Ok(Context::Shared(template))
    }

    /// Runs `body` in the context of `holder`. A lent one is the holder's for that long, and for good if a variable was
    /// changed in it, somebody keeps it, or the holder does not give it back.
    #[inline]
    pub(crate) fn run_for<T>(
        &self,
        holder: &impl Holder,
        body: impl FnOnce() -> Result<T>,
        gives_back: impl FnOnce() -> bool,
    ) -> Result<T> {
        if let Some(own) = holder.own() {
            return context::run_in(&own, body);
        }
        // Taken, so that it does not count among the references.
        let template = holder.take();
        let lent = match self.lend(&template) {
            Ok(lent) => lent,
            Err(raised) => {
                holder.put(Context::Shared(template));
                return Err(raised);
            }
        };
        holder.put(Context::Own(lent.clone()));
        let outcome = context::run_in(&lent, body);
        if gives_back()
            && holder.own().is_some_and(|own| own.is(lent.as_ptr()))
            && is_unused(&lent, 2, &template)
        {
            holder.put(Context::Shared(template));
            self.take_back(lent);
        }
        outcome
    }

    /// A context to run in, equal to `template`: the template itself where the caller has the only reference to it.
    #[inline]
    fn lend(&self, template: &Object) -> Result<Object> {
        if references(template) == 1 {
            return Ok(template.clone());
        }
        match self.spare.take() {
            Some(spare) if variables_of(&spare) == variables_of(template) => Ok(spare),
            _ => context::copy(template),
        }
    }

    /// Runs `body` in `context`, which nobody else refers to by now. Where it fails, says in what it ran.
    #[inline]
    pub(crate) fn run(
        &self,
        context: Context,
        body: impl FnOnce() -> Result<()>,
    ) -> std::result::Result<(), (Raised, Object)> {
        let (context, template) = match context {
            Context::Own(context) => (context, None),
            Context::Shared(template) => match self.lend(&template) {
                Ok(lent) => (lent, Some(template)),
                Err(raised) => return Err((raised, template)),
            },
        };
        if let Err(raised) = context::run_in(&context, body) {
            return Err((raised, context));
        }
        if let Some(template) = template
            && is_unused(&context, 1, &template)
        {
            self.take_back(context);
        }
        Ok(())
    }

    /// Takes a lent context back that `is_unused`.
    #[inline]
    fn take_back(&self, lent: Object) {
        self.spare.put(lent);
    }

    /// Whether something is kept that nobody shares: what has one holder is the holder's. Contexts without variables
    /// keep nothing alive, and stay for the next.
    #[inline]
    pub(super) fn are_idle(&self) -> bool {
        let is_shared = self.template.peek().is_some_and(|template| references(template) > 2);
        !is_shared && self.slots().into_iter().filter_map(Slot::peek).any(|context| !is_empty(context))
    }

    /// Whether `tidy` gives up more than references, and so may run finalizers.
    pub(super) fn may_free(&self) -> bool {
        !self.spare.is_empty() || self.template.peek().is_some_and(|template| references(template) == 1)
    }

    /// Keeps nothing alive that nobody shares.
    pub(super) fn tidy(&self) {
        drop((self.template.take(), self.spare.take()));
    }
}

/// Whether a context that was lent for `template` is as it was, and nobody has it but `holders`.
#[inline]
fn is_unused(lent: &Object, holders: isize, template: &Object) -> bool {
    references(lent) == holders && variables_of(lent) == variables_of(template)
}

#[inline]
fn references(object: &Object) -> isize {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// The map of variables that a context made by the functions of this file has.
#[inline]
fn variables_of(context: &Object) -> usize {
    fields().map_or(0, |fields| fields.variables_of(context.as_ptr()))
}

/// Whether the context has no variables.
#[inline]
fn is_empty(context: &Object) -> bool {
    fields().is_some_and(|fields| fields.variables_of(context.as_ptr()) == fields.empty)
}

#[inline]
fn fields() -> Option<&'static Fields> {
    stdlib().behaviour.context_fields.as_ref()
}

/// Where CPython keeps what is read here (C7).
pub(crate) struct Fields {
    /// In a thread's state: its current context.
    current: usize,
    /// In a context: the map of its variables.
    variables: usize,
    /// The map without variables, which all contexts without any have.
    empty: usize,
}

/// How many words of a thread's state are searched: as many as the smallest has, which is 3.12's. The field is the 30th
/// or an earlier one in all releases so far.
const SEARCHED: usize = 36;

impl Fields {
    /// Looks for known objects in memory: nothing if they are not found, or found where they should not be.
    pub(crate) fn find(py: Python<'_>) -> PyResult<Option<Self>> {
        if cfg!(Py_GIL_DISABLED) {
            return Ok(None);
        }
        let variable = py.import(Text("contextvars"))?.call_method1(Text("ContextVar"), (Text("probe"),))?;
        let first = context::copy_current().map_err(PyErr::from)?;
        let set =
            |value: i32| first.bound(py).call_method1(Text("run"), (variable.getattr(Text("set"))?, value));
        set(1)?;
        let second = context::copy(&first).map_err(PyErr::from)?;
        let before = words(&first).to_vec();
        set(2)?;
        let Some(variables) = variables_in(&before, words(&first), words(&second)) else { return Ok(None) };
        let place = |context: &Object| context::run_in(context, || Ok(current_in(context)));
        let (place, other) = (place(&first).map_err(PyErr::from)?, place(&second).map_err(PyErr::from)?);
        let Some(current) = place.filter(|_| place == other) else { return Ok(None) };
        let mut fields = Self { current, variables, empty: 0 };
        let new = py.import(Text("contextvars"))?.getattr(Text("Context"))?;
        let empty: [usize; 2] =
            [new.call0()?, new.call0()?].map(|context| fields.variables_of(context.as_ptr()));
        fields.empty = if empty[0] == empty[1] { empty[0] } else { 0 };
        Ok(Some(fields))
    }

    /// The variables of the thread's current context; none where it never had one.
    #[inline]
    fn current(&self) -> Option<usize> {
        // SAFETY: attached.
        let thread = unsafe { ffi::PyThreadState_Get() };
        // SAFETY: C7: the thread's state has a nullable pointer to a context there.
        let context = unsafe { thread.byte_add(self.current).cast::<*mut ffi::PyObject>().read() };
        (!context.is_null()).then(|| self.variables_of(context))
    }

    #[inline]
    fn variables_of(&self, context: *mut ffi::PyObject) -> usize {
        // SAFETY: C7: the callers pass live contexts.
        unsafe { context.byte_add(self.variables).cast::<usize>().read() }
    }
}

/// The one word that a context had in common with its copy, and that a change has changed in the context alone.
fn variables_in(before: &[usize], changed: &[usize], copy: &[usize]) -> Option<usize> {
    let mut places = (HEADER..before.len()).filter(|&index| {
        before[index] != 0 && copy[index] == before[index] && changed[index] != before[index]
    });
    places.next().filter(|_| places.next().is_none()).map(|index| index * size_of::<usize>())
}

/// Where the state of this thread names `context`, which it is in.
fn current_in(context: &Object) -> Option<usize> {
    // SAFETY: attached.
    let thread = unsafe { ffi::PyThreadState_Get() }.cast::<usize>();
    (0..SEARCHED)
        // SAFETY: no release's state is smaller.
        .find(|&index| unsafe { thread.add(index).read() } == context.as_ptr() as usize)
        .map(|index| index * size_of::<usize>())
}
