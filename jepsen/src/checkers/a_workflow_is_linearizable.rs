//! I-17, I-23: starts, signals, terminations, queries and descriptions of a workflow happened in
//! some order in which its runs follow each other and none opens again.

use super::runs_of_a_workflow_do_not_overlap::order;
use crate::evidence::{Evidence, FinalRun};
use crate::linearizability::{Call, Found, Model, search};
use crate::operation::{Answer, Asked, Operation, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// States tried for one workflow.
const BUDGET: usize = 200_000;
const RUNNING: i32 = 1;

/// Which run is the current one, counted from the first, and whether it is closed.
type Place = (usize, bool);

#[derive(Debug, Clone, Copy)]
enum Seen {
    At(Place),
    /// Open or closed.
    In(usize),
}

struct Workflow;

impl Model for Workflow {
    type State = Place;
    type Operation = Seen;

    fn initial(&self) -> Place {
        (0, false)
    }

    /// A workflow closes and goes on by itself, so any later place can be reached.
    fn step(&self, state: &Place, seen: &Seen) -> Option<Place> {
        match *seen {
            Seen::At(place) => (place >= *state).then_some(place),
            Seen::In(run) => (run >= state.0).then_some((*state).max((run, false))),
        }
    }
}

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut workflows: BTreeMap<&str, Vec<&FinalRun>> = BTreeMap::new();
    for run in &evidence.runs {
        workflows.entry(&run.workflow_id).or_default().push(run);
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for runs in workflows.values_mut() {
        runs.sort_by_key(|run| order(run));
        let numbered = runs.iter().enumerate();
        places.extend(numbered.map(|(at, run)| (run.run_id.as_str(), at)));
    }
    let signals = signals(evidence);
    let mut asked_before = BTreeSet::new();
    let mut calls: BTreeMap<&str, Vec<Call<Seen>>> = BTreeMap::new();
    for operation in &evidence.journal.operations {
        // A retry gets the answer of the first, whatever has happened since.
        let first = asked_before.insert(request(&operation.asked));
        if let Some((workflow_id, seen)) = seen(operation, first, &places, &signals) {
            calls.entry(workflow_id).or_default().push(Call {
                invoked: operation.invoked,
                returned: Some(operation.returned),
                operation: seen,
            });
        }
    }
    let mut found = Vec::new();
    for (workflow_id, calls) in calls {
        match search(&Workflow, &calls, BUDGET) {
            Found::Order => {}
            Found::NoOrder => found.push(format!("{workflow_id}: no order of {calls:?}")),
            Found::Unknown => found.push(format!("{workflow_id}: unknown, {} calls", calls.len())),
        }
    }
    found
}

/// What is the same for all tries; empty when nothing is repeated.
fn request(asked: &Asked) -> String {
    match asked {
        Asked::Start { request_id, .. } => request_id.clone(),
        Asked::Signal { signal, .. } => signal.clone(),
        _ => String::new(),
    }
}

/// The one run that has a signal; a reset takes signals along, which are left out then.
fn signals(evidence: &Evidence) -> BTreeMap<&str, Option<&str>> {
    let mut signals: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for run in &evidence.runs {
        for event in &run.events {
            if let Some(Event::WorkflowExecutionSignaledEventAttributes(it)) = &event.attributes {
                let one = signals.entry(&it.signal_name);
                one.and_modify(|run| *run = None)
                    .or_insert(Some(&run.run_id));
            }
        }
    }
    signals
}

fn seen<'a>(
    operation: &'a Operation,
    first: bool,
    places: &BTreeMap<&str, usize>,
    signals: &BTreeMap<&str, Option<&str>>,
) -> Option<(&'a str, Seen)> {
    let Outcome::Acknowledged(answer) = &operation.outcome else {
        return None;
    };
    let place = |run_id: &str| places.get(run_id).copied();
    Some(match (&operation.asked, answer) {
        (Asked::Start { workflow_id, .. }, Answer::Run(run_id)) if first => {
            (workflow_id, Seen::At((place(run_id)?, false)))
        }
        (Asked::Signal { workflow_id, signal }, Answer::Done) if first => {
            let run_id = (*signals.get(signal.as_str())?)?;
            (workflow_id, Seen::At((place(run_id)?, false)))
        }
        (Asked::Terminate { workflow_id, run_id }, Answer::Done) => {
            (workflow_id, Seen::At((place(run_id)?, true)))
        }
        (Asked::Describe { workflow_id }, Answer::Status { run_id, status }) => {
            (workflow_id, Seen::At((place(run_id)?, *status != RUNNING)))
        }
        (Asked::Query { workflow_id }, Answer::Signals { run_id, .. }) => {
            (workflow_id, Seen::In(place(run_id)?))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, evidence, run};

    fn describe(evidence: &mut Evidence, at: u64, run_id: &str, status: i32) {
        let asked = Asked::Describe {
            workflow_id: "w".into(),
        };
        let answer = Answer::Status {
            run_id: run_id.into(),
            status,
        };
        acknowledge(evidence, at, asked, answer);
    }

    #[test]
    fn a_description_that_goes_back_is_found() {
        let (first, mut second) = (run("w", "r"), run("w", "s"));
        for event in &mut second.events {
            event.event_time.get_or_insert_default().seconds += 10;
        }
        let mut good = evidence(vec![second, first]);
        describe(&mut good, 1, "r", 1);
        describe(&mut good, 3, "r", 2);
        describe(&mut good, 5, "s", 1);
        assert!(check(&good).is_empty());
        let mut opens = evidence(vec![run("w", "r")]);
        describe(&mut opens, 1, "r", 2);
        describe(&mut opens, 5, "r", 1);
        assert_eq!(check(&opens).len(), 1);
        let mut stale = good;
        describe(&mut stale, 9, "r", 2);
        assert_eq!(check(&stale).len(), 1);
    }
}
