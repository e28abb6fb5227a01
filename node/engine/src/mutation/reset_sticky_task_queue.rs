//! ResetStickyTaskQueue: the next workflow task goes to the normal queue.

use crate::execution::Execution;
use crate::mutation::ExecutionTarget;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;

pub(crate) fn apply(set: &mut WriteSet<'_>, target: &ExecutionTarget) -> Result<Reply, Stop> {
    let mut execution = Execution::find(set, target)?;
    execution.check_open()?;
    if execution.run.sticky.is_none() {
        return Ok(Reply::Done);
    }
    execution.set_sticky(None);
    execution.finish()?;
    Ok(Reply::Done)
}
