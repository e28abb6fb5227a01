//! All calls of the typed client: each goes through the interceptors, the payload codec and the
//! retries, in this order.

use crate::client::error::CallError;
use crate::client::interceptor::{Answer, Next};
use crate::client::raw::{POLL_LIMIT, RawClient, TRY_LIMIT};
use crate::client::retry::RetryOptions;
use crate::converter::DataConverter;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::Request;

/// How long one try of a call may take whose answer is workflow code's.
const WORKER_LIMIT: Duration = Duration::from_secs(30);

/// Everything that calls need.
pub(super) struct Calls {
    pub(super) raw: RawClient,
    pub(super) data: DataConverter,
    pub(super) retry: RetryOptions,
    pub(super) interceptors: Vec<Arc<dyn ClientInterceptor>>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Calls")
            .field("raw", &self.raw)
            .field("data", &self.data)
            .field("retry", &self.retry)
            .field("interceptors", &self.interceptors.len())
            .finish()
    }
}

macro_rules! calls {
    ($(#[doc = $about:literal] $name:ident($request:ident) -> $response:ident
        = $rpc:ident within $limit:ident;)+) => {
        /// What users put between the client's methods and the wire: tracing, headers, checks.
        /// Each method has the request before the payload codec and [`Next`] for the rest of the
        /// way; those that are not written pass it on.
        pub trait ClientInterceptor: Send + Sync + 'static {
            $(#[doc = $about]
            fn $name<'a>(
                &'a self,
                request: wire::$request,
                next: Next<'a, wire::$request, wire::$response>,
            ) -> Answer<'a, wire::$response> {
                next.run(request)
            })+
        }

        impl Calls {
            $(pub(super) async fn $name(
                &self,
                request: wire::$request,
            ) -> Result<wire::$response, CallError> {
                let mut next = Next(Box::new(|mut request: wire::$request| {
                    Box::pin(async move {
                        self.data.encode(&mut request).await?;
                        let mut response = self
                            .raw
                            .call_with(&self.retry, $limit, |mut service| {
                                let mut request = Request::new(request.clone());
                                request.set_timeout($limit);
                                async move { service.$rpc(request).await }
                            })
                            .await?;
                        self.data.decode(&mut response).await?;
                        Ok(response)
                    })
                }));
                for interceptor in self.interceptors.iter().rev() {
                    let rest = next;
                    next = Next(Box::new(move |request| interceptor.$name(request, rest)));
                }
                next.run(request).await
            })+
        }
    };
}

calls! {
    #[doc = "Starts a workflow."]
    start(StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse
        = start_workflow_execution within TRY_LIMIT;
    #[doc = "Signals a workflow, which is started first when none runs."]
    signal_with_start(SignalWithStartWorkflowExecutionRequest)
        -> SignalWithStartWorkflowExecutionResponse
        = signal_with_start_workflow_execution within TRY_LIMIT;
    #[doc = "Signals a workflow."]
    signal(SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse
        = signal_workflow_execution within TRY_LIMIT;
    #[doc = "Queries a workflow."]
    query(QueryWorkflowRequest) -> QueryWorkflowResponse = query_workflow within WORKER_LIMIT;
    #[doc = "Sends an update."]
    update(UpdateWorkflowExecutionRequest) -> UpdateWorkflowExecutionResponse
        = update_workflow_execution within POLL_LIMIT;
    #[doc = "Waits for an update's result."]
    poll_update(PollWorkflowExecutionUpdateRequest) -> PollWorkflowExecutionUpdateResponse
        = poll_workflow_execution_update within POLL_LIMIT;
    #[doc = "Starts a workflow and sends it an update, both or none."]
    update_with_start(ExecuteMultiOperationRequest) -> ExecuteMultiOperationResponse
        = execute_multi_operation within POLL_LIMIT;
    #[doc = "Asks a workflow to cancel itself."]
    cancel(RequestCancelWorkflowExecutionRequest) -> RequestCancelWorkflowExecutionResponse
        = request_cancel_workflow_execution within TRY_LIMIT;
    #[doc = "Terminates a workflow."]
    terminate(TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse
        = terminate_workflow_execution within TRY_LIMIT;
    #[doc = "Describes a workflow."]
    describe(DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse
        = describe_workflow_execution within TRY_LIMIT;
    #[doc = "Gets a page of a history, or waits for the close of a run. Its events are encoded and
        their payloads are as the server has them."]
    history(GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse
        = get_workflow_execution_history within POLL_LIMIT;
    #[doc = "Gets a page of a list of workflows."]
    list(ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse
        = list_workflow_executions within TRY_LIMIT;
    #[doc = "Counts workflows."]
    count(CountWorkflowExecutionsRequest) -> CountWorkflowExecutionsResponse
        = count_workflow_executions within TRY_LIMIT;
    #[doc = "Creates a schedule."]
    create_schedule(CreateScheduleRequest) -> CreateScheduleResponse
        = create_schedule within TRY_LIMIT;
    #[doc = "Describes a schedule."]
    describe_schedule(DescribeScheduleRequest) -> DescribeScheduleResponse
        = describe_schedule within TRY_LIMIT;
    #[doc = "Replaces a schedule."]
    update_schedule(UpdateScheduleRequest) -> UpdateScheduleResponse
        = update_schedule within TRY_LIMIT;
    #[doc = "Pauses, unpauses, triggers or backfills a schedule."]
    patch_schedule(PatchScheduleRequest) -> PatchScheduleResponse
        = patch_schedule within TRY_LIMIT;
    #[doc = "Deletes a schedule."]
    delete_schedule(DeleteScheduleRequest) -> DeleteScheduleResponse
        = delete_schedule within TRY_LIMIT;
    #[doc = "Gets a page of a list of schedules."]
    list_schedules(ListSchedulesRequest) -> ListSchedulesResponse
        = list_schedules within TRY_LIMIT;
    #[doc = "Completes an activity, by token."]
    complete_activity(RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse
        = respond_activity_task_completed within TRY_LIMIT;
    #[doc = "Completes an activity, by ids."]
    complete_activity_by_id(RespondActivityTaskCompletedByIdRequest)
        -> RespondActivityTaskCompletedByIdResponse
        = respond_activity_task_completed_by_id within TRY_LIMIT;
    #[doc = "Fails an activity, by token."]
    fail_activity(RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse
        = respond_activity_task_failed within TRY_LIMIT;
    #[doc = "Fails an activity, by ids."]
    fail_activity_by_id(RespondActivityTaskFailedByIdRequest)
        -> RespondActivityTaskFailedByIdResponse
        = respond_activity_task_failed_by_id within TRY_LIMIT;
    #[doc = "Reports that an activity was cancelled, by token."]
    cancel_activity(RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse
        = respond_activity_task_canceled within TRY_LIMIT;
    #[doc = "Reports that an activity was cancelled, by ids."]
    cancel_activity_by_id(RespondActivityTaskCanceledByIdRequest)
        -> RespondActivityTaskCanceledByIdResponse
        = respond_activity_task_canceled_by_id within TRY_LIMIT;
    #[doc = "Records a heartbeat of an activity, by token."]
    heartbeat(RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse
        = record_activity_task_heartbeat within TRY_LIMIT;
    #[doc = "Records a heartbeat of an activity, by ids."]
    heartbeat_by_id(RecordActivityTaskHeartbeatByIdRequest)
        -> RecordActivityTaskHeartbeatByIdResponse
        = record_activity_task_heartbeat_by_id within TRY_LIMIT;
}
