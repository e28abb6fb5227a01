//! Thin calls over Temporal's service: several addresses, fail-over, retries.
//!
//! The calls take and give Temporal's own messages; what the client adds is the namespace, the
//! identity, a request id that stays the same over retries, and another address when one fails.

use crate::client::retry::{Pause, RetryOptions, is_transient, may_retry};
use prost::Message;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::common::v1::{Payload, Payloads, WorkflowExecution};
use steadfast_proto::temporal::enums::v1::HistoryEventFilterType;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// The generated client, on one address.
pub type Service = WorkflowServiceClient<Channel>;

/// Longest message taken from a server, in bytes; a page of history may exceed gRPC's usual 4 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The wait between two tries of a raw call: first, longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long one try may take, so that a node that hangs does not use up the caller's time.
pub(super) const TRY_LIMIT: Duration = Duration::from_secs(10);
/// RawClient's side of a long poll; a server answers within 60 s.
pub(super) const POLL_LIMIT: Duration = Duration::from_secs(70);

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No address was given.
    #[error("no address to connect to")]
    NoAddress,
    /// An address that is no `HOST:PORT`.
    #[error("`{address}` is not HOST:PORT: {source}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// None of the addresses answers.
    #[error("cannot connect to {address}: {message}")]
    Unreachable {
        /// All addresses.
        address: String,
        /// The last answer.
        message: String,
    },
}

/// A client of one namespace. Clones share its connections.
#[derive(Debug, Clone)]
pub struct RawClient {
    namespace: String,
    identity: String,
    channels: Arc<Vec<Channel>>,
    /// The address that calls go to now.
    turn: Arc<AtomicUsize>,
}

impl RawClient {
    /// A client of the addresses (`HOST:PORT`), with `connections` connections spread over them
    /// (at least one per address). Connections are opened at the first use.
    pub fn new(
        addresses: &[String],
        namespace: &str,
        connections: usize,
    ) -> Result<RawClient, ClientError> {
        if addresses.is_empty() {
            return Err(ClientError::NoAddress);
        }
        let mut channels = Vec::new();
        for index in 0..connections.max(addresses.len()) {
            let address = &addresses[index % addresses.len()];
            let bare = address.strip_prefix("http://").unwrap_or(address);
            let endpoint = Endpoint::from_shared(format!("http://{bare}"))
                .map_err(|source| ClientError::Address {
                    address: address.clone(),
                    source,
                })?
                .connect_timeout(Duration::from_secs(5))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5));
            channels.push(endpoint.connect_lazy());
        }
        Ok(RawClient {
            namespace: namespace.to_string(),
            identity: format!("{}@steadfast-sdk", Uuid::new_v4()),
            channels: Arc::new(channels),
            turn: Arc::default(),
        })
    }

    /// A client whose cluster has answered.
    pub async fn connect(
        addresses: &[String],
        namespace: &str,
        limit: Duration,
    ) -> Result<RawClient, ClientError> {
        let client = RawClient::new(addresses, namespace, addresses.len())?;
        let asked = client
            .call(limit, |mut service| async move {
                service.get_system_info(wire::GetSystemInfoRequest {}).await
            })
            .await;
        match asked {
            Ok(_) => Ok(client),
            Err(status) => Err(ClientError::Unreachable {
                address: addresses.join(", "),
                message: status.message().to_string(),
            }),
        }
    }

    /// The namespace of all calls.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What the server is told of who calls.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The generated client on connection `index` (modulo their number), without fail-over.
    pub fn service(&self, index: usize) -> Service {
        let channel = self.channels[index % self.channels.len()].clone();
        Service::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Calls until there is an answer, for at most `limit`: after UNAVAILABLE (or no answer) on
    /// the next address. The call must be one that may be repeated; all of Temporal's are, given
    /// the same request id or token.
    pub async fn call<T, F, Answer>(&self, limit: Duration, mut call: F) -> Result<T, Status>
    where
        F: FnMut(Service) -> Answer,
        Answer: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let deadline = Instant::now() + limit;
        let mut pause = BACKOFF.0;
        loop {
            let turn = self.turn.load(Ordering::Relaxed);
            let until = deadline.min(Instant::now() + TRY_LIMIT);
            let status = match self.one_try(turn, until, &mut call).await {
                Ok(answer) => return Ok(answer),
                Err(status) if may_retry(&status) => status,
                Err(status) => return Err(status),
            };
            if Instant::now() + pause >= deadline {
                return Err(status);
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Calls as the official SDKs do: a try may take `try_limit`, and what is transient is tried
    /// again with the pauses of `retry` until calls have failed for its whole time.
    pub async fn call_with<T, F, Answer>(
        &self,
        retry: &RetryOptions,
        try_limit: Duration,
        mut call: F,
    ) -> Result<T, Status>
    where
        F: FnMut(Service) -> Answer,
        Answer: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut pause = Pause::new(retry);
        loop {
            let turn = self.turn.load(Ordering::Relaxed);
            let until = Instant::now() + try_limit;
            let status = match self.one_try(turn, until, &mut call).await {
                Ok(answer) => return Ok(answer),
                Err(status) if is_transient(&status) => status,
                Err(status) => return Err(status),
            };
            match pause.after(&status) {
                Some(pause) => sleep_until(Instant::now() + pause).await,
                None => return Err(status),
            }
        }
    }

    /// One try; a node that cannot serve loses its turn.
    async fn one_try<T, F, Answer>(
        &self,
        turn: usize,
        until: Instant,
        call: &mut F,
    ) -> Result<T, Status>
    where
        F: FnMut(Service) -> Answer,
        Answer: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let status = match timeout_at(until, call(self.service(turn))).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable("no answer in time"),
        };
        if may_retry(&status) {
            self.fail_over(turn);
        }
        Err(status)
    }

    /// Sends further calls to the next address, unless another call has done so already.
    fn fail_over(&self, from: usize) {
        let next = from.wrapping_add(1);
        // Losing the exchange means that another call moved on first, which is as good.
        self.turn
            .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed)
            .ok();
    }

    /// StartWorkflowExecution; gives the run id. Namespace, identity and an empty request id are
    /// filled in.
    pub async fn start(
        &self,
        mut request: wire::StartWorkflowExecutionRequest,
        limit: Duration,
    ) -> Result<String, Status> {
        request.namespace.clone_from(&self.namespace);
        request.identity.clone_from(&self.identity);
        if request.request_id.is_empty() {
            request.request_id = Uuid::new_v4().to_string();
        }
        let answer = self
            .call(limit, |mut service| {
                let request = request.clone();
                async move { service.start_workflow_execution(request).await }
            })
            .await?;
        Ok(answer.run_id)
    }

    /// SignalWorkflowExecution.
    pub async fn signal(
        &self,
        execution: WorkflowExecution,
        name: &str,
        input: Option<Payloads>,
        limit: Duration,
    ) -> Result<(), Status> {
        let request = wire::SignalWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: Some(execution),
            signal_name: name.to_string(),
            input,
            identity: self.identity.clone(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        self.call(limit, |mut service| {
            let request = request.clone();
            async move { service.signal_workflow_execution(request).await }
        })
        .await
        .map(drop)
    }

    /// TerminateWorkflowExecution.
    pub async fn terminate(
        &self,
        execution: WorkflowExecution,
        reason: &str,
        limit: Duration,
    ) -> Result<(), Status> {
        let request = wire::TerminateWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: Some(execution),
            reason: reason.to_string(),
            identity: self.identity.clone(),
            ..Default::default()
        };
        self.call(limit, |mut service| {
            let request = request.clone();
            async move { service.terminate_workflow_execution(request).await }
        })
        .await
        .map(drop)
    }

    /// RequestCancelWorkflowExecution.
    pub async fn request_cancel(
        &self,
        execution: WorkflowExecution,
        limit: Duration,
    ) -> Result<(), Status> {
        let request = wire::RequestCancelWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: Some(execution),
            identity: self.identity.clone(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        self.call(limit, |mut service| {
            let request = request.clone();
            async move { service.request_cancel_workflow_execution(request).await }
        })
        .await
        .map(drop)
    }

    /// DescribeWorkflowExecution.
    pub async fn describe(
        &self,
        execution: WorkflowExecution,
        limit: Duration,
    ) -> Result<wire::DescribeWorkflowExecutionResponse, Status> {
        let request = wire::DescribeWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            execution: Some(execution),
        };
        self.call(limit, |mut service| {
            let request = request.clone();
            async move { service.describe_workflow_execution(request).await }
        })
        .await
    }

    /// CountWorkflowExecutions.
    pub async fn count(&self, query: &str, limit: Duration) -> Result<i64, Status> {
        let request = wire::CountWorkflowExecutionsRequest {
            namespace: self.namespace.clone(),
            query: query.to_string(),
        };
        let answer = self
            .call(limit, |mut service| {
                let request = request.clone();
                async move { service.count_workflow_executions(request).await }
            })
            .await?;
        Ok(answer.count)
    }

    /// The whole history of a run, page by page.
    pub async fn history(
        &self,
        execution: WorkflowExecution,
        limit: Duration,
    ) -> Result<Vec<HistoryEvent>, Status> {
        let mut request = wire::GetWorkflowExecutionHistoryRequest {
            namespace: self.namespace.clone(),
            execution: Some(execution),
            ..Default::default()
        };
        let mut events = Vec::new();
        loop {
            let page = self
                .call(limit, |mut service| {
                    let request = request.clone();
                    async move { service.get_workflow_execution_history(request).await }
                })
                .await?;
            events.extend(decode_history(&page.history)?);
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            request.next_page_token = page.next_page_token;
        }
    }

    /// Waits for the close of a run; gives its last event.
    pub async fn closed(
        &self,
        execution: WorkflowExecution,
        limit: Duration,
    ) -> Result<HistoryEvent, Status> {
        let deadline = Instant::now() + limit;
        let mut index = self.turn.load(Ordering::Relaxed);
        loop {
            let waiting = wait_for_close(self.service(index), &self.namespace, &execution);
            match timeout_at(deadline, waiting).await {
                Ok(Ok(event)) => return Ok(event),
                Ok(Err(status)) if may_retry(&status) && Instant::now() < deadline => {
                    index = index.wrapping_add(1);
                    sleep_until(Instant::now() + BACKOFF.0).await;
                }
                Ok(Err(status)) => return Err(status),
                Err(_) => return Err(Status::deadline_exceeded("the run is still open")),
            }
        }
    }
}

/// Waits for the close of a run on one connection: the long poll that every SDK uses for results.
pub async fn wait_for_close(
    mut service: Service,
    namespace: &str,
    execution: &WorkflowExecution,
) -> Result<HistoryEvent, Status> {
    let mut next_page_token = prost::bytes::Bytes::new();
    loop {
        let mut request = tonic::Request::new(wire::GetWorkflowExecutionHistoryRequest {
            namespace: namespace.to_string(),
            execution: Some(execution.clone()),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            next_page_token,
            ..Default::default()
        });
        request.set_timeout(POLL_LIMIT);
        let page = service
            .get_workflow_execution_history(request)
            .await?
            .into_inner();
        if let Some(event) = decode_history(&page.history)?.pop() {
            return Ok(event);
        }
        next_page_token = page.next_page_token;
    }
}

/// Decodes a `History` that rides as bytes.
pub fn decode_history(bytes: &[u8]) -> Result<Vec<HistoryEvent>, Status> {
    match History::decode(bytes) {
        Ok(history) => Ok(history.events),
        Err(error) => Err(Status::internal(format!(
            "the server's history is damaged: {error}"
        ))),
    }
}

/// Bytes as one payload, as SDKs send plain bytes.
pub fn payloads(data: &[u8]) -> Payloads {
    let encoding = prost::bytes::Bytes::from_static(b"binary/plain");
    Payloads {
        payloads: vec![Payload {
            metadata: [("encoding".to_string(), encoding)].into(),
            data: prost::bytes::Bytes::copy_from_slice(data),
            ..Default::default()
        }],
    }
}

/// Names a run; an empty run id means the current one.
pub fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: workflow_id.to_string(),
        run_id: run_id.to_string(),
    }
}
