//! RespondActivityTaskCompleted, by token and by id.

use super::respond_activity_task_failed::fail_oversize;
use crate::execution::activity;
use crate::mutation::ActivityTarget;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;
use prost::Message;
use steadfast_proto::temporal::workflowservice::v1::RespondActivityTaskCompletedRequest;

/// A result over the size limit fails the activity, for no retry could mend it; the worker is told
/// that all went well, as in Temporal.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    target: &ActivityTarget,
    request: &RespondActivityTaskCompletedRequest,
) -> Result<Reply, Stop> {
    let bytes = request.result.as_ref().map_or(0, Message::encoded_len);
    let found = activity::find(set, target)?;
    let mut execution = found.execution;
    if execution.set.limits().exceeds_blob(bytes) {
        activity::require_started(&found.activity)?;
        let text = "Complete result exceeds size limit.";
        return fail_oversize(execution, found.activity, text, &request.identity);
    }
    let mut activity = found.activity;
    activity::complete(
        &mut execution,
        &mut activity,
        request.result.clone(),
        &request.identity,
    )?;
    execution.finish()?;
    Ok(Reply::Done)
}
