//! RECORD_MARKER.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::Execution;
use prost::Message;
use steadfast_proto::temporal::command::v1::RecordMarkerCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::MarkerRecordedEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: RecordMarkerCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadRecordMarkerAttributes;
    if attributes.marker_name.is_empty() {
        let text = "MarkerName is not set on RecordMarkerCommand.";
        return Err(CommandError::bad(cause, text));
    }
    let (length, limit) = (
        attributes.marker_name.len(),
        execution.set.limits().id_length_max,
    );
    if length > usize::try_from(limit).unwrap_or(usize::MAX) {
        let text = format!(
            "MarkerName on RecordMarkerCommand exceeds length limit. MarkerName={} Length={length} Limit={limit}",
            attributes.marker_name
        );
        return Err(CommandError::bad(cause, text));
    }
    let size = attributes.encoded_len();
    super::check_blob(
        execution,
        size,
        cause,
        "RecordMarkerCommandAttributes.Details exceeds size limit.",
    )?;
    let event = Attributes::MarkerRecordedEventAttributes(MarkerRecordedEventAttributes {
        marker_name: attributes.marker_name,
        details: attributes.details,
        workflow_task_completed_event_id: completion.completed_event_id,
        header: attributes.header,
        failure: attributes.failure,
    });
    execution.add_event(head.event(event));
    Ok(())
}
