//! I-14: a run that is closed has one closing event, the last; and what was seen closed stays so.

use crate::evidence::Evidence;
use crate::operation::{Answer, Asked};
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus as Status;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for run in &evidence.runs {
        let name = format!("{} {}", run.workflow_id, run.run_id);
        let closes: Vec<(usize, Status)> = run
            .events
            .iter()
            .enumerate()
            .filter_map(|(at, event)| Some((at, closing(event)?)))
            .collect();
        let right = match closes.as_slice() {
            [] => run.status == i32::from(Status::Running),
            [(at, status)] => at + 1 == run.events.len() && run.status == i32::from(*status),
            _ => false,
        };
        if !right {
            found.push(format!("{name} has status {} and closes at {closes:?}", run.status));
        }
    }
    let running = i32::from(Status::Running);
    let mut stays = |run_id: &str, status: i32| {
        let finally = evidence.run(run_id).map(|run| run.status);
        if status != running && finally != Some(status) {
            found.push(format!("{run_id} was seen with status {status}, ends with {finally:?}"));
        }
    };
    for (_, asked, answer) in evidence.acknowledged() {
        match (asked, answer) {
            (_, Answer::Status { run_id, status }) => stays(run_id, *status),
            (_, Answer::Rows(rows)) => rows.iter().for_each(|(run, status)| stays(run, *status)),
            (Asked::Terminate { run_id, .. }, Answer::Done) => {
                stays(run_id, Status::Terminated.into());
            }
            _ => {}
        }
    }
    found
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most events do not close a run"
)]
fn closing(event: &HistoryEvent) -> Option<Status> {
    match event.attributes.as_ref()? {
        Event::WorkflowExecutionCompletedEventAttributes(_) => Some(Status::Completed),
        Event::WorkflowExecutionFailedEventAttributes(_) => Some(Status::Failed),
        Event::WorkflowExecutionCanceledEventAttributes(_) => Some(Status::Canceled),
        Event::WorkflowExecutionTerminatedEventAttributes(_) => Some(Status::Terminated),
        Event::WorkflowExecutionContinuedAsNewEventAttributes(_) => Some(Status::ContinuedAsNew),
        Event::WorkflowExecutionTimedOutEventAttributes(_) => Some(Status::TimedOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, add, evidence, run};

    #[test]
    fn events_after_the_close_and_runs_that_open_again_are_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        let status = |status: Status| Answer::Status {
            run_id: "r".into(),
            status: status.into(),
        };
        let describe = || Asked::Describe {
            workflow_id: "w".into(),
        };
        acknowledge(&mut planted, 1, describe(), status(Status::Completed));
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 1, describe(), status(Status::Failed));
        assert_eq!(check(&planted).len(), 1);
        let mut late = run("w", "r");
        let signal = Event::WorkflowExecutionSignaledEventAttributes(Default::default());
        add(&mut late, signal);
        assert_eq!(check(&evidence(vec![late])).len(), 1);
    }
}
