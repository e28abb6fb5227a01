//! I-20: of the completions of one workflow task that decide something one token's is accepted, and
//! it is in the history.

use crate::evidence::{Evidence, FinalRun};
use crate::operation::Asked;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut tokens: BTreeMap<(&str, i64), BTreeSet<u64>> = BTreeMap::new();
    for (_, asked, _) in evidence.acknowledged() {
        if let Asked::CompleteWorkflowTask {
            run_id,
            started_event_id,
            token,
            decides: true,
        } = asked
        {
            let task = (run_id.as_str(), *started_event_id);
            tokens.entry(task).or_default().insert(*token);
        }
    }
    for ((run_id, started), tokens) in tokens {
        if tokens.len() > 1 {
            found.push(format!("{run_id}: task {started} was completed with {tokens:x?}"));
        }
        let there = evidence.run(run_id).is_some_and(|run| completes(run, started));
        if !there {
            found.push(format!("{run_id}: the completion of task {started} is gone"));
        }
    }
    found
}

fn completes(run: &FinalRun, started: i64) -> bool {
    run.events.iter().any(|event| match &event.attributes {
        Some(Event::WorkflowTaskCompletedEventAttributes(it)) => it.started_event_id == started,
        Some(_) | None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};
    use crate::operation::Answer;
    use steadfast_proto::temporal::history::v1::WorkflowTaskCompletedEventAttributes;

    #[test]
    fn a_task_completed_by_two_workers_and_a_lost_completion_are_found() {
        let mut planted = run("w", "r");
        let completed = WorkflowTaskCompletedEventAttributes {
            started_event_id: 3,
            ..Default::default()
        };
        add(&mut planted, Event::WorkflowTaskCompletedEventAttributes(completed));
        let mut evidence = evidence(vec![planted]);
        for (token, started_event_id, found) in [(1, 3, 0), (1, 3, 0), (2, 3, 1), (3, 9, 2)] {
            let asked = Asked::CompleteWorkflowTask {
                run_id: "r".into(),
                started_event_id,
                token,
                decides: true,
            };
            acknowledge(&mut evidence, 1, asked, Answer::Done);
            assert_eq!(check(&evidence).len(), found, "{token}");
        }
    }
}
