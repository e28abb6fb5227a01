//! TerminateWorkflowExecution.

use super::request_cancel_workflow_execution::check_first_run;
use crate::execution::Execution;
use crate::mutation::ExecutionTarget;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;
use steadfast_proto::temporal::workflowservice::v1::TerminateWorkflowExecutionRequest;

/// What the event says when the caller gives no reason.
const REASON_DEFAULT: &str = "terminated by user via frontend";

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &TerminateWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let named = request.workflow_execution.clone().unwrap_or_default();
    let target = ExecutionTarget {
        namespace: request.namespace.clone(),
        workflow_id: named.workflow_id,
        run_id: named.run_id,
    };
    let mut execution = Execution::find(set, &target)?;
    check_first_run(&execution, &request.first_execution_run_id)?;
    execution.check_open()?;
    let reason = if request.reason.is_empty() {
        REASON_DEFAULT
    } else {
        &request.reason
    };
    let (details, links) = (request.details.clone(), request.links.clone());
    execution.terminate(reason, details, &request.identity, links)?;
    execution.finish()?;
    Ok(Reply::Done)
}
