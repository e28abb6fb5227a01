//! CANCEL_WORKFLOW_EXECUTION: the run ends as cancelled, and its chain with it.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Closing, Execution};
use steadfast_proto::temporal::command::v1::CancelWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;
use steadfast_proto::temporal::history::v1::WorkflowExecutionCanceledEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: CancelWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    super::check_nothing_unhandled(completion)?;
    let event = Attributes::WorkflowExecutionCanceledEventAttributes(
        WorkflowExecutionCanceledEventAttributes {
            workflow_task_completed_event_id: completion.completed_event_id,
            details: attributes.details,
        },
    );
    let status = WorkflowExecutionStatus::Canceled;
    let new_execution_run_id = String::new();
    execution.close(Closing {
        status,
        event: head.event(event),
        new_execution_run_id,
    })?;
    Ok(())
}
