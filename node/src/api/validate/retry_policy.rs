//! Retry policies.

use super::duration;
use crate::api::status::invalid;
use steadfast_proto::temporal::common::v1::RetryPolicy;
use tonic::Status;

const INITIAL_INTERVAL_DEFAULT: prost_types::Duration = prost_types::Duration {
    seconds: 1,
    nanos: 0,
};
const TIMEOUT_PREFIX: &str = "TemporalTimeout:";
const TIMEOUTS: &[&str] = &[
    "StartToClose",
    "ScheduleToStart",
    "ScheduleToClose",
    "Heartbeat",
];

/// Checks a policy as it will be with its defaults filled in.
pub(super) fn retry_policy(policy: Option<&RetryPolicy>) -> Result<(), Status> {
    // One attempt means no retry: the rest is not looked at.
    let Some(policy) = policy.filter(|policy| policy.maximum_attempts != 1) else {
        return Ok(());
    };
    if let Err(cause) = duration(policy.initial_interval.as_ref()) {
        return Err(invalid(format!(
            "invalid InitialInterval set on retry policy: {cause}"
        )));
    }
    // Unset is 0 and means the default.
    if policy.backoff_coefficient.is_nan()
        || (policy.backoff_coefficient != 0.0 && policy.backoff_coefficient < 1.0)
    {
        return Err(invalid(
            "BackoffCoefficient cannot be less than 1 on retry policy.",
        ));
    }
    if let Err(cause) = duration(policy.maximum_interval.as_ref()) {
        return Err(invalid(format!(
            "invalid MaximumInterval set on retry policy: {cause}"
        )));
    }
    let nanos = |duration: &prost_types::Duration| {
        i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos)
    };
    let set =
        |duration: Option<&prost_types::Duration>| duration.map(nanos).filter(|nanos| *nanos > 0);
    let initial =
        set(policy.initial_interval.as_ref()).unwrap_or_else(|| nanos(&INITIAL_INTERVAL_DEFAULT));
    if set(policy.maximum_interval.as_ref()).is_some_and(|maximum| maximum < initial) {
        return Err(invalid(
            "MaximumInterval cannot be less than InitialInterval on retry policy.",
        ));
    }
    if policy.maximum_attempts < 0 {
        return Err(invalid(
            "MaximumAttempts cannot be negative on retry policy.",
        ));
    }
    for name in &policy.non_retryable_error_types {
        if name
            .strip_prefix(TIMEOUT_PREFIX)
            .is_some_and(|timeout| !TIMEOUTS.contains(&timeout))
        {
            return Err(invalid(format!("Invalid timeout type value: {name}.")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_checked_as_temporal_does() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let text = |policy: RetryPolicy| {
            retry_policy(Some(&policy))
                .err()
                .map(|status| status.message().to_owned())
        };
        assert_eq!(text(RetryPolicy::default()), None);
        for (policy, expected) in [
            (
                RetryPolicy {
                    initial_interval: seconds(-1),
                    ..Default::default()
                },
                "invalid InitialInterval set on retry policy: negative duration",
            ),
            (
                RetryPolicy {
                    backoff_coefficient: 0.5,
                    ..Default::default()
                },
                "BackoffCoefficient cannot be less than 1 on retry policy.",
            ),
            (
                RetryPolicy {
                    backoff_coefficient: f64::NAN,
                    ..Default::default()
                },
                "BackoffCoefficient cannot be less than 1 on retry policy.",
            ),
            (
                RetryPolicy {
                    initial_interval: seconds(10),
                    maximum_interval: seconds(5),
                    ..Default::default()
                },
                "MaximumInterval cannot be less than InitialInterval on retry policy.",
            ),
            (
                RetryPolicy {
                    maximum_attempts: -1,
                    ..Default::default()
                },
                "MaximumAttempts cannot be negative on retry policy.",
            ),
        ] {
            assert_eq!(text(policy).as_deref(), Some(expected));
        }
        let hidden = RetryPolicy {
            maximum_attempts: 1,
            initial_interval: seconds(-1),
            ..Default::default()
        };
        assert_eq!(text(hidden), None);
    }
}
