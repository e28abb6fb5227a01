//! How often workflows and activities are tried.

use crate::duration::to_wire;
use std::time::Duration;
use steadfast_proto::temporal::common::v1 as wire;

/// How a workflow or an activity that fails is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The pause before the second attempt.
    pub initial_interval: Duration,
    /// What the pause grows by each time; at least 1.
    pub backoff_coefficient: f64,
    /// The longest pause; none for a hundred times the first.
    pub maximum_interval: Option<Duration>,
    /// How many attempts there may be; 0 for any number.
    pub maximum_attempts: u32,
    /// Types of application failures that are not tried again.
    pub non_retryable_error_types: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            backoff_coefficient: 2.0,
            maximum_interval: None,
            maximum_attempts: 0,
            non_retryable_error_types: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// The default with this number of attempts.
    pub fn attempts(maximum_attempts: u32) -> Self {
        Self {
            maximum_attempts,
            ..Self::default()
        }
    }

    pub(crate) fn to_wire(&self) -> wire::RetryPolicy {
        wire::RetryPolicy {
            initial_interval: Some(to_wire(self.initial_interval)),
            backoff_coefficient: self.backoff_coefficient,
            maximum_interval: self.maximum_interval.map(to_wire),
            maximum_attempts: i32::try_from(self.maximum_attempts).unwrap_or(i32::MAX),
            non_retryable_error_types: self.non_retryable_error_types.clone(),
        }
    }
}

impl From<RetryPolicy> for wire::RetryPolicy {
    fn from(policy: RetryPolicy) -> Self {
        policy.to_wire()
    }
}
