//! How a request gets to a node: as it is, in a simulation; over gRPC, to a process.

use crate::simulation::Doors;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast::api;
use steadfast::shard::Shard;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_server::WorkflowService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// A connection that is not there after this will not come.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two signs of life on a connection, and how long the other side may take for one.
const ALIVE: Duration = Duration::from_secs(2);
/// The greatest answer: a page of histories.
const ANSWER_BYTES: usize = 64 << 20;

/// Where callers find nodes.
#[derive(Debug, Clone)]
pub enum Transport {
    /// On the same thread, with decoded requests.
    Decoded(Doors),
    /// Processes that listen somewhere.
    Channels(Channels),
}

/// Processes with the connections of one caller to them.
#[derive(Debug, Default)]
pub struct Channels {
    shared: Arc<Mutex<Addresses>>,
    own: Mutex<BTreeMap<String, Channel>>,
}

/// gRPC addresses that all callers know.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// `HOST:PORT` by node id.
    pub nodes: BTreeMap<u64, String>,
    /// Who led when somebody looked last.
    pub leader: Option<u64>,
}

impl Clone for Channels {
    /// Another caller: the same addresses, connections of its own.
    fn clone(&self) -> Channels {
        Channels {
            shared: self.shared.clone(),
            own: Mutex::default(),
        }
    }
}

impl Channels {
    /// What all callers know.
    pub fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is made when it is used, and made again when it broke.
    pub(super) fn to(&self, address: &str) -> Option<Workflow> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if !own.contains_key(address) {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
            let channel = endpoint
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(ALIVE)
                .keep_alive_timeout(ALIVE)
                .keep_alive_while_idle(true)
                .connect_lazy();
            own.insert(address.to_owned(), channel);
        }
        let client = WorkflowServiceClient::new(own.get(address)?.clone());
        Some(Workflow::Channel(
            client.max_decoding_message_size(ANSWER_BYTES),
        ))
    }
}

/// One node's service, by either way.
#[derive(Debug)]
pub(super) enum Workflow {
    Decoded(Shard),
    Channel(WorkflowServiceClient<Channel>),
}

macro_rules! calls {
    ($($name:ident($request:ident) -> $response:ident),* $(,)?) => {
        impl Workflow {
            $(pub(super) async fn $name(
                self,
                request: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Status> {
                match self {
                    Workflow::Decoded(shard) => {
                        Box::pin(api::services(shard).$name(request)).await
                    }
                    // Large, and held by every caller's future otherwise.
                    Workflow::Channel(mut client) => Box::pin(client.$name(request)).await,
                }
            })*
        }
    };
}

calls! {
    start_workflow_execution(StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse,
    signal_with_start_workflow_execution(SignalWithStartWorkflowExecutionRequest)
        -> SignalWithStartWorkflowExecutionResponse,
    signal_workflow_execution(SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse,
    request_cancel_workflow_execution(RequestCancelWorkflowExecutionRequest)
        -> RequestCancelWorkflowExecutionResponse,
    terminate_workflow_execution(TerminateWorkflowExecutionRequest)
        -> TerminateWorkflowExecutionResponse,
    reset_workflow_execution(ResetWorkflowExecutionRequest) -> ResetWorkflowExecutionResponse,
    update_workflow_execution(UpdateWorkflowExecutionRequest) -> UpdateWorkflowExecutionResponse,
    query_workflow(QueryWorkflowRequest) -> QueryWorkflowResponse,
    describe_workflow_execution(DescribeWorkflowExecutionRequest)
        -> DescribeWorkflowExecutionResponse,
    list_workflow_executions(ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse,
    get_workflow_execution_history(GetWorkflowExecutionHistoryRequest)
        -> GetWorkflowExecutionHistoryResponse,
    poll_workflow_task_queue(PollWorkflowTaskQueueRequest) -> PollWorkflowTaskQueueResponse,
    respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest)
        -> RespondWorkflowTaskCompletedResponse,
    respond_query_task_completed(RespondQueryTaskCompletedRequest)
        -> RespondQueryTaskCompletedResponse,
    poll_activity_task_queue(PollActivityTaskQueueRequest) -> PollActivityTaskQueueResponse,
    respond_activity_task_completed(RespondActivityTaskCompletedRequest)
        -> RespondActivityTaskCompletedResponse,
    respond_activity_task_failed(RespondActivityTaskFailedRequest)
        -> RespondActivityTaskFailedResponse,
    record_activity_task_heartbeat(RecordActivityTaskHeartbeatRequest)
        -> RecordActivityTaskHeartbeatResponse,
}
