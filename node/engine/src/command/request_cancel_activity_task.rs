//! REQUEST_CANCEL_ACTIVITY_TASK.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Execution, activity};
use crate::tables::ActivityState;
use steadfast_proto::temporal::command::v1::RequestCancelActivityTaskCommandAttributes;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::ActivityTaskCancelRequestedEventAttributes;

/// Details of a canceled activity that no worker had.
const NOT_STARTED: &str = "\"ACTIVITY_ID_NOT_STARTED\"";

/// A running activity hears of it with its next heartbeat; a waiting one is canceled at once, and
/// the workflow gets a task to hear of that.
pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: &RequestCancelActivityTaskCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadRequestCancelActivityAttributes;
    let scheduled_event_id = attributes.scheduled_event_id;
    if scheduled_event_id <= 0 {
        let text = "ScheduledEventId is not set on RequestCancelActivityTaskCommand.";
        return Err(CommandError::bad(cause, text));
    }
    let unknown = || {
        let text = format!(
            "invalid history builder state for action: add-activitytask-cancel-requested-event, \
             ScheduledEventID: {scheduled_event_id}"
        );
        CommandError::bad(cause, text)
    };
    let pending = activity::load(execution, scheduled_event_id)?;
    match &pending {
        Some(pending) if pending.cancel_requested_event_id != 0 => return Err(unknown()),
        Some(_) => {}
        // Its end waits in the buffer: the workflow could not know yet.
        None if execution.has_buffered_activity_end(scheduled_event_id)? => {}
        None => return Err(unknown()),
    }
    let requested = ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id,
        workflow_task_completed_event_id: completion.completed_event_id,
    };
    let requested = Attributes::ActivityTaskCancelRequestedEventAttributes(requested);
    let event_id = execution.add_event(head.event(requested));
    let Some(mut pending) = pending else {
        return Ok(());
    };
    match pending.state {
        ActivityState::Started { .. } => {
            activity::note_cancel_request(execution, pending, event_id);
        }
        ActivityState::Queued { .. } | ActivityState::Backoff { .. } => {
            pending.cancel_requested_event_id = event_id;
            let identity = &completion.request.identity;
            activity::cancel(execution, &mut pending, Some(not_started()), identity)?;
            completion.needs_task = true;
        }
    }
    Ok(())
}

fn not_started() -> Payloads {
    let mut payload = Payload {
        data: NOT_STARTED.into(),
        ..Payload::default()
    };
    payload
        .metadata
        .insert("encoding".to_owned(), "json/plain".into());
    Payloads {
        payloads: vec![payload],
    }
}
