//! A claimed task whose poller left before the answer was written.

use super::workflow_task_of::{load, task_not_found};
use crate::execution::activity;
use crate::id::TaskKind;
use crate::mutation::{ActivityTarget, TaskToken};
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;

pub(crate) fn apply(set: &mut WriteSet<'_>, token: &TaskToken) -> Result<Reply, Stop> {
    match token.kind {
        TaskKind::Activity => {
            let found = activity::find(set, &ActivityTarget::Token(token.clone()))?;
            let mut execution = found.execution;
            activity::put_back(&mut execution, found.activity)?;
            execution.finish()?;
            Ok(Reply::Done)
        }
        TaskKind::Workflow => {
            let mut execution = load(set, token, "")?;
            execution.check_open()?;
            if !execution.return_workflow_task(token.claim) {
                return Err(task_not_found().into());
            }
            execution.finish()?;
            Ok(Reply::Done)
        }
    }
}
