//! How an attempt ends: with the next attempt, or with the activity's closing event.

use super::{clear_start, put, queue_of, table, timeout};
use crate::event::{Attributes, NewEvent};
use crate::execution::{Execution, poll_text};
use crate::proto::Proto;
use crate::reply::Fault;
use crate::retry;
use crate::tables::{Activity, ActivityState, keys};
use crate::task_queue;
use crate::time::Timestamp;
use crate::transition::Transition;
use prost::Message;
use steadfast_proto::temporal::common::v1::Payloads;
use steadfast_proto::temporal::enums::v1::RetryState;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{ApplicationFailureInfo, Failure, ServerFailureInfo};
use steadfast_proto::temporal::history::v1::{
    ActivityTaskCanceledEventAttributes, ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes, ActivityTaskStartedEventAttributes,
    ActivityTaskTimedOutEventAttributes,
};

/// A failure that is kept between attempts is cut to this many bytes.
const LAST_FAILURE_BYTES_MAX: usize = 4 * 1024;
/// A failure over the blob limit is cut to this many bytes (Temporal's warning limit).
const FAILURE_BYTES_CUT: usize = 512 * 1024;
/// What a cut failure keeps free for the message's own framing.
const MESSAGE_FRAME_BYTES: usize = 10;
/// Temporal's text of a failure that was cut.
const FAILURE_TOO_LARGE: &str = "Failure exceeds size limit.";

/// Completes an activity. One that was not started (completed by id) is started by the one who
/// completes it, in the same breath.
pub(crate) fn complete(
    execution: &mut Execution<'_, '_>,
    activity: &mut Activity,
    result: Option<Payloads>,
    identity: &str,
) -> Result<(), Fault> {
    execution.set.took(ended(
        activity,
        &table::COMPLETED,
        &table::COMPLETED_WAITING,
    ));
    let started_event_id = add_started(execution, activity, Some(identity))?;
    let attributes = ActivityTaskCompletedEventAttributes {
        result,
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        identity: identity.to_owned(),
        ..ActivityTaskCompletedEventAttributes::default()
    };
    close(
        execution,
        activity,
        Attributes::ActivityTaskCompletedEventAttributes(attributes),
    )
}

/// Ends the attempt with a failure: the next attempt, or the closing event.
pub(crate) fn fail(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
    failure: Option<Failure>,
    identity: &str,
) -> Result<(), Fault> {
    let limit = usize::try_from(execution.set.limits().blob_bytes_max).unwrap_or(usize::MAX);
    let failure = failure.map(|failure| cut(failure, limit, FAILURE_BYTES_CUT, true));
    let retry_state = match retry(execution, activity, failure.as_ref()) {
        Ok(()) => return Ok(()),
        Err((unchanged, retry_state)) => {
            activity = unchanged;
            retry_state
        }
    };
    execution.set.took(&table::FAILED);
    let started_event_id = add_started(execution, &activity, None)?;
    let attributes = ActivityTaskFailedEventAttributes {
        failure,
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        identity: identity.to_owned(),
        retry_state: retry_state.into(),
        ..ActivityTaskFailedEventAttributes::default()
    };
    close(
        execution,
        &mut activity,
        Attributes::ActivityTaskFailedEventAttributes(attributes),
    )
}

/// Closes an activity as canceled. `started`: whether the worker says so; otherwise the cancel
/// request found it waiting, and the event comes after those of the other commands.
pub(crate) fn cancel(
    execution: &mut Execution<'_, '_>,
    activity: &mut Activity,
    details: Option<Payloads>,
    identity: &str,
) -> Result<(), Fault> {
    let started = matches!(activity.state, ActivityState::Started { .. });
    execution
        .set
        .took(ended(activity, &table::CANCELED, &table::CANCELED_WAITING));
    let started_event_id = add_started(execution, activity, None)?;
    let attributes = ActivityTaskCanceledEventAttributes {
        details,
        latest_cancel_requested_event_id: activity.cancel_requested_event_id,
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        identity: identity.to_owned(),
        ..ActivityTaskCanceledEventAttributes::default()
    };
    let attributes = Attributes::ActivityTaskCanceledEventAttributes(attributes);
    if started {
        return close(execution, activity, attributes);
    }
    remove(execution, activity);
    execution.buffer(NewEvent::from(attributes));
    Ok(())
}

/// Closes an activity as timed out, with the last failure of the attempts before as its cause.
pub(super) fn time_out(
    execution: &mut Execution<'_, '_>,
    activity: &mut Activity,
    mut failure: Failure,
    retry_state: RetryState,
) -> Result<(), Fault> {
    if let Some(FailureInfo::TimeoutFailureInfo(info)) = &mut failure.failure_info {
        info.last_heartbeat_details = activity.heartbeat_details.clone().map(|details| details.0);
    }
    execution.set.took(ended(
        activity,
        &table::TIMED_OUT,
        &table::TIMED_OUT_WAITING,
    ));
    failure.cause = activity.last_failure.clone().map(|last| Box::new(last.0));
    let started_event_id = add_started(execution, activity, None)?;
    let attributes = ActivityTaskTimedOutEventAttributes {
        failure: Some(failure),
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        retry_state: retry_state.into(),
    };
    close(
        execution,
        activity,
        Attributes::ActivityTaskTimedOutEventAttributes(attributes),
    )
}

/// Lets the activity wait for its next attempt, or answers why there is none.
pub(super) fn retry(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
    failure: Option<&Failure>,
) -> Result<(), (Box<Activity>, RetryState)> {
    let now = execution.set.now;
    activity.last_attempt_completed_at = now;
    let wait = match next_attempt(&activity, failure, now) {
        Ok(wait) => wait,
        Err(retry_state) => return Err((activity, retry_state)),
    };
    timeout::disarm_started(execution, &mut activity);
    let until = now.after(wait);
    activity.last_failure = failure
        .map(|failure| {
            cut(
                failure.clone(),
                LAST_FAILURE_BYTES_MAX,
                LAST_FAILURE_BYTES_MAX,
                false,
            )
        })
        .map(Proto);
    activity.last_worker_identity = std::mem::take(&mut activity.started_identity);
    clear_start(&mut activity);
    execution.set.took(&table::BACKED_OFF);
    activity.attempt += 1;
    activity.attempt_scheduled_at = until;
    activity.state = ActivityState::Backoff { until };
    timeout::arm_backoff(execution, &activity);
    put(execution, activity);
    Ok(())
}

/// The row by whether a worker has the activity.
fn ended(
    activity: &Activity,
    started: &'static Transition,
    waiting: &'static Transition,
) -> &'static Transition {
    match activity.state {
        ActivityState::Started { .. } => started,
        ActivityState::Queued { .. } | ActivityState::Backoff { .. } => waiting,
    }
}

fn next_attempt(
    activity: &Activity,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Result<crate::time::Span, RetryState> {
    let Some(policy) = activity.scheduled.retry_policy.as_ref() else {
        return Err(RetryState::RetryPolicyNotSet);
    };
    if activity.cancel_requested_event_id != 0 {
        return Err(RetryState::CancelRequested);
    }
    let expires_at = if activity.schedule_to_close.is_zero() {
        Timestamp(0)
    } else {
        activity.scheduled_at.after(activity.schedule_to_close)
    };
    retry::next_backoff(policy, activity.attempt, failure, now, expires_at)
}

/// Adds the Started event of the attempt that ends; 0 while it is buffered, or when the activity
/// was not started and nobody stands in for a worker.
fn add_started(
    execution: &mut Execution<'_, '_>,
    activity: &Activity,
    stand_in: Option<&str>,
) -> Result<i64, Fault> {
    let now = execution.set.now;
    let (at, identity) = match (activity.state, stand_in) {
        (ActivityState::Started { at }, _) => (at, activity.started_identity.as_str()),
        (ActivityState::Queued { .. } | ActivityState::Backoff { .. }, Some(identity)) => {
            (now, identity)
        }
        (ActivityState::Queued { .. } | ActivityState::Backoff { .. }, None) => return Ok(0),
    };
    let attributes = ActivityTaskStartedEventAttributes {
        scheduled_event_id: activity.scheduled_event_id,
        identity: identity.to_owned(),
        request_id: activity.started_poll.map(poll_text).unwrap_or_default(),
        attempt: activity.attempt,
        last_failure: activity.last_failure.clone().map(|failure| failure.0),
        ..ActivityTaskStartedEventAttributes::default()
    };
    let event = NewEvent::from(Attributes::ActivityTaskStartedEventAttributes(attributes));
    if execution.has_started_workflow_task() {
        execution.buffer_at(event, at);
        return Ok(0);
    }
    Ok(execution.add_event_at(event, at))
}

fn close(
    execution: &mut Execution<'_, '_>,
    activity: &mut Activity,
    attributes: Attributes,
) -> Result<(), Fault> {
    remove(execution, activity);
    execution.add_or_buffer(attributes)?;
    execution.schedule_workflow_task()
}

/// Takes the activity out of the state, with its queue entry and due times.
fn remove(execution: &mut Execution<'_, '_>, activity: &mut Activity) {
    timeout::disarm_scheduled(execution, activity);
    match activity.state {
        ActivityState::Queued { task } => {
            timeout::disarm_attempt(execution, activity);
            let queue = queue_of(execution, activity);
            task_queue::remove(execution.set, &queue, task);
        }
        ActivityState::Backoff { .. } => timeout::disarm_backoff(execution, activity),
        ActivityState::Started { .. } => timeout::disarm_started(execution, activity),
    }
    let run = &execution.run.run;
    execution
        .set
        .delete(keys::activity_key(run, activity.scheduled_event_id));
    execution.set.delete(keys::activity_by_id_key(
        run,
        &activity.scheduled.activity_id,
    ));
    assert!(
        execution.run.pending_activities > 0,
        "a pending activity is counted"
    );
    execution.run.pending_activities -= 1;
}

/// A failure over the limit is wrapped and cut, so that its kind stays known.
fn cut(failure: Failure, limit: usize, cut_to: usize, non_retryable: bool) -> Failure {
    if failure.encoded_len() <= limit {
        return failure;
    }
    Failure {
        message: FAILURE_TOO_LARGE.to_owned(),
        cause: Some(Box::new(truncated(&failure, cut_to))),
        ..server_failure(FAILURE_TOO_LARGE, non_retryable)
    }
}

/// A failure that the server itself reports.
pub(crate) fn server_failure(message: &str, non_retryable: bool) -> Failure {
    Failure {
        message: message.to_owned(),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo {
            non_retryable,
        })),
        ..Failure::default()
    }
}

/// Type, source and as much of the message as fits.
fn truncated(failure: &Failure, bytes_max: usize) -> Failure {
    let failure_info = match failure.failure_info.as_ref() {
        Some(FailureInfo::ApplicationFailureInfo(info)) => Some(
            FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
                r#type: head(&info.r#type, bytes_max / 4).to_owned(),
                non_retryable: info.non_retryable,
                ..ApplicationFailureInfo::default()
            }),
        ),
        Some(FailureInfo::ServerFailureInfo(info)) => Some(FailureInfo::ServerFailureInfo(*info)),
        Some(_) | None => None,
    };
    let source = head(&failure.source, bytes_max / 4).to_owned();
    let mut short = Failure {
        failure_info,
        source,
        ..Failure::default()
    };
    let left = bytes_max.saturating_sub(short.encoded_len() + MESSAGE_FRAME_BYTES);
    head(&failure.message, left).clone_into(&mut short.message);
    short
}

/// The longest beginning of at most this many bytes that ends between characters.
fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
