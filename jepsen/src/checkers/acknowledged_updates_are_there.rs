//! I-1: an update that was acknowledged as accepted, or as completed, is so in its run's history.

use crate::evidence::{Evidence, FinalRun};
use crate::operation::{Answer, Asked};
use std::collections::BTreeMap;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// Whether each accepted update of a run was completed, by its id. No update is accepted twice.
fn updates(run: &FinalRun) -> Result<BTreeMap<&str, bool>, String> {
    let (mut ids, mut updates) = (BTreeMap::new(), BTreeMap::new());
    for event in &run.events {
        match &event.attributes {
            Some(Event::WorkflowExecutionUpdateAcceptedEventAttributes(it)) => {
                ids.insert(event.event_id, it.protocol_instance_id.as_str());
                if updates.insert(it.protocol_instance_id.as_str(), false).is_some() {
                    return Err(format!("{} accepted twice", it.protocol_instance_id));
                }
            }
            Some(Event::WorkflowExecutionUpdateCompletedEventAttributes(it)) => {
                if let Some(id) = ids.get(&it.accepted_event_id) {
                    updates.insert(id, true);
                }
            }
            Some(_) | None => {}
        }
    }
    Ok(updates)
}

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for (_, asked, answer) in evidence.acknowledged() {
        if let (
            Asked::Update { update_id, .. },
            Answer::Updated {
                run_id,
                accepted,
                completed,
            },
        ) = (asked, answer)
        {
            let updates = evidence.run(run_id).map(updates);
            let right = match &updates {
                _ if !accepted => true,
                Some(Ok(updates)) => match updates.get(update_id.as_str()) {
                    Some(done) => *done || !completed,
                    None => false,
                },
                Some(Err(_)) | None => false,
            };
            if !right {
                found.push(format!("{asked:?} got {answer:?}, the run has {updates:?}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};
    use steadfast_proto::temporal::history::v1::WorkflowExecutionUpdateAcceptedEventAttributes;

    #[test]
    fn a_lost_update_and_one_that_was_not_completed_are_found() {
        let mut with = run("w", "r");
        let accepted = WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: "u".into(),
            ..Default::default()
        };
        add(
            &mut with,
            Event::WorkflowExecutionUpdateAcceptedEventAttributes(accepted),
        );
        let mut planted = evidence(vec![with]);
        let asked = |update_id: &str| Asked::Update {
            workflow_id: "w".into(),
            update_id: update_id.into(),
        };
        let answer = |completed| Answer::Updated {
            run_id: "r".into(),
            accepted: true,
            completed,
        };
        acknowledge(&mut planted, 1, asked("u"), answer(false));
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 1, asked("u"), answer(true));
        acknowledge(&mut planted, 1, asked("lost"), answer(false));
        assert_eq!(check(&planted).len(), 2);
    }
}
