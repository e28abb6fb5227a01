//! Retry of activities and workflows: policies, and when the next attempt begins.
//!
//! Intervals are made by repeated multiplication, never by `powf`, whose last bit differs between
//! platforms: replicas must agree on each nanosecond.

use crate::time::{Span, Timestamp};
use steadfast_proto::temporal::common::v1::RetryPolicy;
use steadfast_proto::temporal::enums::v1::{RetryState, TimeoutType};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;

/// Temporal's default: one second.
pub const INITIAL_INTERVAL: Span = Span::seconds(1);
/// Temporal's default: each interval is twice the one before.
pub const BACKOFF_COEFFICIENT: f64 = 2.0;
/// Temporal's default: the longest interval is 100 times the first.
pub const MAXIMUM_INTERVAL_FACTOR: i64 = 100;
/// A non-retryable type with this prefix names a time-out.
pub const TIMEOUT_TYPE_PREFIX: &str = "TemporalTimeout:";

/// A policy with each unset field filled in, as Temporal writes it into events.
#[must_use]
pub fn with_defaults(policy: Option<&RetryPolicy>) -> RetryPolicy {
    let mut policy = policy.cloned().unwrap_or_default();
    let initial = policy.initial_interval.as_ref();
    if initial.is_none_or(|interval| interval.seconds == 0 && interval.nanos == 0) {
        policy.initial_interval = Some(INITIAL_INTERVAL.to_proto());
    }
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = BACKOFF_COEFFICIENT;
    }
    let maximum = policy.maximum_interval.as_ref();
    if maximum.is_none_or(|interval| interval.seconds == 0 && interval.nanos == 0) {
        let initial = Span::from_proto(policy.initial_interval.as_ref());
        let maximum = Span(initial.0.saturating_mul(MAXIMUM_INTERVAL_FACTOR));
        policy.maximum_interval = Some(maximum.to_proto());
    }
    policy
}

/// Whether a policy (defaults filled in) makes sense.
///
/// # Errors
/// Temporal's text.
pub fn validate(policy: &RetryPolicy) -> Result<(), String> {
    if policy.maximum_attempts == 1 {
        // One attempt retries nothing, so the rest has no meaning.
        return Ok(());
    }
    if is_negative(policy.initial_interval.as_ref()) {
        return Err("invalid InitialInterval set on retry policy: negative duration".to_owned());
    }
    // Written so that NaN is refused, too.
    if !matches!(policy.backoff_coefficient.partial_cmp(&1.0), Some(order) if order.is_ge()) {
        return Err("BackoffCoefficient cannot be less than 1 on retry policy.".to_owned());
    }
    if is_negative(policy.maximum_interval.as_ref()) {
        return Err("invalid MaximumInterval set on retry policy: negative duration".to_owned());
    }
    let initial = Span::from_proto(policy.initial_interval.as_ref());
    let maximum = Span::from_proto(policy.maximum_interval.as_ref());
    if !maximum.is_zero() && maximum < initial {
        return Err(
            "MaximumInterval cannot be less than InitialInterval on retry policy.".to_owned(),
        );
    }
    if policy.maximum_attempts < 0 {
        return Err("MaximumAttempts cannot be negative on retry policy.".to_owned());
    }
    for name in &policy.non_retryable_error_types {
        if let Some(timeout) = name.strip_prefix(TIMEOUT_TYPE_PREFIX)
            && !TIMEOUT_NAMES.contains(&timeout)
        {
            return Err(format!("Invalid timeout type value: {timeout}."));
        }
    }
    Ok(())
}

const TIMEOUT_NAMES: [&str; 5] = [
    "Unspecified",
    "StartToClose",
    "ScheduleToStart",
    "ScheduleToClose",
    "Heartbeat",
];

/// Temporal's short name of a time-out type, as messages and non-retryable types use it.
#[must_use]
pub fn timeout_name(timeout: TimeoutType) -> &'static str {
    match timeout {
        TimeoutType::Unspecified => "Unspecified",
        TimeoutType::StartToClose => "StartToClose",
        TimeoutType::ScheduleToStart => "ScheduleToStart",
        TimeoutType::ScheduleToClose => "ScheduleToClose",
        TimeoutType::Heartbeat => "Heartbeat",
    }
}

/// Whether a duration is below zero.
#[must_use]
pub fn is_negative(duration: Option<&prost_types::Duration>) -> bool {
    duration.is_some_and(|duration| duration.seconds < 0 || duration.nanos < 0)
}

/// Whether a failure may be tried again at all, before attempts and time are looked at.
#[must_use]
pub fn is_retryable(failure: &Failure, policy: &RetryPolicy) -> bool {
    let listed = |name: &str| {
        policy
            .non_retryable_error_types
            .iter()
            .any(|entry| entry == name)
    };
    match failure.failure_info.as_ref() {
        Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => false,
        Some(FailureInfo::TimeoutFailureInfo(info)) => match info.timeout_type() {
            timeout @ (TimeoutType::StartToClose | TimeoutType::Heartbeat) => {
                !listed(&format!("{TIMEOUT_TYPE_PREFIX}{}", timeout_name(timeout)))
            }
            TimeoutType::Unspecified
            | TimeoutType::ScheduleToStart
            | TimeoutType::ScheduleToClose => false,
        },
        Some(FailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            !info.non_retryable && !listed(&info.r#type)
        }
        Some(_) | None => true,
    }
}

/// How long to wait before the attempt after `attempt`, or why there is none.
///
/// `expires_at` is the last instant at which an attempt may begin; zero when there is none.
///
/// # Errors
/// The `RetryState` that says why not: never `InProgress`.
pub fn next_backoff(
    policy: &RetryPolicy,
    attempt: i32,
    failure: Option<&Failure>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Span, RetryState> {
    if failure.is_some_and(|failure| !is_retryable(failure, policy)) {
        return Err(RetryState::NonRetryableFailure);
    }
    if policy.maximum_attempts > 0 && attempt >= policy.maximum_attempts {
        return Err(RetryState::MaximumAttemptsReached);
    }
    let wait = failure
        .and_then(next_retry_delay)
        .unwrap_or_else(|| interval(policy, attempt));
    if expires_at != Timestamp(0) && now.after(wait) > expires_at {
        return Err(RetryState::Timeout);
    }
    Ok(wait)
}

/// The policy's interval after `attempt` (from 1): the first one, times the coefficient per
/// further attempt, capped by the longest one.
#[must_use]
pub fn interval(policy: &RetryPolicy, attempt: i32) -> Span {
    let initial = Span::from_proto(policy.initial_interval.as_ref());
    let maximum = Span::from_proto(policy.maximum_interval.as_ref());
    let cap = if maximum.is_zero() {
        crate::time::SPAN_MAX
    } else {
        maximum
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of 100 years lose below a microsecond"
    )]
    let (mut wait, cap_nanos) = (initial.0 as f64, cap.0 as f64);
    for _ in 1..attempt {
        if wait >= cap_nanos || policy.backoff_coefficient <= 1.0 {
            break;
        }
        wait *= policy.backoff_coefficient;
    }
    if wait >= cap_nanos {
        return cap.min(crate::time::SPAN_MAX);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below the cap, which is an i64"
    )]
    Span(wait as i64)
}

/// The delay that an application failure asks for; it overrides the policy and its cap.
fn next_retry_delay(failure: &Failure) -> Option<Span> {
    match failure.failure_info.as_ref() {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info
            .next_retry_delay
            .as_ref()
            .map(|delay| Span::from_proto(Some(delay))),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(initial: i64, coefficient: f64, maximum: i64) -> RetryPolicy {
        with_defaults(Some(&RetryPolicy {
            initial_interval: Some(Span::millis(initial).to_proto()),
            backoff_coefficient: coefficient,
            maximum_interval: Some(Span::millis(maximum).to_proto()),
            ..RetryPolicy::default()
        }))
    }

    #[test]
    fn intervals_grow_to_the_cap() {
        let policy = policy(1_000, 1.5, 2_000);
        let waits: Vec<i64> = (1..5)
            .map(|attempt| interval(&policy, attempt).0 / 1_000_000)
            .collect();
        assert_eq!(waits, [1_000, 1_500, 2_000, 2_000]);
        assert_eq!(interval(&policy, i32::MAX), Span::millis(2_000));
    }

    #[test]
    fn defaults_follow_the_first_interval() {
        let filled = with_defaults(Some(&RetryPolicy {
            initial_interval: Some(Span::seconds(3).to_proto()),
            ..RetryPolicy::default()
        }));
        assert_eq!(
            Span::from_proto(filled.maximum_interval.as_ref()),
            Span::seconds(300)
        );
        assert!(validate(&filled).is_ok());
    }

    #[test]
    fn no_attempt_begins_after_the_expiry() {
        let policy = policy(1_000, 2.0, 0);
        let now = Timestamp(Span::seconds(100).0);
        let at = |seconds| Timestamp(Span::seconds(seconds).0);
        assert_eq!(
            next_backoff(&policy, 1, None, now, at(101)),
            Ok(Span::seconds(1))
        );
        assert_eq!(
            next_backoff(&policy, 2, None, now, at(101)),
            Err(RetryState::Timeout)
        );
    }
}
