//! Local activities: tried here while the worker has the workflow task.

use crate::client::Client;
use crate::executor::{LocalActivityEnd, LocalActivityRequest};
use crate::failure::{Failure, FailureKind, Result};
use crate::worker::activity::{self, ActivityContext, ActivityInfo, CancelReason};
use crate::worker::registry::AnyActivity;
use std::time::{Duration, SystemTime};
use steadfast_proto::temporal::common::v1::{Payload, RetryPolicy, WorkflowExecution};
use steadfast_proto::temporal::enums::v1::TimeoutType;
use tokio_util::sync::CancellationToken;

/// The run that a local activity is of.
#[derive(Debug, Clone)]
pub(crate) struct Of {
    pub(crate) namespace: String,
    pub(crate) workflow_execution: WorkflowExecution,
    pub(crate) workflow_type: String,
}

fn span(found: Option<prost_types::Duration>, otherwise: Duration) -> Duration {
    let found = found.map(|found| Duration::try_from(found).unwrap_or_default());
    found.filter(|found| !found.is_zero()).unwrap_or(otherwise)
}

/// The pause before the next attempt; nothing when there is none.
fn pause(policy: Option<&RetryPolicy>, attempt: u32, failure: &Failure) -> Option<Duration> {
    let default = RetryPolicy::default();
    let policy = policy.unwrap_or(&default);
    if let FailureKind::Application(application) = failure.kind() {
        let refused = policy
            .non_retryable_error_types
            .contains(&application.error_type);
        if application.non_retryable || refused {
            return None;
        }
        if let Some(delay) = application.next_retry_delay {
            return Some(delay);
        }
    }
    let most = u32::try_from(policy.maximum_attempts).unwrap_or_default();
    if failure.is_canceled() || (most > 0 && attempt >= most) {
        return None;
    }
    let first = span(policy.initial_interval, Duration::from_secs(1));
    let longest = span(policy.maximum_interval, first.saturating_mul(100));
    let coefficient = match policy.backoff_coefficient {
        given if given >= 1.0 => given,
        _ => 2.0,
    };
    let mut pause = first;
    for _ in 1..attempt.min(64) {
        let grown = pause.as_secs_f64() * coefficient;
        if grown >= longest.as_secs_f64() {
            return Some(longest);
        }
        pause = Duration::from_secs_f64(grown);
    }
    Some(pause.min(longest))
}

fn timed_out(timeout_type: TimeoutType) -> Failure {
    let kind = FailureKind::Timeout {
        timeout_type,
        last_heartbeat_details: Vec::new(),
    };
    Failure::new("activity timeout", kind)
}

/// Tries an activity until it ends, its time is over, it is cancelled, or the next pause is longer
/// than the worker should wait.
pub(crate) async fn perform(
    client: Client,
    request: LocalActivityRequest,
    code: Result<AnyActivity>,
    of: Of,
    canceled: CancellationToken,
) -> LocalActivityEnd {
    let mut attempt = request.attempt;
    let ended = |attempt, result, backoff| LocalActivityEnd {
        seq: request.seq,
        attempt,
        result,
        complete_time: SystemTime::now(),
        backoff,
    };
    let code = match code {
        Ok(code) => code,
        Err(failure) => return ended(attempt, Err(failure), None),
    };
    let limit = request.schedule_to_close_timeout;
    let deadline = (!limit.is_zero()).then(|| tokio::time::Instant::now() + limit);
    loop {
        let once = once(&client, &request, &code, &of, attempt, &canceled);
        let result = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, once).await {
                Ok(result) => result,
                Err(_) => {
                    return ended(attempt, Err(timed_out(TimeoutType::ScheduleToClose)), None);
                }
            },
            None => once.await,
        };
        let failure = match result {
            Ok(result) => return ended(attempt, Ok(result), None),
            Err(failure) => failure,
        };
        let Some(pause) = pause(request.retry_policy.as_ref(), attempt, &failure) else {
            return ended(attempt, Err(failure), None);
        };
        let late = |deadline| tokio::time::Instant::now() + pause >= deadline;
        if deadline.is_some_and(late) {
            return ended(attempt, Err(failure), None);
        }
        if pause > request.local_retry_threshold {
            return ended(attempt, Err(failure), Some(pause));
        }
        tokio::select! {
            biased;
            () = canceled.cancelled() => {
                let failure = Failure::canceled("the local activity was cancelled");
                return ended(attempt, Err(failure), None);
            }
            () = tokio::time::sleep(pause) => {}
        }
        attempt += 1;
    }
}

async fn once(
    client: &Client,
    request: &LocalActivityRequest,
    code: &AnyActivity,
    of: &Of,
    attempt: u32,
    canceled: &CancellationToken,
) -> Result<Option<Payload>> {
    let info = ActivityInfo {
        namespace: of.namespace.clone(),
        workflow_execution: of.workflow_execution.clone(),
        workflow_type: of.workflow_type.clone(),
        activity_id: request.activity_id.clone(),
        activity_type: request.activity_type.clone(),
        attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
        scheduled_time: request.original_schedule_time,
        started_time: SystemTime::now(),
        schedule_to_close_timeout: request.schedule_to_close_timeout,
        start_to_close_timeout: request.start_to_close_timeout,
        heartbeat_timeout: Duration::ZERO,
        heartbeat_details: Vec::new(),
        retry_policy: request.retry_policy.clone(),
        priority: None,
        is_local: true,
        task_token: prost::bytes::Bytes::new(),
    };
    let context = ActivityContext::new(info, Some(client.clone()));
    let data = client.data_converter().clone();
    let running = activity::run(
        std::sync::Arc::clone(code),
        context.clone(),
        request.input.clone(),
        data,
    );
    let limit = match request.start_to_close_timeout {
        Duration::ZERO => Duration::from_secs(u64::from(u32::MAX)),
        limit => limit,
    };
    let telling = async {
        canceled.cancelled().await;
        context.cancel(CancelReason::Requested);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        result = running => result,
        () = tokio::time::sleep(limit) => {
            context.cancel(CancelReason::TimedOut);
            Err(timed_out(TimeoutType::StartToClose))
        }
        () = telling => Err(Failure::canceled("the local activity was cancelled")),
    }
}
