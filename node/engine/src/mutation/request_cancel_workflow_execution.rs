//! RequestCancelWorkflowExecution: asked once; a second request, or one to a closed run, is a
//! success that changes nothing.

use crate::event::{Attributes, NewEvent};
use crate::execution::Execution;
use crate::mutation::ExecutionTarget;
use crate::mutation::bootstrap::ENGINE_VERSION;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::WriteSet;
use steadfast_proto::temporal::history::v1::WorkflowExecutionCancelRequestedEventAttributes;
use steadfast_proto::temporal::workflowservice::v1::RequestCancelWorkflowExecutionRequest;

/// By the rules of the next version, the cause of a request that gives none.
const NO_REASON: &str = "no reason was given";

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &RequestCancelWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let named = request.workflow_execution.clone().unwrap_or_default();
    let target = ExecutionTarget {
        namespace: request.namespace.clone(),
        workflow_id: named.workflow_id,
        run_id: named.run_id,
    };
    let mut execution = Execution::find(set, &target)?;
    check_first_run(&execution, &request.first_execution_run_id)?;
    if !execution.is_open() || execution.run.cancel_requested {
        return Ok(Reply::Done);
    }
    let mut cause = request.reason.clone();
    if cause.is_empty() && execution.set.meta.engine_version > ENGINE_VERSION {
        // The rule of the next version, for tests of upgrades.
        NO_REASON.clone_into(&mut cause);
    }
    let attributes = WorkflowExecutionCancelRequestedEventAttributes {
        cause,
        identity: request.identity.clone(),
        ..WorkflowExecutionCancelRequestedEventAttributes::default()
    };
    let event = NewEvent::from(Attributes::WorkflowExecutionCancelRequestedEventAttributes(
        attributes,
    ))
    .with_links(request.links.clone());
    execution.add_or_buffer(event)?;
    execution.run.cancel_requested = true;
    execution
        .run
        .cancel_request_id
        .clone_from(&request.request_id);
    if !execution.has_started_workflow_task() {
        // A run that still waits for its first task hears of it at once.
        execution.schedule_first_workflow_task()?;
    }
    execution.finish()?;
    Ok(Reply::Done)
}

/// Refuses when the run is of another chain than the caller means.
pub(super) fn check_first_run(
    execution: &Execution<'_, '_>,
    first_execution_run_id: &str,
) -> Result<(), Refusal> {
    let own = &execution.run.first_execution_run_id;
    if first_execution_run_id.is_empty() || own == first_execution_run_id {
        return Ok(());
    }
    Err(Refusal::NotFound("workflow execution not found".to_owned()))
}
