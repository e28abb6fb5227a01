//! The four time-outs of an activity and the end of its back-off: items in the index of due times.
//!
//! Each item's key follows from the activity's record, so that it is taken out when it loses its
//! meaning. The heartbeat's item stays where it is while heartbeats come, and moves when it is due.

use super::{clear_start, dispatch, ending, load, put, table};
use crate::execution::Execution;
use crate::reply::Fault;
use crate::retry::timeout_name;
use crate::tables::{Activity, ActivityState, DueKind};
use crate::time::{Span, Timestamp};
use steadfast_planted::{Bug, planted};
use steadfast_proto::temporal::enums::v1::{RetryState, TimeoutType};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{Failure, TimeoutFailureInfo};

/// Temporal's text when time, not attempts, ends an activity.
const NO_TIME_LEFT: &str = "Not enough time to schedule next retry before activity ScheduleToClose \
                            timeout, giving up retrying";

/// What lasts over all attempts.
pub(super) fn arm_scheduled(execution: &mut Execution<'_, '_>, activity: &Activity) {
    if let Some((at, kind)) = schedule_to_close(activity) {
        execution.add_due(at, kind);
    }
}

pub(super) fn disarm_scheduled(execution: &mut Execution<'_, '_>, activity: &Activity) {
    if let Some((at, kind)) = schedule_to_close(activity) {
        execution.remove_due(at, &kind);
    }
}

fn schedule_to_close(activity: &Activity) -> Option<(Timestamp, DueKind)> {
    let scheduled_event_id = activity.scheduled_event_id;
    let kind = DueKind::ActivityScheduleToClose { scheduled_event_id };
    after(activity.scheduled_at, activity.schedule_to_close).map(|at| (at, kind))
}

/// What lasts until an attempt starts.
pub(super) fn arm_attempt(execution: &mut Execution<'_, '_>, activity: &Activity) {
    if let Some((at, kind)) = schedule_to_start(activity) {
        execution.add_due(at, kind);
    }
}

pub(super) fn disarm_attempt(execution: &mut Execution<'_, '_>, activity: &Activity) {
    if let Some((at, kind)) = schedule_to_start(activity) {
        execution.remove_due(at, &kind);
    }
}

fn schedule_to_start(activity: &Activity) -> Option<(Timestamp, DueKind)> {
    let (scheduled_event_id, attempt) = (activity.scheduled_event_id, activity.attempt);
    let kind = DueKind::ActivityScheduleToStart {
        scheduled_event_id,
        attempt,
    };
    after(activity.attempt_scheduled_at, activity.schedule_to_start).map(|at| (at, kind))
}

/// What lasts while a worker has the activity.
pub(super) fn arm_started(execution: &mut Execution<'_, '_>, activity: &mut Activity) {
    if activity.attempt > 1 && planted(Bug::RetryWithoutTimeout) {
        return;
    }
    if let Some((at, kind)) = start_to_close(activity) {
        execution.add_due(at, kind);
    }
    let due_at = after(execution.set.now, activity.heartbeat);
    activity.heartbeat_due_at = due_at.unwrap_or_default();
    if let Some(at) = due_at {
        execution.add_due(at, heartbeat_kind(activity));
    }
}

pub(super) fn disarm_started(execution: &mut Execution<'_, '_>, activity: &mut Activity) {
    if let Some((at, kind)) = start_to_close(activity) {
        execution.remove_due(at, &kind);
    }
    let due_at = std::mem::take(&mut activity.heartbeat_due_at);
    if due_at != Timestamp(0) {
        execution.remove_due(due_at, &heartbeat_kind(activity));
    }
}

fn start_to_close(activity: &Activity) -> Option<(Timestamp, DueKind)> {
    let ActivityState::Started { at } = activity.state else {
        return None;
    };
    let (scheduled_event_id, claim) = (activity.scheduled_event_id, activity.claim);
    let kind = DueKind::ActivityStartToClose {
        scheduled_event_id,
        claim,
    };
    after(at, activity.start_to_close).map(|at| (at, kind))
}

fn heartbeat_kind(activity: &Activity) -> DueKind {
    let (scheduled_event_id, claim) = (activity.scheduled_event_id, activity.claim);
    DueKind::ActivityHeartbeat {
        scheduled_event_id,
        claim,
    }
}

/// The next attempt's begin. Its schedule-to-start time-out counts from there.
pub(super) fn arm_backoff(execution: &mut Execution<'_, '_>, activity: &Activity) {
    if let Some((at, kind)) = backoff(activity) {
        execution.add_due(at, kind);
    }
}

pub(super) fn disarm_backoff(execution: &mut Execution<'_, '_>, activity: &Activity) {
    if let Some((at, kind)) = backoff(activity) {
        execution.remove_due(at, &kind);
    }
}

fn backoff(activity: &Activity) -> Option<(Timestamp, DueKind)> {
    let ActivityState::Backoff { until } = activity.state else {
        return None;
    };
    let (scheduled_event_id, attempt) = (activity.scheduled_event_id, activity.attempt);
    Some((
        until,
        DueKind::ActivityRetry {
            scheduled_event_id,
            attempt,
        },
    ))
}

fn after(start: Timestamp, span: Span) -> Option<Timestamp> {
    (!span.is_zero()).then(|| start.after(span))
}

/// Every due item that a pending activity must have in the index now.
pub(crate) fn armed(activity: &Activity) -> Vec<(Timestamp, DueKind)> {
    let mut items: Vec<_> = schedule_to_close(activity).into_iter().collect();
    match activity.state {
        ActivityState::Queued { .. } => items.extend(schedule_to_start(activity)),
        ActivityState::Backoff { .. } => items.extend(backoff(activity)),
        ActivityState::Started { .. } => {
            items.extend(start_to_close(activity));
            if activity.heartbeat_due_at != Timestamp(0) {
                items.push((activity.heartbeat_due_at, heartbeat_kind(activity)));
            }
        }
    }
    items
}

/// Fires a due item of an activity; the caller has taken it out of the index. False when it is
/// stale or only moved: the run's own record stays as it is.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub(crate) fn fire(execution: &mut Execution<'_, '_>, kind: &DueKind) -> Result<bool, Fault> {
    let (DueKind::ActivityScheduleToStart {
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
    }) = kind
    else {
        return Ok(false);
    };
    if !execution.is_open() {
        return Ok(false);
    }
    let Some(mut activity) = load(execution, *scheduled_event_id)? else {
        return Ok(false);
    };
    match (kind, activity.state) {
        (DueKind::ActivityRetry { attempt, .. }, ActivityState::Backoff { .. })
            if *attempt == activity.attempt =>
        {
            begin_attempt(execution, activity)?;
        }
        (DueKind::ActivityScheduleToStart { attempt, .. }, ActivityState::Queued { .. })
            if *attempt == activity.attempt =>
        {
            let failure = failure_of(TimeoutType::ScheduleToStart);
            ending::time_out(execution, &mut activity, failure, RetryState::Timeout)?;
        }
        (DueKind::ActivityScheduleToClose { .. }, _) => {
            ending::time_out(
                execution,
                &mut activity,
                no_time_left(),
                RetryState::Timeout,
            )?;
        }
        (DueKind::ActivityStartToClose { claim, .. }, ActivityState::Started { .. })
            if *claim == activity.claim =>
        {
            time_out_attempt(execution, activity, TimeoutType::StartToClose)?;
        }
        (DueKind::ActivityHeartbeat { claim, .. }, ActivityState::Started { at })
            if *claim == activity.claim =>
        {
            return fire_heartbeat(execution, activity, at);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn begin_attempt(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
) -> Result<(), Fault> {
    execution.set.took(&table::NEXT_ATTEMPT);
    activity.state = ActivityState::Queued { task: 0 };
    clear_start(&mut activity);
    arm_attempt(execution, &activity);
    dispatch(execution, activity)
}

fn fire_heartbeat(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
    started_at: Timestamp,
) -> Result<bool, Fault> {
    let expires_at = started_at
        .max(activity.heartbeat_at)
        .after(activity.heartbeat);
    if expires_at > execution.set.now {
        activity.heartbeat_due_at = expires_at;
        execution.add_due(expires_at, heartbeat_kind(&activity));
        put(execution, activity);
        return Ok(false);
    }
    time_out_attempt(execution, activity, TimeoutType::Heartbeat)?;
    Ok(true)
}

/// An attempt that may be retried runs out of time.
fn time_out_attempt(
    execution: &mut Execution<'_, '_>,
    activity: Box<Activity>,
    timeout: TimeoutType,
) -> Result<(), Fault> {
    let failure = failure_of(timeout);
    let Err((mut activity, retry_state)) = ending::retry(execution, activity, Some(&failure))
    else {
        return Ok(());
    };
    let out_of_time = retry_state == RetryState::Timeout;
    let failure = if out_of_time { no_time_left() } else { failure };
    ending::time_out(execution, &mut activity, failure, retry_state)
}

fn failure_of(timeout: TimeoutType) -> Failure {
    timeout_failure(
        &format!("activity {} timeout", timeout_name(timeout)),
        timeout,
    )
}

fn no_time_left() -> Failure {
    timeout_failure(NO_TIME_LEFT, TimeoutType::ScheduleToClose)
}

fn timeout_failure(message: &str, timeout: TimeoutType) -> Failure {
    let info = TimeoutFailureInfo {
        timeout_type: timeout.into(),
        last_heartbeat_details: None,
    };
    Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(info)),
        ..Failure::default()
    }
}
