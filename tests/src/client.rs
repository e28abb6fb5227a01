//! A plain client of the wire for tests: starts, results, histories. It asks any node in turn and
//! retries what official SDKs retry.

use crate::Error;
use crate::cluster::connect;
use prost::Message;
use std::time::{Duration, Instant};
use steadfast_proto::temporal::common::v1::{Payload, Payloads, WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use steadfast_proto::temporal::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request};

/// A client of some addresses.
#[derive(Debug, Clone)]
pub struct Client {
    addresses: Vec<String>,
}

impl Client {
    /// A client that uses these gRPC addresses in turn.
    #[must_use]
    pub fn new(addresses: &[&str]) -> Self {
        Self {
            addresses: addresses
                .iter()
                .map(|address| (*address).to_owned())
                .collect(),
        }
    }

    /// A raw service client of the first address that answers.
    ///
    /// # Errors
    /// [`Error::Program`] when none answers for 15 s.
    pub async fn service(&self) -> Result<WorkflowServiceClient<Channel>, Error> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            for address in &self.addresses {
                if let Ok(channel) = connect(address).await {
                    return Ok(WorkflowServiceClient::new(channel));
                }
            }
            if Instant::now() > deadline {
                return Err(Error::Program(format!(
                    "nobody answers at {:?}",
                    self.addresses
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a workflow with JSON arguments; retried until it is acknowledged. Gives the run id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start(
        &self,
        workflow_type: &str,
        workflow_id: &str,
        task_queue: &str,
        arguments: &[serde_json::Value],
    ) -> Result<String, Error> {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: workflow_type.to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: task_queue.to_owned(),
                ..TaskQueue::default()
            }),
            input: Some(Payloads {
                payloads: arguments.iter().map(json).collect(),
            }),
            identity: "test".to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..StartWorkflowExecutionRequest::default()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut call = Request::new(request.clone());
            call.set_timeout(Duration::from_secs(10));
            match self.service().await?.start_workflow_execution(call).await {
                Ok(answer) => return Ok(answer.into_inner().run_id),
                Err(status) if retried(&status) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// The whole history of a run so far.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn history(
        &self,
        workflow_id: &str,
        run_id: &str,
    ) -> Result<Vec<HistoryEvent>, Error> {
        self.read_history(workflow_id, run_id, false, Duration::from_secs(30))
            .await
    }

    /// Waits for a run's end and gives its whole history.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub async fn closed_history(
        &self,
        workflow_id: &str,
        run_id: &str,
        limit: Duration,
    ) -> Result<Vec<HistoryEvent>, Error> {
        self.read_history(workflow_id, run_id, true, limit).await
    }

    async fn read_history(
        &self,
        workflow_id: &str,
        run_id: &str,
        to_close: bool,
        limit: Duration,
    ) -> Result<Vec<HistoryEvent>, Error> {
        let deadline = Instant::now() + limit;
        let execution = WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
        };
        let mut events: Vec<HistoryEvent> = Vec::new();
        let mut token = bytes_of(&[]);
        loop {
            let mut call = Request::new(GetWorkflowExecutionHistoryRequest {
                namespace: "default".to_owned(),
                execution: Some(execution.clone()),
                wait_new_event: to_close,
                next_page_token: token.clone(),
                ..GetWorkflowExecutionHistoryRequest::default()
            });
            call.set_timeout(Duration::from_secs(25));
            match self
                .service()
                .await?
                .get_workflow_execution_history(call)
                .await
            {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let page = History::decode(answer.history).map_err(|error| {
                        Error::Program(format!("history of {workflow_id}: {error}"))
                    })?;
                    events.extend(page.events);
                    token = answer.next_page_token;
                    if token.is_empty() {
                        return Ok(events);
                    }
                }
                Err(status) if retried(&status) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => return Err(status.into()),
            }
            if Instant::now() > deadline {
                let seen: Vec<_> = events
                    .iter()
                    .map(|event| event.event_type().as_str_name())
                    .collect();
                return Err(Error::TimedOut(format!(
                    "{workflow_id} does not end: {seen:?}"
                )));
            }
        }
    }
}

/// Codes that official SDKs retry.
#[must_use]
pub fn retried(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unknown
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss
            | Code::DeadlineExceeded
            | Code::Cancelled
    )
}

/// A JSON payload as SDKs make it.
#[must_use]
pub fn json(value: &serde_json::Value) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), bytes_of(b"json/plain"))].into(),
        data: bytes_of(value.to_string().as_bytes()),
        ..Payload::default()
    }
}

fn bytes_of(bytes: &[u8]) -> prost::bytes::Bytes {
    prost::bytes::Bytes::copy_from_slice(bytes)
}
