//! FAIL_WORKFLOW_EXECUTION: the run fails; by retry policy or cron schedule another one follows.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Closing, Execution};
use prost::Message;
use steadfast_proto::temporal::command::v1::FailWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::enums::v1::{WorkflowExecutionStatus, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::WorkflowExecutionFailedEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: FailWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    super::check_nothing_unhandled(completion)?;
    let cause = WorkflowTaskFailedCause::BadFailWorkflowExecutionAttributes;
    let Some(failure) = attributes.failure else {
        let text = "Failure is not set on FailWorkflowExecutionCommand.";
        return Err(CommandError::bad(cause, text));
    };
    let text = "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit.";
    super::check_blob(execution, failure.encoded_len(), cause, text)?;
    let (retry_state, next) = execution.next_run_after_failure(failure.clone())?;
    let new_execution_run_id = next
        .as_ref()
        .map(|next| next.run_id().to_owned())
        .unwrap_or_default();
    completion.next_run = next;
    let event = Attributes::WorkflowExecutionFailedEventAttributes(
        WorkflowExecutionFailedEventAttributes {
            failure: Some(failure),
            retry_state: retry_state.into(),
            workflow_task_completed_event_id: completion.completed_event_id,
            new_execution_run_id: new_execution_run_id.clone(),
        },
    );
    let status = WorkflowExecutionStatus::Failed;
    execution.close(Closing {
        status,
        event: head.event(event),
        new_execution_run_id,
    })?;
    Ok(())
}
