//! A claimed task whose poller left before the answer was written.

use crate::execution::{Execution, activity};
use crate::id::TaskKind;
use crate::mutation::{ActivityTarget, TaskToken};
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;

/// An activity waits again with the same attempt; a workflow task goes as it is to the next poller
/// of its queue. The old claim is fenced off, and one that is not current any more is refused.
pub(crate) fn apply(set: &mut WriteSet<'_>, token: &TaskToken) -> Result<Reply, Stop> {
    match token.kind {
        TaskKind::Activity => {
            let mut found = activity::find(set, &ActivityTarget::Token(token.clone()))?;
            activity::put_back(&mut found.execution, found.activity)?;
            found.execution.finish()?;
        }
        TaskKind::Workflow => {
            let Some(mut execution) = Execution::load(set, &token.run)? else {
                return Ok(Reply::Done);
            };
            if execution.run.run_id == token.run_id && execution.return_workflow_task(token.claim) {
                execution.finish()?;
            }
        }
    }
    Ok(Reply::Done)
}
