//! The commands of a completed workflow task: one file each, all or none of them applied.

mod cancel_timer;
mod cancel_workflow_execution;
mod complete_workflow_execution;
mod continue_as_new_workflow_execution;
mod fail_workflow_execution;
mod modify_workflow_properties;
mod protocol_message;
mod record_marker;
mod request_cancel_activity_task;
mod request_cancel_external_workflow_execution;
mod schedule_activity_task;
mod sequence;
mod signal_external_workflow_execution;
mod start_child_workflow_execution;
mod start_timer;
mod target_namespace;
pub(crate) mod timer;
mod upsert_workflow_search_attributes;

pub(crate) use protocol_message::apply_remaining as apply_remaining_messages;
pub(crate) use request_cancel_external_workflow_execution::message as request_cancel_message;
pub(crate) use sequence::check_sequence;
pub(crate) use signal_external_workflow_execution::message as signal_message;
pub(crate) use start_child_workflow_execution::message as start_child_message;

use crate::effect::AssignedTask;
use crate::event::{Attributes as EventAttributes, NewEvent};
use crate::execution::{Execution, NextRun};
use crate::reply::{Fault, Refusal, Stop};
use crate::tables::Namespace;
use std::collections::BTreeSet;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::enums::v1::{CommandType, WorkflowTaskFailedCause};
use steadfast_proto::temporal::sdk::v1::{EventGroupMarker, UserMetadata};
use steadfast_proto::temporal::workflowservice::v1::RespondWorkflowTaskCompletedRequest;

/// What the commands of one completed workflow task share.
#[derive(Debug)]
pub(crate) struct Completion<'a> {
    /// The request, without its commands.
    pub(crate) request: &'a RespondWorkflowTaskCompletedRequest,
    /// The run's namespace.
    pub(crate) namespace: &'a Namespace,
    /// Id of the WorkflowTaskCompleted event.
    pub(crate) completed_event_id: i64,
    /// Activity tasks that were started at once for the answer.
    pub(crate) eager_activities: Vec<AssignedTask>,
    /// Events were buffered when the task ended; what the commands themselves add does not count.
    pub(crate) unhandled_events: bool,
    /// A command left something that the workflow has to hear of: a new workflow task is needed.
    pub(crate) needs_task: bool,
    /// Workflow ids of the children that this task starts: it can't cancel them, too.
    pub(crate) initiated_children: BTreeSet<String>,
    /// The run that follows, opened after this one is finished.
    pub(crate) next_run: Option<NextRun>,
    /// Messages of the request that have taken effect, by index.
    pub(crate) taken_messages: BTreeSet<usize>,
    /// Updates that got an answer by this completion.
    pub(crate) answered_updates: BTreeSet<String>,
}

/// What a command has besides its attributes.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandHead {
    /// Summary and details.
    pub(crate) user_metadata: Option<UserMetadata>,
    /// Markers.
    pub(crate) event_group_markers: Vec<EventGroupMarker>,
}

impl CommandHead {
    /// The event that the command makes.
    pub(crate) fn event(self, attributes: EventAttributes) -> NewEvent {
        NewEvent {
            user_metadata: self.user_metadata,
            event_group_markers: self.event_group_markers,
            ..NewEvent::from(attributes)
        }
    }
}

/// Why a command is not applied.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The workflow task fails with this cause; the text is "Cause: message".
    Bad {
        /// The cause.
        cause: WorkflowTaskFailedCause,
        /// Text after the cause.
        message: String,
    },
    /// As `Bad`, and then the run is terminated: a value is larger than any retry could mend.
    TooLarge {
        /// The cause.
        cause: WorkflowTaskFailedCause,
        /// Text after the cause.
        message: String,
    },
    /// The call is refused or the node stops; the task stays started.
    Stop(Stop),
}

impl CommandError {
    /// A bad command.
    pub(crate) fn bad(cause: WorkflowTaskFailedCause, message: impl Into<String>) -> Self {
        Self::Bad {
            cause,
            message: message.into(),
        }
    }

    /// A value over its size limit.
    pub(crate) fn too_large(cause: WorkflowTaskFailedCause, message: impl Into<String>) -> Self {
        Self::TooLarge {
            cause,
            message: message.into(),
        }
    }
}

impl From<Fault> for CommandError {
    fn from(fault: Fault) -> Self {
        Self::Stop(Stop::Faulted(fault))
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        Self::Stop(Stop::Refused(refusal))
    }
}

impl From<Stop> for CommandError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// A closing command is refused while the workflow has not seen every event.
pub(crate) fn check_nothing_unhandled(completion: &Completion<'_>) -> Result<(), CommandError> {
    if completion.unhandled_events {
        return Err(CommandError::bad(
            WorkflowTaskFailedCause::UnhandledCommand,
            "",
        ));
    }
    Ok(())
}

/// Refuses a value over the blob limit.
pub(crate) fn check_blob(
    execution: &Execution<'_, '_>,
    size: usize,
    cause: WorkflowTaskFailedCause,
    message: &str,
) -> Result<(), CommandError> {
    if u64::try_from(size).unwrap_or(u64::MAX) > execution.set.limits().blob_bytes_max {
        return Err(CommandError::too_large(cause, message));
    }
    Ok(())
}

/// A failed command as Temporal's text says it: `BadStartTimerAttributes: TimerId is not set …`.
pub(crate) fn failure_text(cause: WorkflowTaskFailedCause, message: &str) -> String {
    if message.is_empty() {
        format!("{cause:?}")
    } else {
        format!("{cause:?}: {message}")
    }
}

/// Applies one command. Sizes, names and limits are checked by each.
pub(crate) fn apply_command(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    command: Command,
) -> Result<(), CommandError> {
    let head = CommandHead {
        user_metadata: command.user_metadata,
        event_group_markers: command.event_group_markers,
    };
    let Some(attributes) = command
        .attributes
        .filter(|attributes| type_of(attributes) == command.command_type)
    else {
        return Err(missing_attributes(command.command_type));
    };
    match attributes {
        Attributes::ScheduleActivityTaskCommandAttributes(attributes) => {
            schedule_activity_task::apply(execution, completion, attributes, head)
        }
        Attributes::RequestCancelActivityTaskCommandAttributes(attributes) => {
            request_cancel_activity_task::apply(execution, completion, &attributes, head)
        }
        Attributes::StartTimerCommandAttributes(attributes) => {
            start_timer::apply(execution, completion, attributes, head)
        }
        Attributes::CancelTimerCommandAttributes(attributes) => {
            cancel_timer::apply(execution, completion, attributes, head)
        }
        Attributes::CompleteWorkflowExecutionCommandAttributes(attributes) => {
            complete_workflow_execution::apply(execution, completion, attributes, head)
        }
        Attributes::FailWorkflowExecutionCommandAttributes(attributes) => {
            fail_workflow_execution::apply(execution, completion, attributes, head)
        }
        Attributes::CancelWorkflowExecutionCommandAttributes(attributes) => {
            cancel_workflow_execution::apply(execution, completion, attributes, head)
        }
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes) => {
            continue_as_new_workflow_execution::apply(execution, completion, attributes, head)
        }
        Attributes::RecordMarkerCommandAttributes(attributes) => {
            record_marker::apply(execution, completion, attributes, head)
        }
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(attributes) => {
            upsert_workflow_search_attributes::apply(execution, completion, attributes, head)
        }
        Attributes::ModifyWorkflowPropertiesCommandAttributes(attributes) => {
            modify_workflow_properties::apply(execution, completion, attributes, head)
        }
        Attributes::ProtocolMessageCommandAttributes(attributes) => {
            protocol_message::apply(execution, completion, &attributes)
        }
        Attributes::StartChildWorkflowExecutionCommandAttributes(attributes) => {
            start_child_workflow_execution::apply(execution, completion, attributes, head)
        }
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes) => {
            signal_external_workflow_execution::apply(execution, completion, attributes, head)
        }
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes) => {
            let (execution, completion) = (execution, &*completion);
            request_cancel_external_workflow_execution::apply(
                execution, completion, attributes, head,
            )
        }
        Attributes::ScheduleNexusOperationCommandAttributes(_)
        | Attributes::RequestCancelNexusOperationCommandAttributes(_) => {
            let name = sequence::command_name(command.command_type);
            Err(Refusal::Unimplemented(format!("command {name} is not implemented yet")).into())
        }
    }
}

fn type_of(attributes: &Attributes) -> i32 {
    let command_type = match attributes {
        Attributes::ScheduleActivityTaskCommandAttributes(_) => CommandType::ScheduleActivityTask,
        Attributes::RequestCancelActivityTaskCommandAttributes(_) => {
            CommandType::RequestCancelActivityTask
        }
        Attributes::StartTimerCommandAttributes(_) => CommandType::StartTimer,
        Attributes::CompleteWorkflowExecutionCommandAttributes(_) => {
            CommandType::CompleteWorkflowExecution
        }
        Attributes::FailWorkflowExecutionCommandAttributes(_) => CommandType::FailWorkflowExecution,
        Attributes::CancelTimerCommandAttributes(_) => CommandType::CancelTimer,
        Attributes::CancelWorkflowExecutionCommandAttributes(_) => {
            CommandType::CancelWorkflowExecution
        }
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(_) => {
            CommandType::ContinueAsNewWorkflowExecution
        }
        Attributes::RecordMarkerCommandAttributes(_) => CommandType::RecordMarker,
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(_) => {
            CommandType::UpsertWorkflowSearchAttributes
        }
        Attributes::ModifyWorkflowPropertiesCommandAttributes(_) => {
            CommandType::ModifyWorkflowProperties
        }
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => {
            CommandType::RequestCancelExternalWorkflowExecution
        }
        Attributes::StartChildWorkflowExecutionCommandAttributes(_) => {
            CommandType::StartChildWorkflowExecution
        }
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(_) => {
            CommandType::SignalExternalWorkflowExecution
        }
        Attributes::ProtocolMessageCommandAttributes(_) => CommandType::ProtocolMessage,
        Attributes::ScheduleNexusOperationCommandAttributes(_) => {
            CommandType::ScheduleNexusOperation
        }
        Attributes::RequestCancelNexusOperationCommandAttributes(_) => {
            CommandType::RequestCancelNexusOperation
        }
    };
    command_type.into()
}

fn missing_attributes(command_type: i32) -> CommandError {
    use WorkflowTaskFailedCause as Cause;
    let name = sequence::command_name(command_type);
    let cause = match CommandType::try_from(command_type) {
        Ok(CommandType::ScheduleActivityTask) => Cause::BadScheduleActivityAttributes,
        Ok(CommandType::RequestCancelActivityTask) => Cause::BadRequestCancelActivityAttributes,
        Ok(CommandType::StartTimer) => Cause::BadStartTimerAttributes,
        Ok(CommandType::CompleteWorkflowExecution) => Cause::BadCompleteWorkflowExecutionAttributes,
        Ok(CommandType::FailWorkflowExecution) => Cause::BadFailWorkflowExecutionAttributes,
        Ok(CommandType::CancelTimer) => Cause::BadCancelTimerAttributes,
        Ok(CommandType::CancelWorkflowExecution) => Cause::BadCancelWorkflowExecutionAttributes,
        Ok(CommandType::RequestCancelExternalWorkflowExecution) => {
            Cause::BadRequestCancelExternalWorkflowExecutionAttributes
        }
        Ok(CommandType::RecordMarker) => Cause::BadRecordMarkerAttributes,
        Ok(CommandType::ContinueAsNewWorkflowExecution) => Cause::BadContinueAsNewAttributes,
        Ok(CommandType::StartChildWorkflowExecution) => Cause::BadStartChildExecutionAttributes,
        Ok(CommandType::SignalExternalWorkflowExecution) => {
            Cause::BadSignalWorkflowExecutionAttributes
        }
        Ok(CommandType::UpsertWorkflowSearchAttributes) => Cause::BadSearchAttributes,
        Ok(CommandType::ProtocolMessage) => Cause::BadUpdateWorkflowExecutionMessage,
        Ok(CommandType::ModifyWorkflowProperties) => Cause::BadModifyWorkflowPropertiesAttributes,
        Ok(CommandType::ScheduleNexusOperation) => Cause::BadScheduleNexusOperationAttributes,
        Ok(CommandType::RequestCancelNexusOperation) => {
            Cause::BadRequestCancelNexusOperationAttributes
        }
        Ok(CommandType::Unspecified) | Err(_) => {
            return Refusal::InvalidArgument(format!("unknown command type: {name}")).into();
        }
    };
    CommandError::bad(
        cause,
        format!("{name}CommandAttributes is not set on {name}Command."),
    )
}
