//! I-12, I-18: a history that a worker saw is the beginning of the history at the end: nobody saw
//! what was not committed.

use crate::evidence::Evidence;
use crate::operation::DeliveredTask;
use crate::workload::hash_of;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for delivery in &evidence.journal.deliveries {
        if let DeliveredTask::Workflow {
            events, history, ..
        } = &delivery.task
        {
            let run = evidence.run(&delivery.run_id);
            let stays = run.and_then(|run| run.events.get(..*events));
            if stays.map(hash_of) != Some(*history) {
                found.push(format!("{delivery:?} is no beginning of the final history"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{evidence, run};
    use crate::operation::Delivery;

    #[test]
    fn a_history_that_changed_is_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        planted.journal.deliveries.push(Delivery {
            polled: Default::default(),
            at: Default::default(),
            run_id: "r".into(),
            task: DeliveredTask::Workflow {
                token: 3,
                events: 2,
                history: hash_of(&planted.runs[0].events),
            },
            attempt: 1,
        });
        assert!(check(&planted).is_empty());
        planted.runs[0].events[1].event_time = None;
        assert_eq!(check(&planted).len(), 1);
    }
}
