//! Starts of workflows, alone and with a signal.

use crate::client::Client;
use crate::client::error::{CallError, StartError};
use crate::client::handle::{Started, WorkflowHandle};
use crate::client::options::StartOptions;
use crate::converter::{Arguments, Value};
use crate::definition::{Signal, Workflow};
use crate::duration::to_wire;
use std::fmt;
use steadfast_proto::temporal::common::v1::{Payload, Payloads, WorkflowType};
use steadfast_proto::temporal::workflow::v1::NewWorkflowExecutionInfo;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use uuid::Uuid;

/// Room for one workflow task in a worker: called with the task, or dropped when none came.
pub type EagerSlot = Box<dyn FnOnce(wire::PollWorkflowTaskQueueResponse) + Send>;

/// A worker of this process that takes the first task of workflows started here.
pub trait EagerWorker: Send + Sync {
    /// Room for a task of this queue, when the worker serves it and has room.
    fn reserve(&self, task_queue: &str) -> Option<EagerSlot>;
}

impl fmt::Debug for dyn EagerWorker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EagerWorker")
    }
}

/// What a call takes, when it takes anything.
pub(super) fn input(payloads: Vec<Payload>) -> Option<Payloads> {
    (!payloads.is_empty()).then_some(Payloads { payloads })
}

impl Client {
    /// Starts a workflow.
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`] when the policies forbid another run of this workflow id;
    /// [`StartError::Call`] when the input cannot be written or the call fails.
    pub async fn start<W, I: Arguments, O: Value>(
        &self,
        workflow: Workflow<W, I, O>,
        input: I,
        options: StartOptions,
    ) -> Result<WorkflowHandle<W, O>, StartError> {
        let mut request = self.start_request(workflow.name(), &input, &options)?;
        drop(input);
        let slot = match (options.eager_start, self.eager.get()) {
            (true, Some(worker)) => worker.reserve(options.task_queue()),
            _ => None,
        };
        request.request_eager_execution = slot.is_some();
        let answer = self.calls.start(request).await;
        let answer = answer.map_err(|error| StartError::of(error, &options.workflow_id))?;
        if let (Some(slot), Some(task)) = (slot, answer.eager_workflow_task) {
            slot(task);
        }
        let started = Started {
            run_id: answer.run_id,
            first_execution_run_id: answer.first_execution_run_id,
            started: answer.started,
        };
        let workflow_id = options.workflow_id;
        Ok(WorkflowHandle::started(self.clone(), workflow_id, started))
    }

    /// Signals a workflow of this id; when none runs, it is started first. Both or none happen.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn signal_with_start<W, I: Arguments, O: Value, S: Arguments>(
        &self,
        workflow: Workflow<W, I, O>,
        input: I,
        options: StartOptions,
        signal: Signal<W, S>,
        signal_input: S,
    ) -> Result<WorkflowHandle<W, O>, StartError> {
        let request = self.start_request(workflow.name(), &input, &options)?;
        drop(input);
        let signal_payloads = signal_input.to_payloads(self.calls.data.converter())?;
        drop(signal_input);
        let request = wire::SignalWithStartWorkflowExecutionRequest {
            namespace: request.namespace,
            workflow_id: request.workflow_id,
            workflow_type: request.workflow_type,
            task_queue: request.task_queue,
            input: request.input,
            workflow_execution_timeout: request.workflow_execution_timeout,
            workflow_run_timeout: request.workflow_run_timeout,
            workflow_task_timeout: request.workflow_task_timeout,
            identity: request.identity,
            request_id: request.request_id,
            workflow_id_reuse_policy: request.workflow_id_reuse_policy,
            workflow_id_conflict_policy: request.workflow_id_conflict_policy,
            signal_name: signal.name().to_string(),
            signal_input: self::input(signal_payloads),
            retry_policy: request.retry_policy,
            cron_schedule: request.cron_schedule,
            memo: request.memo,
            search_attributes: request.search_attributes,
            workflow_start_delay: request.workflow_start_delay,
            user_metadata: request.user_metadata,
            versioning_override: request.versioning_override,
            priority: request.priority,
            ..Default::default()
        };
        let answer = self.calls.signal_with_start(request).await;
        let answer = answer.map_err(|error| StartError::of(error, &options.workflow_id))?;
        let started = Started {
            run_id: answer.run_id,
            first_execution_run_id: answer.first_execution_run_id,
            started: answer.started,
        };
        let workflow_id = options.workflow_id;
        Ok(WorkflowHandle::started(self.clone(), workflow_id, started))
    }

    /// A start as the server takes it.
    pub(super) fn start_request<I: Arguments>(
        &self,
        workflow_type: &str,
        input: &I,
        options: &StartOptions,
    ) -> Result<wire::StartWorkflowExecutionRequest, CallError> {
        let new = self.new_workflow(workflow_type, input, options)?;
        Ok(wire::StartWorkflowExecutionRequest {
            namespace: self.namespace().to_string(),
            workflow_id: new.workflow_id,
            workflow_type: new.workflow_type,
            task_queue: new.task_queue,
            input: new.input,
            workflow_execution_timeout: new.workflow_execution_timeout,
            workflow_run_timeout: new.workflow_run_timeout,
            workflow_task_timeout: new.workflow_task_timeout,
            identity: self.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
            workflow_id_reuse_policy: new.workflow_id_reuse_policy,
            workflow_id_conflict_policy: options.id_conflict_policy.unwrap_or_default() as i32,
            retry_policy: new.retry_policy,
            cron_schedule: new.cron_schedule,
            memo: new.memo,
            search_attributes: new.search_attributes,
            workflow_start_delay: options.start_delay.map(to_wire),
            user_metadata: new.user_metadata,
            versioning_override: new.versioning_override,
            priority: new.priority,
            ..Default::default()
        })
    }

    /// A workflow as starts and schedules have it.
    pub(super) fn new_workflow<I: Arguments>(
        &self,
        workflow_type: &str,
        input: &I,
        options: &StartOptions,
    ) -> Result<NewWorkflowExecutionInfo, CallError> {
        let converter = self.calls.data.converter();
        let mut new = options.to_wire(converter)?;
        new.workflow_type = Some(WorkflowType {
            name: workflow_type.to_string(),
        });
        new.input = self::input(input.to_payloads(converter)?);
        Ok(new)
    }
}
