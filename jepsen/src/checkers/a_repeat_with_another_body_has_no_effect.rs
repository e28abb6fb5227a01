//! I-22: a start that is repeated under its request id, with another body, after it was acknowledged
//! is not refused as another one and has no effect. (As in Temporal it gets the first one's answer:
//! `a_request_id_has_one_effect`.)

use crate::evidence::Evidence;
use crate::operation::{Asked, Outcome};
use crate::workload::script::{Past, is_repeat};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for run in &evidence.runs {
        let past = Past::of(run.events.get(..1).unwrap_or_default());
        if is_repeat(past.script()) {
            let (workflow_id, run_id) = (&run.workflow_id, &run.run_id);
            found.push(format!("{workflow_id} {run_id} is of a repeated body: {}", past.script()));
        }
    }
    let mut acknowledged: BTreeMap<&str, Duration> = BTreeMap::new();
    for (operation, asked, _) in evidence.acknowledged() {
        if let Asked::Start { request_id, .. } = asked {
            let first = acknowledged.entry(request_id).or_insert(operation.returned);
            *first = (*first).min(operation.returned);
        }
    }
    for operation in &evidence.journal.operations {
        if let (Asked::Start { request_id, .. }, Outcome::Refused(why)) =
            (&operation.asked, &operation.outcome)
            && (why.starts_with("AlreadyExists") || why.starts_with("InvalidArgument"))
            && acknowledged
                .get(request_id.as_str())
                .is_some_and(|at| *at < operation.invoked)
        {
            found.push(format!("it was acknowledged before: {operation:?}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence};
    use crate::evidence::FinalRun;
    use crate::operation::{Answer, Operation};
    use crate::workload::script::repeated;
    use steadfast_proto::temporal::common::v1::{Payload, Payloads};
    use steadfast_proto::temporal::history::v1::WorkflowExecutionStartedEventAttributes;
    use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

    fn of_script(script: &str) -> Evidence {
        let payload = Payload {
            data: script.to_owned().into(),
            ..Payload::default()
        };
        let started = WorkflowExecutionStartedEventAttributes {
            input: Some(Payloads {
                payloads: vec![payload],
            }),
            ..Default::default()
        };
        let mut run = FinalRun::default();
        add(&mut run, Event::WorkflowExecutionStartedEventAttributes(started));
        evidence(vec![run])
    }

    #[test]
    fn a_run_of_a_repeated_body_and_a_repeat_that_is_refused_are_found() {
        let mut planted = of_script("a1");
        assert_eq!(check(&planted).len(), 0);
        assert_eq!(check(&of_script(&repeated("a1"))).len(), 1);
        let start = || Asked::Start {
            workflow_id: "w".into(),
            request_id: "q".into(),
            signal: None,
        };
        let refused = |at, why: &str| Operation {
            invoked: Duration::from_secs(at),
            returned: Duration::from_secs(at),
            asked: start(),
            outcome: Outcome::Refused(why.into()),
        };
        acknowledge(&mut planted, 3, start(), Answer::Run("r".into()));
        let operations = &mut planted.journal.operations;
        operations.push(refused(1, "AlreadyExists: there"));
        operations.push(refused(9, "ResourceExhausted: the disk is nearly full"));
        assert_eq!(check(&planted).len(), 0);
        let operations = &mut planted.journal.operations;
        operations.push(refused(9, "AlreadyExists: there"));
        assert_eq!(check(&planted).len(), 1);
    }
}
