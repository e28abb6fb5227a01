//! I-1, I-10: an acknowledged completion of an activity is in its run's history, and no worker gets
//! the activity after it.

use crate::evidence::Evidence;
use crate::operation::{Asked, DeliveredTask};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut completed: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
    for (operation, asked, _) in evidence.acknowledged() {
        if let Asked::CompleteActivity {
            run_id,
            activity_id,
            ..
        } = asked
        {
            let times = completions(evidence, run_id, activity_id);
            if times != 1 {
                found.push(format!("{run_id} has {times} completions of {activity_id}"));
            }
            completed.insert((run_id, activity_id), operation.returned);
        }
    }
    for delivery in &evidence.journal.deliveries {
        if let DeliveredTask::Activity { activity_id } = &delivery.task
            && let Some(at) = completed.get(&(delivery.run_id.as_str(), activity_id.as_str()))
            && delivery.at > *at
        {
            found.push(format!("{delivery:?}, completed at {at:?}"));
        }
    }
    found
}

fn completions(evidence: &Evidence, run_id: &str, activity_id: &str) -> usize {
    let Some(run) = evidence.run(run_id) else {
        return 0;
    };
    let scheduled = run.events.iter().find_map(|event| match &event.attributes {
        Some(Event::ActivityTaskScheduledEventAttributes(it)) if it.activity_id == activity_id => {
            Some(event.event_id)
        }
        Some(_) | None => None,
    });
    let completes = run.events.iter().filter(|event| match &event.attributes {
        Some(Event::ActivityTaskCompletedEventAttributes(it)) => {
            Some(it.scheduled_event_id) == scheduled
        }
        Some(_) | None => false,
    });
    completes.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, evidence, run};
    use crate::operation::{Answer, Delivery};

    #[test]
    fn a_lost_completion_and_a_late_hand_out_are_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        let asked = Asked::CompleteActivity {
            run_id: "r".into(),
            activity_id: "a".into(),
            attempt: 1,
        };
        acknowledge(&mut planted, 1, asked, Answer::Done);
        assert_eq!(check(&planted).len(), 1);
        planted.journal.deliveries.push(Delivery {
            polled: Default::default(),
            at: Duration::from_secs(9),
            run_id: "r".into(),
            task: DeliveredTask::Activity {
                activity_id: "a".into(),
            },
            attempt: 2,
        });
        assert_eq!(check(&planted).len(), 2);
    }
}
