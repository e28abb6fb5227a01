//! Due times of workflows: timers, workflow tasks, the run itself.

use crate::command::timer::table;
use crate::event::{Attributes, NewEvent};
use crate::execution::{Closing, Execution};
use crate::reply::Fault;
use crate::tables::{DueKind, Record, WorkflowTaskPhase, keys, wrong_record};
use crate::time::Timestamp;
use steadfast_proto::temporal::enums::v1::{RetryState, TimeoutType, WorkflowExecutionStatus};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{Failure, TimeoutFailureInfo};
use steadfast_proto::temporal::history::v1::{
    TimerFiredEventAttributes, WorkflowExecutionTimedOutEventAttributes,
};

/// Timers that are looked at for one firing; more wait for their own due items.
const TIMERS_MAX: usize = 500;

/// Fires all timers of the run that are due, by time, in one transaction.
pub(super) fn fire_timers(mut execution: Execution<'_, '_>) -> Result<(), Fault> {
    let prefix = keys::timer_prefix(&execution.run.run);
    let mut due = Vec::new();
    for (key, record) in execution.set.scan_prefix(&prefix, TIMERS_MAX, false)? {
        let Record::UserTimer(timer) = record.as_ref() else {
            return Err(wrong_record(&record));
        };
        if timer.fire_at <= execution.set.now {
            // The id follows its two-byte length.
            let id = key.get(prefix.len() + 2..).unwrap_or_default();
            let timer_id = String::from_utf8_lossy(id).into_owned();
            due.push((timer.fire_at, timer.started_event_id, timer_id, key));
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    due.sort();
    for (fire_at, started_event_id, timer_id, key) in due {
        execution.set.delete(key);
        execution.run.pending_timers = execution.run.pending_timers.saturating_sub(1);
        let kind = DueKind::UserTimer {
            started_event_id,
            timer_id: timer_id.clone(),
        };
        execution.remove_due(fire_at, &kind);
        let attributes = TimerFiredEventAttributes {
            timer_id,
            started_event_id,
        };
        let event = Attributes::TimerFiredEventAttributes(attributes);
        let row = match execution.add_or_buffer(event)? {
            Some(_) => &table::FIRED,
            None => &table::FIRED_BUFFERED,
        };
        execution.set.took(row);
    }
    if !execution.has_started_workflow_task() {
        execution.schedule_workflow_task()?;
    }
    execution.finish()
}

/// A sticky queue's worker did not come in time: the task goes to the normal queue.
pub(super) fn schedule_to_start(
    mut execution: Execution<'_, '_>,
    number: u64,
) -> Result<(), Fault> {
    let waits = execution.run.workflow_task.as_ref().is_some_and(|task| {
        task.number == number && matches!(task.phase, WorkflowTaskPhase::Scheduled { .. })
    });
    if !waits {
        return Ok(());
    }
    execution.time_out_workflow_task(TimeoutType::ScheduleToStart);
    execution.schedule_workflow_task()?;
    execution.finish()
}

/// The worker did not answer in time.
pub(super) fn start_to_close(mut execution: Execution<'_, '_>, number: u64) -> Result<(), Fault> {
    let started = execution.run.workflow_task.as_ref().is_some_and(|task| {
        task.number == number && matches!(task.phase, WorkflowTaskPhase::Started { .. })
    });
    if !started {
        return Ok(());
    }
    execution.time_out_workflow_task(TimeoutType::StartToClose);
    execution.schedule_workflow_task()?;
    execution.finish()
}

/// The back-off of the first workflow task is over.
pub(super) fn first_workflow_task(mut execution: Execution<'_, '_>) -> Result<(), Fault> {
    if !execution.run.first_task_pending {
        return Ok(());
    }
    execution.schedule_first_workflow_task()?;
    execution.finish()
}

/// The run's time is up. By retry policy or cron schedule another run follows, unless the whole
/// execution's time is up.
pub(super) fn run_timeout(mut execution: Execution<'_, '_>) -> Result<(), Fault> {
    let times = execution.run.times;
    let now = execution.set.now;
    let over = |at: Timestamp| at != Timestamp(0) && at <= now;
    if !over(times.run_expires_at) && !over(times.execution_expires_at) {
        return Ok(());
    }
    execution.end_task_for_close()?;
    let (retry_state, next) = if over(times.execution_expires_at) {
        (RetryState::Timeout, None)
    } else {
        execution.next_run_after_failure(timeout_failure())?
    };
    let new_execution_run_id = next
        .as_ref()
        .map(|next| next.run_id().to_owned())
        .unwrap_or_default();
    let attributes = WorkflowExecutionTimedOutEventAttributes {
        retry_state: retry_state.into(),
        new_execution_run_id: new_execution_run_id.clone(),
    };
    let event = NewEvent::from(Attributes::WorkflowExecutionTimedOutEventAttributes(
        attributes,
    ));
    let status = WorkflowExecutionStatus::TimedOut;
    execution.close(Closing {
        status,
        event,
        new_execution_run_id,
    })?;
    let set = execution.finish_into_set()?;
    match next {
        Some(next) => next.open(set),
        None => Ok(()),
    }
}

fn timeout_failure() -> Failure {
    let info = TimeoutFailureInfo {
        timeout_type: TimeoutType::StartToClose.into(),
        ..TimeoutFailureInfo::default()
    };
    Failure {
        message: "workflow timeout".to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(info)),
        ..Failure::default()
    }
}
