//! I-6: hand-outs, completions and failures of an activity happened in some order in which each
//! attempt is claimed once, a completion or failure comes from the running attempt, and nothing
//! follows a completion. (Time-outs may end an attempt at any time.)

use crate::evidence::Evidence;
use crate::linearizability::{Call, Found, Model, search};
use crate::operation::{Asked, DeliveredTask, Outcome};
use std::collections::BTreeMap;

/// States tried for one activity; a handful of calls needs a few dozen.
const BUDGET: usize = 100_000;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Claim(i32),
    Complete(i32),
    Fail(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// The last attempt that was claimed, and has ended; 0 before the first.
    Waits(i32),
    Runs(i32),
    Done,
}

struct Activity;

impl Model for Activity {
    type State = State;
    type Operation = Operation;

    fn initial(&self) -> State {
        State::Waits(0)
    }

    fn step(&self, state: &State, operation: &Operation) -> Option<State> {
        match (*state, *operation) {
            // An attempt that nobody was seen to end timed out; one that nobody saw claimed was lost
            // on its way to the worker.
            (State::Waits(last) | State::Runs(last), Operation::Claim(attempt)) => {
                (last < attempt).then_some(State::Runs(attempt))
            }
            (State::Runs(last), Operation::Complete(attempt)) => {
                (last == attempt).then_some(State::Done)
            }
            (State::Runs(last), Operation::Fail(attempt)) => {
                (last == attempt).then_some(State::Waits(last))
            }
            (State::Waits(_), Operation::Complete(_) | Operation::Fail(_)) | (State::Done, _) => {
                None
            }
        }
    }
}

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut activities: BTreeMap<(&str, &str), Vec<Call<Operation>>> = BTreeMap::new();
    for delivery in &evidence.journal.deliveries {
        if let DeliveredTask::Activity { activity_id } = &delivery.task {
            let call = Call {
                invoked: delivery.polled,
                returned: Some(delivery.at),
                operation: Operation::Claim(delivery.attempt),
            };
            let key = (delivery.run_id.as_str(), activity_id.as_str());
            activities.entry(key).or_default().push(call);
        }
    }
    for operation in &evidence.journal.operations {
        let (key, asked) = match &operation.asked {
            Asked::CompleteActivity {
                run_id,
                activity_id,
                attempt,
            } => ((run_id, activity_id), Operation::Complete(*attempt)),
            Asked::FailActivity {
                run_id,
                activity_id,
                attempt,
            } => ((run_id, activity_id), Operation::Fail(*attempt)),
            _ => continue,
        };
        let returned = match operation.outcome {
            Outcome::Acknowledged(_) => Some(operation.returned),
            Outcome::Unknown(_) => None,
            Outcome::Refused(_) => continue,
        };
        let call = Call {
            invoked: operation.invoked,
            returned,
            operation: asked,
        };
        let key = (key.0.as_str(), key.1.as_str());
        activities.entry(key).or_default().push(call);
    }
    let mut found = Vec::new();
    for (activity, calls) in activities {
        match search(&Activity, &calls, BUDGET) {
            Found::Order => {}
            Found::NoOrder => found.push(format!("{activity:?}: no order of {calls:?}")),
            Found::Unknown => found.push(format!("{activity:?}: unknown, {} calls", calls.len())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::acknowledge;
    use crate::operation::{Answer, Delivery};
    use std::time::Duration;

    fn claim(evidence: &mut Evidence, at: u64, attempt: i32) {
        evidence.journal.deliveries.push(Delivery {
            polled: Duration::from_secs(at),
            at: Duration::from_secs(at + 1),
            run_id: "r".into(),
            task: DeliveredTask::Activity {
                activity_id: "a".into(),
            },
            attempt,
        });
    }

    fn complete(evidence: &mut Evidence, at: u64, attempt: i32) {
        let asked = Asked::CompleteActivity {
            run_id: "r".into(),
            activity_id: "a".into(),
            attempt,
        };
        acknowledge(evidence, at, asked, Answer::Done);
    }

    #[test]
    fn a_completion_of_an_attempt_that_was_superseded_is_found() {
        let mut evidence = Evidence::default();
        claim(&mut evidence, 1, 1);
        claim(&mut evidence, 5, 2);
        assert!(check(&evidence).is_empty());
        let mut good = evidence.clone();
        complete(&mut good, 9, 2);
        assert!(check(&good).is_empty());
        complete(&mut evidence, 9, 1);
        assert_eq!(check(&evidence).len(), 1);
    }

    #[test]
    fn a_completion_whose_worker_died_in_it_may_have_come_late_or_never() {
        let mut evidence = Evidence::default();
        claim(&mut evidence, 1, 1);
        let asked = Asked::CompleteActivity {
            run_id: "r".into(),
            activity_id: "a".into(),
            attempt: 1,
        };
        evidence.journal.asks(Duration::from_secs(3), asked);
        assert!(check(&evidence).is_empty());
        claim(&mut evidence, 5, 2);
        complete(&mut evidence, 9, 2);
        assert!(check(&evidence).is_empty());
    }

    #[test]
    fn a_claim_that_two_workers_got_is_found() {
        let mut evidence = Evidence::default();
        claim(&mut evidence, 1, 1);
        claim(&mut evidence, 1, 1);
        assert_eq!(check(&evidence).len(), 1);
    }
}
