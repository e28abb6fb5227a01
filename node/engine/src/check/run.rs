//! One run: its record, its activities and timers agree.

use super::{Report, count, for_each, update};
use crate::execution::activity::timeout::armed;
use crate::id::{QueueKey, TaskKind};
use crate::reply::Fault;
use crate::tables::{
    Activity, ActivityState, DueKind, Record, Run, Tables, WorkflowTaskKind, WorkflowTaskPhase,
    keys,
};
use crate::time::Timestamp;
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;

pub(super) fn check(tables: &dyn Tables, run: &Run, report: &mut Report) -> Result<(), Fault> {
    let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
    let running = run.status == i32::from(WorkflowExecutionStatus::Running);
    report.require(running == run.close.is_none(), || {
        format!(
            "{}: status {} and the close facts differ",
            name(),
            run.status
        )
    });
    let counts = [
        ("timers", run.pending_timers, keys::timer_prefix(&run.run)),
        (
            "children",
            run.pending_children,
            keys::child_prefix(&run.run),
        ),
        (
            "signals and cancel requests",
            run.pending_signals + run.pending_cancel_requests,
            keys::external_prefix(&run.run),
        ),
        (
            "activities",
            run.pending_activities,
            keys::activity_prefix(&run.run),
        ),
    ];
    for (what, counted, prefix) in counts {
        // A closed run's timers are gone from the index; what is left of them is not counted.
        let found = count(tables, &prefix)?;
        report.require(found == counted || !running, || {
            format!(
                "{}: {counted} {what} are counted, {found} are there",
                name()
            )
        });
    }
    let mut found = (0, 0);
    for_each(tables, &keys::buffered_prefix(&run.run), |_, record| {
        found.0 += 1;
        if let Record::BufferedEvent(buffered) = record {
            found.1 += buffered.event.len() as u64;
        }
    })?;
    let counted = (run.buffered_count, run.buffered_bytes);
    report.require(found == counted || !running, || {
        format!(
            "{}: {counted:?} buffered events and bytes are counted, {found:?} are there",
            name()
        )
    });
    if !run.quarantined.is_empty() {
        // It is left as the panic found it; its tasks and due times go as they come up.
        return Ok(());
    }
    update::check(tables, run, report)?;
    check_workflow_task(tables, run, report)?;
    let mut activities: Vec<Box<Activity>> = Vec::new();
    for_each(tables, &keys::activity_prefix(&run.run), |_, record| {
        if let Record::Activity(activity) = record {
            activities.push(activity.clone());
        }
    })?;
    for activity in activities.iter().filter(|_| running) {
        check_activity(tables, run, activity, report)?;
    }
    check_due_times(tables, run, report)
}

/// The due items of the run and its timers must be in the index.
fn check_due_times(tables: &dyn Tables, run: &Run, report: &mut Report) -> Result<(), Fault> {
    let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
    let running = run.close.is_none();
    let mut timers = Vec::new();
    let prefix = keys::timer_prefix(&run.run);
    for_each(tables, &prefix, |key, record| {
        if let Record::UserTimer(timer) = record {
            // The id follows its two-byte length.
            let id = key.get(prefix.len() + 2..).unwrap_or_default();
            let timer_id = String::from_utf8_lossy(id).into_owned();
            let started_event_id = timer.started_event_id;
            timers.push((
                timer.fire_at,
                DueKind::UserTimer {
                    started_event_id,
                    timer_id,
                },
            ));
        }
    })?;
    for (at, kind) in timers
        .into_iter()
        .filter(|_| running)
        .chain(run_due_items(run))
    {
        let found = tables.get(&keys::due_key(at, &run.run, &kind))?.is_some();
        report.require(found, || {
            format!("{}: {kind:?} is not in the index", name())
        });
    }
    Ok(())
}

fn check_workflow_task(tables: &dyn Tables, run: &Run, report: &mut Report) -> Result<(), Fault> {
    let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
    let Some(task) = run.workflow_task.as_ref() else {
        report.require(run.buffered_count == 0, || {
            format!("{}: a buffer without a task", name())
        });
        return Ok(());
    };
    report.require(run.close.is_none(), || {
        format!("{}: a closed run has a task", name())
    });
    let queue = QueueKey {
        namespace: run.run.namespace,
        kind: TaskKind::Workflow,
        name: task.queue.clone(),
    };
    match task.phase {
        WorkflowTaskPhase::Scheduled { task: sequence } => {
            let speculative = task.kind == WorkflowTaskKind::Speculative;
            report.require(
                !speculative || task.scheduled_event_id == run.next_event_id,
                || format!("{}: an event came before a speculative task's own", name()),
            );
            report.require(run.buffered_count == 0, || {
                format!("{}: events are buffered for a task that nobody has", name())
            });
            let entry = tables.get(&keys::queue_task_key(&queue, sequence))?;
            report.require(entry.is_some(), || {
                format!("{}: its task is in no queue", name())
            });
        }
        WorkflowTaskPhase::Started { at, .. } => {
            if task.returned != 0 {
                let entry = tables.get(&keys::queue_task_key(&queue, task.returned))?;
                report.require(entry.is_some(), || {
                    format!("{}: its task is in no queue", name())
                });
            }
            let virtual_events = task.kind != WorkflowTaskKind::Normal;
            report.require(
                !virtual_events || task.scheduled_event_id == run.next_event_id,
                || format!("{}: an event took the id of an unwritten task's", name()),
            );
            let kind = DueKind::WorkflowTaskStartToClose { task: task.number };
            let key = keys::due_key(at.after(task.timeout), &run.run, &kind);
            let armed = tables.get(&key)?.is_some();
            report.require(armed, || format!("{}: its task has no time-out", name()));
        }
    }
    Ok(())
}

fn check_activity(
    tables: &dyn Tables,
    run: &Run,
    activity: &Activity,
    report: &mut Report,
) -> Result<(), Fault> {
    let id = &activity.scheduled.activity_id;
    let name = || format!("{}/{}: activity {id}", run.run.workflow_id, run.run.number);
    let by_id = tables.get(&keys::activity_by_id_key(&run.run, id))?;
    let expected = Record::ActivityById(activity.scheduled_event_id);
    report.require(by_id.as_deref() == Some(&expected), || {
        format!("{}: not by id", name())
    });
    for (at, kind) in armed(activity) {
        let found = tables.get(&keys::due_key(at, &run.run, &kind))?.is_some();
        report.require(found, || {
            format!("{}: {kind:?} is not in the index", name())
        });
    }
    if let ActivityState::Queued { task } = activity.state {
        let queue = QueueKey {
            namespace: run.run.namespace,
            kind: TaskKind::Activity,
            name: activity
                .scheduled
                .task_queue
                .clone()
                .unwrap_or_default()
                .name,
        };
        let entry = tables.get(&keys::queue_task_key(&queue, task))?;
        report.require(entry.is_some(), || format!("{}: it is in no queue", name()));
    }
    Ok(())
}

/// The due items of the run itself that must be in the index.
fn run_due_items(run: &Run) -> Vec<(Timestamp, DueKind)> {
    let mut items = Vec::new();
    let times = run.times;
    if run.close.is_some() {
        return items;
    }
    if let Some(task) = run.workflow_task.as_ref()
        && matches!(task.phase, WorkflowTaskPhase::Scheduled { .. })
        && !task.schedule_to_start.is_zero()
    {
        let at = task.scheduled_at.after(task.schedule_to_start);
        items.push((
            at,
            DueKind::WorkflowTaskScheduleToStart { task: task.number },
        ));
    }
    if times.run_expires_at != Timestamp(0) {
        items.push((times.run_expires_at, DueKind::RunTimeout));
    }
    if times.execution_expires_at != Timestamp(0) {
        items.push((times.execution_expires_at, DueKind::ExecutionTimeout));
    }
    if run.first_task_pending {
        items.push((times.execution_at, DueKind::FirstWorkflowTask));
    }
    items
}
