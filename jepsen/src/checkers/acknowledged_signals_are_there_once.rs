//! I-1, I-2, I-28: an acknowledged signal is in the history of its workflow, no run has a signal
//! twice, and no run has one that nobody sent.

use crate::evidence::Evidence;
use crate::operation::Asked;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// The name of the signal that an operation sends.
fn signal_of(asked: &Asked) -> Option<(&str, &str)> {
    match asked {
        Asked::Signal {
            workflow_id,
            signal,
        }
        | Asked::Start {
            workflow_id,
            signal: Some(signal),
            ..
        } => Some((workflow_id, signal)),
        Asked::Start { signal: None, .. }
        | Asked::Cancel { .. }
        | Asked::Terminate { .. }
        | Asked::Reset { .. }
        | Asked::Update { .. }
        | Asked::Query { .. }
        | Asked::Describe { .. }
        | Asked::History { .. }
        | Asked::List
        | Asked::CompleteActivity { .. }
        | Asked::FailActivity { .. }
        | Asked::HeartbeatActivity { .. }
        | Asked::CompleteWorkflowTask { .. } => None,
    }
}

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let operations = evidence.journal.operations.iter();
    let sent: BTreeSet<(&str, &str)> = operations
        .filter_map(|operation| signal_of(&operation.asked))
        .collect();
    let mut there: BTreeSet<(&str, &str)> = BTreeSet::new();
    for run in &evidence.runs {
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for event in &run.events {
            if let Some(Event::WorkflowExecutionSignaledEventAttributes(it)) = &event.attributes {
                *times.entry(&it.signal_name).or_default() += 1;
            }
        }
        for (signal, times) in times {
            let by_workflow = signal.starts_with("from ");
            if times > 1 {
                found.push(format!("{} {} has {signal} {times} times", run.workflow_id, run.run_id));
            }
            if !by_workflow && !sent.contains(&(run.workflow_id.as_str(), signal)) {
                found.push(format!("{} has {signal}, which nobody sent", run.workflow_id));
            }
            there.insert((&run.workflow_id, signal));
        }
    }
    for (_, asked, _) in evidence.acknowledged() {
        if let Some(signal) = signal_of(asked)
            && !there.contains(&signal)
        {
            found.push(format!("{signal:?} is lost"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};
    use crate::operation::Answer;
    use steadfast_proto::temporal::history::v1::WorkflowExecutionSignaledEventAttributes;

    #[test]
    fn lost_doubled_and_invented_signals_are_found() {
        let event = |name: &str| {
            let signal = WorkflowExecutionSignaledEventAttributes {
                signal_name: name.into(),
                ..Default::default()
            };
            Event::WorkflowExecutionSignaledEventAttributes(signal)
        };
        let asked = |signal: &str| Asked::Signal {
            workflow_id: "w".into(),
            signal: signal.into(),
        };
        let mut with = run("w", "r");
        add(&mut with, event("a"));
        let mut planted = evidence(vec![with]);
        acknowledge(&mut planted, 1, asked("a"), Answer::Done);
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 1, asked("lost"), Answer::Done);
        assert_eq!(check(&planted).len(), 1);
        add(&mut planted.runs[0], event("a"));
        add(&mut planted.runs[0], event("invented"));
        assert_eq!(check(&planted).len(), 3);
    }
}
