//! I-8: the completion that was acknowledged is that of the attempt which the history names.

use crate::evidence::{Evidence, FinalRun};
use crate::operation::Asked;
use std::collections::BTreeMap;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut recorded: BTreeMap<&str, BTreeMap<String, i32>> = BTreeMap::new();
    for (_, asked, _) in evidence.acknowledged() {
        if let Asked::CompleteActivity {
            run_id,
            activity_id,
            attempt,
        } = asked
            && let Some(run) = evidence.run(run_id)
        {
            let attempts = recorded.entry(run_id).or_insert_with(|| attempts(run));
            let recorded = attempts.get(activity_id);
            if recorded != Some(attempt) {
                found.push(format!("{asked:?} was acknowledged, attempt {recorded:?} completed"));
            }
        }
    }
    found
}

/// The attempt that completed, by activity.
fn attempts(run: &FinalRun) -> BTreeMap<String, i32> {
    let mut ids: BTreeMap<i64, &str> = BTreeMap::new();
    let mut started: BTreeMap<i64, i32> = BTreeMap::new();
    let mut completed = BTreeMap::new();
    for event in &run.events {
        match &event.attributes {
            Some(Event::ActivityTaskScheduledEventAttributes(it)) => {
                ids.insert(event.event_id, &it.activity_id);
            }
            Some(Event::ActivityTaskStartedEventAttributes(it)) => {
                started.insert(it.scheduled_event_id, it.attempt);
            }
            Some(Event::ActivityTaskCompletedEventAttributes(it)) => {
                let attempt = started.get(&it.scheduled_event_id);
                if let Some((id, attempt)) = ids.get(&it.scheduled_event_id).zip(attempt) {
                    completed.insert((*id).to_owned(), *attempt);
                }
            }
            Some(_) | None => {}
        }
    }
    completed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};
    use crate::operation::Answer;
    use steadfast_proto::temporal::history::v1::{
        ActivityTaskCompletedEventAttributes, ActivityTaskScheduledEventAttributes,
        ActivityTaskStartedEventAttributes,
    };

    #[test]
    fn a_completion_of_another_attempt_is_found() {
        let mut planted = run("w", "r");
        let scheduled = ActivityTaskScheduledEventAttributes {
            activity_id: "a".into(),
            ..Default::default()
        };
        add(&mut planted, Event::ActivityTaskScheduledEventAttributes(scheduled));
        let started = ActivityTaskStartedEventAttributes {
            scheduled_event_id: 3,
            attempt: 2,
            ..Default::default()
        };
        add(&mut planted, Event::ActivityTaskStartedEventAttributes(started));
        let completed = ActivityTaskCompletedEventAttributes {
            scheduled_event_id: 3,
            ..Default::default()
        };
        add(&mut planted, Event::ActivityTaskCompletedEventAttributes(completed));
        let mut evidence = evidence(vec![planted]);
        for (attempt, found) in [(2, 0), (1, 1)] {
            let asked = Asked::CompleteActivity {
                run_id: "r".into(),
                activity_id: "a".into(),
                attempt,
            };
            acknowledge(&mut evidence, 1, asked, Answer::Done);
            assert_eq!(check(&evidence).len(), found, "{attempt}");
        }
    }
}
