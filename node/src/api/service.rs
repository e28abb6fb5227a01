//! The two services, one line an RPC: the line names its handler.

use super::unimplemented::{self, with_operator_rpcs, with_workflow_rpcs};
use super::{
    Api, activity_task, execution, history, message, namespace, operator_service, system,
    task_queue, update, update_with_start, visibility, worker, workflow_task,
};
use prost::Message;
use std::sync::Arc;
use steadfast_proto::temporal::operatorservice::v1 as operator;
use steadfast_proto::temporal::operatorservice::v1::operator_service_server::OperatorService;
use steadfast_proto::temporal::workflowservice::v1 as workflow;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_server::WorkflowService;
use tonic::{Request, Response, Status};

/// Answers below this size go plain: compressing them costs more than it saves.
const COMPRESSED_FROM_BYTES: usize = 16 * 1024;

/// Both services.
#[derive(Debug, Clone)]
pub(crate) struct Service(pub(crate) Arc<Api>);

/// A handler's answer as a response.
fn answered<T: Message>(answer: impl Into<Response<T>>) -> Response<T> {
    let mut response = answer.into();
    if response.get_ref().encoded_len() < COMPRESSED_FROM_BYTES {
        response.disable_compression();
    }
    response
}

macro_rules! serve {
    (
        $service:ident in $wire:ident {
            $($rpc:ident($request:ident) -> $response:ident = $module:ident::$handler:ident;)*
        }
        namespaced {
            $($spaced:ident($spaced_request:ident) -> $spaced_response:ident: $spaced_text:literal
                $(, unless |$given:ident| $unset:expr => $unset_text:literal)?;)*
        }
        denied { $($denied:ident($denied_request:ident) -> $denied_response:ident: $denied_text:literal;)* }
        tokened { $($tokened:ident($tokened_request:ident) -> $tokened_response:ident: $tokened_text:literal;)* }
        plain { $($plain:ident($plain_request:ident) -> $plain_response:ident: $plain_text:literal;)* }
    ) => {
        #[tonic::async_trait]
        impl $service for Service {
            $(async fn $rpc(
                &self,
                request: Request<$wire::$request>,
            ) -> Result<Response<$wire::$response>, Status> {
                $module::$handler(&self.0, request).await.map(answered)
            })*
            $(async fn $spaced(
                &self,
                request: Request<$wire::$spaced_request>,
            ) -> Result<Response<$wire::$spaced_response>, Status> {
                let request = request.into_inner();
                let unset = None;
                $(
                    let $given = &request;
                    let unset = if $unset { Some($unset_text) } else { unset };
                )?
                Err(unimplemented::namespaced(&self.0, &request.namespace, unset, $spaced_text).await)
            })*
            $(async fn $denied(
                &self,
                request: Request<$wire::$denied_request>,
            ) -> Result<Response<$wire::$denied_response>, Status> {
                Err(unimplemented::denied(&self.0, &request.get_ref().namespace, $denied_text).await)
            })*
            $(async fn $tokened(
                &self,
                request: Request<$wire::$tokened_request>,
            ) -> Result<Response<$wire::$tokened_response>, Status> {
                let request = request.into_inner();
                Err(unimplemented::tokened(&self.0, &request.namespace, &request.task_token, $tokened_text).await)
            })*
            $(async fn $plain(
                &self,
                _request: Request<$wire::$plain_request>,
            ) -> Result<Response<$wire::$plain_response>, Status> {
                Err(Status::unimplemented($plain_text))
            })*
        }
    };
}

with_workflow_rpcs! { serve {
    WorkflowService in workflow {
        // system.rs
        get_system_info(GetSystemInfoRequest) -> GetSystemInfoResponse = system::get_system_info;
        get_cluster_info(GetClusterInfoRequest) -> GetClusterInfoResponse = system::get_cluster_info;
        // namespace.rs
        register_namespace(RegisterNamespaceRequest) -> RegisterNamespaceResponse = namespace::register_namespace;
        describe_namespace(DescribeNamespaceRequest) -> DescribeNamespaceResponse = namespace::describe_namespace;
        list_namespaces(ListNamespacesRequest) -> ListNamespacesResponse = namespace::list_namespaces;
        update_namespace(UpdateNamespaceRequest) -> UpdateNamespaceResponse = namespace::update_namespace;
        // execution.rs
        start_workflow_execution(StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse = execution::start_workflow_execution;
        signal_with_start_workflow_execution(SignalWithStartWorkflowExecutionRequest) -> SignalWithStartWorkflowExecutionResponse = execution::signal_with_start_workflow_execution;
        signal_workflow_execution(SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse = execution::signal_workflow_execution;
        request_cancel_workflow_execution(RequestCancelWorkflowExecutionRequest) -> RequestCancelWorkflowExecutionResponse = execution::request_cancel_workflow_execution;
        reset_workflow_execution(ResetWorkflowExecutionRequest) -> ResetWorkflowExecutionResponse = execution::reset_workflow_execution;
        terminate_workflow_execution(TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse = execution::terminate_workflow_execution;
        delete_workflow_execution(DeleteWorkflowExecutionRequest) -> DeleteWorkflowExecutionResponse = execution::delete_workflow_execution;
        describe_workflow_execution(DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse = execution::describe_workflow_execution;
        // history.rs
        get_workflow_execution_history(GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse = history::get_workflow_execution_history;
        get_workflow_execution_history_reverse(GetWorkflowExecutionHistoryReverseRequest) -> GetWorkflowExecutionHistoryReverseResponse = history::get_workflow_execution_history_reverse;
        // message.rs
        query_workflow(QueryWorkflowRequest) -> QueryWorkflowResponse = message::query_workflow;
        respond_query_task_completed(RespondQueryTaskCompletedRequest) -> RespondQueryTaskCompletedResponse = message::respond_query_task_completed;
        // update.rs, update_with_start.rs
        update_workflow_execution(UpdateWorkflowExecutionRequest) -> UpdateWorkflowExecutionResponse = update::update_workflow_execution;
        poll_workflow_execution_update(PollWorkflowExecutionUpdateRequest) -> PollWorkflowExecutionUpdateResponse = update::poll_workflow_execution_update;
        execute_multi_operation(ExecuteMultiOperationRequest) -> ExecuteMultiOperationResponse = update_with_start::execute_multi_operation;
        // workflow_task.rs
        poll_workflow_task_queue(PollWorkflowTaskQueueRequest) -> PollWorkflowTaskQueueResponse = workflow_task::poll_workflow_task_queue;
        respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse = workflow_task::respond_workflow_task_completed;
        respond_workflow_task_failed(RespondWorkflowTaskFailedRequest) -> RespondWorkflowTaskFailedResponse = workflow_task::respond_workflow_task_failed;
        reset_sticky_task_queue(ResetStickyTaskQueueRequest) -> ResetStickyTaskQueueResponse = workflow_task::reset_sticky_task_queue;
        // activity_task.rs
        poll_activity_task_queue(PollActivityTaskQueueRequest) -> PollActivityTaskQueueResponse = activity_task::poll_activity_task_queue;
        record_activity_task_heartbeat(RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse = activity_task::record_activity_task_heartbeat;
        record_activity_task_heartbeat_by_id(RecordActivityTaskHeartbeatByIdRequest) -> RecordActivityTaskHeartbeatByIdResponse = activity_task::record_activity_task_heartbeat_by_id;
        respond_activity_task_completed(RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse = activity_task::respond_activity_task_completed;
        respond_activity_task_completed_by_id(RespondActivityTaskCompletedByIdRequest) -> RespondActivityTaskCompletedByIdResponse = activity_task::respond_activity_task_completed_by_id;
        respond_activity_task_failed(RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse = activity_task::respond_activity_task_failed;
        respond_activity_task_failed_by_id(RespondActivityTaskFailedByIdRequest) -> RespondActivityTaskFailedByIdResponse = activity_task::respond_activity_task_failed_by_id;
        respond_activity_task_canceled(RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse = activity_task::respond_activity_task_canceled;
        respond_activity_task_canceled_by_id(RespondActivityTaskCanceledByIdRequest) -> RespondActivityTaskCanceledByIdResponse = activity_task::respond_activity_task_canceled_by_id;
        // task_queue.rs
        describe_task_queue(DescribeTaskQueueRequest) -> DescribeTaskQueueResponse = task_queue::describe_task_queue;
        list_task_queue_partitions(ListTaskQueuePartitionsRequest) -> ListTaskQueuePartitionsResponse = task_queue::list_task_queue_partitions;
        // worker.rs
        shutdown_worker(ShutdownWorkerRequest) -> ShutdownWorkerResponse = worker::shutdown_worker;
        // visibility.rs
        list_workflow_executions(ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse = visibility::list_workflow_executions;
        count_workflow_executions(CountWorkflowExecutionsRequest) -> CountWorkflowExecutionsResponse = visibility::count_workflow_executions;
        scan_workflow_executions(ScanWorkflowExecutionsRequest) -> ScanWorkflowExecutionsResponse = visibility::scan_workflow_executions;
        list_open_workflow_executions(ListOpenWorkflowExecutionsRequest) -> ListOpenWorkflowExecutionsResponse = visibility::list_open_workflow_executions;
        list_closed_workflow_executions(ListClosedWorkflowExecutionsRequest) -> ListClosedWorkflowExecutionsResponse = visibility::list_closed_workflow_executions;
        get_search_attributes(GetSearchAttributesRequest) -> GetSearchAttributesResponse = visibility::get_search_attributes;
    }
} }

with_operator_rpcs! { serve {
    OperatorService in operator {
        add_search_attributes(AddSearchAttributesRequest) -> AddSearchAttributesResponse = operator_service::add_search_attributes;
        list_clusters(ListClustersRequest) -> ListClustersResponse = operator_service::list_clusters;
        add_or_update_remote_cluster(AddOrUpdateRemoteClusterRequest) -> AddOrUpdateRemoteClusterResponse = operator_service::add_or_update_remote_cluster;
        list_search_attributes(ListSearchAttributesRequest) -> ListSearchAttributesResponse = operator_service::list_search_attributes;
    }
} }
