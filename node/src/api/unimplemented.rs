//! The RPCs that are not built yet. Each checks its namespace and its first required field as
//! Temporal does, then says so; building one means to move its line to `service.rs`.

use super::status::{invalid, permission_denied};
use super::{Api, Need};
use tonic::Status;

/// Hands the list of WorkflowService to a macro, after what that macro was given.
macro_rules! with_workflow_rpcs {
    ($callback:ident { $($given:tt)* }) => {
        $callback! {
            $($given)*
            namespaced {
                deprecate_namespace(DeprecateNamespaceRequest) -> DeprecateNamespaceResponse: "DeprecateNamespace is not implemented";
                list_archived_workflow_executions(ListArchivedWorkflowExecutionsRequest) -> ListArchivedWorkflowExecutionsResponse: "ListArchivedWorkflowExecutions is not implemented",
                    unless |request| request.page_size < i32::MAX => "Cluster is not configured for visibility archival.";
                create_schedule(CreateScheduleRequest) -> CreateScheduleResponse: "CreateSchedule is not implemented",
                    unless |request| request.request_id.is_empty() => "RequestId is not set on request.";
                describe_schedule(DescribeScheduleRequest) -> DescribeScheduleResponse: "DescribeSchedule is not implemented",
                    unless |request| request.schedule_id.is_empty() => "Can't load workflow execution.  WorkflowId not set.";
                update_schedule(UpdateScheduleRequest) -> UpdateScheduleResponse: "UpdateSchedule is not implemented",
                    unless |request| request.schedule.is_none() => "Only StartWorkflow action is supported for schedules";
                patch_schedule(PatchScheduleRequest) -> PatchScheduleResponse: "PatchSchedule is not implemented",
                    unless |request| request.patch.is_none() => "Patch is not set on request.";
                list_schedule_matching_times(ListScheduleMatchingTimesRequest) -> ListScheduleMatchingTimesResponse: "ListScheduleMatchingTimes is not implemented",
                    unless |request| request.schedule_id.is_empty() => "Can't load workflow execution.  WorkflowId not set.";
                delete_schedule(DeleteScheduleRequest) -> DeleteScheduleResponse: "DeleteSchedule is not implemented",
                    unless |request| request.schedule_id.is_empty() => "Can't load workflow execution.  WorkflowId not set.";
                list_schedules(ListSchedulesRequest) -> ListSchedulesResponse: "ListSchedules is not implemented";
                count_schedules(CountSchedulesRequest) -> CountSchedulesResponse: "CountSchedules is not implemented";
                describe_deployment(DescribeDeploymentRequest) -> DescribeDeploymentResponse: "Deployments are deprecated and no longer supported, use Worker Deployments instead";
                describe_worker_deployment_version(DescribeWorkerDeploymentVersionRequest) -> DescribeWorkerDeploymentVersionResponse: "DescribeWorkerDeploymentVersion is not implemented",
                    unless |request| request.deployment_version.is_none() => "deployment version cannot be empty";
                list_deployments(ListDeploymentsRequest) -> ListDeploymentsResponse: "Deployments are deprecated and no longer supported, use Worker Deployments instead";
                get_deployment_reachability(GetDeploymentReachabilityRequest) -> GetDeploymentReachabilityResponse: "Deployments are deprecated and no longer supported, use Worker Deployments instead";
                get_current_deployment(GetCurrentDeploymentRequest) -> GetCurrentDeploymentResponse: "Deployments are deprecated and no longer supported, use Worker Deployments instead";
                set_current_deployment(SetCurrentDeploymentRequest) -> SetCurrentDeploymentResponse: "Deployments are deprecated and no longer supported, use Worker Deployments instead";
                set_worker_deployment_current_version(SetWorkerDeploymentCurrentVersionRequest) -> SetWorkerDeploymentCurrentVersionResponse: "SetWorkerDeploymentCurrentVersion is not implemented",
                    unless |request| request.deployment_name.is_empty() => "deployment name cannot be empty";
                describe_worker_deployment(DescribeWorkerDeploymentRequest) -> DescribeWorkerDeploymentResponse: "DescribeWorkerDeployment is not implemented",
                    unless |request| request.deployment_name.is_empty() => "WorkerDeploymentName cannot be empty";
                delete_worker_deployment(DeleteWorkerDeploymentRequest) -> DeleteWorkerDeploymentResponse: "DeleteWorkerDeployment is not implemented",
                    unless |request| request.deployment_name.is_empty() => "WorkerDeploymentName cannot be empty";
                delete_worker_deployment_version(DeleteWorkerDeploymentVersionRequest) -> DeleteWorkerDeploymentVersionResponse: "DeleteWorkerDeploymentVersion is not implemented",
                    unless |request| request.deployment_version.is_none() => "invalid version string \"\", expected format is \"<deployment_name>.<build_id>\"";
                set_worker_deployment_ramping_version(SetWorkerDeploymentRampingVersionRequest) -> SetWorkerDeploymentRampingVersionResponse: "SetWorkerDeploymentRampingVersion is not implemented",
                    unless |request| request.deployment_name.is_empty() => "WorkerDeploymentName cannot be empty";
                list_worker_deployments(ListWorkerDeploymentsRequest) -> ListWorkerDeploymentsResponse: "ListWorkerDeployments is not implemented";
                create_worker_deployment(CreateWorkerDeploymentRequest) -> CreateWorkerDeploymentResponse: "CreateWorkerDeployment is not implemented",
                    unless |request| request.deployment_name.is_empty() => "deployment name cannot be empty";
                create_worker_deployment_version(CreateWorkerDeploymentVersionRequest) -> CreateWorkerDeploymentVersionResponse: "CreateWorkerDeploymentVersion is not implemented";
                update_worker_deployment_version_compute_config(UpdateWorkerDeploymentVersionComputeConfigRequest) -> UpdateWorkerDeploymentVersionComputeConfigResponse: "UpdateWorkerDeploymentVersionComputeConfig is not implemented",
                    unless |request| request.deployment_version.is_none() => "deployment name cannot be empty";
                validate_worker_deployment_version_compute_config(ValidateWorkerDeploymentVersionComputeConfigRequest) -> ValidateWorkerDeploymentVersionComputeConfigResponse: "ValidateWorkerDeploymentVersionComputeConfig is not implemented";
                update_worker_deployment_version_metadata(UpdateWorkerDeploymentVersionMetadataRequest) -> UpdateWorkerDeploymentVersionMetadataResponse: "UpdateWorkerDeploymentVersionMetadata is not implemented";
                set_worker_deployment_manager(SetWorkerDeploymentManagerRequest) -> SetWorkerDeploymentManagerResponse: "SetWorkerDeploymentManager is not implemented",
                    unless |request| request.identity.is_empty() => "Identity is required";
                start_batch_operation(StartBatchOperationRequest) -> StartBatchOperationResponse: "StartBatchOperation is not implemented";
                stop_batch_operation(StopBatchOperationRequest) -> StopBatchOperationResponse: "StopBatchOperation is not implemented",
                    unless |request| request.job_id.is_empty() => "JobId is not set on request.";
                describe_batch_operation(DescribeBatchOperationRequest) -> DescribeBatchOperationResponse: "DescribeBatchOperation is not implemented",
                    unless |request| request.job_id.is_empty() => "JobId is not set on request.";
                list_batch_operations(ListBatchOperationsRequest) -> ListBatchOperationsResponse: "ListBatchOperations is not implemented";
                poll_nexus_task_queue(PollNexusTaskQueueRequest) -> PollNexusTaskQueueResponse: "PollNexusTaskQueue is not implemented",
                    unless |request| request.task_queue.is_none() => "taskQueue is not set";
                update_activity_options(UpdateActivityOptionsRequest) -> UpdateActivityOptionsResponse: "UpdateActivityOptions is not implemented",
                    unless |request| request.execution.is_none() => "WorkflowId is not set on request.";
                update_workflow_execution_options(UpdateWorkflowExecutionOptionsRequest) -> UpdateWorkflowExecutionOptionsResponse: "UpdateWorkflowExecutionOptions is not implemented",
                    unless |request| request.workflow_execution.is_none() => "WorkflowId is not set on request.";
                pause_activity(PauseActivityRequest) -> PauseActivityResponse: "PauseActivity is not implemented",
                    unless |request| request.execution.is_none() => "WorkflowId is not set on request.";
                unpause_activity(UnpauseActivityRequest) -> UnpauseActivityResponse: "UnpauseActivity is not implemented",
                    unless |request| request.execution.is_none() => "WorkflowId is not set on request.";
                reset_activity(ResetActivityRequest) -> ResetActivityResponse: "ResetActivity is not implemented",
                    unless |request| request.execution.is_none() => "WorkflowId is not set on request.";
                create_workflow_rule(CreateWorkflowRuleRequest) -> CreateWorkflowRuleResponse: "method CreateWorkflowRule not supported";
                describe_workflow_rule(DescribeWorkflowRuleRequest) -> DescribeWorkflowRuleResponse: "method DescribeWorkflowRule not supported";
                delete_workflow_rule(DeleteWorkflowRuleRequest) -> DeleteWorkflowRuleResponse: "method DeleteWorkflowRule not supported";
                list_workflow_rules(ListWorkflowRulesRequest) -> ListWorkflowRulesResponse: "method ListWorkflowRules not supported";
                trigger_workflow_rule(TriggerWorkflowRuleRequest) -> TriggerWorkflowRuleResponse: "method TriggerWorkflowRule not supported";
                record_worker_heartbeat(RecordWorkerHeartbeatRequest) -> RecordWorkerHeartbeatResponse: "RecordWorkerHeartbeat is not implemented";
                list_workers(ListWorkersRequest) -> ListWorkersResponse: "ListWorkers is not implemented";
                count_workers(CountWorkersRequest) -> CountWorkersResponse: "CountWorkers is not implemented";
                update_task_queue_config(UpdateTaskQueueConfigRequest) -> UpdateTaskQueueConfigResponse: "UpdateTaskQueueConfig is not implemented";
                fetch_worker_config(FetchWorkerConfigRequest) -> FetchWorkerConfigResponse: "FetchWorkerConfig is not implemented";
                update_worker_config(UpdateWorkerConfigRequest) -> UpdateWorkerConfigResponse: "UpdateWorkerConfig is not implemented";
                describe_worker(DescribeWorkerRequest) -> DescribeWorkerResponse: "DescribeWorker is not implemented";
                pause_workflow_execution(PauseWorkflowExecutionRequest) -> PauseWorkflowExecutionResponse: "workflow pause is not enabled for namespace";
                unpause_workflow_execution(UnpauseWorkflowExecutionRequest) -> UnpauseWorkflowExecutionResponse: "UnpauseWorkflowExecution is not implemented",
                    unless |request| request.workflow_id.is_empty() => "Can't load workflow execution.  WorkflowId not set.";
                start_activity_execution(StartActivityExecutionRequest) -> StartActivityExecutionResponse: "StartActivityExecution is not implemented",
                    unless |request| request.task_queue.is_none() => "taskQueue is not set";
                start_nexus_operation_execution(StartNexusOperationExecutionRequest) -> StartNexusOperationExecutionResponse: "Standalone Nexus operation is disabled";
                describe_activity_execution(DescribeActivityExecutionRequest) -> DescribeActivityExecutionResponse: "DescribeActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                describe_nexus_operation_execution(DescribeNexusOperationExecutionRequest) -> DescribeNexusOperationExecutionResponse: "Standalone Nexus operation is disabled";
                poll_activity_execution(PollActivityExecutionRequest) -> PollActivityExecutionResponse: "PollActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                poll_nexus_operation_execution(PollNexusOperationExecutionRequest) -> PollNexusOperationExecutionResponse: "Standalone Nexus operation is disabled";
                list_activity_executions(ListActivityExecutionsRequest) -> ListActivityExecutionsResponse: "ListActivityExecutions is not implemented";
                list_nexus_operation_executions(ListNexusOperationExecutionsRequest) -> ListNexusOperationExecutionsResponse: "Standalone Nexus operation is disabled";
                count_activity_executions(CountActivityExecutionsRequest) -> CountActivityExecutionsResponse: "CountActivityExecutions is not implemented";
                count_nexus_operation_executions(CountNexusOperationExecutionsRequest) -> CountNexusOperationExecutionsResponse: "Standalone Nexus operation is disabled";
                request_cancel_activity_execution(RequestCancelActivityExecutionRequest) -> RequestCancelActivityExecutionResponse: "RequestCancelActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                request_cancel_nexus_operation_execution(RequestCancelNexusOperationExecutionRequest) -> RequestCancelNexusOperationExecutionResponse: "Standalone Nexus operation is disabled";
                terminate_activity_execution(TerminateActivityExecutionRequest) -> TerminateActivityExecutionResponse: "TerminateActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                delete_activity_execution(DeleteActivityExecutionRequest) -> DeleteActivityExecutionResponse: "DeleteActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                pause_activity_execution(PauseActivityExecutionRequest) -> PauseActivityExecutionResponse: "PauseActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                reset_activity_execution(ResetActivityExecutionRequest) -> ResetActivityExecutionResponse: "ResetActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                unpause_activity_execution(UnpauseActivityExecutionRequest) -> UnpauseActivityExecutionResponse: "UnpauseActivityExecution is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                update_activity_execution_options(UpdateActivityExecutionOptionsRequest) -> UpdateActivityExecutionOptionsResponse: "UpdateActivityExecutionOptions is not implemented",
                    unless |request| request.activity_id.is_empty() => "activity ID is required";
                terminate_nexus_operation_execution(TerminateNexusOperationExecutionRequest) -> TerminateNexusOperationExecutionResponse: "Standalone Nexus operation is disabled";
                delete_nexus_operation_execution(DeleteNexusOperationExecutionRequest) -> DeleteNexusOperationExecutionResponse: "Standalone Nexus operation is disabled";
                poll_workflow_execution_time_skipping(PollWorkflowExecutionTimeSkippingRequest) -> PollWorkflowExecutionTimeSkippingResponse: "The Time-Skipping feature is not enabled for namespace.";
            }
            denied {
                update_worker_build_id_compatibility(UpdateWorkerBuildIdCompatibilityRequest) -> UpdateWorkerBuildIdCompatibilityResponse: "Worker versioning v0.1 (Version Set-based, deprecated) is disabled on this namespace.";
                get_worker_build_id_compatibility(GetWorkerBuildIdCompatibilityRequest) -> GetWorkerBuildIdCompatibilityResponse: "Worker versioning v0.1 (Version Set-based, deprecated) is disabled on this namespace.";
                update_worker_versioning_rules(UpdateWorkerVersioningRulesRequest) -> UpdateWorkerVersioningRulesResponse: "Worker versioning v0.2 (Rules-based, deprecated) is disabled on this namespace.";
                get_worker_versioning_rules(GetWorkerVersioningRulesRequest) -> GetWorkerVersioningRulesResponse: "Worker versioning v0.2 (Rules-based, deprecated) is disabled on this namespace.";
                get_worker_task_reachability(GetWorkerTaskReachabilityRequest) -> GetWorkerTaskReachabilityResponse: "Worker versioning v0.2 (Rules-based, deprecated) is disabled on this namespace.";
            }
            tokened {
                respond_nexus_task_completed(RespondNexusTaskCompletedRequest) -> RespondNexusTaskCompletedResponse: "RespondNexusTaskCompleted is not implemented";
                respond_nexus_task_failed(RespondNexusTaskFailedRequest) -> RespondNexusTaskFailedResponse: "RespondNexusTaskFailed is not implemented";
            }
            plain {

            }
        }
    };
}

/// Hands the list of OperatorService to a macro, after what that macro was given.
macro_rules! with_operator_rpcs {
    ($callback:ident { $($given:tt)* }) => {
        $callback! {
            $($given)*
            namespaced {
                remove_search_attributes(RemoveSearchAttributesRequest) -> RemoveSearchAttributesResponse: "RemoveSearchAttributes is not implemented",
                    unless |request| request.search_attributes.is_empty() => "SearchAttributes are not set on request.";
            }
            denied {

            }
            tokened {

            }
            plain {
                delete_namespace(DeleteNamespaceRequest) -> DeleteNamespaceResponse: "DeleteNamespace is not implemented";
                remove_remote_cluster(RemoveRemoteClusterRequest) -> RemoveRemoteClusterResponse: "RemoveRemoteCluster is not implemented";
                get_nexus_endpoint(GetNexusEndpointRequest) -> GetNexusEndpointResponse: "GetNexusEndpoint is not implemented";
                create_nexus_endpoint(CreateNexusEndpointRequest) -> CreateNexusEndpointResponse: "CreateNexusEndpoint is not implemented";
                update_nexus_endpoint(UpdateNexusEndpointRequest) -> UpdateNexusEndpointResponse: "UpdateNexusEndpoint is not implemented";
                delete_nexus_endpoint(DeleteNexusEndpointRequest) -> DeleteNexusEndpointResponse: "DeleteNexusEndpoint is not implemented";
                list_nexus_endpoints(ListNexusEndpointsRequest) -> ListNexusEndpointsResponse: "ListNexusEndpoints is not implemented";
            }
        }
    };
}

pub(super) use {with_operator_rpcs, with_workflow_rpcs};

/// An RPC on a namespace; `unset` is what a required field's absence is answered with.
pub(crate) async fn namespaced(
    api: &Api,
    namespace: &str,
    unset: Option<&'static str>,
    message: &'static str,
) -> Status {
    match (api.namespace(namespace, Need::Open).await, unset) {
        (Ok(_), None) => Status::unimplemented(message),
        (Ok(_), Some(unset)) => invalid(unset),
        (Err(status), _) => status,
    }
}

/// An RPC that Temporal's defaults deny.
pub(crate) async fn denied(api: &Api, namespace: &str, message: &'static str) -> Status {
    match api.namespace(namespace, Need::Open).await {
        Ok(_) => permission_denied(message),
        Err(status) => status,
    }
}

/// An RPC that carries a task's token.
pub(crate) async fn tokened(
    api: &Api,
    namespace: &str,
    task_token: &[u8],
    message: &'static str,
) -> Status {
    if let Err(status) = api.named(namespace).await {
        return status;
    }
    if task_token.is_empty() {
        invalid("Task token not set on request.")
    } else {
        Status::unimplemented(message)
    }
}
