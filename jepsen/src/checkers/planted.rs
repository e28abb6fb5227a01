//! Small evidence to plant faults in.

use crate::evidence::{Evidence, FinalRun};
use crate::operation::{Answer, Asked, Operation, Outcome};
use std::time::Duration;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;

/// An event that follows the others of a run by a second.
pub(super) fn add(run: &mut FinalRun, attributes: Attributes) {
    let event_id = run.events.len() as i64 + 1;
    run.events.push(HistoryEvent {
        event_id,
        event_time: Some(prost_types::Timestamp {
            seconds: event_id,
            nanos: 0,
        }),
        attributes: Some(attributes),
        ..HistoryEvent::default()
    });
}

/// A run that started and completed.
pub(super) fn run(workflow_id: &str, run_id: &str) -> FinalRun {
    let mut run = FinalRun {
        workflow_id: workflow_id.into(),
        run_id: run_id.into(),
        status: 2,
        ..FinalRun::default()
    };
    add(
        &mut run,
        Attributes::WorkflowExecutionStartedEventAttributes(Default::default()),
    );
    add(
        &mut run,
        Attributes::WorkflowExecutionCompletedEventAttributes(Default::default()),
    );
    run
}

pub(super) fn evidence(runs: Vec<FinalRun>) -> Evidence {
    Evidence {
        runs,
        ..Evidence::default()
    }
}

/// A call between two seconds that was acknowledged.
pub(super) fn acknowledge(evidence: &mut Evidence, at: u64, asked: Asked, answer: Answer) {
    evidence.journal.operations.push(Operation {
        invoked: Duration::from_secs(at),
        returned: Duration::from_secs(at + 1),
        asked,
        outcome: Outcome::Acknowledged(answer),
    });
}
