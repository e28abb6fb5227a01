//! One run of a workflow: its code, and how far it has come in its history.

mod activation;
mod builtin_query;
mod query;
mod resolve;
mod update;

use crate::converter::DataConverter;
use crate::executor::context::{Context, Issued};
use crate::executor::local::{LocalActivityEnd, LocalActivityRequest, Marked};
use crate::executor::matching::{self, Identity};
use crate::executor::operation::OperationId;
use crate::executor::task_set::TaskSet;
use crate::executor::{local, patch};
use crate::failure::{Failure, Result};
use crate::workflow::Info;
use crate::workflow::definition::{AnyHandlers, AnyWorkflow};
use futures::future::LocalBoxFuture;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::enums::v1::{EventType, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::query::v1::{WorkflowQuery, WorkflowQueryResult};
use steadfast_proto::temporal::update::v1::Request;

/// What a run needs besides its history.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How values and failures travel.
    pub data: DataConverter,
    /// Where the run lives.
    pub namespace: String,
    /// Where its workflow tasks come from.
    pub task_queue: String,
    /// Its workflow id; empty to take it from the history.
    pub workflow_id: String,
    /// Its run id; empty to take it from the history.
    pub run_id: String,
}

/// A workflow task.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// The whole history, or what is new since the last task of the same run.
    pub events: Vec<HistoryEvent>,
    /// Queries that want an answer with the commands.
    pub queries: BTreeMap<String, WorkflowQuery>,
    /// The one query of a task that is nothing else.
    pub legacy_query: Option<WorkflowQuery>,
    /// Requests of updates.
    pub messages: Vec<Message>,
}

/// The answer to a workflow task.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    /// In the order in which code gave them.
    pub commands: Vec<Command>,
    /// Answers of updates; some commands refer to them.
    pub messages: Vec<Message>,
    /// By the keys of the queries.
    pub query_results: BTreeMap<String, WorkflowQueryResult>,
    /// The answer to the one query of a task that is nothing else.
    pub legacy_query_result: Option<WorkflowQueryResult>,
}

/// A workflow task that cannot be completed. The run it is of must be forgotten.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{failure}")]
pub struct TaskFailure {
    /// For the server.
    pub cause: WorkflowTaskFailedCause,
    /// For people.
    pub failure: Failure,
}

impl TaskFailure {
    pub(crate) fn new(cause: WorkflowTaskFailedCause, error_type: &str, message: String) -> Self {
        let failure = Failure::application(error_type, message);
        Self { cause, failure }
    }

    pub(crate) fn nondeterminism(message: String) -> Self {
        let cause = WorkflowTaskFailedCause::NonDeterministicError;
        Self::new(
            cause,
            "NondeterminismError",
            format!("[TMPRL1100] {message}"),
        )
    }

    pub(crate) fn code(message: String) -> Self {
        let cause = WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure;
        Self::new(cause, "WorkflowTaskError", message)
    }
}

/// A local activity that has not ended.
#[derive(Debug)]
struct Local {
    operation: OperationId,
    request: LocalActivityRequest,
    /// The worker knows of it.
    asked: bool,
}

/// A request of an update, and the event behind which it comes.
#[derive(Debug, Clone)]
struct UpdateRequest {
    after: i64,
    message_id: String,
    request: Request,
    /// The history says that it was accepted.
    accepted: bool,
}

/// One run of a workflow with its code. Stays on the thread that made it.
pub struct Run {
    setup: Setup,
    workflow: Arc<dyn AnyWorkflow>,
    /// None until the first event was seen.
    context: Option<Rc<Context>>,
    handlers: Option<Rc<dyn AnyHandlers>>,
    tasks: TaskSet,
    /// Where the workflow's own task leaves its end.
    ended: Rc<RefCell<Option<Result<Option<Payload>>>>>,
    closed: bool,
    /// Commands whose events are still to come.
    unmatched: VecDeque<Issued>,
    /// The last event that code knows of.
    last_event_id: i64,
    /// Events that code was not told of yet.
    news: Vec<HistoryEvent>,
    /// By the events that scheduled or initiated them.
    by_event: BTreeMap<i64, OperationId>,
    locals: BTreeMap<u32, Local>,
    /// Markers of the task that is being replayed.
    marked: VecDeque<Marked>,
    /// Patches that code does not ask for any more; their events have no command.
    skip_upsert: bool,
    admitted: BTreeMap<String, Request>,
    updates_seen: BTreeSet<String>,
    random_seed: Option<String>,
    /// Patches that the history told of before the code was there.
    early: BTreeSet<String>,
    /// Moves whenever code waits, so that others see that it does.
    pulse: Arc<AtomicU64>,
    /// The workflow's own task, until it begins.
    root: Option<LocalBoxFuture<'static, Result<Option<Payload>>>>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Run")
            .field("workflow", &self.workflow.name())
            .field("last_event_id", &self.last_event_id)
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl Run {
    /// A run of which nothing has been seen.
    pub fn new(workflow: Arc<dyn AnyWorkflow>, setup: Setup) -> Self {
        Self {
            setup,
            workflow,
            context: None,
            handlers: None,
            tasks: TaskSet::new(),
            ended: Rc::default(),
            closed: false,
            unmatched: VecDeque::new(),
            last_event_id: 0,
            news: Vec::new(),
            by_event: BTreeMap::new(),
            locals: BTreeMap::new(),
            marked: VecDeque::new(),
            skip_upsert: false,
            admitted: BTreeMap::new(),
            updates_seen: BTreeSet::new(),
            random_seed: None,
            early: BTreeSet::new(),
            pulse: Arc::default(),
            root: None,
        }
    }

    /// Moves this number whenever code waits.
    pub(crate) fn with_pulse(mut self, pulse: Arc<AtomicU64>) -> Self {
        self.pulse = pulse;
        self
    }

    /// The last event that its code knows of; 0 before the first task.
    pub fn last_event_id(&self) -> i64 {
        self.last_event_id
    }

    /// Takes back what the server did not write down (`reset_history_event_id` of its answer).
    pub fn set_last_event_id(&mut self, last_event_id: i64) {
        self.last_event_id = last_event_id;
    }

    /// Its code has ended.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes a workflow task: goes through its events and runs code until it waits.
    ///
    /// # Errors
    /// When code does not do what the history says, panics, or cannot read its input.
    pub fn handle(&mut self, task: &Task) -> Result<(), TaskFailure> {
        let events = &task.events;
        let known = self.last_event_id;
        let first = events.iter().position(|event| event.event_id > known);
        let first = first.unwrap_or(events.len());
        if let Some(event) = events.get(first)
            && event.event_id != known + 1
        {
            return Err(TaskFailure::nondeterminism(format!(
                "event {} follows event {known}: the history has a gap",
                event.event_id
            )));
        }
        let mut messages = Some(&task.messages);
        for index in first..events.len() {
            let event = &events[index];
            match self.closed {
                false => self.take(event)?,
                true if matching::is_of_command(event) => self.match_command(event)?,
                true => {}
            }
            self.last_event_id = event.event_id;
            if event.event_type() != EventType::WorkflowTaskStarted {
                continue;
            }
            match events.get(index + 1).map(HistoryEvent::event_type) {
                Some(EventType::WorkflowTaskCompleted) => {
                    let updates = self.look_ahead(&events[index + 2..]);
                    self.activate(event, true, updates)?;
                }
                None => {
                    let updates =
                        self.requested(messages.take().map_or(&[], |found| &found[..]))?;
                    self.activate(event, false, updates)?;
                }
                // It failed or timed out: the next one tells the code.
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Answers the task: the commands and messages so far, and its queries.
    ///
    /// # Errors
    /// When a query makes the workflow do something.
    pub fn complete(&mut self, task: &Task) -> Result<Completion, TaskFailure> {
        let mut completion = Completion::default();
        for (key, query) in &task.queries {
            let answer = self.answer(query)?;
            completion.query_results.insert(key.clone(), answer);
        }
        if let Some(query) = &task.legacy_query {
            completion.legacy_query_result = Some(self.answer(query)?);
        }
        if let Some(context) = &self.context {
            let mut state = context.state.borrow_mut();
            completion.messages = std::mem::take(&mut state.messages);
            drop(state);
            let issued = self.take_commands();
            completion.commands = issued.iter().map(|issued| issued.command.clone()).collect();
            self.unmatched.extend(issued);
        }
        Ok(completion)
    }

    /// Local activities that the worker has not heard of.
    pub fn take_local_requests(&mut self) -> Vec<LocalActivityRequest> {
        let mut requests = Vec::new();
        for local in self.locals.values_mut().filter(|local| !local.asked) {
            local.asked = true;
            requests.push(local.request.clone());
        }
        requests
    }

    /// Local activities that the worker should cancel, by their numbers.
    pub fn take_local_cancels(&mut self) -> Vec<u32> {
        match &self.context {
            Some(context) => std::mem::take(&mut context.state.borrow_mut().local_cancels),
            None => Vec::new(),
        }
    }

    /// Local activities have not ended: the task is not to be completed, or a new one asked for.
    pub fn waits_for_local_activities(&self) -> bool {
        !self.locals.is_empty() && !self.closed
    }

    /// Tells code that a local activity has ended.
    ///
    /// # Errors
    /// As [`Run::handle`].
    pub fn local_activity_ended(&mut self, end: LocalActivityEnd) -> Result<(), TaskFailure> {
        if self.closed {
            return Ok(());
        }
        self.resolve_local(end);
        self.run_until_blocked()
    }

    /// Reads the answers in the events that follow a completed task: local activities, patches,
    /// accepted updates.
    fn look_ahead(&mut self, events: &[HistoryEvent]) -> Vec<UpdateRequest> {
        let mut updates = Vec::new();
        for event in events
            .iter()
            .take_while(|event| matching::is_of_command(event))
        {
            match event.attributes.as_ref() {
                Some(Event::MarkerRecordedEventAttributes(marker)) => {
                    if let Some(patched) = patch::read_marker(marker)
                        && let Some(context) = &self.context
                    {
                        let mut state = context.state.borrow_mut();
                        state.patches_in_history.insert(patched.id);
                    } else if let Some(patched) = patch::read_marker(marker) {
                        self.early.insert(patched.id);
                    }
                    self.marked
                        .extend(local::read_marker(marker, &self.setup.data));
                }
                Some(Event::WorkflowExecutionUpdateAcceptedEventAttributes(accepted)) => {
                    let request = accepted.accepted_request.clone();
                    let id = &accepted.protocol_instance_id;
                    let request = request.or_else(|| self.admitted.get(id).cloned());
                    updates.push(UpdateRequest {
                        after: accepted.accepted_request_sequencing_event_id,
                        message_id: accepted.accepted_request_message_id.clone(),
                        request: request.unwrap_or_default(),
                        accepted: true,
                    });
                }
                _ => {}
            }
        }
        updates
    }

    /// Moves the commands of this activation out of the context, those after the end left out.
    fn take_commands(&mut self) -> Vec<Issued> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        std::mem::take(&mut context.state.borrow_mut().commands)
    }

    /// Compares an event with the command that should have led to it.
    fn match_command(&mut self, event: &HistoryEvent) -> Result<(), TaskFailure> {
        let found = matching::of_event(event);
        if self.skips(event, &found) {
            return Ok(());
        }
        let Some(issued) = self.unmatched.pop_front() else {
            return Err(TaskFailure::nondeterminism(format!(
                "event {} of the history is {found}; the code gives no command there",
                event.event_id
            )));
        };
        let given = matching::of_command(&issued);
        if given != found {
            return Err(TaskFailure::nondeterminism(format!(
                "event {} of the history is {found}; the code gives {given} there",
                event.event_id
            )));
        }
        if let Some(operation) = issued.operation {
            self.bind(event, operation);
        }
        Ok(())
    }

    /// Marks of patches that code does not ask for any more.
    fn skips(&mut self, event: &HistoryEvent, found: &Identity) -> bool {
        if *found == Identity::UpsertSearchAttributes && std::mem::take(&mut self.skip_upsert) {
            return true;
        }
        let Some(Event::MarkerRecordedEventAttributes(marker)) = event.attributes.as_ref() else {
            return false;
        };
        let deprecated = patch::read_marker(marker).is_some_and(|patched| patched.deprecated);
        let asked = self.unmatched.front().map(matching::of_command);
        self.skip_upsert = deprecated && asked.as_ref() != Some(found);
        self.skip_upsert
    }

    /// What is left of the commands when a task's events are over has no event.
    fn nothing_left(&self, at: &HistoryEvent) -> Result<(), TaskFailure> {
        self.no_command_left(|| {
            let name = at.event_type().as_str_name();
            format!("the history has {name} (event {}) there", at.event_id)
        })
    }

    /// The history is over, and code has done nothing that it does not tell of.
    ///
    /// # Errors
    /// The first command that has no event.
    pub fn is_replayed(&self) -> Result<(), TaskFailure> {
        self.no_command_left(|| format!("the history ends before (event {})", self.last_event_id))
    }

    fn no_command_left(&self, instead: impl FnOnce() -> String) -> Result<(), TaskFailure> {
        match self.unmatched.front() {
            None => Ok(()),
            Some(issued) => Err(TaskFailure::nondeterminism(format!(
                "the code gives {}; {}",
                matching::of_command(issued),
                instead()
            ))),
        }
    }

    fn info_of(&self, event: &HistoryEvent) -> Info {
        Info::of_started(&self.setup, event)
    }

    fn now_of(event: &HistoryEvent) -> SystemTime {
        crate::duration::time_or_epoch(event.event_time)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Futures that are dropped now do not cancel what they stand for.
        if let Some(context) = &self.context {
            context.state.borrow_mut().closing = true;
            let _entered = context.enter();
            self.tasks.clear();
            let conditions = std::mem::take(&mut context.state.borrow_mut().conditions);
            drop(conditions);
        }
    }
}
