//! One workflow task: code is told what is new, and runs until it waits.

use super::{Run, TaskFailure, UpdateRequest};
use crate::executor::context::Context;
use crate::executor::{local, matching};
use crate::failure::{Failure, FailureKind, Result};
use crate::workflow::scope::in_root;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    CancelWorkflowExecutionCommandAttributes, CompleteWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::enums::v1::{EventType, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use steadfast_proto::temporal::sdk::v1::EventGroupMarker;
use steadfast_proto::temporal::sdk::v1::event_group_marker::{InboundEvent, Variant};

/// Steps of one activation: code that makes more is caught in a loop.
const STEPS_MAX: usize = 10_000_000;

impl Run {
    /// Takes one event: compares it with a command, or keeps it for the next task.
    pub(super) fn take(&mut self, event: &HistoryEvent) -> Result<(), TaskFailure> {
        if matching::is_of_command(event) {
            return self.match_command(event);
        }
        match event.event_type() {
            EventType::WorkflowTaskScheduled
            | EventType::WorkflowTaskStarted
            | EventType::WorkflowTaskTimedOut => {}
            EventType::WorkflowTaskCompleted => return Ok(()),
            EventType::WorkflowTaskFailed => self.reseed(event),
            EventType::WorkflowExecutionUpdateAdmitted => self.admit(event),
            _ => self.news.push(event.clone()),
        }
        self.nothing_left(event)
    }

    /// A reset begins a run with the history of another: its random numbers are new.
    fn reseed(&mut self, event: &HistoryEvent) {
        if let Some(Event::WorkflowTaskFailedEventAttributes(failed)) = &event.attributes
            && failed.cause() == WorkflowTaskFailedCause::ResetWorkflow
        {
            self.random_seed = Some(failed.new_run_id.clone());
        }
    }

    /// Tells code what is new and runs it until it waits.
    pub(super) fn activate(
        &mut self,
        started: &HistoryEvent,
        replaying: bool,
        updates: Vec<UpdateRequest>,
    ) -> Result<(), TaskFailure> {
        if self.closed {
            return Ok(());
        }
        let news = std::mem::take(&mut self.news);
        self.begin(&news)?;
        let context = self.context()?;
        {
            let mut state = context.state.borrow_mut();
            state.replaying = replaying;
            state.now = Self::now_of(started).max(state.now);
            if let Some(Event::WorkflowTaskStartedEventAttributes(found)) = &started.attributes {
                state.info.history_size_bytes = found.history_size_bytes;
                state.info.suggests_continue_as_new = found.suggest_continue_as_new;
            }
            state.info.history_length = started.event_id;
            if let Some(run_id) = self.random_seed.take() {
                state.random = ChaCha8Rng::from_seed(crate::executor::context::seed(&run_id));
            }
        }
        let mut updates: std::collections::VecDeque<_> = updates.into();
        let mut messages_first = Vec::new();
        let mut rest = Vec::new();
        for event in news {
            while updates
                .front()
                .is_some_and(|update| update.after < event.event_id)
            {
                messages_first.extend(updates.pop_front().map(Box::new).map(Inbound::Update));
            }
            match event.event_type() {
                EventType::WorkflowExecutionSignaled => {
                    messages_first.push(Inbound::Signal(Box::new(event)));
                }
                _ => rest.push(event),
            }
        }
        messages_first.extend(updates.into_iter().map(Box::new).map(Inbound::Update));
        if !messages_first.is_empty() {
            for inbound in messages_first {
                match inbound {
                    Inbound::Signal(event) => self.signal(&event)?,
                    Inbound::Update(update) => self.update(*update)?,
                }
            }
            self.run_until_blocked()?;
        }
        self.start_root();
        for event in &rest {
            self.resolve(event);
        }
        self.run_until_blocked()?;
        self.resolve_marked()?;
        let issued = match replaying {
            true => self.take_commands(),
            false => Vec::new(),
        };
        self.unmatched.extend(issued);
        if replaying {
            context.state.borrow_mut().messages.clear();
        }
        Ok(())
    }

    /// The context, which is there from the first event on.
    pub(super) fn context(&self) -> Result<Rc<Context>, TaskFailure> {
        self.context.clone().ok_or_else(|| {
            TaskFailure::nondeterminism("the history does not begin with its first event".into())
        })
    }

    /// Makes the code of the run from its first event.
    fn begin(&mut self, news: &[HistoryEvent]) -> Result<(), TaskFailure> {
        let Some(event) = news.first() else {
            return Ok(());
        };
        let Some(Event::WorkflowExecutionStartedEventAttributes(found)) = &event.attributes else {
            return Ok(());
        };
        if self.context.is_some() {
            return Ok(());
        }
        let context = Context::new(self.setup.data.clone(), self.info_of(event));
        let early = std::mem::take(&mut self.early);
        context.state.borrow_mut().patches_in_history = early;
        let input = found.input.clone().unwrap_or_default().payloads;
        self.context = Some(Rc::clone(&context));
        let workflow = std::sync::Arc::clone(&self.workflow);
        let started = self.guard(|_| workflow.start(input, &context.converter))?;
        let started = started.map_err(|failure| {
            TaskFailure::code(format!(
                "the input of the workflow cannot be read: {failure}"
            ))
        })?;
        self.handlers = Some(started.handlers);
        self.root = Some(started.root);
        Ok(())
    }

    /// The workflow's own task runs after the signals and updates that came before it.
    fn start_root(&mut self) {
        if let Some(root) = self.root.take() {
            let ended = Rc::clone(&self.ended);
            self.tasks.push(Box::pin(async move {
                let end = root.await;
                *ended.borrow_mut() = Some(end);
            }));
        }
    }

    fn signal(&mut self, event: &HistoryEvent) -> Result<(), TaskFailure> {
        let Some(Event::WorkflowExecutionSignaledEventAttributes(found)) = &event.attributes else {
            return Ok(());
        };
        let context = self.context()?;
        let handlers = self
            .handlers
            .clone()
            .expect("code is there with its context");
        let input = found.input.clone().unwrap_or_default().payloads;
        let handler = self
            .guard(|_| handlers.signal(&found.signal_name, input, &context.converter))?
            .map_err(|failure| {
                let name = &found.signal_name;
                TaskFailure::code(format!("signal `{name}` cannot be read: {failure}"))
            })?;
        let Some(handler) = handler else {
            return Ok(());
        };
        let marker = EventGroupMarker {
            variant: Some(Variant::InboundEvent(InboundEvent {
                inbound_event_id: event.event_id,
            })),
        };
        self.push_handler(marker, handler);
        Ok(())
    }

    /// Adds the task of a handler.
    pub(super) fn push_handler(
        &mut self,
        marker: EventGroupMarker,
        handler: futures::future::LocalBoxFuture<'static, ()>,
    ) {
        if let Some(context) = &self.context {
            context.state.borrow_mut().handlers += 1;
        }
        self.tasks.push(Box::pin(in_root(vec![marker], async move {
            handler.await;
            Context::current().state.borrow_mut().handlers -= 1;
        })));
    }

    /// Resolves local activities as the markers of this task say, one after the other.
    fn resolve_marked(&mut self) -> Result<(), TaskFailure> {
        while let Some(marked) = self.marked.front() {
            if !self.locals.contains_key(&marked.data.seq) {
                break;
            }
            let end = marked.end.clone();
            self.marked.pop_front();
            self.resolve_local(end);
            self.run_until_blocked()?;
        }
        self.marked.clear();
        Ok(())
    }

    /// Ends a local activity: its marker is a command, whether it is replayed or not.
    pub(super) fn resolve_local(&mut self, end: local::LocalActivityEnd) {
        let Some(found) = self.locals.remove(&end.seq) else {
            return;
        };
        let Some(context) = &self.context else {
            return;
        };
        let _polling = self.tasks.enter();
        let marker = local::marker(&found.request, &end, &context.data);
        context.issue(None, Attributes::RecordMarkerCommandAttributes(marker));
        let mut state = context.state.borrow_mut();
        state.now = state.now.max(end.complete_time);
        if let Some(delay) = end.backoff {
            let backoff = local::Backoff {
                attempt: end.attempt + 1,
                delay,
                original_schedule_time: found.request.original_schedule_time,
            };
            state.backoffs.insert(found.operation, backoff);
        }
        let result = match end.result {
            Ok(result) => Ok(result.into_iter().collect()),
            Err(failure) => Err(local::seen_failure(&found.request, failure)),
        };
        if let Some(operation) = state.operations.get_mut(&found.operation) {
            operation.resolve(result);
            if operation.abandoned {
                state.operations.remove(&found.operation);
            }
        }
    }

    /// Polls what is ready, asks conditions, and again, until nothing moves. Then looks at the end.
    pub(super) fn run_until_blocked(&mut self) -> Result<(), TaskFailure> {
        let context = self.context()?;
        for _ in 0..STEPS_MAX {
            self.collect_new();
            self.pulse
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let polled = self.guard(|run| {
                context.state.borrow_mut().scopes.current = crate::executor::scope::ROOT;
                run.tasks.poll_next()
            })?;
            if polled.is_some() {
                continue;
            }
            let met = self.guard(|_| context.check_conditions())?;
            if !met && context.state.borrow().spawned.is_empty() {
                return self.after_all(&context);
            }
        }
        Err(TaskFailure::code(
            "the code went on without waiting for anything: a loop".into(),
        ))
    }

    /// Takes over tasks and local activities that code began.
    fn collect_new(&mut self) {
        let Some(context) = &self.context else {
            return;
        };
        let mut state = context.state.borrow_mut();
        let spawned = std::mem::take(&mut state.spawned);
        let requests = std::mem::take(&mut state.local_requests);
        drop(state);
        for future in spawned {
            self.tasks.push(future);
        }
        for (operation, request) in requests {
            let asked = false;
            let seq = request.seq;
            let local = super::Local {
                operation,
                request,
                asked,
            };
            self.locals.insert(seq, local);
        }
    }

    fn after_all(&mut self, context: &Rc<Context>) -> Result<(), TaskFailure> {
        if self.tasks.woken_from_outside() {
            return Err(TaskFailure::code(
                "[TMPRL1101] the code waits for a future that is not this SDK's: something outside \
                 of the workflow woke it, which no replay could repeat. Use `workflow::sleep`, \
                 activities, signals"
                    .into(),
            ));
        }
        let ended = self.ended.borrow_mut().take();
        if let Some(end) = ended {
            self.closed = true;
            return self.close(context, end);
        }
        let takes_messages = self
            .handlers
            .as_ref()
            .is_some_and(|found| found.takes_messages());
        if !takes_messages && self.locals.is_empty() && !context.waits() {
            return Err(TaskFailure::code(
                "[TMPRL1101] the code waits, but for nothing of this SDK: a future that is not the \
                 SDK's never ends in a workflow"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Gives the last command.
    fn close(
        &mut self,
        context: &Rc<Context>,
        end: Result<Option<Payload>>,
    ) -> Result<(), TaskFailure> {
        let canceled = context.state.borrow().cancel_reason.is_some();
        let attributes = match end {
            Ok(result) => Attributes::CompleteWorkflowExecutionCommandAttributes(
                CompleteWorkflowExecutionCommandAttributes {
                    result: result.map(|payload| Payloads {
                        payloads: vec![payload],
                    }),
                },
            ),
            Err(failure) => close_with(failure, canceled, context),
        };
        context.state.borrow_mut().closing = true;
        let _entered = context.enter();
        self.tasks.clear();
        context.issue(None, attributes);
        self.locals.clear();
        Ok(())
    }

    /// Runs code of the workflow on behalf of the run; a panic is a failure of the task.
    pub(super) fn guard<T>(&mut self, code: impl FnOnce(&mut Self) -> T) -> Result<T, TaskFailure> {
        let context = self.context()?;
        let _entered = context.enter();
        let _polling = self.tasks.enter();
        match catch_unwind(AssertUnwindSafe(|| code(self))) {
            Ok(value) => Ok(value),
            Err(panic) => {
                let words = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| {
                        panic
                            .downcast_ref::<&str>()
                            .map(|words| (*words).to_string())
                    })
                    .unwrap_or_else(|| "without words".to_string());
                Err(TaskFailure::code(format!("the code panicked: {words}")))
            }
        }
    }
}

/// What comes before everything else in a task.
enum Inbound {
    Signal(Box<HistoryEvent>),
    Update(Box<UpdateRequest>),
}

/// The last command of a run that did not complete.
fn close_with(failure: Failure, canceled: bool, context: &Context) -> Attributes {
    if let FailureKind::ContinueAsNew(next) = failure.kind() {
        return Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(
            next.attributes.clone(),
        );
    }
    if canceled && failure.is_canceled() {
        let details = match failure.kind() {
            FailureKind::Canceled { details } => details.clone(),
            _ => Vec::new(),
        };
        let details = (!details.is_empty()).then_some(Payloads { payloads: details });
        return Attributes::CancelWorkflowExecutionCommandAttributes(
            CancelWorkflowExecutionCommandAttributes { details },
        );
    }
    let failure = Some(context.data.to_wire(&failure));
    Attributes::FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes {
        failure,
    })
}
