//! The indexes: every entry points to something that stands, and one row lists each run.

use super::{Report, for_each};
use crate::execution::activity::timeout::armed;
use crate::id::{RunRef, TaskKind};
use crate::reply::Fault;
use crate::tables::keys::{
    activity_key, due_prefix, due_time, namespace_key, namespace_name_key, namespace_prefix,
    queue_of_key, queues_prefix, timer_key, visibility_key,
};
use crate::tables::{
    ActivityState, Due, DueKind, Meta, QueueTask, Record, Run, Tables, WorkflowTaskPhase, keys,
};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(
    tables: &dyn Tables,
    runs: &[Box<Run>],
    report: &mut Report,
) -> Result<(), Fault> {
    let by_ref: BTreeMap<&RunRef, &Run> = runs.iter().map(|run| (&run.run, &**run)).collect();
    let meta = match tables.get(&keys::meta_key())?.as_deref() {
        Some(Record::Meta(meta)) => meta.clone(),
        Some(_) | None => Meta::default(),
    };
    check_queues(tables, &by_ref, &meta, report)?;
    check_due_items(tables, &by_ref, report)?;
    check_namespaces(tables, &meta, report)?;
    super::outbox::check(tables, runs, &meta, report)?;
    check_rows(tables, runs, &meta, report)
}

fn check_queues(
    tables: &dyn Tables,
    runs: &BTreeMap<&RunRef, &Run>,
    meta: &Meta,
    report: &mut Report,
) -> Result<(), Fault> {
    let mut entries: Vec<(TaskKind, u64, QueueTask)> = Vec::new();
    for_each(tables, &queues_prefix(), |key, record| {
        let decoded = queue_of_key(key);
        report.require(decoded.is_some(), || {
            format!("a queue's key has no meaning: {key:?}")
        });
        if let (Some((queue, sequence)), Record::QueueTask(task)) = (decoded, record) {
            entries.push((queue.kind, sequence, task.clone()));
        }
    })?;
    for (kind, sequence, entry) in entries {
        report.require(sequence < meta.next_task, || {
            format!("task {sequence} is from the future")
        });
        // Entries of closed and deleted runs are dropped by the next claim that meets them.
        let Some(run) = runs.get(&entry.run).filter(|run| run.close.is_none()) else {
            continue;
        };
        let stands = match kind {
            TaskKind::Workflow => run.workflow_task.as_ref().is_some_and(|task| {
                let queued = match task.phase {
                    WorkflowTaskPhase::Scheduled { task } => task,
                    WorkflowTaskPhase::Started { .. } => task.returned,
                };
                queued == sequence && i64::try_from(task.number) == Ok(entry.subject)
            }),
            TaskKind::Activity => {
                match tables
                    .get(&activity_key(&entry.run, entry.subject))?
                    .as_deref()
                {
                    Some(Record::Activity(activity)) => {
                        activity.state == ActivityState::Queued { task: sequence }
                    }
                    Some(_) | None => false,
                }
            }
        };
        report.require(stands, || {
            format!("{}: task {sequence} is stale", entry.run.workflow_id)
        });
    }
    Ok(())
}

fn check_due_items(
    tables: &dyn Tables,
    runs: &BTreeMap<&RunRef, &Run>,
    report: &mut Report,
) -> Result<(), Fault> {
    let mut items: Vec<(Timestamp, Due)> = Vec::new();
    for_each(tables, &due_prefix(), |key, record| {
        if let (Some(at), Record::Due(due)) = (due_time(key), record) {
            items.push((at, due.clone()));
        }
    })?;
    for (at, due) in items {
        // Items of closed runs are dropped when their time comes.
        let Some(run) = runs.get(&due.run).filter(|run| run.close.is_none()) else {
            continue;
        };
        let stands = stands(tables, run, at, &due.kind)?;
        report.require(stands, || {
            format!("{}: stale {:?}", due.run.workflow_id, due.kind)
        });
    }
    Ok(())
}

fn stands(tables: &dyn Tables, run: &Run, at: Timestamp, kind: &DueKind) -> Result<bool, Fault> {
    let task = run.workflow_task.as_ref();
    Ok(match kind {
        DueKind::UserTimer {
            started_event_id,
            timer_id,
        } => match tables.get(&timer_key(&run.run, timer_id))?.as_deref() {
            Some(Record::UserTimer(timer)) => {
                timer.started_event_id == *started_event_id && timer.fire_at == at
            }
            Some(_) | None => false,
        },
        DueKind::ActivityScheduleToStart {
            scheduled_event_id, ..
        }
        | DueKind::ActivityScheduleToClose { scheduled_event_id }
        | DueKind::ActivityStartToClose {
            scheduled_event_id, ..
        }
        | DueKind::ActivityHeartbeat {
            scheduled_event_id, ..
        }
        | DueKind::ActivityRetry {
            scheduled_event_id, ..
        } => {
            match tables
                .get(&activity_key(&run.run, *scheduled_event_id))?
                .as_deref()
            {
                Some(Record::Activity(activity)) => armed(activity).contains(&(at, kind.clone())),
                Some(_) | None => false,
            }
        }
        DueKind::WorkflowTaskScheduleToStart { task: number }
        | DueKind::WorkflowTaskStartToClose { task: number } => {
            task.is_some_and(|task| task.number == *number)
        }
        DueKind::FirstWorkflowTask => run.first_task_pending,
        DueKind::RunTimeout => run.times.run_expires_at == at,
        DueKind::ExecutionTimeout => run.times.execution_expires_at == at,
        DueKind::Retention => false,
    })
}

fn check_namespaces(tables: &dyn Tables, meta: &Meta, report: &mut Report) -> Result<(), Fault> {
    let mut namespaces = Vec::new();
    for_each(tables, &namespace_prefix(), |key, record| {
        if let Record::Namespace(namespace) = record {
            report.require(*key == namespace_key(namespace.number), || {
                format!("namespace {} lies under another's key", namespace.name)
            });
            namespaces.push((namespace.name.clone(), namespace.number));
        }
    })?;
    for (name, number) in namespaces {
        report.require(number.0 < meta.next_namespace, || {
            format!("namespace {name} is from the future")
        });
        let found = tables.get(&namespace_name_key(&name))?;
        report.require(
            found.as_deref() == Some(&Record::NamespaceName(number.0)),
            || format!("namespace {name} is not found by its name"),
        );
    }
    Ok(())
}

fn check_rows(
    tables: &dyn Tables,
    runs: &[Box<Run>],
    meta: &Meta,
    report: &mut Report,
) -> Result<(), Fault> {
    let mut open = BTreeSet::new();
    for run in runs {
        let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
        report.require(run.run.number < meta.next_run, || {
            format!("{} is from the future", name())
        });
        let closed_at = run.close.as_ref().map(|close| close.at);
        let (namespace, number) = (run.run.namespace, run.run.number);
        let key = visibility_key(namespace, run.times.started_at, closed_at, number);
        let row = match tables.get(&key)?.as_deref() {
            Some(Record::Visibility(row)) => Some(row.clone()),
            Some(_) | None => None,
        };
        let agrees = row.is_some_and(|row| row.run_id == run.run_id && row.status == run.status);
        report.require(agrees, || format!("{}: its row is not in the list", name()));
        if run.close.is_none() {
            let first = open.insert((namespace, &run.run.workflow_id));
            report.require(first, || format!("{}: a second open run of one id", name()));
        }
    }
    let mut rows = 0;
    let known: BTreeSet<u64> = runs.iter().map(|run| run.run.number).collect();
    for_each(tables, &[2, 2], |_, record| {
        if let Record::Visibility(row) = record {
            rows += 1;
            report.require(known.contains(&row.run.number), || {
                format!("{}: a row without a run", row.run.workflow_id)
            });
        }
    })?;
    report.require(rows == runs.len(), || {
        format!("{rows} rows list {} runs", runs.len())
    });
    Ok(())
}
