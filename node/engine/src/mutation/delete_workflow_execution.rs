//! DeleteWorkflowExecution, retention, and the slices in which both delete. After the first slice
//! the run can't be found any more; a due item drives the rest until nothing is left.

use crate::effect::Effect;
use crate::execution::{Execution, HISTORY_SERVICE};
use crate::id::RunRef;
use crate::mutation::ExecutionTarget;
use crate::reply::{Fault, Reply, Stop};
use crate::tables::{Due, DueKind, Record, Run, WriteSet, keys, run_prefix};
use steadfast_proto::temporal::enums::v1::NamespaceState;

/// Records that one slice deletes at most, so that a mutation stays small.
const SLICE_RECORDS: usize = 500;

/// Terminates a running workflow, then deletes the first slice.
pub(crate) fn apply(set: &mut WriteSet<'_>, target: &ExecutionTarget) -> Result<Reply, Stop> {
    let mut execution = Execution::find_any(set, target)?;
    let run = execution.run.run.clone();
    if execution.is_open() {
        execution.terminate("deleted", None, HISTORY_SERVICE, Vec::new())?;
        execution.finish()?;
    }
    let more = begin(set, &run)?;
    if more {
        set.effects.push(Effect::DeleteRun(run));
    }
    Ok(Reply::Deleting { more })
}

/// The next slice of a deletion, or the first one of a run whose retention has passed or whose
/// namespace is deleted; harmless for any other run.
pub(crate) fn apply_slice(set: &mut WriteSet<'_>, run: &RunRef) -> Result<Reply, Stop> {
    let more = match set.run(run)? {
        Some(standing) if !is_over(set, &standing)? => false,
        Some(_) => begin(set, run)?,
        None => delete_slice(set, run)?,
    };
    if more {
        set.effects.push(Effect::DeleteRun(run.clone()));
    }
    Ok(Reply::Deleting { more })
}

fn is_over(set: &WriteSet<'_>, run: &Run) -> Result<bool, Fault> {
    let Some(close) = run.close.as_ref() else {
        return Ok(false);
    };
    Ok(match set.namespace(run.run.namespace)? {
        Some(namespace) => {
            namespace.state == i32::from(NamespaceState::Deleted)
                || close.at.after(namespace.retention) <= set.now
        }
        None => true,
    })
}

/// Deletes the first slice; a due item makes sure that the others follow.
fn begin(set: &mut WriteSet<'_>, run: &RunRef) -> Result<bool, Fault> {
    if let Some(close) = set.run(run)?.and_then(|standing| standing.close)
        && let Some(namespace) = set.namespace(run.namespace)?
    {
        let at = close.at.after(namespace.retention);
        set.delete(keys::due_key(at, run, &DueKind::Retention));
    }
    let more = delete_run(set, run)?;
    if more {
        let (at, kind) = (set.now, DueKind::Retention);
        let key = keys::due_key(at, run, &kind);
        set.put(
            key,
            Record::Due(Due {
                run: run.clone(),
                kind,
            }),
        );
        set.effects.push(Effect::DueAt(at));
    }
    Ok(more)
}

/// A closed run's retention has passed, or a deletion has slices left. True when the due item
/// stays because more is left.
pub(super) fn fire_retention(set: &mut WriteSet<'_>, run: &RunRef) -> Result<bool, Fault> {
    match set.run(run)? {
        Some(open) if open.close.is_none() => Ok(false),
        Some(_) => delete_run(set, run),
        None => delete_slice(set, run),
    }
}

/// Deletes a run's record, its row and the first slice of its other records.
fn delete_run(set: &mut WriteSet<'_>, run: &RunRef) -> Result<bool, Fault> {
    if let Some(record) = set.run(run)? {
        if record.closes_children && record.quarantined.is_empty() {
            // Its children hear of its end first, from its records.
            return Ok(true);
        }
        delete_row(set, &record);
        set.delete(keys::run_key(run));
        give_branches_back(set, &record)?;
    }
    delete_slice(set, run)
}

fn delete_row(set: &mut WriteSet<'_>, run: &Run) {
    let closed_at = run.close.as_ref().map(|close| close.at);
    let started_at = run.times.started_at;
    let key = keys::visibility_key(run.run.namespace, started_at, closed_at, run.run.number);
    set.delete(key);
}

/// A run that began with parts of other runs' histories is gone. Where it was the last to need such
/// a part, and the run that wrote it is gone, a due item sees to the deletion of the part.
fn give_branches_back(set: &mut WriteSet<'_>, run: &Run) -> Result<(), Fault> {
    for part in &run.branches {
        if part.branch == run.run.number {
            continue;
        }
        let branch = RunRef {
            number: part.branch,
            ..run.run.clone()
        };
        set.delete(keys::branch_use_key(&branch, run.run.number));
        let uses = keys::branch_use_prefix(&branch);
        let is_used = !set.scan_prefix(&uses, 1, false)?.is_empty();
        if !is_used && set.run(&branch)?.is_none() {
            let (at, kind) = (set.now, DueKind::Retention);
            let key = keys::due_key(at, &branch, &kind);
            set.put(key, Record::Due(Due { run: branch, kind }));
            set.effects.push(Effect::DueAt(at));
        }
    }
    Ok(())
}

fn delete_slice(set: &mut WriteSet<'_>, run: &RunRef) -> Result<bool, Fault> {
    let uses = keys::branch_use_prefix(run);
    let is_used = !set.scan_prefix(&uses, 1, false)?.is_empty();
    let records = if is_used {
        // Another run begins with this one's history, which goes with the last such run.
        let (start, after) = (
            run_prefix(run),
            keys::prefix_end(&keys::history_prefix(run)),
        );
        let mut records = set.scan(&start, &uses, SLICE_RECORDS + 1, false)?;
        let end = keys::prefix_end(&start);
        records.extend(set.scan(&after, &end, SLICE_RECORDS + 1, false)?);
        records
    } else {
        set.scan_prefix(&run_prefix(run), SLICE_RECORDS + 1, false)?
    };
    let more = records.len() > SLICE_RECORDS;
    for (key, _) in records.into_iter().take(SLICE_RECORDS) {
        set.delete(key);
    }
    Ok(more)
}
