//! UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: sets some, null unsets.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::Execution;
use crate::proto::Proto;
use crate::search_attribute::{self, SearchAttributeError};
use steadfast_proto::temporal::command::v1::UpsertWorkflowSearchAttributesCommandAttributes;
use steadfast_proto::temporal::common::v1::SearchAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::UpsertWorkflowSearchAttributesEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: UpsertWorkflowSearchAttributesCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadSearchAttributes;
    let Some(given) = attributes.search_attributes else {
        let text = "SearchAttributes is not set on UpsertWorkflowSearchAttributesCommand.";
        return Err(CommandError::bad(cause, text));
    };
    if given.indexed_fields.is_empty() {
        let text = "IndexedFields is not set on UpsertWorkflowSearchAttributesCommand.";
        return Err(CommandError::bad(cause, text));
    }
    let typed = match search_attribute::normalise(completion.namespace, &given.indexed_fields) {
        Ok(typed) => typed,
        Err(SearchAttributeError::Invalid(text)) => return Err(CommandError::bad(cause, text)),
        Err(SearchAttributeError::TooLarge(text)) => {
            return Err(CommandError::too_large(cause, text));
        }
    };
    for (name, payload) in &typed {
        if search_attribute::unsets(payload) {
            execution.run.search_attributes.remove(name);
        } else {
            execution
                .run
                .search_attributes
                .insert(name.clone(), Proto::detached(payload));
        }
    }
    let event = Attributes::UpsertWorkflowSearchAttributesEventAttributes(
        UpsertWorkflowSearchAttributesEventAttributes {
            workflow_task_completed_event_id: completion.completed_event_id,
            search_attributes: Some(SearchAttributes {
                indexed_fields: typed,
            }),
        },
    );
    execution.add_event(head.event(event));
    Ok(())
}
