//! One workflow task, from poll to answer.

use crate::client::{Client, decode_history};
use crate::executor::{
    Completion, LocalActivityEnd, LocalActivityRequest, Setup, Task, TaskFailure,
};
use crate::failure::Failure;
use crate::worker::Inner;
use crate::worker::local_activity::{self, Of};
use crate::worker::workflow_thread::{Done, Work};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::{
    QueryResultType, TaskQueueKind, WorkflowTaskFailedCause,
};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use steadfast_proto::temporal::sdk::v1::WorkflowTaskCompletedMetadata;
use steadfast_proto::temporal::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a task waits on the sticky queue before it goes to the normal one, as of all SDKs.
const STICKY_SECONDS: i64 = 10;
/// How long an answer is tried for when the server cannot be reached.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a page of history is tried for.
const HISTORY_LIMIT: Duration = Duration::from_secs(60);
/// Of the time of a workflow task, what passes before a new one is asked for while local activities
/// are under way.
const HEARTBEAT_SHARE: f64 = 0.8;
/// A history of more pages is not a history.
const PAGES_MAX: usize = 100_000;

/// Does a task, and the ones that the server gives with the answers.
pub(crate) async fn perform(inner: Arc<Inner>, first: wire::PollWorkflowTaskQueueResponse) {
    let mut next = Some(first);
    while let Some(task) = next {
        next = once(&inner, task).await;
    }
}

async fn once(
    inner: &Arc<Inner>,
    mut polled: wire::PollWorkflowTaskQueueResponse,
) -> Option<wire::PollWorkflowTaskQueueResponse> {
    let execution = polled.workflow_execution.clone().unwrap_or_default();
    let client = &inner.client;
    if let Err(error) = client.data_converter().decode(&mut polled).await {
        let failure = TaskFailure::code(format!("the codec cannot decode the task: {error}"));
        fail(inner, &polled, &execution, failure).await;
        return None;
    }
    let events = match events_of(client, &polled, &execution).await {
        Ok(events) => events,
        Err(failure) => {
            fail(inner, &polled, &execution, failure).await;
            return None;
        }
    };
    let workflow_type = polled.workflow_type.clone().unwrap_or_default().name;
    let Some(workflow) = inner.workflows.get(&workflow_type).cloned() else {
        let known: Vec<&str> = inner.workflows.keys().map(String::as_str).collect();
        let failure = TaskFailure::code(format!(
            "workflow type `{workflow_type}` is not registered with this worker; known: {}",
            known.join(", ")
        ));
        fail(inner, &polled, &execution, failure).await;
        return None;
    };
    let task = Task {
        events,
        queries: std::mem::take(&mut polled.queries),
        legacy_query: polled.query.take(),
        messages: std::mem::take(&mut polled.messages),
    };
    let setup = Setup {
        data: client.data_converter().clone(),
        namespace: client.raw().namespace().to_string(),
        task_queue: inner.task_queue.clone(),
        workflow_id: execution.workflow_id.clone(),
        run_id: execution.run_id.clone(),
    };
    let mut attempt = Attempt {
        inner,
        polled: &polled,
        execution: &execution,
        task: Arc::new(task),
    };
    match attempt.run(workflow, setup).await {
        Ok(next) => next,
        Err(failure) => {
            fail(inner, &polled, &execution, failure).await;
            None
        }
    }
}

/// All events of a task, page by page.
async fn events_of(
    client: &Client,
    polled: &wire::PollWorkflowTaskQueueResponse,
    execution: &WorkflowExecution,
) -> Result<Vec<HistoryEvent>, TaskFailure> {
    let unreadable = |status: tonic::Status| {
        TaskFailure::code(format!("the history cannot be read: {}", status.message()))
    };
    let mut events = decoded(client, &polled.history).await?;
    let mut token = polled.next_page_token.clone();
    for _ in 0..PAGES_MAX {
        if token.is_empty() {
            return Ok(events);
        }
        let request = wire::GetWorkflowExecutionHistoryRequest {
            namespace: client.raw().namespace().to_string(),
            execution: Some(execution.clone()),
            next_page_token: token,
            ..Default::default()
        };
        let page = client.raw().call(HISTORY_LIMIT, |mut service| {
            let request = request.clone();
            async move { service.get_workflow_execution_history(request).await }
        });
        let page = page.await.map_err(unreadable)?;
        events.extend(decoded(client, &page.history).await?);
        token = page.next_page_token;
    }
    Err(TaskFailure::code("the history does not end".into()))
}

async fn decoded(client: &Client, history: &[u8]) -> Result<Vec<HistoryEvent>, TaskFailure> {
    let mut events = decode_history(history)
        .map_err(|status| TaskFailure::code(status.message().to_string()))?;
    for event in &mut events {
        client
            .data_converter()
            .decode(event)
            .await
            .map_err(|error| {
                TaskFailure::code(format!("the codec cannot decode the history: {error}"))
            })?;
    }
    Ok(events)
}

struct Attempt<'a> {
    inner: &'a Arc<Inner>,
    polled: &'a wire::PollWorkflowTaskQueueResponse,
    execution: &'a WorkflowExecution,
    task: Arc<Task>,
}

impl Attempt<'_> {
    async fn run(
        &mut self,
        workflow: Arc<dyn crate::workflow::definition::AnyWorkflow>,
        setup: Setup,
    ) -> Result<Option<wire::PollWorkflowTaskQueueResponse>, TaskFailure> {
        let begun = tokio::time::Instant::now();
        if self
            .task
            .events
            .first()
            .is_some_and(|event| event.event_id == 1)
        {
            // The run begins anew, and its local activities with it.
            self.inner.locals.forget(&self.execution.run_id);
        }
        let mut done = self.handle(&workflow, &setup).await;
        if matches!(done, Done::Missing) {
            // The run is not kept here any more: its whole history says what it was.
            let mut whole = (*self.task).clone();
            whole.events = self.whole_history().await?;
            self.task = Arc::new(whole);
            done = self.handle(&workflow, &setup).await;
        }
        self.local_activities(done, begun).await?;
        let run_id = &self.execution.run_id;
        let task = Arc::clone(&self.task);
        let threads = &self.inner.threads;
        match threads.ask(run_id, Work::Complete { task }).await {
            Done::Completed(completion, waits) => self.answer(*completion, waits).await,
            Done::Failed(failure) => Err(*failure),
            Done::Missing | Done::Nothing | Done::Blocked { .. } => Err(lost()),
        }
    }

    async fn handle(
        &self,
        workflow: &Arc<dyn crate::workflow::definition::AnyWorkflow>,
        setup: &Setup,
    ) -> Done {
        let work = Work::Task {
            workflow: Arc::clone(workflow),
            setup: Box::new(setup.clone()),
            task: Arc::clone(&self.task),
        };
        self.inner.threads.ask(&self.execution.run_id, work).await
    }

    async fn whole_history(&self) -> Result<Vec<HistoryEvent>, TaskFailure> {
        let client = &self.inner.client;
        let read = client.raw().history(self.execution.clone(), HISTORY_LIMIT);
        let mut events = read.await.map_err(|status| {
            TaskFailure::code(format!("the history cannot be read: {}", status.message()))
        })?;
        // What happened since this task was given out belongs to the next one.
        let last = match self.polled.started_event_id {
            0 => i64::MAX,
            started => started,
        };
        events.retain(|event| event.event_id <= last);
        let known = events.last().map_or(0, |event| event.event_id);
        let rest = self
            .task
            .events
            .iter()
            .filter(|event| event.event_id > known);
        events.extend(rest.cloned());
        for event in &mut events {
            client
                .data_converter()
                .decode(event)
                .await
                .map_err(|error| {
                    TaskFailure::code(format!("the codec cannot decode the history: {error}"))
                })?;
        }
        Ok(events)
    }

    /// Runs local activities until none is left, or until the time of the task is nearly over.
    async fn local_activities(
        &self,
        done: Done,
        begun: tokio::time::Instant,
    ) -> Result<(), TaskFailure> {
        let limit = self
            .inner
            .task_timeout_of(&self.task.events, &self.execution.run_id);
        let deadline = begun + limit.mul_f64(HEARTBEAT_SHARE);
        let mut done = done;
        loop {
            let waits = match done {
                Done::Blocked {
                    local_activities,
                    local_cancels,
                    waits,
                } => {
                    self.inner
                        .locals
                        .begin(self.inner, self.of(), local_activities);
                    self.inner
                        .locals
                        .cancel(&self.execution.run_id, &local_cancels);
                    waits
                }
                Done::Failed(failure) => return Err(*failure),
                Done::Missing | Done::Nothing | Done::Completed(..) => return Err(lost()),
            };
            if !waits {
                return Ok(());
            }
            let next = self.inner.locals.next(&self.execution.run_id);
            let Ok(end) = tokio::time::timeout_at(deadline, next).await else {
                return Ok(());
            };
            let Some(end) = end else {
                return Err(lost());
            };
            let end = Box::new(end);
            let work = Work::LocalActivityEnded { end };
            done = self.inner.threads.ask(&self.execution.run_id, work).await;
        }
    }

    fn of(&self) -> Of {
        Of {
            namespace: self.inner.client.raw().namespace().to_string(),
            workflow_execution: self.execution.clone(),
            workflow_type: self.polled.workflow_type.clone().unwrap_or_default().name,
        }
    }

    async fn answer(
        &self,
        completion: Completion,
        waits: bool,
    ) -> Result<Option<wire::PollWorkflowTaskQueueResponse>, TaskFailure> {
        if let Some(result) = completion.legacy_query_result {
            self.answer_query(result).await;
            return Ok(None);
        }
        let inner = self.inner;
        let client = &inner.client;
        let mut commands = completion.commands;
        let eager = inner.eager_slots(&commands);
        grant_eager(inner, &mut commands, eager.len());
        let mut request = wire::RespondWorkflowTaskCompletedRequest {
            task_token: self.polled.task_token.clone(),
            commands,
            messages: completion.messages,
            query_results: completion.query_results,
            identity: client.raw().identity().to_string(),
            namespace: client.raw().namespace().to_string(),
            return_new_workflow_task: true,
            force_create_new_workflow_task: waits,
            sticky_attributes: sticky_attributes(inner),
            sdk_metadata: (self.polled.previous_started_event_id == 0).then(|| {
                WorkflowTaskCompletedMetadata {
                    sdk_name: crate::NAME.to_string(),
                    sdk_version: crate::VERSION.to_string(),
                    ..Default::default()
                }
            }),
            deployment_options: inner.deployment_options(),
            ..Default::default()
        };
        client
            .data_converter()
            .encode(&mut request)
            .await
            .map_err(|error| {
                TaskFailure::code(format!("the codec cannot encode the answer: {error}"))
            })?;
        let sent = client.raw().call(ANSWER_LIMIT, |mut service| {
            let request = request.clone();
            async move { service.respond_workflow_task_completed(request).await }
        });
        match sent.await {
            Ok(answer) => {
                inner.take_eager(eager, answer.activity_tasks);
                if answer.reset_history_event_id > 0 {
                    let last_event_id = answer.reset_history_event_id;
                    self.ask(Work::Rewind { last_event_id }).await;
                }
                Ok(answer.workflow_task)
            }
            Err(status) => {
                // Whether the server has it is not known: the next task brings the history.
                self.ask(Work::Evict).await;
                inner.locals.forget(&self.execution.run_id);
                tracing::debug!(run_id = self.execution.run_id, %status, "the answer was not taken");
                Ok(None)
            }
        }
    }

    async fn ask(&self, work: Work) -> Done {
        self.inner.threads.ask(&self.execution.run_id, work).await
    }

    async fn answer_query(
        &self,
        result: steadfast_proto::temporal::query::v1::WorkflowQueryResult,
    ) {
        let client = &self.inner.client;
        let mut request = wire::RespondQueryTaskCompletedRequest {
            task_token: self.polled.task_token.clone(),
            completed_type: result.result_type,
            query_result: result.answer,
            error_message: result.error_message,
            failure: result.failure,
            namespace: client.raw().namespace().to_string(),
            ..Default::default()
        };
        if let Err(error) = client.data_converter().encode(&mut request).await {
            request.completed_type = QueryResultType::Failed as i32;
            request.query_result = None;
            request.error_message = error.to_string();
        }
        respond_query(client, request).await;
    }
}

async fn respond_query(client: &Client, request: wire::RespondQueryTaskCompletedRequest) {
    let sent = client.raw().call(ANSWER_LIMIT, |mut service| {
        let request = request.clone();
        async move { service.respond_query_task_completed(request).await }
    });
    if let Err(status) = sent.await {
        tracing::debug!(%status, "the answer of a query was not taken");
    }
}

fn lost() -> TaskFailure {
    let cause = WorkflowTaskFailedCause::ForceCloseCommand;
    TaskFailure::new(
        cause,
        "RunLost",
        "the worker gave the run up meanwhile".to_string(),
    )
}

/// Activities may come with the answer only where there is room for them.
fn grant_eager(inner: &Inner, commands: &mut [Command], mut room: usize) {
    for command in commands {
        if let Some(Attributes::ScheduleActivityTaskCommandAttributes(found)) =
            &mut command.attributes
        {
            let wanted = found.request_eager_execution
                && room > 0
                && inner.is_own_queue(found.task_queue.as_ref());
            found.request_eager_execution = wanted;
            room -= usize::from(wanted);
        }
    }
}

/// Asks for further tasks of the run on this worker's own queue.
fn sticky_attributes(inner: &Inner) -> Option<StickyExecutionAttributes> {
    let name = inner.sticky.clone()?;
    Some(StickyExecutionAttributes {
        worker_task_queue: Some(TaskQueue {
            name,
            kind: TaskQueueKind::Sticky as i32,
            normal_name: inner.task_queue.clone(),
        }),
        schedule_to_start_timeout: Some(prost_types::Duration {
            seconds: STICKY_SECONDS,
            nanos: 0,
        }),
    })
}

/// Tells the server that a task failed, but for repeated ones: their growing time-out is the pause
/// before the next try.
async fn fail(
    inner: &Arc<Inner>,
    polled: &wire::PollWorkflowTaskQueueResponse,
    execution: &WorkflowExecution,
    failure: TaskFailure,
) {
    let client = &inner.client;
    inner.threads.ask(&execution.run_id, Work::Evict).await;
    inner.locals.forget(&execution.run_id);
    tracing::warn!(
        workflow_id = execution.workflow_id, run_id = execution.run_id,
        attempt = polled.attempt, failure = %failure, "a workflow task failed"
    );
    let data = client.data_converter();
    if polled.query.is_some() {
        let request = wire::RespondQueryTaskCompletedRequest {
            task_token: polled.task_token.clone(),
            completed_type: QueryResultType::Failed as i32,
            error_message: failure.failure.to_string(),
            failure: Some(data.to_wire(&failure.failure)),
            namespace: client.raw().namespace().to_string(),
            ..Default::default()
        };
        return respond_query(client, request).await;
    }
    if polled.attempt > 1 {
        return;
    }
    let mut request = wire::RespondWorkflowTaskFailedRequest {
        task_token: polled.task_token.clone(),
        cause: failure.cause as i32,
        failure: Some(data.to_wire(&failure.failure)),
        identity: client.raw().identity().to_string(),
        namespace: client.raw().namespace().to_string(),
        deployment_options: inner.deployment_options(),
        ..Default::default()
    };
    if data.encode(&mut request).await.is_err() {
        let bare = Failure::application("CodecError", "the failure cannot be encoded");
        request.failure = Some(data.to_wire(&bare));
    }
    let sent = client.raw().call(ANSWER_LIMIT, |mut service| {
        let request = request.clone();
        async move { service.respond_workflow_task_failed(request).await }
    });
    if let Err(status) = sent.await {
        tracing::debug!(%status, "the failure of a workflow task was not taken");
    }
}

/// Local activities of all runs, with the ends that wait to be told.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    runs: std::sync::Mutex<HashMap<String, OfRun>>,
}

#[derive(Debug)]
struct OfRun {
    ends: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<LocalActivityEnd>>>,
    end: mpsc::UnboundedSender<LocalActivityEnd>,
    canceled: HashMap<u32, CancellationToken>,
}

impl Locals {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, OfRun>> {
        self.runs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn begin(&self, inner: &Arc<Inner>, of: Of, requests: Vec<LocalActivityRequest>) {
        if requests.is_empty() {
            return;
        }
        let mut runs = self.lock();
        let run = runs
            .entry(of.workflow_execution.run_id.clone())
            .or_insert_with(|| {
                // As many as the code asked for, which its slots bound.
                let (end, ends) = mpsc::unbounded_channel();
                OfRun {
                    ends: Arc::new(tokio::sync::Mutex::new(ends)),
                    end,
                    canceled: HashMap::new(),
                }
            });
        for request in requests {
            let token = CancellationToken::new();
            run.canceled.insert(request.seq, token.clone());
            let code = inner.activity(&request.activity_type);
            let (end, of) = (run.end.clone(), of.clone());
            let client = inner.client.clone();
            let slots = Arc::clone(&inner.local_slots);
            tokio::spawn(async move {
                let Ok(_slot) = slots.acquire_owned().await else {
                    return;
                };
                let ended = local_activity::perform(client, request, code, of, token).await;
                // The run was forgotten when nobody listens.
                let _unheard = end.send(ended);
            });
        }
    }

    fn cancel(&self, run_id: &str, seqs: &[u32]) {
        if let Some(run) = self.lock().get(run_id) {
            for seq in seqs {
                if let Some(token) = run.canceled.get(seq) {
                    token.cancel();
                }
            }
        }
    }

    async fn next(&self, run_id: &str) -> Option<LocalActivityEnd> {
        let ends = self.lock().get(run_id).map(|run| Arc::clone(&run.ends))?;
        let end = ends.lock().await.recv().await;
        if let Some(end) = &end
            && let Some(run) = self.lock().get_mut(run_id)
        {
            run.canceled.remove(&end.seq);
        }
        end
    }

    /// Ends what is under way for a run; its replay begins it again.
    pub(crate) fn forget(&self, run_id: &str) {
        if let Some(run) = self.lock().remove(run_id) {
            run.canceled.values().for_each(CancellationToken::cancel);
        }
    }
}

/// The time that a run's workflow tasks have, from its first event.
pub(crate) fn task_timeout(events: &[HistoryEvent]) -> Option<Duration> {
    let first = events.first()?;
    match first.attributes.as_ref()? {
        Event::WorkflowExecutionStartedEventAttributes(found) => {
            Duration::try_from(found.workflow_task_timeout?).ok()
        }
        _ => None,
    }
}
