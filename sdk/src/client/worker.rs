//! A worker driven by hand: poll, look, answer. It holds no state of workflows.

use crate::client::command::seconds;
use crate::client::raw::{POLL_LIMIT, RawClient, Service, decode_history};
use crate::client::retry::may_retry;
use prost::bytes::Bytes;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::common::v1::Payloads;
use steadfast_proto::temporal::enums::v1::{TaskQueueKind, WorkflowTaskFailedCause};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Status};

/// How long a task waits on a sticky queue before it goes to the normal one; SDKs use 10 s too.
const STICKY_SECONDS: i64 = 10;

/// A workflow task as polled or as it came with an answer.
#[derive(Debug, Clone)]
pub struct WorkflowTask {
    /// All that the server said; its history still encoded.
    pub response: wire::PollWorkflowTaskQueueResponse,
    /// The history's events: all of them, or those since the last task on a sticky queue.
    pub events: Vec<HistoryEvent>,
}

impl WorkflowTask {
    /// The run id.
    pub fn run_id(&self) -> &str {
        self.response
            .workflow_execution
            .as_ref()
            .map_or("", |run| &run.run_id)
    }

    /// The workflow id.
    pub fn workflow_id(&self) -> &str {
        self.response
            .workflow_execution
            .as_ref()
            .map_or("", |run| &run.workflow_id)
    }

    /// The token to answer with.
    pub fn token(&self) -> Bytes {
        self.response.task_token.clone()
    }

    /// The history begins at its first event.
    pub fn is_full(&self) -> bool {
        self.events.first().is_some_and(|event| event.event_id == 1)
    }

    fn new(response: wire::PollWorkflowTaskQueueResponse) -> Result<Option<Self>, Status> {
        if response.task_token.is_empty() {
            return Ok(None);
        }
        let events = decode_history(&response.history)?;
        Ok(Some(Self { response, events }))
    }
}

/// An activity task as polled.
pub type ActivityTask = wire::PollActivityTaskQueueResponse;

/// One poller's hands. Clones share connections; each moves on to the next address by itself when
/// its node fails.
#[derive(Debug, Clone)]
pub struct RawWorker {
    client: RawClient,
    index: usize,
    service: Service,
    identity: String,
    task_queue: String,
    sticky: Option<String>,
}

impl RawWorker {
    /// A worker of a task queue. With `sticky`, the name of a queue of its own, it asks for
    /// further tasks of the runs it answered there.
    pub fn new(client: &RawClient, index: usize, task_queue: &str, sticky: Option<&str>) -> Self {
        Self {
            client: client.clone(),
            index,
            service: client.service(index),
            identity: client.identity().to_string(),
            task_queue: task_queue.to_string(),
            sticky: sticky.map(String::from),
        }
    }

    /// The same with an identity of its own.
    pub fn with_identity(mut self, identity: &str) -> Self {
        self.identity = identity.to_string();
        self
    }

    /// Polls the normal queue; nothing when no task came.
    pub async fn poll_workflow_task(&mut self) -> Result<Option<WorkflowTask>, Status> {
        let queue = self.normal_queue();
        self.poll_workflow_queue(queue).await
    }

    /// Polls the sticky queue; nothing when no task came or there is no such queue.
    pub async fn poll_sticky_task(&mut self) -> Result<Option<WorkflowTask>, Status> {
        match self.sticky_queue() {
            Some(queue) => self.poll_workflow_queue(queue).await,
            None => Ok(None),
        }
    }

    async fn poll_workflow_queue(
        &mut self,
        queue: TaskQueue,
    ) -> Result<Option<WorkflowTask>, Status> {
        let mut request = Request::new(wire::PollWorkflowTaskQueueRequest {
            namespace: self.client.namespace().to_string(),
            task_queue: Some(queue),
            identity: self.identity.clone(),
            ..Default::default()
        });
        request.set_timeout(POLL_LIMIT);
        let answer = self.service.poll_workflow_task_queue(request).await;
        WorkflowTask::new(self.checked(answer)?)
    }

    /// Answers a workflow task; gives the next task of the same run when the server has one.
    pub async fn complete_workflow_task(
        &mut self,
        token: Bytes,
        commands: Vec<Command>,
    ) -> Result<Option<WorkflowTask>, Status> {
        let sticky_attributes = self.sticky_queue().map(|queue| StickyExecutionAttributes {
            worker_task_queue: Some(queue),
            schedule_to_start_timeout: Some(seconds(STICKY_SECONDS)),
        });
        let request = wire::RespondWorkflowTaskCompletedRequest {
            task_token: token,
            commands,
            identity: self.identity.clone(),
            namespace: self.client.namespace().to_string(),
            return_new_workflow_task: true,
            sticky_attributes,
            ..Default::default()
        };
        let answer = self.service.respond_workflow_task_completed(request).await;
        match self.checked(answer)?.workflow_task {
            Some(response) => WorkflowTask::new(response),
            None => Ok(None),
        }
    }

    /// Fails a workflow task.
    pub async fn fail_workflow_task(
        &mut self,
        token: Bytes,
        cause: WorkflowTaskFailedCause,
        message: &str,
    ) -> Result<(), Status> {
        let request = wire::RespondWorkflowTaskFailedRequest {
            task_token: token,
            cause: cause as i32,
            failure: Some(Failure {
                message: message.to_string(),
                ..Default::default()
            }),
            identity: self.identity.clone(),
            namespace: self.client.namespace().to_string(),
            ..Default::default()
        };
        let answer = self.service.respond_workflow_task_failed(request).await;
        self.checked(answer).map(drop)
    }

    /// Polls for an activity task; nothing when none came.
    pub async fn poll_activity_task(&mut self) -> Result<Option<ActivityTask>, Status> {
        let mut request = Request::new(wire::PollActivityTaskQueueRequest {
            namespace: self.client.namespace().to_string(),
            task_queue: Some(self.normal_queue()),
            identity: self.identity.clone(),
            ..Default::default()
        });
        request.set_timeout(POLL_LIMIT);
        let answer = self.service.poll_activity_task_queue(request).await;
        let task = self.checked(answer)?;
        Ok((!task.task_token.is_empty()).then_some(task))
    }

    /// Completes an activity.
    pub async fn complete_activity(
        &mut self,
        token: Bytes,
        result: Option<Payloads>,
    ) -> Result<(), Status> {
        let request = wire::RespondActivityTaskCompletedRequest {
            task_token: token,
            result,
            identity: self.identity.clone(),
            namespace: self.client.namespace().to_string(),
            ..Default::default()
        };
        let answer = self.service.respond_activity_task_completed(request).await;
        self.checked(answer).map(drop)
    }

    /// Fails an activity.
    pub async fn fail_activity(&mut self, token: Bytes, failure: Failure) -> Result<(), Status> {
        let request = wire::RespondActivityTaskFailedRequest {
            task_token: token,
            failure: Some(failure),
            identity: self.identity.clone(),
            namespace: self.client.namespace().to_string(),
            ..Default::default()
        };
        let answer = self.service.respond_activity_task_failed(request).await;
        self.checked(answer).map(drop)
    }

    /// Records a heartbeat; true when the activity should cancel itself.
    pub async fn heartbeat(
        &mut self,
        token: Bytes,
        details: Option<Payloads>,
    ) -> Result<bool, Status> {
        let request = wire::RecordActivityTaskHeartbeatRequest {
            task_token: token,
            details,
            identity: self.identity.clone(),
            namespace: self.client.namespace().to_string(),
            ..Default::default()
        };
        let answer = self.service.record_activity_task_heartbeat(request).await;
        self.checked(answer).map(|answer| answer.cancel_requested)
    }

    fn normal_queue(&self) -> TaskQueue {
        TaskQueue {
            name: self.task_queue.clone(),
            kind: TaskQueueKind::Normal as i32,
            ..Default::default()
        }
    }

    fn sticky_queue(&self) -> Option<TaskQueue> {
        self.sticky.as_ref().map(|name| TaskQueue {
            name: name.clone(),
            kind: TaskQueueKind::Sticky as i32,
            normal_name: self.task_queue.clone(),
        })
    }

    /// Moves on to the next address after an answer that says this one cannot serve.
    fn checked<T>(&mut self, answer: Result<tonic::Response<T>, Status>) -> Result<T, Status> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                if may_retry(&status) {
                    self.index = self.index.wrapping_add(1);
                    self.service = self.client.service(self.index);
                }
                Err(status)
            }
        }
    }
}
