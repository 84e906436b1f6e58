//! `PyHost`: how the engine runs Python's jobs, and what it does with what they raise.

use std::io;
use std::ops::ControlFlow;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tulipa::{Host, Instant, Loop, Readiness, Token};

use super::bare::Bare;
use super::contexts::Context;
use super::core::Core;
use super::job::{Job, Source};
use super::{EventLoop, handles, sock, timers};
use crate::errors::os_error;
use crate::executors::{self, Outcome};
use crate::ffi::make::{self, Float, Text};
use crate::ffi::{Object, Raised, Result, attached, call, context, farewell};
use crate::futures::observers::Kind;
use crate::operations;
use crate::stdlib::stdlib;
use crate::tasks::{self, callables, current};
use crate::transports::{self, Event};

/// The host for as long as the loop runs.
pub(crate) struct PyHost {
    event_loop: Object,
    /// The core inside it, valid for as long as the reference above is held.
    core: &'static Core,
}

impl PyHost {
    pub(super) fn new(event_loop: &Bound<'_, EventLoop>) -> Self {
        // SAFETY: a loop; the host keeps it alive next to the reference, and hands out neither.
        let core = unsafe { Core::inside(event_loop.as_ptr()) };
        Self { event_loop: Object::from_bound(event_loop.as_any()), core }
    }

    #[allow(clippy::unused_self, reason = "the host is the proof that its thread is attached")]
    fn py(&self) -> Python<'_> {
        // SAFETY: a host is used by the attached thread that runs the loop.
        unsafe { Python::assume_attached() }
    }

    /// Clears what a task step left behind: something else is about to run.
    #[inline]
    pub(super) fn settle(&self) -> Result<()> {
        match current::settle(self.core, &self.event_loop) {
            Ok(()) => Ok(()),
            // By asyncio the step itself would fail, when it leaves the task.
            Err((raised, task)) => self.step_failed(raised, &task, None),
        }
    }

    /// A part of a run that others make, by turns or by jobs: afterwards nothing of a task step is left behind.
    pub(super) fn driven<T>(&self, part: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        let outcome = farewell::asleep(part);
        self.settle()?;
        outcome
    }

    /// Before a turn that may sleep, signals are looked for: while Python code runs the interpreter does it.
    #[inline]
    pub(super) fn prepare_to_wait(&self) -> Result<()> {
        if self.core.engine.ready_len() == 0 { self.look_for_signals() } else { Ok(()) }
    }

    fn look_for_signals(&self) -> Result<()> {
        self.settle()?;
        check_signals()
    }

    fn run_job(&self, job: Job) -> Result<()> {
        match job {
            Job::Step { task, exception } => tasks::run_step(self.core, &task, exception)
                .or_else(|raised| self.step_failed(raised, &task, None)),
            Job::Wakeup { task, future } => tasks::run_wakeup(self.core, &task, &future)
                .or_else(|raised| self.step_failed(raised, &task, Some(&future))),
            other => {
                if !self.is_quiet(&other) {
                    self.settle()?;
                }
                self.run_other(other)
            }
        }
    }

    /// Whether the job runs no Python code, which could ask for the current task. In debug mode handles are formatted.
    #[inline]
    fn is_quiet(&self, job: &Job) -> bool {
        matches!(job, Job::Handle(handle) if !self.core.is_debug() && handles::is_quiet(self.core, handle))
    }

    fn run_other(&self, job: Job) -> Result<()> {
        match job {
            Job::Handle(handle) if self.core.is_debug() => self.run_timed(&handle),
            Job::Bare(bare) if self.core.is_debug() => self.run_timed(&self.restore(bare)?),
            Job::Handle(handle) => {
                handles::run(self.core, &handle).or_else(|raised| self.handle_failed(raised, &handle))
            }
            Job::Call { function, argument, context } => self.run_call(&function, argument.as_ref(), context),
            Job::Bare(bare) => bare.run(self.core).or_else(|(raised, bare)| self.bare_failed(raised, bare)),
            Job::Ready { waiter, token } => sock::ready(self.core, &waiter, token),
            Job::Answer { future, outcome } => self.answer(&future, outcome),
            Job::Resolved { future, answer } => self.answer(&future, answer.into_outcome()),
            Job::Notify { observer, kind, future } => kind
                .tell(&observer, &future)
                .or_else(|raised| self.notify_failed(raised, &observer, kind, &future)),
            Job::Expire(waiter) => {
                operations::expire(&waiter).or_else(|raised| self.expiry_failed(raised, &waiter))
            }
            Job::Io { target, event, context } => {
                transports::run(self.core, &target, event, context.as_ref())
                    .or_else(|raised| self.io_failed(raised, &target, event))
            }
            Job::Step { .. } | Job::Wakeup { .. } => unreachable!("steps are run before"),
        }
    }

    fn run_call(&self, function: &Object, argument: Option<&Object>, context: Context) -> Result<()> {
        let outcome = self.core.contexts.run(context, || {
            match argument {
                Some(argument) => call::call1(function, argument),
                None => call::call0(function),
            }
            .map(drop)
        });
        outcome
            .or_else(|failure| {
                context::or_by_its_run(failure, |run| match argument {
                    Some(argument) => call::call2(run, function, argument),
                    None => call::call1(run, function),
                })
            })
            .or_else(|(raised, context)| self.callback_failed(raised, function, argument, &context))
    }

    /// Settles a future with what another thread has found out for it.
    fn answer(&self, future: &Object, outcome: Outcome) -> Result<()> {
        executors::settle(future, outcome).or_else(|(raised, setter, value)| {
            self.callback_failed(raised, &setter, Some(&value), &context::copy_current()?)
        })
    }

    /// Debug mode: a callback that holds the loop up is named in the log.
    fn run_timed(&self, handle: &Object) -> Result<()> {
        if handles::is_cancelled(handle) {
            return handles::run(self.core, handle);
        }
        let py = self.py();
        let started = self.clock(py)?;
        let outcome = handles::run(self.core, handle).or_else(|raised| self.handle_failed(raised, handle));
        outcome?;
        let taken = self.clock(py)? - started;
        let event_loop = self.event_loop.bound(py);
        if taken >= event_loop.getattr(Text("slow_callback_duration"))?.extract::<f64>()? {
            let base = py.import(Text("asyncio.base_events"))?;
            let text = base.call_method1(Text("_format_handle"), (handle.bound(py),))?;
            let logger = base.getattr(Text("logger"))?;
            logger.call_method1(
                Text("warning"),
                (Text("Executing %s took %.3f seconds"), text, Float(taken)),
            )?;
        }
        Ok(())
    }

    fn clock(&self, py: Python<'_>) -> PyResult<f64> {
        self.event_loop.bound(py).call_method0(Text("time"))?.extract()
    }

    #[cold]
    fn step_failed(&self, raised: Raised, task: &Object, woken_by: Option<&Object>) -> Result<()> {
        let exception = raised.caught()?;
        let callable = match woken_by {
            Some(_) => callables::wakeup_callable(task)?,
            None => callables::step_callable(task, None)?,
        };
        self.report_call(&exception, &callable, woken_by, &tasks::context_of(task)?)
    }

    #[cold]
    fn callback_failed(
        &self,
        raised: Raised,
        function: &Object,
        argument: Option<&Object>,
        context: &Object,
    ) -> Result<()> {
        self.report_call(&raised.caught()?, function, argument, context)
    }

    #[cold]
    fn notify_failed(&self, raised: Raised, observer: &Object, kind: &Kind, future: &Object) -> Result<()> {
        let exception = raised.caught()?;
        self.report_call(&exception, &kind.callable(observer)?, Some(future), &context::copy_current()?)
    }

    /// A loop whose `call_soon` was replaced while the timer ran, and which refuses the wake-up.
    #[cold]
    fn expiry_failed(&self, raised: Raised, waiter: &Object) -> Result<()> {
        let (exception, callback) = (raised.caught()?, &stdlib().set_result_unless_cancelled);
        self.report_call(&exception, callback, Some(waiter), &context::copy_current()?)
    }

    #[cold]
    fn io_failed(&self, raised: Raised, target: &Object, event: Event) -> Result<()> {
        let exception = raised.caught()?;
        self.report_call(&exception, &transports::callable(target, event)?, None, &context::copy_current()?)
    }

    /// Reports the failure of a callback that ran without a Handle, with one made for the occasion.
    fn report_call(
        &self,
        exception: &Object,
        function: &Object,
        argument: Option<&Object>,
        context: &Object,
    ) -> Result<()> {
        let py = self.py();
        let args = make::tuple(py, argument.map(|argument| argument.bound(py)))?;
        let event_loop = self.event_loop.bound(py).cast_into::<EventLoop>().map_err(PyErr::from)?;
        let handle = handles::new_handle(&event_loop, &function.bound(py), &args, Some(&context.bound(py)))?;
        self.report(handles::failure_context(py, &handle, exception)?)
    }

    #[cold]
    fn handle_failed(&self, raised: Raised, handle: &Object) -> Result<()> {
        let exception = raised.caught()?;
        self.report(handles::failure_context(self.py(), handle, &exception)?)
    }

    #[cold]
    fn bare_failed(&self, raised: Raised, bare: Bare) -> Result<()> {
        let exception = raised.caught()?;
        let handle = self.restore(bare)?;
        self.report(handles::failure_context(self.py(), &handle, &exception)?)
    }

    fn restore(&self, bare: Bare) -> Result<Object> {
        handles::restore(&self.event_loop, self.core, bare)
    }

    fn report(&self, context: Bound<'_, PyDict>) -> Result<()> {
        self.settle()?;
        call::method1(&self.event_loop, &stdlib().names.call_exception_handler, &context.into_any().into())
            .map(drop)
    }
}

impl Host for PyHost {
    type Job = Job;
    type Source = Source;
    type Break = PyErr;

    #[inline]
    fn now(&self) -> std::result::Result<Instant, PyErr> {
        if !self.core.has_own_clock() {
            return Ok(Instant::now());
        }
        self.settle()?;
        Ok(timers::deadline(self.clock(self.py())?))
    }

    #[inline]
    fn is_far(&self, deadline: Instant) -> bool {
        deadline.is_far() && !self.core.has_own_clock()
    }

    #[inline]
    fn dispatch(source: &Source, token: Token, readiness: Readiness, push: &mut impl FnMut(Job)) {
        match source {
            Source::Native(target) => {
                push(Job::Io { target: target.clone(), event: Event::Ready(readiness), context: None });
            }
            Source::Idle(target) => {
                push(Job::Io { target: target.get(), event: Event::Ready(readiness), context: None });
            }
            Source::Handles { reader, writer, .. } => {
                let ready = [(readiness.is_readable(), reader), (readiness.is_writable(), writer)];
                for (_, handle) in ready.into_iter().filter(|(is_ready, _)| *is_ready) {
                    let Some(handle) = handle.clone() else { continue };
                    push(if operations::is_waiter(&handle) {
                        Job::Ready { waiter: handle, token }
                    } else {
                        Job::Handle(handle)
                    });
                }
            }
        }
    }

    #[inline]
    fn run(&self, _event_loop: &Loop<Self>, job: Job) -> ControlFlow<PyErr> {
        into_flow(self.run_job(job))
    }

    fn park<R: Send>(&self, wait: impl FnOnce() -> R + Send) -> R {
        // SAFETY: the loop runs attached; the engine's waits know nothing of Python, and return what they find.
        let found = unsafe { attached::release(wait) };
        self.core.sharing.has_let_go();
        found
    }

    /// As asyncio, whose every turn asks its selector, which lets go of the interpreter; see `sharing`.
    #[inline]
    fn pass<R: Send>(&self, ask: impl FnOnce() -> R + Send) -> R {
        // SAFETY: as in `park`.
        unsafe { self.core.sharing.pass(ask) }
    }

    #[inline]
    fn expects_news(&self) -> bool {
        self.core.owed.any()
    }

    fn interrupted(&self) -> ControlFlow<PyErr> {
        into_flow(self.look_for_signals())
    }

    fn wait_failed(&self, error: io::Error) -> PyErr {
        os_error(error)
    }

    #[inline]
    fn flush(&self, _event_loop: &Loop<Self>) -> ControlFlow<PyErr> {
        let core = self.core;
        if core.contexts.are_idle() {
            if core.contexts.may_free() {
                into_flow(self.settle())?;
            }
            core.contexts.tidy();
        }
        if core.flushing.is_empty() && core.resting.is_empty() {
            return ControlFlow::Continue(());
        }
        into_flow(self.settle().and_then(|()| transports::flush(core)).and(sock::settle(core)))
    }
}

/// Runs the handlers of signals that have arrived.
fn check_signals() -> Result<()> {
    // SAFETY: attached.
    if unsafe { ffi::PyErr_CheckSignals() } != 0 {
        return Err(Raised);
    }
    Ok(())
}

/// What a turn, or a part of one, says to PyO3.
pub(super) fn from_flow<T>(flow: ControlFlow<PyErr, T>) -> PyResult<T> {
    match flow {
        ControlFlow::Continue(value) => Ok(value),
        ControlFlow::Break(error) => Err(error),
    }
}

#[inline]
fn into_flow(outcome: Result<()>) -> ControlFlow<PyErr> {
    match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(raised) => ControlFlow::Break(raised.into()),
    }
}
