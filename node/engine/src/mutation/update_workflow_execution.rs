//! UpdateWorkflowExecution: the update is admitted, once; a worker decides on it later.

use crate::execution::{Execution, namespace_of, update as updates};
use crate::mutation::ExecutionTarget;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::WriteSet;
use steadfast_proto::temporal::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use steadfast_proto::temporal::update::v1::Request;
use steadfast_proto::temporal::workflowservice::v1::UpdateWorkflowExecutionRequest;

/// From this attempt of the workflow task on, an update is refused: it could only wait.
const FAILING_ATTEMPT: i32 = 3;

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &UpdateWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    namespace_of(set, &request.namespace)?;
    let named = request.workflow_execution.clone().unwrap_or_default();
    let target = ExecutionTarget {
        namespace: request.namespace.clone(),
        workflow_id: named.workflow_id,
        run_id: named.run_id,
    };
    let mut execution = Execution::find(set, &target)?;
    let first = &request.first_execution_run_id;
    if !first.is_empty() && *first != execution.run.first_execution_run_id {
        return Err(Refusal::NotFound("workflow execution not found".to_owned()).into());
    }
    let admitted = admit(&mut execution, request)?;
    let reply = updating(&execution, request)?;
    if admitted {
        execution.schedule_speculative_task()?;
        execution.finish()?;
    }
    Ok(reply)
}

/// What is answered for an update that the run knows.
pub(super) fn updating(
    execution: &Execution<'_, '_>,
    request: &UpdateWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let id = request.request.as_ref().map_or("", update_id);
    let known = execution.update(id)?;
    Ok(Reply::Updating {
        run: execution.run.run.clone(),
        run_id: execution.run.run_id.clone(),
        sequence: known.map_or(0, |update| update.sequence),
    })
}

/// Admits the update of a request to a run; false when the run knows it already. The workflow task
/// is the caller's, when there is none.
///
/// # Errors
/// Refused when the run is closed, failing, closing, or has too many updates.
pub(super) fn admit(
    execution: &mut Execution<'_, '_>,
    request: &UpdateWorkflowExecutionRequest,
) -> Result<bool, Stop> {
    let update = request.request.clone().unwrap_or_default();
    let update_id = update_id(&update).to_owned();
    if execution.update(&update_id)?.is_some() {
        return Ok(false);
    }
    execution.check_open()?;
    if execution.run.workflow_task_attempt >= FAILING_ATTEMPT {
        let text =
            "Unable to perform workflow execution update due to Workflow Task in failed state.";
        return Err(Refusal::WorkflowNotReady(text.to_owned()).into());
    }
    if execution.run.close_attempted && execution.has_started_workflow_task() {
        return Err(workflow_closing().into());
    }
    execution.check_update_limits(&update)?;
    execution.set.took(&updates::table::ADMITTED);
    execution.admit_update(&update_id, update);
    execution.leave_no_trace();
    Ok(true)
}

/// The id of an update; the shell has filled it in.
pub(super) fn update_id(request: &Request) -> &str {
    request.meta.as_ref().map_or("", |meta| &meta.update_id)
}

fn workflow_closing() -> Refusal {
    Refusal::ResourceExhausted {
        cause: ResourceExhaustedCause::BusyWorkflow.into(),
        scope: ResourceExhaustedScope::Namespace.into(),
        message: "workflow operation can not be applied because workflow is closing".to_owned(),
    }
}
