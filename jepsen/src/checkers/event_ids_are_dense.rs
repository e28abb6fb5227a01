//! I-13: event ids are 1..n without gap or duplicate, and time does not run backwards from one
//! workflow task to the next. (Events that waited for the end of a task keep their own time, as
//! Temporal's do.)

use crate::evidence::{Evidence, FinalRun};
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    evidence.runs.iter().filter_map(of).collect()
}

fn of(run: &FinalRun) -> Option<String> {
    if run.events.is_empty() {
        return Some(format!("{} has no events", run.run_id));
    }
    let mut before = None;
    for (expected, event) in (1..).zip(&run.events) {
        let at = event.event_time.map(|time| (time.seconds, time.nanos));
        let of_task = matches!(
            event.attributes,
            Some(
                Event::WorkflowTaskStartedEventAttributes(_)
                    | Event::WorkflowTaskCompletedEventAttributes(_)
            )
        );
        if event.event_id != expected || of_task && at < before {
            return Some(format!(
                "{} {}: event {} at {at:?} comes where {expected} should, after {before:?}",
                run.workflow_id, run.run_id, event.event_id
            ));
        }
        if of_task {
            before = at;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{add, evidence, run};

    #[test]
    fn gaps_and_time_that_runs_backwards_are_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        assert!(check(&planted).is_empty());
        planted.runs[0].events[1].event_id = 7;
        assert_eq!(check(&planted).len(), 1);
        planted.runs[0] = run("w", "r");
        for _ in 0..2 {
            let started = Event::WorkflowTaskStartedEventAttributes(Default::default());
            add(&mut planted.runs[0], started);
        }
        assert!(check(&planted).is_empty());
        planted.runs[0].events[3].event_time = None;
        assert_eq!(check(&planted).len(), 1);
    }
}
