//! I-27: nothing times out, and no activity is retried, before its time by the cluster's clock and by
//! the true one; a heartbeat that was acknowledged gives an attempt more time. (That time-outs come
//! at all is the liveness phase.)

use crate::evidence::{APART, Evidence, FinalRun};
use crate::operation::{Asked, DeliveredTask, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_proto::temporal::enums::v1::TimeoutType;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use steadfast_proto::temporal::history::v1::{
    ActivityTaskScheduledEventAttributes as Activity, ActivityTaskTimedOutEventAttributes,
    HistoryEvent,
};

/// By run, activity and attempt.
type Attempt<'a> = (&'a str, &'a str, i32);

/// What clients and workers know of attempts.
#[derive(Debug, Default)]
struct Attempts<'a> {
    /// When a worker asked for what it got, and when it had it.
    delivered: BTreeMap<Attempt<'a>, (Duration, Duration)>,
    /// Attempts that a worker, perhaps, called failed.
    failed: BTreeSet<Attempt<'a>>,
    /// When the last heartbeat that was acknowledged was sent.
    beats: BTreeMap<Attempt<'a>, Duration>,
}

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let attempts = attempts(evidence);
    let mut found = Vec::new();
    for run in &evidence.runs {
        for event in &run.events {
            if let Some((took, least)) = by_cluster_time(run, event, &attempts)
                && took < least
            {
                let (workflow_id, run_id) = (&run.workflow_id, &run.run_id);
                found.push(format!(
                    "{workflow_id} {run_id}: after {took:?}, not {least:?}: {event:?}"
                ));
            }
        }
        found.extend(by_true_time(run, &attempts, evidence));
    }
    found
}

fn attempts(evidence: &Evidence) -> Attempts<'_> {
    let mut attempts = Attempts::default();
    for delivery in &evidence.journal.deliveries {
        if let DeliveredTask::Activity { activity_id } = &delivery.task {
            let attempt = (delivery.run_id.as_str(), activity_id.as_str(), delivery.attempt);
            let times = (delivery.polled, delivery.at);
            attempts.delivered.entry(attempt).or_insert(times);
        }
    }
    for operation in &evidence.journal.operations {
        if let Asked::FailActivity {
            run_id,
            activity_id,
            attempt,
        } = &operation.asked
        {
            attempts.failed.insert((run_id, activity_id, *attempt));
        }
        if let Asked::HeartbeatActivity {
            run_id,
            activity_id,
            attempt,
        } = &operation.asked
            && matches!(operation.outcome, Outcome::Acknowledged(_))
        {
            let beat = attempts.beats.entry((run_id, activity_id, *attempt));
            let beat = beat.or_default();
            *beat = (*beat).max(operation.invoked);
        }
    }
    attempts
}

fn span(duration: Option<&prost_types::Duration>) -> Duration {
    let duration = duration.copied().unwrap_or_default();
    Duration::try_from(duration).unwrap_or_default()
}

/// Nothing lasts so long here: what has no limit.
const ENDLESS: Duration = Duration::from_secs(3_600);

fn limit(duration: Option<&prost_types::Duration>) -> Duration {
    let limit = span(duration);
    if limit.is_zero() { ENDLESS } else { limit }
}

/// From one event to another, by cluster time.
fn between(run: &FinalRun, from: i64, to: &HistoryEvent) -> Option<Duration> {
    let nanos = |event: &HistoryEvent| {
        let time = event.event_time.unwrap_or_default();
        i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
    };
    let took = nanos(to) - nanos(event_of(run, from)?);
    Some(Duration::from_nanos(u64::try_from(took).unwrap_or(0)))
}

fn event_of(run: &FinalRun, event_id: i64) -> Option<&HistoryEvent> {
    run.events.iter().find(|event| event.event_id == event_id)
}

fn activity_of(run: &FinalRun, scheduled_event_id: i64) -> Option<&Activity> {
    let event = event_of(run, scheduled_event_id)?;
    let Event::ActivityTaskScheduledEventAttributes(activity) = event.attributes.as_ref()? else {
        return None;
    };
    Some(activity)
}

/// After an attempt of this number, the next one waits so long.
fn backoff(activity: &Activity, attempt: i32) -> Duration {
    let policy = activity.retry_policy.clone().unwrap_or_default();
    let first = span(policy.initial_interval.as_ref());
    first.mul_f64(policy.backoff_coefficient.max(1.0).powi(attempt - 1))
}

/// How long something took that must not be shorter, and how long it must take at least.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other events are no time-outs"
)]
fn by_cluster_time(
    run: &FinalRun,
    event: &HistoryEvent,
    attempts: &Attempts<'_>,
) -> Option<(Duration, Duration)> {
    match event.attributes.as_ref()? {
        Event::WorkflowExecutionTimedOutEventAttributes(_) => {
            let first = run.events.first()?;
            let Event::WorkflowExecutionStartedEventAttributes(it) = first.attributes.as_ref()?
            else {
                return None;
            };
            let least = span(it.workflow_run_timeout.as_ref());
            Some((between(run, first.event_id, event)?, least))
        }
        Event::WorkflowTaskTimedOutEventAttributes(it)
            if it.timeout_type == i32::from(TimeoutType::StartToClose) =>
        {
            let scheduled = event_of(run, it.scheduled_event_id)?;
            let Event::WorkflowTaskScheduledEventAttributes(task) = scheduled.attributes.as_ref()?
            else {
                return None;
            };
            let least = span(task.start_to_close_timeout.as_ref());
            Some((between(run, it.started_event_id, event)?, least))
        }
        Event::ActivityTaskTimedOutEventAttributes(it) => timed_out(run, event, it),
        Event::ActivityTaskStartedEventAttributes(it) => {
            let activity = activity_of(run, it.scheduled_event_id)?;
            let silent = limit(activity.heartbeat_timeout.as_ref())
                .min(limit(activity.start_to_close_timeout.as_ref()));
            // Of an attempt that no worker got nothing is known.
            let before = |attempt: i32| {
                let name = (run.run_id.as_str(), activity.activity_id.as_str(), attempt);
                let silent_out =
                    attempts.delivered.contains_key(&name) && !attempts.failed.contains(&name);
                backoff(activity, attempt) + if silent_out { silent } else { Duration::ZERO }
            };
            let least: Duration = (1..it.attempt).map(before).sum();
            let least = least.saturating_sub(Duration::from_millis(1));
            Some((between(run, it.scheduled_event_id, event)?, least))
        }
        _ => None,
    }
}

/// An activity that timed out. Where another attempt would come too late, it does so as soon as the
/// last one ended, as in Temporal.
fn timed_out(
    run: &FinalRun,
    event: &HistoryEvent,
    it: &ActivityTaskTimedOutEventAttributes,
) -> Option<(Duration, Duration)> {
    let activity = activity_of(run, it.scheduled_event_id)?;
    let Some(FailureInfo::TimeoutFailureInfo(info)) = &it.failure.as_ref()?.failure_info else {
        return None;
    };
    let (from, least) = match TimeoutType::try_from(info.timeout_type).ok()? {
        TimeoutType::StartToClose => (it.started_event_id, activity.start_to_close_timeout),
        TimeoutType::Heartbeat => (it.started_event_id, activity.heartbeat_timeout),
        TimeoutType::ScheduleToStart => (it.scheduled_event_id, activity.schedule_to_start_timeout),
        TimeoutType::ScheduleToClose => {
            let started = event_of(run, it.started_event_id);
            let waits = match started.and_then(|event| event.attributes.as_ref()) {
                Some(Event::ActivityTaskStartedEventAttributes(it)) => backoff(activity, it.attempt),
                Some(_) | None => Duration::ZERO,
            };
            let least = span(activity.schedule_to_close_timeout.as_ref()).saturating_sub(waits);
            return Some((between(run, it.scheduled_event_id, event)?, least));
        }
        TimeoutType::Unspecified => return None,
    };
    Some((between(run, from, event)?, span(least.as_ref())))
}

/// Attempts that follow one which nobody ended: it timed out before.
fn by_true_time(run: &FinalRun, attempts: &Attempts<'_>, evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let right = 0.9 / evidence.fastest_clock.max(1.0);
    for event in &run.events {
        let Some(Event::ActivityTaskScheduledEventAttributes(activity)) = &event.attributes else {
            continue;
        };
        let name = |attempt| (run.run_id.as_str(), activity.activity_id.as_str(), attempt);
        let first = name(1);
        for (attempt, (polled, _)) in attempts.delivered.range(first..=name(i32::MAX)) {
            let next = name(attempt.2.saturating_add(1));
            let Some((_, at)) = attempts.delivered.get(&next) else {
                continue;
            };
            if attempts.failed.contains(attempt) || !evidence.is_comparable(*polled, *at) {
                continue;
            }
            let in_time = |limit: Duration| limit.mul_f64(right);
            let beat = attempts.beats.get(attempt).copied().unwrap_or_default();
            let silent = beat.max(*polled) + in_time(limit(activity.heartbeat_timeout.as_ref()));
            let ends = *polled + in_time(limit(activity.start_to_close_timeout.as_ref()));
            let least = silent.min(ends) + in_time(backoff(activity, attempt.2));
            if *at < least.saturating_sub(APART) {
                found.push(format!("{next:?} at {at:?}, not before {least:?}; {polled:?}, {beat:?}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
