//! COMPLETE_WORKFLOW_EXECUTION: the run ends well; by its cron schedule another one follows.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Closing, Execution};
use prost::Message;
use steadfast_proto::temporal::command::v1::CompleteWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::enums::v1::{WorkflowExecutionStatus, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::WorkflowExecutionCompletedEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: CompleteWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    super::check_nothing_unhandled(completion)?;
    // Temporal names this cause here, though it is no activity that is too large.
    let cause = WorkflowTaskFailedCause::BadScheduleActivityAttributes;
    let text = "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.";
    super::check_blob(execution, attributes.encoded_len(), cause, text)?;
    let next = execution.next_run_by_cron(None, attributes.result.clone())?;
    let new_execution_run_id = next
        .as_ref()
        .map(|next| next.run_id().to_owned())
        .unwrap_or_default();
    completion.next_run = next;
    let event = Attributes::WorkflowExecutionCompletedEventAttributes(
        WorkflowExecutionCompletedEventAttributes {
            result: attributes.result,
            workflow_task_completed_event_id: completion.completed_event_id,
            new_execution_run_id: new_execution_run_id.clone(),
        },
    );
    let status = WorkflowExecutionStatus::Completed;
    execution.close(Closing {
        status,
        event: head.event(event),
        new_execution_run_id,
    })?;
    Ok(())
}
