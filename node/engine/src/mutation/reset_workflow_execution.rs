//! ResetWorkflowExecution: a new run from a point of a run's history; the running one ends.

use crate::execution::{Execution, Fork, Reapply, namespace_of};
use crate::read;
use crate::reply::{Fault, Refusal, Reply, Stop};
use crate::tables::{Record, Run, WriteSet, keys};
use steadfast_proto::temporal::workflow::v1::PostResetOperation;
use steadfast_proto::temporal::workflow::v1::post_reset_operation::Variant;
use steadfast_proto::temporal::workflowservice::v1::ResetWorkflowExecutionRequest;

/// Who ends the run that a reset replaces.
const HISTORY_RESETTER: &str = "history-resetter";

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &ResetWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let namespace = namespace_of(set, &request.namespace)?;
    let named = request.workflow_execution.clone().unwrap_or_default();
    let (number, workflow_id) = (namespace.number, &named.workflow_id);
    let base = read::resolve(&*set, number, workflow_id, &named.run_id)??;
    let current = read::resolve(&*set, number, workflow_id, "")??;
    if !request.request_id.is_empty() && current.reset_request_id == request.request_id {
        let run_id = current.run_id.clone();
        return Ok(Reply::Reset { run_id });
    }
    let finish_event_id = request.workflow_task_finish_event_id;
    if finish_event_id <= 1 || finish_event_id >= base.next_event_id {
        let text = "Workflow task finish ID must be > 1 && <= workflow last event ID.";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    check_post_operations(&request.post_reset_operations)?;
    let parent = base.parent.clone();
    let (base, current) = (base.run.clone(), current.run.clone());
    for run in [&base, &current] {
        let Some(mut execution) = Execution::load(set, run)? else {
            continue;
        };
        execution.check_quarantine()?;
        if run == &current && execution.is_open() {
            execution.leaves_children = current == base;
            execution.leaves_parent = execution.run.parent == parent;
            end(execution, &request.reason)?;
        }
    }
    let Some(base) = set.run(&base)? else {
        return Err(Fault::Decode("a run that was found is gone".to_owned()).into());
    };
    #[expect(deprecated, reason = "clients still send it")]
    let reapply_type = request.reset_reapply_type;
    let fork = Fork {
        base: &base,
        last_event_id: finish_event_id - 1,
        reason: &request.reason,
        request_id: &request.request_id,
        reapply: Reapply::of(&request.reset_reapply_exclude_types, reapply_type),
    };
    let mut execution = Execution::fork(set, &fork)?;
    execution.schedule_workflow_task()?;
    let run_id = execution.run.run_id.clone();
    let set = execution.finish_into_set()?;
    note_reset(set, base, &run_id);
    Ok(Reply::Reset { run_id })
}

fn end(mut execution: Execution<'_, '_>, reason: &str) -> Result<(), Fault> {
    execution.terminate(reason, None, HISTORY_RESETTER, Vec::new())?;
    execution.finish()
}

fn note_reset(set: &mut WriteSet<'_>, mut base: Box<Run>, run_id: &str) {
    run_id.clone_into(&mut base.reset_run_id);
    set.put(keys::run_key(&base.run.clone()), Record::Run(base));
}

/// Temporal knows operations that follow a reset, and supports only changes of options; those need
/// versioning overrides.
fn check_post_operations(operations: &[PostResetOperation]) -> Result<(), Refusal> {
    let unsupported = |name: &str| {
        let text = format!("unsupported post reset operation: {name}");
        Err(Refusal::InvalidArgument(text))
    };
    let Some(operation) = operations.first() else {
        return Ok(());
    };
    match operation.variant {
        None => unsupported("<nil>"),
        Some(Variant::SignalWorkflow(_)) => {
            unsupported("*workflow.PostResetOperation_SignalWorkflow_")
        }
        Some(Variant::UpdateWorkflowOptions(_)) => {
            let text = "changes of options after a reset are not implemented yet";
            Err(Refusal::Unimplemented(text.to_owned()))
        }
    }
}
