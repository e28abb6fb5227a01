//! I-19: a workflow that is replayed from its history decides at each workflow task what the history
//! says that it decided then.

use crate::evidence::{Evidence, FinalRun};
use crate::workload::script::Past;
use steadfast_proto::temporal::command::v1::command::Attributes as Command;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// What was decided, and of which timer, activity, child or signal.
type Decision<'a> = (&'static str, &'a str);

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    evidence.runs.iter().filter_map(of).collect()
}

fn of(run: &FinalRun) -> Option<String> {
    for event in &run.events {
        let Some(Event::WorkflowTaskCompletedEventAttributes(task)) = &event.attributes else {
            continue;
        };
        let seen = run.events.iter();
        let seen = seen.take_while(|event| event.event_id <= task.started_event_id);
        let past = Past::of(&seen.cloned().collect::<Vec<_>>());
        let commands = past.decide(&run.workflow_id, &run.run_id);
        let decides: Vec<Decision<'_>> = commands
            .iter()
            .filter_map(|command| decision(command.attributes.as_ref()?))
            .collect();
        let events = run.events.iter();
        let decided: Vec<Decision<'_>> = events
            .filter_map(|after| decided(after, event.event_id))
            .collect();
        if decides != decided {
            let (workflow_id, run_id, task) = (&run.workflow_id, &run.run_id, event.event_id);
            return Some(format!(
                "{workflow_id} {run_id}: task {task} decided {decided:?}, a replay {decides:?}"
            ));
        }
    }
    None
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "scripts decide nothing else, and messages stand for themselves"
)]
fn decision(command: &Command) -> Option<Decision<'_>> {
    Some(match command {
        Command::ScheduleActivityTaskCommandAttributes(it) => ("activity", &it.activity_id),
        Command::StartTimerCommandAttributes(it) => ("timer", &it.timer_id),
        Command::CancelTimerCommandAttributes(it) => ("cancel timer", &it.timer_id),
        Command::StartChildWorkflowExecutionCommandAttributes(it) => ("child", &it.workflow_id),
        Command::SignalExternalWorkflowExecutionCommandAttributes(it) => ("signal", &it.signal_name),
        Command::ContinueAsNewWorkflowExecutionCommandAttributes(_) => ("continue as new", ""),
        Command::CompleteWorkflowExecutionCommandAttributes(_) => ("complete", ""),
        Command::FailWorkflowExecutionCommandAttributes(_) => ("fail", ""),
        Command::CancelWorkflowExecutionCommandAttributes(_) => ("cancel", ""),
        _ => return None,
    })
}

/// What an event says that a workflow task decided.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most events are nobody's decision"
)]
fn decided(event: &HistoryEvent, task: i64) -> Option<Decision<'_>> {
    let (by, decision) = match event.attributes.as_ref()? {
        Event::ActivityTaskScheduledEventAttributes(it) => (
            it.workflow_task_completed_event_id,
            ("activity", it.activity_id.as_str()),
        ),
        Event::TimerStartedEventAttributes(it) => (
            it.workflow_task_completed_event_id,
            ("timer", it.timer_id.as_str()),
        ),
        Event::TimerCanceledEventAttributes(it) => (
            it.workflow_task_completed_event_id,
            ("cancel timer", it.timer_id.as_str()),
        ),
        Event::StartChildWorkflowExecutionInitiatedEventAttributes(it) => (
            it.workflow_task_completed_event_id,
            ("child", it.workflow_id.as_str()),
        ),
        Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(it) => (
            it.workflow_task_completed_event_id,
            ("signal", it.signal_name.as_str()),
        ),
        Event::WorkflowExecutionContinuedAsNewEventAttributes(it) => {
            (it.workflow_task_completed_event_id, ("continue as new", ""))
        }
        Event::WorkflowExecutionCompletedEventAttributes(it) => {
            (it.workflow_task_completed_event_id, ("complete", ""))
        }
        Event::WorkflowExecutionFailedEventAttributes(it) => {
            (it.workflow_task_completed_event_id, ("fail", ""))
        }
        Event::WorkflowExecutionCanceledEventAttributes(it) => {
            (it.workflow_task_completed_event_id, ("cancel", ""))
        }
        _ => return None,
    };
    (by == task).then_some(decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{add, evidence};
    use steadfast_proto::temporal::common::v1::{Payload, Payloads};
    use steadfast_proto::temporal::history::v1::{
        TimerStartedEventAttributes, WorkflowExecutionStartedEventAttributes,
        WorkflowTaskCompletedEventAttributes,
    };

    /// A run of the script `t800` whose first task decided to start this timer.
    fn starts(timer_id: &str) -> Evidence {
        let payload = Payload {
            data: "t800".into(),
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
        add(&mut run, Event::WorkflowTaskScheduledEventAttributes(Default::default()));
        add(&mut run, Event::WorkflowTaskStartedEventAttributes(Default::default()));
        let completed = WorkflowTaskCompletedEventAttributes {
            started_event_id: 3,
            ..Default::default()
        };
        add(&mut run, Event::WorkflowTaskCompletedEventAttributes(completed));
        let timer = TimerStartedEventAttributes {
            timer_id: timer_id.into(),
            workflow_task_completed_event_id: 4,
            ..Default::default()
        };
        add(&mut run, Event::TimerStartedEventAttributes(timer));
        evidence(vec![run])
    }

    #[test]
    fn a_decision_that_a_replay_does_not_make_and_one_that_is_lost_are_found() {
        assert_eq!(check(&starts("0")), Vec::<String>::new());
        assert_eq!(check(&starts("another")).len(), 1);
        let mut lost = starts("0");
        lost.runs[0].events.pop();
        assert_eq!(check(&lost).len(), 1);
    }
}
