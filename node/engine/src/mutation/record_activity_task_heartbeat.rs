//! RecordActivityTaskHeartbeat, by token and by id.

use super::respond_activity_task_failed::fail_oversize;
use crate::execution::activity;
use crate::mutation::ActivityTarget;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;
use prost::Message;
use steadfast_proto::temporal::workflowservice::v1::RecordActivityTaskHeartbeatRequest;

/// Answers whether the activity shall stop. Details over the size limit fail it, and it shall.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    target: &ActivityTarget,
    request: &RecordActivityTaskHeartbeatRequest,
) -> Result<Reply, Stop> {
    let bytes = request.details.as_ref().map_or(0, Message::encoded_len);
    let found = activity::find(set, target)?;
    activity::require_started(&found.activity)?;
    let mut execution = found.execution;
    if execution.set.limits().exceeds_blob(bytes) {
        let text = "Heartbeat details exceed size limit.";
        fail_oversize(execution, found.activity, text, &request.identity)?;
        return Ok(Reply::Heartbeat {
            cancel_requested: true,
        });
    }
    let cancel_requested = found.activity.cancel_requested_event_id != 0;
    // The run's own record stays as it is: a heartbeat is one small write.
    activity::heartbeat(&mut execution, found.activity, request.details.as_ref());
    Ok(Reply::Heartbeat { cancel_requested })
}
