//! Updates of workflows: sent, accepted, completed.

use crate::client::Client;
use crate::client::error::{
    CallError, StartError, UpdateError, UpdateWithStartError, failed_operation,
};
use crate::client::handle::{Started, WorkflowHandle};
use crate::client::options::StartOptions;
use crate::client::start::input;
use crate::converter::{Arguments, Value};
use crate::definition::{Update, Workflow};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use steadfast_proto::temporal::update::v1 as update;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::execute_multi_operation_request::{
    Operation, operation,
};
use steadfast_proto::temporal::workflowservice::v1::execute_multi_operation_response::response;
use tokio::time::sleep;
use tonic::Status;
use uuid::Uuid;

/// The least time between two polls of a server that does not hold them.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// How an update is sent.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    update_id: Option<String>,
}

impl UpdateOptions {
    /// The usual ones: an id of chance.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this id: the server takes each only once, so an update can be sent again without harm.
    pub fn update_id(mut self, update_id: impl Into<String>) -> Self {
        self.update_id = Some(update_id.into());
        self
    }
}

/// An update that a workflow has accepted, and whose result is an `O`.
pub struct UpdateHandle<O> {
    client: Client,
    execution: WorkflowExecution,
    update_id: String,
    /// Known already, when the update was quick.
    outcome: Option<update::outcome::Value>,
    types: PhantomData<fn() -> O>,
}

impl<O> fmt::Debug for UpdateHandle<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UpdateHandle")
            .field("execution", &self.execution)
            .field("update_id", &self.update_id)
            .field("done", &self.outcome.is_some())
            .finish_non_exhaustive()
    }
}

impl<W, R> WorkflowHandle<W, R> {
    /// Sends an update and waits for its result.
    ///
    /// # Errors
    /// [`UpdateError::Failed`] when the validator rejects it or its code fails;
    /// [`UpdateError::Call`] when the workflow does not run or the call fails.
    pub async fn update<I: Arguments, O: Value>(
        &self,
        update: Update<W, I, O>,
        input: I,
    ) -> Result<O, UpdateError> {
        let options = UpdateOptions::default();
        let sent = self.send(update, input, options, Stage::Completed);
        sent.await?.result().await
    }

    /// Sends an update and waits until the workflow has accepted it.
    ///
    /// # Errors
    /// [`UpdateError::Call`] when the workflow does not run or the call fails. That the validator
    /// rejected it is said by [`UpdateHandle::result`].
    pub async fn start_update<I: Arguments, O: Value>(
        &self,
        update: Update<W, I, O>,
        input: I,
        options: UpdateOptions,
    ) -> Result<UpdateHandle<O>, UpdateError> {
        self.send(update, input, options, Stage::Accepted).await
    }

    /// An update of this id that was sent before, by this process or another.
    pub fn update_handle<O>(&self, update_id: impl Into<String>) -> UpdateHandle<O> {
        UpdateHandle {
            client: self.client.clone(),
            execution: self.execution(),
            update_id: update_id.into(),
            outcome: None,
            types: PhantomData,
        }
    }

    async fn send<I: Arguments, O: Value>(
        &self,
        update: Update<W, I, O>,
        input: I,
        options: UpdateOptions,
        stage: Stage,
    ) -> Result<UpdateHandle<O>, UpdateError> {
        let mut request = self
            .client
            .update_request(update.name(), &input, options, stage)?;
        drop(input);
        request.workflow_execution = Some(self.execution());
        request
            .first_execution_run_id
            .clone_from(&self.first_execution_run_id);
        // Each answer says how far the update is; a server lets go of a call before that.
        loop {
            let answer = self.client.calls.update(request.clone()).await?;
            let early = answer.stage < Stage::Accepted as i32 && answer.outcome.is_none();
            if !early {
                return Ok(UpdateHandle::of_answer(&self.client, answer));
            }
            sleep(POLL_PAUSE).await;
        }
    }
}

impl Client {
    /// Sends an update to a workflow of this id; when none runs, it is started first. Both or none
    /// happen. The conflict policy must be set in the options. Gives the workflow and the update
    /// that it accepted.
    ///
    /// # Errors
    /// [`UpdateWithStartError::Start`] or [`UpdateWithStartError::Update`]: which of the two was
    /// refused.
    pub async fn update_with_start<W, I: Arguments, R: Value, U: Arguments, O: Value>(
        &self,
        workflow: Workflow<W, I, R>,
        input: I,
        options: StartOptions,
        update: Update<W, U, O>,
        update_input: U,
        update_options: UpdateOptions,
    ) -> Result<(WorkflowHandle<W, R>, UpdateHandle<O>), UpdateWithStartError> {
        let on_start = |error| UpdateWithStartError::Start(StartError::Call(error));
        let on_update = |error| UpdateWithStartError::Update(UpdateError::Call(error));
        let start = self
            .start_request(workflow.name(), &input, &options)
            .map_err(on_start)?;
        drop(input);
        let mut sent = self
            .update_request(
                update.name(),
                &update_input,
                update_options,
                Stage::Accepted,
            )
            .map_err(on_update)?;
        drop(update_input);
        sent.workflow_execution = Some(WorkflowExecution {
            workflow_id: start.workflow_id.clone(),
            run_id: String::new(),
        });
        let operation = |operation| Operation {
            operation: Some(operation),
        };
        let request = wire::ExecuteMultiOperationRequest {
            namespace: self.namespace().to_string(),
            operations: vec![
                operation(operation::Operation::StartWorkflow(start)),
                operation(operation::Operation::UpdateWorkflow(sent)),
            ],
            ..Default::default()
        };
        loop {
            let answer = self.calls.update_with_start(request.clone()).await;
            let answer = answer.map_err(|error| both_failed(error, &options.workflow_id))?;
            let (started, answer) = both(answer).map_err(on_start)?;
            if answer.stage < Stage::Accepted as i32 && answer.outcome.is_none() {
                sleep(POLL_PAUSE).await;
                continue;
            }
            let handle = WorkflowHandle::started(self.clone(), options.workflow_id, started);
            return Ok((handle, UpdateHandle::of_answer(self, answer)));
        }
    }

    fn update_request<I: Arguments>(
        &self,
        name: &str,
        input: &I,
        options: UpdateOptions,
        stage: Stage,
    ) -> Result<wire::UpdateWorkflowExecutionRequest, CallError> {
        let payloads = input.to_payloads(self.calls.data.converter())?;
        let update_id = options.update_id;
        Ok(wire::UpdateWorkflowExecutionRequest {
            namespace: self.namespace().to_string(),
            wait_policy: Some(update::WaitPolicy {
                lifecycle_stage: stage as i32,
            }),
            request: Some(update::Request {
                meta: Some(update::Meta {
                    update_id: update_id.unwrap_or_else(|| Uuid::new_v4().to_string()),
                    identity: self.identity().to_string(),
                }),
                input: Some(update::Input {
                    header: None,
                    name: name.to_string(),
                    args: self::input(payloads),
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

/// The two answers of an update-with-start.
fn both(
    answer: wire::ExecuteMultiOperationResponse,
) -> Result<(Started, wire::UpdateWorkflowExecutionResponse), CallError> {
    let mut answers = answer.responses.into_iter().map(|one| one.response);
    match (answers.next().flatten(), answers.next().flatten()) {
        (
            Some(response::Response::StartWorkflow(started)),
            Some(response::Response::UpdateWorkflow(updated)),
        ) => {
            let started = Started {
                run_id: started.run_id,
                first_execution_run_id: started.first_execution_run_id,
                started: started.started,
            };
            Ok((started, updated))
        }
        _ => Err(CallError::Rpc(Status::internal(
            "the server did not answer both operations",
        ))),
    }
}

/// Which of the two operations failed.
fn both_failed(error: CallError, workflow_id: &str) -> UpdateWithStartError {
    let failed = match &error {
        CallError::Rpc(status) => failed_operation(status),
        CallError::Conversion(_) | CallError::Codec(_) => None,
    };
    match failed {
        Some((1, status)) => UpdateWithStartError::Update(UpdateError::Call(status.into())),
        Some((_, status)) => {
            UpdateWithStartError::Start(StartError::of(status.into(), workflow_id))
        }
        None => UpdateWithStartError::Start(StartError::of(error, workflow_id)),
    }
}

impl<O> UpdateHandle<O> {
    fn of_answer(client: &Client, answer: wire::UpdateWorkflowExecutionResponse) -> Self {
        let reference = answer.update_ref.unwrap_or_default();
        Self {
            client: client.clone(),
            execution: reference.workflow_execution.unwrap_or_default(),
            update_id: reference.update_id,
            outcome: answer.outcome.and_then(|outcome| outcome.value),
            types: PhantomData,
        }
    }

    /// The update's id.
    pub fn update_id(&self) -> &str {
        &self.update_id
    }

    /// The workflow's id.
    pub fn workflow_id(&self) -> &str {
        &self.execution.workflow_id
    }

    /// The run that has accepted it.
    pub fn run_id(&self) -> &str {
        &self.execution.run_id
    }
}

impl<O: Value> UpdateHandle<O> {
    /// Waits for the update's result, for as long as it takes.
    ///
    /// # Errors
    /// [`UpdateError::Failed`] when the validator rejected it or its code failed;
    /// [`UpdateError::Call`] when the workflow ended before it, or the call fails.
    pub async fn result(&self) -> Result<O, UpdateError> {
        let value = match &self.outcome {
            Some(value) => value.clone(),
            None => self.poll().await?,
        };
        let data = &self.client.calls.data;
        match value {
            update::outcome::Value::Success(result) => {
                Ok(data.converter().from_result(Some(result))?)
            }
            update::outcome::Value::Failure(failure) => {
                Err(UpdateError::Failed(data.from_wire(failure)))
            }
        }
    }

    async fn poll(&self) -> Result<update::outcome::Value, CallError> {
        let request = wire::PollWorkflowExecutionUpdateRequest {
            namespace: self.client.namespace().to_string(),
            update_ref: Some(update::UpdateRef {
                workflow_execution: Some(self.execution.clone()),
                update_id: self.update_id.clone(),
            }),
            identity: self.client.identity().to_string(),
            wait_policy: Some(update::WaitPolicy {
                lifecycle_stage: Stage::Completed as i32,
            }),
        };
        loop {
            let answer = self.client.calls.poll_update(request.clone()).await?;
            match answer.outcome.and_then(|outcome| outcome.value) {
                Some(value) => return Ok(value),
                None => sleep(POLL_PAUSE).await,
            }
        }
    }
}
