//! RespondWorkflowTaskFailed.

use super::workflow_task_of::{load, task_not_found};
use crate::execution::TaskFailure;
use crate::mutation::TaskToken;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;
use steadfast_proto::temporal::workflowservice::v1::RespondWorkflowTaskFailedRequest;

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    token: &TaskToken,
    request: &RespondWorkflowTaskFailedRequest,
) -> Result<Reply, Stop> {
    let mut execution = load(set, token, &request.namespace)?;
    execution.check_open()?;
    if !execution.is_started_by(token.claim) {
        return Err(task_not_found().into());
    }
    #[expect(
        deprecated,
        reason = "workers still send it and it is written into the event"
    )]
    let binary_checksum = request.binary_checksum.clone();
    execution.fail_workflow_task(TaskFailure {
        cause: request.cause,
        failure: request.failure.clone(),
        identity: request.identity.clone(),
        binary_checksum,
    });
    execution.schedule_workflow_task()?;
    execution.finish()?;
    Ok(Reply::Done)
}
