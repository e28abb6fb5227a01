//! I-10, I-18: an activity that a worker got is in its run's history: nobody saw what was not
//! committed.

use crate::evidence::Evidence;
use crate::operation::DeliveredTask;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut scheduled: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for run in &evidence.runs {
        let ids = run.events.iter().filter_map(|event| match &event.attributes {
            Some(Event::ActivityTaskScheduledEventAttributes(it)) => Some(it.activity_id.as_str()),
            Some(_) | None => None,
        });
        scheduled.insert(&run.run_id, ids.collect());
    }
    let mut found = Vec::new();
    for delivery in &evidence.journal.deliveries {
        if let DeliveredTask::Activity { activity_id } = &delivery.task {
            let known = scheduled.get(delivery.run_id.as_str());
            if known.is_none_or(|ids| !ids.contains(activity_id.as_str())) {
                found.push(format!("{delivery:?} is not in the history"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{add, evidence, run};
    use crate::operation::Delivery;
    use steadfast_proto::temporal::history::v1::ActivityTaskScheduledEventAttributes;

    #[test]
    fn an_activity_from_nowhere_is_found() {
        let mut with = run("w", "r");
        let scheduled = ActivityTaskScheduledEventAttributes {
            activity_id: "a".into(),
            ..Default::default()
        };
        add(&mut with, Event::ActivityTaskScheduledEventAttributes(scheduled));
        let mut planted = evidence(vec![with]);
        let delivery = |activity_id: &str| Delivery {
            at: Default::default(),
            polled: Default::default(),
            run_id: "r".into(),
            task: DeliveredTask::Activity {
                activity_id: activity_id.into(),
            },
            attempt: 1,
        };
        planted.journal.deliveries.push(delivery("a"));
        assert!(check(&planted).is_empty());
        planted.journal.deliveries.push(delivery("nowhere"));
        assert_eq!(check(&planted).len(), 1);
    }
}
