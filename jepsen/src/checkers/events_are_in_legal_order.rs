//! I-8, I-16, I-26: what starts was scheduled before, what ends has begun, and ends once: a timer
//! that was cancelled never fires, one that fired is not cancelled.

use crate::evidence::{Evidence, FinalRun};
use std::collections::BTreeMap;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    evidence.runs.iter().filter_map(of).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Activity,
    WorkflowTask,
    Timer,
    Child,
    External,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begins(Kind),
    /// Of the event that it names.
    Starts(Kind, i64),
    Ends(Kind, i64),
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other events stand for themselves"
)]
fn step(event: &Event) -> Option<Step> {
    use Kind::{Activity, Child, External, Timer, WorkflowTask};
    use Step::{Begins, Ends, Starts};
    Some(match event {
        Event::WorkflowTaskScheduledEventAttributes(_) => Begins(WorkflowTask),
        Event::WorkflowTaskStartedEventAttributes(it) => Starts(WorkflowTask, it.scheduled_event_id),
        Event::WorkflowTaskCompletedEventAttributes(it) => Ends(WorkflowTask, it.scheduled_event_id),
        Event::WorkflowTaskFailedEventAttributes(it) => Ends(WorkflowTask, it.scheduled_event_id),
        Event::WorkflowTaskTimedOutEventAttributes(it) => Ends(WorkflowTask, it.scheduled_event_id),
        Event::ActivityTaskScheduledEventAttributes(_) => Begins(Activity),
        Event::ActivityTaskStartedEventAttributes(it) => Starts(Activity, it.scheduled_event_id),
        Event::ActivityTaskCompletedEventAttributes(it) => Ends(Activity, it.scheduled_event_id),
        Event::ActivityTaskFailedEventAttributes(it) => Ends(Activity, it.scheduled_event_id),
        Event::ActivityTaskTimedOutEventAttributes(it) => Ends(Activity, it.scheduled_event_id),
        Event::ActivityTaskCanceledEventAttributes(it) => Ends(Activity, it.scheduled_event_id),
        Event::TimerStartedEventAttributes(_) => Begins(Timer),
        Event::TimerFiredEventAttributes(it) => Ends(Timer, it.started_event_id),
        Event::TimerCanceledEventAttributes(it) => Ends(Timer, it.started_event_id),
        Event::StartChildWorkflowExecutionInitiatedEventAttributes(_) => Begins(Child),
        Event::ChildWorkflowExecutionStartedEventAttributes(it) => {
            Starts(Child, it.initiated_event_id)
        }
        Event::StartChildWorkflowExecutionFailedEventAttributes(it) => {
            Ends(Child, it.initiated_event_id)
        }
        Event::ChildWorkflowExecutionCompletedEventAttributes(it) => {
            Ends(Child, it.initiated_event_id)
        }
        Event::ChildWorkflowExecutionFailedEventAttributes(it) => Ends(Child, it.initiated_event_id),
        Event::ChildWorkflowExecutionCanceledEventAttributes(it) => {
            Ends(Child, it.initiated_event_id)
        }
        Event::ChildWorkflowExecutionTimedOutEventAttributes(it) => {
            Ends(Child, it.initiated_event_id)
        }
        Event::ChildWorkflowExecutionTerminatedEventAttributes(it) => {
            Ends(Child, it.initiated_event_id)
        }
        Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(_) => Begins(External),
        Event::SignalExternalWorkflowExecutionFailedEventAttributes(it) => {
            Ends(External, it.initiated_event_id)
        }
        Event::ExternalWorkflowExecutionSignaledEventAttributes(it) => {
            Ends(External, it.initiated_event_id)
        }
        _ => return None,
    })
}

/// What is known of a thing that has begun.
#[derive(Debug, Clone, Copy)]
struct Begun {
    kind: Kind,
    started: bool,
    ended: bool,
}

fn of(run: &FinalRun) -> Option<String> {
    let mut begun: BTreeMap<i64, Begun> = BTreeMap::new();
    for event in &run.events {
        let legal = match event.attributes.as_ref().and_then(step) {
            None => true,
            Some(Step::Begins(kind)) => {
                let new = Begun {
                    kind,
                    started: false,
                    ended: false,
                };
                begun.insert(event.event_id, new).is_none()
            }
            Some(Step::Starts(kind, of)) => match begun.get_mut(&of) {
                Some(thing) if thing.kind == kind && !thing.started && !thing.ended => {
                    thing.started = true;
                    true
                }
                Some(_) | None => false,
            },
            Some(Step::Ends(kind, of)) => match begun.get_mut(&of) {
                Some(thing) if thing.kind == kind && !thing.ended => {
                    thing.ended = true;
                    true
                }
                Some(_) | None => false,
            },
        };
        if !legal {
            return Some(format!(
                "{} {}: event {} {:?}",
                run.workflow_id, run.run_id, event.event_id, event.attributes
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{add, evidence, run};
    use steadfast_proto::temporal::history::v1::ActivityTaskCompletedEventAttributes;

    #[test]
    fn an_activity_that_completes_twice_or_before_it_was_scheduled_is_found() {
        let completed = |scheduled_event_id| {
            Event::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
                scheduled_event_id,
                ..Default::default()
            })
        };
        let mut planted = run("w", "r");
        add(
            &mut planted,
            Event::ActivityTaskScheduledEventAttributes(Default::default()),
        );
        add(&mut planted, completed(3));
        assert!(check(&evidence(vec![planted.clone()])).is_empty());
        add(&mut planted, completed(3));
        assert_eq!(check(&evidence(vec![planted])).len(), 1);
        let mut planted = run("w", "r");
        add(&mut planted, completed(9));
        assert_eq!(check(&evidence(vec![planted])).len(), 1);
    }
}
