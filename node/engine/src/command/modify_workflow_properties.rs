//! MODIFY_WORKFLOW_PROPERTIES: upserts the memo; a value that is null removes its key.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::Execution;
use crate::proto::Proto;
use crate::search_attribute::unsets;
use prost::Message;
use steadfast_proto::temporal::command::v1::ModifyWorkflowPropertiesCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::WorkflowPropertiesModifiedEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: ModifyWorkflowPropertiesCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadModifyWorkflowPropertiesAttributes;
    let Some(memo) = attributes.upserted_memo else {
        let text = "UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.";
        return Err(CommandError::bad(cause, text));
    };
    if memo.fields.is_empty() {
        let text = "UpsertedMemo.Fields is not set on ModifyWorkflowPropertiesCommand.";
        return Err(CommandError::bad(cause, text));
    }
    for (name, payload) in &memo.fields {
        if unsets(payload) {
            execution.run.memo.remove(name);
        } else {
            execution
                .run
                .memo
                .insert(name.clone(), Proto::detached(payload));
        }
    }
    let size: usize = execution
        .run
        .memo
        .iter()
        .map(|(name, value)| name.len() + value.encoded_len())
        .sum();
    if u64::try_from(size).unwrap_or(u64::MAX) > execution.set.limits().memo_bytes_max {
        let text = "ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit.";
        return Err(CommandError::too_large(cause, text));
    }
    let event = Attributes::WorkflowPropertiesModifiedEventAttributes(
        WorkflowPropertiesModifiedEventAttributes {
            workflow_task_completed_event_id: completion.completed_event_id,
            upserted_memo: Some(memo),
        },
    );
    execution.add_event(head.event(event));
    Ok(())
}
