//! I-7: an attempt of a task is given to one worker.

use crate::evidence::Evidence;
use crate::operation::DeliveredTask;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut times: BTreeMap<(&str, String, i32), u32> = BTreeMap::new();
    for delivery in &evidence.journal.deliveries {
        let task = match &delivery.task {
            DeliveredTask::Activity { activity_id } => format!("activity {activity_id}"),
            DeliveredTask::Workflow { token, .. } => format!("workflow task {token:016x}"),
        };
        *times
            .entry((&delivery.run_id, task, delivery.attempt))
            .or_default() += 1;
    }
    times
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(task, times)| format!("{task:?} was handed out {times} times"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Delivery;

    #[test]
    fn an_attempt_that_two_workers_got_is_found() {
        let delivery = |attempt| Delivery {
            polled: Default::default(),
            at: Default::default(),
            run_id: "r".into(),
            task: DeliveredTask::Activity {
                activity_id: "a".into(),
            },
            attempt,
        };
        let mut evidence = Evidence::default();
        evidence.journal.deliveries = vec![delivery(1), delivery(2)];
        assert!(check(&evidence).is_empty());
        evidence.journal.deliveries.push(delivery(2));
        assert_eq!(check(&evidence).len(), 1);
    }
}
