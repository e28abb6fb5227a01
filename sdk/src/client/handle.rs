//! One workflow, to talk to.

use crate::client::Client;
use crate::client::error::CallError;
use crate::client::info::WorkflowDescription;
use crate::client::raw::decode_history;
use crate::client::start::input;
use crate::converter::Arguments;
use crate::definition::{Signal, Workflow};
use std::fmt;
use std::marker::PhantomData;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use uuid::Uuid;

/// A workflow whose state is `W` and whose result is `O`. It costs nothing, and asks nothing of
/// the server until it is used.
///
/// Unless it names a run, calls go to the current run of the workflow id.
pub struct WorkflowHandle<W, O> {
    pub(super) client: Client,
    pub(super) workflow_id: String,
    /// The run that calls go to; empty for the current one.
    pub(super) run_id: String,
    /// The run that began the chain this handle is about; calls of other chains are refused.
    pub(super) first_execution_run_id: String,
    /// The run that the wait for the result begins with; empty for the current one.
    pub(super) result_run_id: String,
    types: PhantomData<fn() -> (W, O)>,
}

impl<W, O> Clone for WorkflowHandle<W, O> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            first_execution_run_id: self.first_execution_run_id.clone(),
            result_run_id: self.result_run_id.clone(),
            types: PhantomData,
        }
    }
}

impl<W, O> fmt::Debug for WorkflowHandle<W, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkflowHandle")
            .field("workflow_id", &self.workflow_id)
            .field("run_id", &self.run_id)
            .field("result_run_id", &self.result_run_id)
            .finish_non_exhaustive()
    }
}

/// What the answers of all starts have in common.
pub(super) struct Started {
    pub(super) run_id: String,
    pub(super) first_execution_run_id: String,
    pub(super) started: bool,
}

impl Client {
    /// The workflow of this id, with the types that the caller knows it to have:
    /// `client.workflow::<Order, Receipt>("order-7")`.
    pub fn workflow<W, O>(&self, workflow_id: impl Into<String>) -> WorkflowHandle<W, O> {
        WorkflowHandle {
            client: self.clone(),
            workflow_id: workflow_id.into(),
            run_id: String::new(),
            first_execution_run_id: String::new(),
            result_run_id: String::new(),
            types: PhantomData,
        }
    }

    /// The workflow of this id, with the types of its definition.
    pub fn workflow_of<W, I, O>(
        &self,
        _: Workflow<W, I, O>,
        workflow_id: impl Into<String>,
    ) -> WorkflowHandle<W, O> {
        self.workflow(workflow_id)
    }
}

impl<W, O> WorkflowHandle<W, O> {
    /// Of a workflow that this client started, or found running.
    pub(super) fn started(client: Client, workflow_id: String, answer: Started) -> Self {
        // Servers that do not name the first run leave it out; a new workflow's is known anyway.
        let first_execution_run_id = match answer.first_execution_run_id.is_empty() {
            true if answer.started => answer.run_id.clone(),
            _ => answer.first_execution_run_id,
        };
        Self {
            client,
            workflow_id,
            run_id: String::new(),
            first_execution_run_id,
            result_run_id: answer.run_id,
            types: PhantomData,
        }
    }

    /// The same for this run alone: calls go to it, and the wait for the result begins with it.
    pub fn of_run(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = run_id.into();
        self.result_run_id.clone_from(&self.run_id);
        self.first_execution_run_id = String::new();
        self
    }

    /// The workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The run that was started, or that the handle is for; none of a handle for the current run.
    pub fn run_id(&self) -> Option<&str> {
        let run_id = self.result_run_id.as_str();
        (!run_id.is_empty()).then_some(run_id)
    }

    pub(super) fn execution(&self) -> WorkflowExecution {
        WorkflowExecution {
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when the workflow does not run.
    pub async fn signal<I: Arguments>(
        &self,
        signal: Signal<W, I>,
        input: I,
    ) -> Result<(), CallError> {
        let payloads = input.to_payloads(self.client.calls.data.converter())?;
        drop(input);
        let request = wire::SignalWorkflowExecutionRequest {
            namespace: self.client.namespace().to_string(),
            workflow_execution: Some(self.execution()),
            signal_name: signal.name().to_string(),
            input: self::input(payloads),
            identity: self.client.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        self.client.calls.signal(request).await.map(drop)
    }

    /// Asks the workflow to cancel itself; it may take its time or refuse.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when the workflow does not run.
    pub async fn cancel(&self) -> Result<(), CallError> {
        self.cancel_because("").await
    }

    /// As [`cancel`](Self::cancel), with a reason that the history keeps.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub async fn cancel_because(&self, reason: &str) -> Result<(), CallError> {
        let request = wire::RequestCancelWorkflowExecutionRequest {
            namespace: self.client.namespace().to_string(),
            workflow_execution: Some(self.execution()),
            identity: self.client.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
            first_execution_run_id: self.first_execution_run_id.clone(),
            reason: reason.to_string(),
            ..Default::default()
        };
        self.client.calls.cancel(request).await.map(drop)
    }

    /// Ends the workflow at once; its code hears nothing of it.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when the workflow does not run.
    pub async fn terminate(&self, reason: &str) -> Result<(), CallError> {
        self.terminate_with(reason, ()).await
    }

    /// As [`terminate`](Self::terminate), with details that the history keeps.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub async fn terminate_with<D: Arguments>(
        &self,
        reason: &str,
        details: D,
    ) -> Result<(), CallError> {
        let payloads = details.to_payloads(self.client.calls.data.converter())?;
        drop(details);
        let request = wire::TerminateWorkflowExecutionRequest {
            namespace: self.client.namespace().to_string(),
            workflow_execution: Some(self.execution()),
            reason: reason.to_string(),
            details: input(payloads),
            identity: self.client.identity().to_string(),
            first_execution_run_id: self.first_execution_run_id.clone(),
            ..Default::default()
        };
        self.client.calls.terminate(request).await.map(drop)
    }

    /// What the server knows of the workflow now.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when there is no such workflow.
    pub async fn describe(&self) -> Result<WorkflowDescription, CallError> {
        let request = wire::DescribeWorkflowExecutionRequest {
            namespace: self.client.namespace().to_string(),
            execution: Some(self.execution()),
        };
        let response = self.client.calls.describe(request).await?;
        let data = self.client.calls.data.clone();
        Ok(WorkflowDescription::new(response, data))
    }

    /// The history of a run up to now, page by page, its payloads decoded.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when there is no such workflow.
    pub async fn history(&self) -> Result<Vec<HistoryEvent>, CallError> {
        let mut request = wire::GetWorkflowExecutionHistoryRequest {
            namespace: self.client.namespace().to_string(),
            execution: Some(self.execution()),
            ..Default::default()
        };
        let mut events = Vec::new();
        loop {
            let page = self.client.calls.history(request.clone()).await?;
            let mut more = decode_history(&page.history)?;
            self.client.calls.data.decode(&mut more).await?;
            events.append(&mut more);
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            request.next_page_token = page.next_page_token;
        }
    }
}
