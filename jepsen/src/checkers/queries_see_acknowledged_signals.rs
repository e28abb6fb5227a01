//! I-17: a query sees each signal of its run that was acknowledged before the query was asked.
//!
//! Where a try of a signal has no answer, it may come late and to a later run of its workflow, while
//! what was acknowledged is in the run before: of such a signal nothing is said.

use crate::evidence::{Evidence, FinalRun};
use crate::operation::{Answer, Asked, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut acknowledged: BTreeMap<&str, Duration> = BTreeMap::new();
    for (operation, asked, _) in evidence.acknowledged() {
        if let Asked::Signal { signal, .. } = asked {
            let first = acknowledged.entry(signal).or_insert(operation.returned);
            *first = (*first).min(operation.returned);
        }
    }
    let late = may_come_late(evidence);
    let mut found = Vec::new();
    for (operation, _, answer) in evidence.acknowledged() {
        if let Answer::Signals { run_id, signals } = answer
            && let Some(run) = evidence.run(run_id)
        {
            let before = |signal: &&str| {
                let at = acknowledged.get(signal);
                at.is_some_and(|at| *at < operation.invoked) && !late.contains(signal)
            };
            for missing in signals_of(run).filter(before) {
                if !signals.contains(missing) {
                    found.push(format!("{operation:?} misses {missing}"));
                }
            }
        }
    }
    found
}

/// Signals that are in several runs and had a try without an answer.
fn may_come_late(evidence: &Evidence) -> BTreeSet<&str> {
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for signal in evidence.runs.iter().flat_map(signals_of) {
        *runs.entry(signal).or_default() += 1;
    }
    let tries = evidence.journal.operations.iter();
    let unanswered = tries.filter(|operation| matches!(operation.outcome, Outcome::Unknown(_)));
    let signals = unanswered.filter_map(|operation| operation.asked.signal());
    signals
        .filter(|signal| runs.get(signal).is_some_and(|runs| *runs > 1))
        .collect()
}

fn signals_of(run: &FinalRun) -> impl Iterator<Item = &str> {
    run.events.iter().filter_map(|event| match &event.attributes {
        Some(Event::WorkflowExecutionSignaledEventAttributes(it)) => Some(it.signal_name.as_str()),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};
    use steadfast_proto::temporal::history::v1::WorkflowExecutionSignaledEventAttributes;

    #[test]
    fn a_query_that_misses_a_signal_is_found() {
        let mut with = run("w", "r");
        let signal = WorkflowExecutionSignaledEventAttributes {
            signal_name: "s".into(),
            ..Default::default()
        };
        add(&mut with, Event::WorkflowExecutionSignaledEventAttributes(signal));
        let mut planted = evidence(vec![with]);
        let workflow_id = || "w".to_owned();
        let signal = Asked::Signal {
            workflow_id: workflow_id(),
            signal: "s".into(),
        };
        acknowledge(&mut planted, 3, signal.clone(), Answer::Done);
        let query = || Asked::Query {
            workflow_id: workflow_id(),
        };
        let seen = |signals: &[&str]| Answer::Signals {
            run_id: "r".into(),
            signals: signals.iter().map(|name| (*name).to_owned()).collect(),
        };
        acknowledge(&mut planted, 1, query(), seen(&[]));
        acknowledge(&mut planted, 9, query(), seen(&["s"]));
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 9, query(), seen(&[]));
        assert_eq!(check(&planted).len(), 1);
        // One more try has no answer: with a second run, it may be what came to this one.
        acknowledge(&mut planted, 1, signal, Answer::Done);
        let last = planted.journal.operations.last_mut();
        last.expect("just added").outcome = Outcome::Unknown("no answer in time".into());
        assert_eq!(check(&planted).len(), 1);
        let mut before = planted.runs[0].clone();
        before.run_id = "before".into();
        planted.runs.push(before);
        assert!(check(&planted).is_empty());
    }
}
