//! I-2: each workflow was asked for by a client or by a parent, each update by a client. (Signals:
//! `acknowledged_signals_are_there_once`.)

use crate::evidence::{Evidence, FinalRun};
use crate::operation::Asked;
use std::collections::BTreeSet;
use steadfast_proto::temporal::history::v1::WorkflowExecutionStartedEventAttributes as Started;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let operations = evidence.journal.operations.iter();
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    let mut updates: BTreeSet<&str> = BTreeSet::new();
    for operation in operations {
        match &operation.asked {
            Asked::Start { workflow_id, .. } | Asked::Reset { workflow_id, .. } => {
                asked.insert(workflow_id);
            }
            Asked::Update { update_id, .. } => {
                updates.insert(update_id);
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for run in &evidence.runs {
        let Some(started) = started(run) else {
            found.push(format!("{} {} was never started", run.workflow_id, run.run_id));
            continue;
        };
        let child = started.parent_workflow_execution.is_some();
        if !child && !asked.contains(run.workflow_id.as_str()) {
            found.push(format!("nobody asked for {}", run.workflow_id));
        }
        for event in &run.events {
            if let Some(Event::WorkflowExecutionUpdateAcceptedEventAttributes(it)) = &event.attributes
                && !updates.contains(it.protocol_instance_id.as_str())
            {
                let id = &it.protocol_instance_id;
                found.push(format!("{} {}: nobody asked for update {id}", run.workflow_id, run.run_id));
            }
        }
    }
    found
}

fn started(run: &FinalRun) -> Option<&Started> {
    match run.events.first()?.attributes.as_ref()? {
        Event::WorkflowExecutionStartedEventAttributes(it) => Some(it),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};
    use crate::operation::Answer;
    use steadfast_proto::temporal::history::v1::WorkflowExecutionUpdateAcceptedEventAttributes;

    #[test]
    fn runs_and_updates_that_nobody_asked_for_are_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        assert_eq!(check(&planted).len(), 1);
        let start = Asked::Start {
            workflow_id: "w".into(),
            request_id: "q".into(),
            signal: None,
        };
        acknowledge(&mut planted, 1, start, Answer::Run("r".into()));
        assert!(check(&planted).is_empty());
        let update = WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: "u".into(),
            ..Default::default()
        };
        let update = Event::WorkflowExecutionUpdateAcceptedEventAttributes(update);
        add(&mut planted.runs[0], update);
        assert_eq!(check(&planted).len(), 1);
        planted.runs[0].events.clear();
        assert_eq!(check(&planted).len(), 1);
    }
}
