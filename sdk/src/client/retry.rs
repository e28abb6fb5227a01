//! When calls are tried again.

use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;

/// How calls that failed for a passing reason are tried again. The defaults are those of
/// Temporal's SDKs.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryOptions {
    /// The first pause; an overloaded server gets ten times of it.
    pub initial_interval: Duration,
    /// What the pause grows by each time.
    pub multiplier: f64,
    /// The longest pause; an overloaded server gets twice of it.
    pub maximum_interval: Duration,
    /// How long calls may fail in a row, counted from the first failure, before the last one is
    /// given to the caller.
    pub maximum_elapsed: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_millis(100),
            multiplier: 1.7,
            maximum_interval: Duration::from_secs(5),
            maximum_elapsed: Duration::from_secs(10),
        }
    }
}

/// The pauses of one call.
pub(super) struct Pause<'a> {
    options: &'a RetryOptions,
    failing_since: Option<Instant>,
    factor: f64,
}

impl<'a> Pause<'a> {
    pub(super) fn new(options: &'a RetryOptions) -> Self {
        Self {
            options,
            failing_since: None,
            factor: 1.0,
        }
    }

    /// How long to wait after this failure; nothing when it is enough.
    pub(super) fn after(&mut self, status: &Status) -> Option<Duration> {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let (first, longest) = match status.code() == Code::ResourceExhausted {
            true => (10.0, 2.0),
            false => (1.0, 1.0),
        };
        let initial = self.options.initial_interval.as_secs_f64() * first;
        let longest = self.options.maximum_interval.as_secs_f64() * longest;
        let seconds = (initial * self.factor).min(longest) * jitter();
        self.factor *= self.options.multiplier.max(1.0);
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(self.options.maximum_interval);
        let ends = now.duration_since(since) + pause;
        (ends < self.options.maximum_elapsed).then_some(pause)
    }
}

/// Between 0.8 and 1.2, so that callers do not come back all at once.
fn jitter() -> f64 {
    let chance = Uuid::new_v4().as_bytes()[0];
    0.8 + 0.4 * f64::from(chance) / 255.0
}

/// UNAVAILABLE says that the call may be repeated. tonic reports a connection that broke under a
/// call as UNKNOWN or CANCELLED with a source.
pub fn may_retry(status: &Status) -> bool {
    let broken = matches!(
        status.code(),
        Code::Unknown | Code::Cancelled | Code::Internal
    ) && std::error::Error::source(status).is_some();
    status.code() == Code::Unavailable || broken
}

/// What passes by itself, as Temporal's SDKs have it.
pub(super) fn is_transient(status: &Status) -> bool {
    let transient = matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unknown
            | Code::DataLoss
            | Code::OutOfRange
    );
    transient || may_retry(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let options = RetryOptions::default();
        let mut pause = Pause::new(&options);
        let down = Status::unavailable("down");
        let mut pauses = Vec::new();
        while let Some(wait) = pause.after(&down) {
            tokio::time::advance(wait).await;
            pauses.push(wait);
        }
        let whole: Duration = pauses.iter().sum();
        assert!(whole < options.maximum_elapsed, "{pauses:?}");
        assert!((5..=12).contains(&pauses.len()), "{pauses:?}");
        assert!(pauses[0] < Duration::from_millis(121), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_server_is_left_alone_longer() {
        let options = RetryOptions::default();
        let full = Status::resource_exhausted("slow down");
        let wait = Pause::new(&options).after(&full).unwrap();
        assert!(wait >= Duration::from_millis(800), "{wait:?}");
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        assert!(is_transient(&Status::unavailable("")));
        assert!(!is_transient(&Status::not_found("")));
        assert!(!is_transient(&Status::invalid_argument("")));
        assert!(!is_transient(&Status::deadline_exceeded("")));
    }
}
