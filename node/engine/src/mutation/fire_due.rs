//! Something in the index of due times fires. What has moved on since is dropped without harm.

mod workflow;

use crate::execution::{Execution, activity};
use crate::reply::{Fault, Refusal, Reply, Stop};
use crate::tables::{Due, DueKind, Key, Record, WriteSet, keys, wrong_record};

pub(crate) fn apply(set: &mut WriteSet<'_>, key: &Key) -> Result<Reply, Stop> {
    let due = match set.get(key)?.as_deref() {
        Some(Record::Due(due)) => due.clone(),
        Some(other) => return Err(wrong_record(other).into()),
        None => return Err(Refusal::NotFound("nothing is due under this key".to_owned()).into()),
    };
    let at = keys::due_time(key).ok_or_else(|| Fault::Decode("a due key is short".to_owned()))?;
    if at > set.now {
        return Err(Refusal::FailedPrecondition("it is not due yet".to_owned()).into());
    }
    if due.kind == DueKind::Retention {
        if !super::delete_workflow_execution::fire_retention(set, &due.run)? {
            set.delete(key.clone());
        }
        return Ok(Reply::Done);
    }
    set.delete(key.clone());
    let Some(execution) = Execution::load(set, &due.run)? else {
        return Ok(Reply::Done);
    };
    if !execution.is_open() || !execution.run.quarantined.is_empty() {
        return Ok(Reply::Done);
    }
    fire(execution, due)?;
    Ok(Reply::Done)
}

fn fire(mut execution: Execution<'_, '_>, due: Due) -> Result<(), Fault> {
    match due.kind {
        DueKind::UserTimer { .. } => workflow::fire_timers(execution),
        DueKind::WorkflowTaskScheduleToStart { task } => {
            workflow::schedule_to_start(execution, task)
        }
        DueKind::WorkflowTaskStartToClose { task } => workflow::start_to_close(execution, task),
        DueKind::FirstWorkflowTask => workflow::first_workflow_task(execution),
        DueKind::RunTimeout | DueKind::ExecutionTimeout => workflow::run_timeout(execution),
        DueKind::ActivityScheduleToStart { .. }
        | DueKind::ActivityScheduleToClose { .. }
        | DueKind::ActivityStartToClose { .. }
        | DueKind::ActivityHeartbeat { .. }
        | DueKind::ActivityRetry { .. } => {
            if activity::timeout::fire(&mut execution, &due.kind)? {
                execution.finish()?;
            }
            Ok(())
        }
        DueKind::Retention => Ok(()),
    }
}
