//! RespondActivityTaskCanceled, by token and by id.

use super::respond_activity_task_failed::fail_oversize;
use crate::execution::activity;
use crate::mutation::ActivityTarget;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::WriteSet;
use prost::Message;
use steadfast_proto::temporal::workflowservice::v1::RespondActivityTaskCanceledRequest;

/// Only an activity that was asked to stop may say that it was canceled.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    target: &ActivityTarget,
    request: &RespondActivityTaskCanceledRequest,
) -> Result<Reply, Stop> {
    let bytes = request.details.as_ref().map_or(0, Message::encoded_len);
    let found = activity::find(set, target)?;
    activity::require_started(&found.activity)?;
    let (mut execution, mut activity) = (found.execution, found.activity);
    if execution.set.limits().exceeds_blob(bytes) {
        let text = "Cancel details exceed size limit.";
        return fail_oversize(execution, activity, text, &request.identity);
    }
    if activity.cancel_requested_event_id == 0 {
        let text =
            "unable to mark activity as canceled without activity being request canceled first";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    activity::cancel(
        &mut execution,
        &mut activity,
        request.details.clone(),
        &request.identity,
    )?;
    execution.finish()?;
    Ok(Reply::Done)
}
