//! RespondActivityTaskFailed, by token and by id: the next attempt, or the end of the activity.

use crate::execution::{Execution, activity};
use crate::mutation::ActivityTarget;
use crate::proto::Proto;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Activity, WriteSet};
use prost::Message;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::workflowservice::v1::RespondActivityTaskFailedRequest;

/// Heartbeat details that come with the failure are given to the next attempt.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    target: &ActivityTarget,
    request: &RespondActivityTaskFailedRequest,
) -> Result<Reply, Stop> {
    let info = request
        .failure
        .as_ref()
        .map(|failure| failure.failure_info.as_ref());
    if !matches!(
        info,
        None | Some(Some(FailureInfo::ApplicationFailureInfo(_)))
    ) {
        let text = "Failure must have ApplicationFailureInfo.";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    let found = activity::find(set, target)?;
    activity::require_started(&found.activity)?;
    let (mut execution, mut activity) = (found.execution, found.activity);
    if let Some(details) = &request.last_heartbeat_details {
        if execution.set.limits().exceeds_blob(details.encoded_len()) {
            let text = "Heartbeat details exceed size limit.";
            return fail_oversize(execution, activity, text, &request.identity);
        }
        activity.heartbeat_details = Some(Proto(details.clone()));
    }
    activity::fail(
        &mut execution,
        activity,
        request.failure.clone(),
        &request.identity,
    )?;
    execution.finish()?;
    Ok(Reply::Done)
}

/// Fails an activity because something that its worker sent is over the size limit.
pub(super) fn fail_oversize(
    mut execution: Execution<'_, '_>,
    activity: Box<Activity>,
    text: &str,
    identity: &str,
) -> Result<Reply, Stop> {
    let failure = activity::server_failure(text, true);
    activity::fail(&mut execution, activity, Some(failure), identity)?;
    execution.finish()?;
    Ok(Reply::Done)
}
