//! Where the payloads of Temporal's messages are: of each message the fields that hold some.
//! Headers and search attributes are left out on purpose; a test compares this list with the
//! descriptors.

use super::{Found, HoldsPayloads, Slot};
use steadfast_proto::temporal::command::v1 as command;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::failure::v1 as failure;
use steadfast_proto::temporal::history::v1 as history;
use steadfast_proto::temporal::protocol::v1 as protocol;
use steadfast_proto::temporal::query::v1 as query;
use steadfast_proto::temporal::schedule::v1 as schedule;
use steadfast_proto::temporal::sdk::v1 as sdk;
use steadfast_proto::temporal::update::v1 as update;
use steadfast_proto::temporal::workflow::v1 as workflow;
use steadfast_proto::temporal::workflowservice::v1 as service;

macro_rules! messages {
    ($($message:path { $($field:ident),+ })+) => {
        $(#[allow(deprecated, reason = "servers may still send such fields")]
        impl HoldsPayloads for $message {
            fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
                $(self.$field.payloads(found);)+
            }
        })+
    };
}

macro_rules! choices {
    ($($choice:path { $($variant:ident),+ })+) => {
        $(impl HoldsPayloads for $choice {
            fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
                use $choice::*;
                #[allow(
                    unreachable_patterns,
                    reason = "some of Temporal's choices hold payloads in all variants"
                )]
                match self {
                    $($variant(content) => content.payloads(found),)+
                    _ => {}
                }
            }
        })+
    };
}

impl HoldsPayloads for common::Payloads {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        if !self.payloads.is_empty() {
            found.0.push(Slot::Many(&mut self.payloads));
        }
    }
}

messages! {
    common::Memo { fields }
    sdk::UserMetadata { summary, details }
    sdk::EventGroupMarker { variant }
    sdk::event_group_marker::Label { label }
    failure::Failure { encoded_attributes, cause, failure_info }
    failure::ApplicationFailureInfo { details }
    failure::TimeoutFailureInfo { last_heartbeat_details }
    failure::CanceledFailureInfo { details }
    failure::ResetWorkflowFailureInfo { last_heartbeat_details }
    protocol::Message { body }
    update::Request { input }
    update::Input { args }
    update::Response { outcome }
    update::Outcome { value }
    update::Acceptance { accepted_request }
    update::Rejection { rejected_request, failure }
    query::WorkflowQuery { query_args }
    query::WorkflowQueryResult { answer, failure }
}

choices! {
    failure::failure::FailureInfo {
        ApplicationFailureInfo, TimeoutFailureInfo, CanceledFailureInfo, ResetWorkflowFailureInfo
    }
    update::outcome::Value { Success, Failure }
    sdk::event_group_marker::Variant { Label }
}

// What workers send and get.
messages! {
    command::Command { user_metadata, event_group_markers, attributes }
    command::ScheduleActivityTaskCommandAttributes { input }
    command::CompleteWorkflowExecutionCommandAttributes { result }
    command::FailWorkflowExecutionCommandAttributes { failure }
    command::CancelWorkflowExecutionCommandAttributes { details }
    command::SignalExternalWorkflowExecutionCommandAttributes { input }
    command::ModifyWorkflowPropertiesCommandAttributes { upserted_memo }
    command::RecordMarkerCommandAttributes { details, failure }
    command::ContinueAsNewWorkflowExecutionCommandAttributes {
        input, failure, last_completion_result, memo
    }
    command::StartChildWorkflowExecutionCommandAttributes { input, memo }
    command::ScheduleNexusOperationCommandAttributes { input }
    service::PollWorkflowTaskQueueResponse { query, messages, queries }
    service::RespondWorkflowTaskCompletedRequest { commands, query_results, messages }
    service::RespondWorkflowTaskFailedRequest { failure, messages }
    service::RespondQueryTaskCompletedRequest { query_result, failure }
    service::PollActivityTaskQueueResponse { input, heartbeat_details }
    service::RecordActivityTaskHeartbeatRequest { details }
    service::RecordActivityTaskHeartbeatByIdRequest { details }
    service::RespondActivityTaskCompletedRequest { result }
    service::RespondActivityTaskCompletedByIdRequest { result }
    service::RespondActivityTaskFailedRequest { failure, last_heartbeat_details }
    service::RespondActivityTaskFailedByIdRequest { failure, last_heartbeat_details }
    service::RespondActivityTaskCanceledRequest { details }
    service::RespondActivityTaskCanceledByIdRequest { details }
}

choices! {
    command::command::Attributes {
        ScheduleActivityTaskCommandAttributes, CompleteWorkflowExecutionCommandAttributes,
        FailWorkflowExecutionCommandAttributes, CancelWorkflowExecutionCommandAttributes,
        SignalExternalWorkflowExecutionCommandAttributes,
        ModifyWorkflowPropertiesCommandAttributes, RecordMarkerCommandAttributes,
        ContinueAsNewWorkflowExecutionCommandAttributes,
        StartChildWorkflowExecutionCommandAttributes, ScheduleNexusOperationCommandAttributes
    }
}

// What clients send and get.
messages! {
    service::StartWorkflowExecutionRequest {
        input, memo, continued_failure, last_completion_result, user_metadata
    }
    service::SignalWithStartWorkflowExecutionRequest { input, signal_input, memo, user_metadata }
    service::SignalWorkflowExecutionRequest { input }
    service::TerminateWorkflowExecutionRequest { details }
    service::QueryWorkflowRequest { query }
    service::QueryWorkflowResponse { query_result }
    service::UpdateWorkflowExecutionRequest { request }
    service::UpdateWorkflowExecutionResponse { outcome }
    service::PollWorkflowExecutionUpdateResponse { outcome }
    service::ExecuteMultiOperationRequest { operations }
    service::execute_multi_operation_request::Operation { operation }
    service::ExecuteMultiOperationResponse { responses }
    service::execute_multi_operation_response::Response { response }
    service::DescribeWorkflowExecutionResponse {
        execution_config, workflow_execution_info, pending_activities, callbacks,
        pending_nexus_operations
    }
    service::ListWorkflowExecutionsResponse { executions }
    service::CreateScheduleRequest { schedule, memo }
    service::UpdateScheduleRequest { schedule, memo }
    service::DescribeScheduleResponse { schedule, memo }
    service::ListSchedulesResponse { schedules }
    workflow::WorkflowExecutionConfig { user_metadata }
    workflow::WorkflowExecutionInfo { memo }
    workflow::PendingActivityInfo { heartbeat_details, last_failure }
    workflow::CallbackInfo { last_attempt_failure }
    workflow::PendingNexusOperationInfo { last_attempt_failure, cancellation_info }
    workflow::NexusOperationCancellationInfo { last_attempt_failure }
    workflow::NewWorkflowExecutionInfo { input, memo, user_metadata }
    schedule::Schedule { action }
    schedule::ScheduleAction { action }
    schedule::ScheduleListEntry { memo }
}

choices! {
    service::execute_multi_operation_request::operation::Operation {
        StartWorkflow, UpdateWorkflow
    }
    service::execute_multi_operation_response::response::Response { UpdateWorkflow }
    schedule::schedule_action::Action { StartWorkflow }
}

// History.
messages! {
    history::History { events }
    history::HistoryEvent { user_metadata, event_group_markers, attributes }
    history::WorkflowExecutionStartedEventAttributes {
        input, continued_failure, last_completion_result, memo
    }
    history::WorkflowExecutionCompletedEventAttributes { result }
    history::WorkflowExecutionFailedEventAttributes { failure }
    history::WorkflowExecutionCanceledEventAttributes { details }
    history::WorkflowExecutionTerminatedEventAttributes { details }
    history::WorkflowExecutionContinuedAsNewEventAttributes {
        input, failure, last_completion_result, memo
    }
    history::WorkflowTaskFailedEventAttributes { failure }
    history::ActivityTaskScheduledEventAttributes { input }
    history::ActivityTaskStartedEventAttributes { last_failure }
    history::ActivityTaskCompletedEventAttributes { result }
    history::ActivityTaskFailedEventAttributes { failure }
    history::ActivityTaskTimedOutEventAttributes { failure }
    history::ActivityTaskCanceledEventAttributes { details }
    history::MarkerRecordedEventAttributes { details, failure }
    history::WorkflowExecutionSignaledEventAttributes { input }
    history::SignalExternalWorkflowExecutionInitiatedEventAttributes { input }
    history::StartChildWorkflowExecutionInitiatedEventAttributes { input, memo }
    history::ChildWorkflowExecutionCompletedEventAttributes { result }
    history::ChildWorkflowExecutionFailedEventAttributes { failure }
    history::ChildWorkflowExecutionCanceledEventAttributes { details }
    history::WorkflowExecutionUpdateAcceptedEventAttributes { accepted_request }
    history::WorkflowExecutionUpdateRejectedEventAttributes { rejected_request, failure }
    history::WorkflowExecutionUpdateCompletedEventAttributes { outcome }
    history::WorkflowExecutionUpdateAdmittedEventAttributes { request }
    history::WorkflowPropertiesModifiedExternallyEventAttributes { upserted_memo }
    history::WorkflowPropertiesModifiedEventAttributes { upserted_memo }
    history::NexusOperationScheduledEventAttributes { input }
    history::NexusOperationCompletedEventAttributes { result }
    history::NexusOperationFailedEventAttributes { failure }
    history::NexusOperationTimedOutEventAttributes { failure }
    history::NexusOperationCanceledEventAttributes { failure }
    history::NexusOperationCancelRequestFailedEventAttributes { failure }
}

choices! {
    history::history_event::Attributes {
        WorkflowExecutionStartedEventAttributes, WorkflowExecutionCompletedEventAttributes,
        WorkflowExecutionFailedEventAttributes, WorkflowExecutionCanceledEventAttributes,
        WorkflowExecutionTerminatedEventAttributes,
        WorkflowExecutionContinuedAsNewEventAttributes, WorkflowTaskFailedEventAttributes,
        ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes,
        ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
        ActivityTaskTimedOutEventAttributes, ActivityTaskCanceledEventAttributes,
        MarkerRecordedEventAttributes, WorkflowExecutionSignaledEventAttributes,
        SignalExternalWorkflowExecutionInitiatedEventAttributes,
        StartChildWorkflowExecutionInitiatedEventAttributes,
        ChildWorkflowExecutionCompletedEventAttributes,
        ChildWorkflowExecutionFailedEventAttributes, ChildWorkflowExecutionCanceledEventAttributes,
        WorkflowExecutionUpdateAcceptedEventAttributes,
        WorkflowExecutionUpdateRejectedEventAttributes,
        WorkflowExecutionUpdateCompletedEventAttributes,
        WorkflowExecutionUpdateAdmittedEventAttributes,
        WorkflowPropertiesModifiedExternallyEventAttributes,
        WorkflowPropertiesModifiedEventAttributes, NexusOperationScheduledEventAttributes,
        NexusOperationCompletedEventAttributes, NexusOperationFailedEventAttributes,
        NexusOperationTimedOutEventAttributes, NexusOperationCanceledEventAttributes,
        NexusOperationCancelRequestFailedEventAttributes
    }
}

macro_rules! hold_none {
    ($($message:ident)+) => {
        $(impl HoldsPayloads for service::$message {
            fn payloads<'a>(&'a mut self, _: &mut Found<'a>) {}
        })+
    };
}

// The eager task of a start and histories are left encoded: who decodes them asks the codec then.
hold_none! {
    StartWorkflowExecutionResponse SignalWithStartWorkflowExecutionResponse
    SignalWorkflowExecutionResponse PollWorkflowExecutionUpdateRequest
    RequestCancelWorkflowExecutionRequest RequestCancelWorkflowExecutionResponse
    TerminateWorkflowExecutionResponse DescribeWorkflowExecutionRequest
    GetWorkflowExecutionHistoryRequest GetWorkflowExecutionHistoryResponse
    ListWorkflowExecutionsRequest CountWorkflowExecutionsRequest CountWorkflowExecutionsResponse
    CreateScheduleResponse DescribeScheduleRequest UpdateScheduleResponse PatchScheduleRequest
    PatchScheduleResponse DeleteScheduleRequest DeleteScheduleResponse ListSchedulesRequest
    RespondActivityTaskCompletedResponse RespondActivityTaskCompletedByIdResponse
    RespondActivityTaskFailedResponse RespondActivityTaskFailedByIdResponse
    RespondActivityTaskCanceledResponse RespondActivityTaskCanceledByIdResponse
    RecordActivityTaskHeartbeatResponse RecordActivityTaskHeartbeatByIdResponse
}
