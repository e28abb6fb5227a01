//! A simulation in which little happened proves little: it is rejected.

use crate::evidence::Evidence;
use crate::operation::Asked;

/// Acknowledged calls of clients, for each second that clients called.
const CALLS_A_SECOND: f64 = 2.0;
/// Shorter simulations need not have a fault.
const SHORT_SECONDS: u64 = 20;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let by_client = |asked: &Asked| {
        !matches!(
            asked,
            Asked::CompleteActivity { .. }
                | Asked::FailActivity { .. }
                | Asked::HeartbeatActivity { .. }
                | Asked::CompleteWorkflowTask { .. }
        )
    };
    let calls = evidence.acknowledged().filter(|(_, asked, _)| by_client(asked));
    let (calls, least) = (
        calls.count(),
        evidence.lasted.as_secs_f64() * CALLS_A_SECOND,
    );
    if (calls as f64) < least || calls == 0 {
        found.push(format!("{calls} calls were acknowledged, {least} at least"));
    }
    if evidence.faults.is_empty() && evidence.lasted.as_secs() >= SHORT_SECONDS {
        found.push("no fault happened".to_owned());
    }
    if evidence.journal.deliveries.is_empty() {
        found.push("no worker got a task".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_simulation_is_rejected() {
        assert_eq!(check(&Evidence::default()).len(), 2);
    }
}
