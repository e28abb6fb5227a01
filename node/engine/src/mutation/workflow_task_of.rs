//! Finding the run of a workflow task's token.

use crate::execution::{Execution, namespace_of};
use crate::id::TaskKind;
use crate::mutation::TaskToken;
use crate::reply::{Refusal, Stop};
use crate::tables::WriteSet;

/// What Temporal answers for a token whose task is gone.
pub(super) fn task_not_found() -> Refusal {
    Refusal::NotFound("Workflow task not found.".to_owned())
}

/// The run that a token belongs to. Whether the task is still the token's is the caller's check.
pub(super) fn load<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    token: &TaskToken,
    namespace: &str,
) -> Result<Execution<'set, 'tables>, Stop> {
    if !namespace.is_empty() && namespace_of(set, namespace)?.number != token.run.namespace {
        let text = "Operation requested with a token from a different namespace.";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    if token.kind != TaskKind::Workflow {
        return Err(task_not_found().into());
    }
    let missing = || {
        Refusal::NotFound(format!(
            "workflow execution not found for workflow ID {:?} and run ID {:?}",
            token.run.workflow_id, token.run_id
        ))
    };
    let execution = Execution::load(set, &token.run)?.ok_or_else(missing)?;
    if execution.run.run_id != token.run_id {
        return Err(missing().into());
    }
    execution.check_quarantine()?;
    Ok(execution)
}
