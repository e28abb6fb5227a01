//! I-28: a child that its parent saw start is there and names that parent; one event that initiates
//! starts one child; and how a child ended, as its parent says, is how it ended.

use crate::evidence::{Evidence, FinalRun};
use std::collections::BTreeMap;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus as Status;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    // The first run of each child, by parent run and the event that initiated it.
    let mut children: BTreeMap<(&str, i64), Vec<&FinalRun>> = BTreeMap::new();
    for run in &evidence.runs {
        if let Some((parent, initiated)) = parent(run) {
            children.entry((parent, initiated)).or_default().push(run);
        }
    }
    for ((parent, initiated), runs) in &children {
        if runs.len() > 1 {
            let runs: Vec<_> = runs.iter().map(|run| &run.run_id).collect();
            found.push(format!("event {initiated} of {parent} started {runs:?}"));
        }
    }
    for run in &evidence.runs {
        for event in &run.events {
            if let Some((initiated, child, status)) = event.attributes.as_ref().and_then(told) {
                let id = child.map(|child| child.run_id.as_str()).unwrap_or_default();
                let there = evidence.run(id);
                // A reset run has the events of its base.
                let of_workflow = |parent: &str| {
                    let parent = evidence.run(parent);
                    parent.is_some_and(|it| it.workflow_id == run.workflow_id)
                };
                let is_child = |it: &FinalRun| match parent(it) {
                    Some((parent, of)) => of == initiated && of_workflow(parent),
                    None => continues(it),
                };
                let ended = |it: &FinalRun| status.is_none_or(|status| it.status == i32::from(status));
                if !there.is_some_and(|it| is_child(it) && ended(it)) {
                    let name = &run.run_id;
                    found.push(format!("{name} says {event:?}, its child is {:?}", there.map(|it| it.status)));
                }
            }
        }
    }
    found
}

/// The parent's run and the event there, for the first run of a child that was not reset.
fn parent(run: &FinalRun) -> Option<(&str, i64)> {
    match run.events.first()?.attributes.as_ref()? {
        Event::WorkflowExecutionStartedEventAttributes(it)
            if it.original_execution_run_id == it.first_execution_run_id
                && it.first_execution_run_id == run.run_id =>
        {
            let parent = it.parent_workflow_execution.as_ref()?;
            Some((&parent.run_id, it.parent_initiated_event_id))
        }
        _ => None,
    }
}

/// A later run of a chain, or one that a reset made.
fn continues(run: &FinalRun) -> bool {
    let first = run.events.first().and_then(|event| event.attributes.as_ref());
    matches!(first, Some(Event::WorkflowExecutionStartedEventAttributes(it))
        if it.original_execution_run_id != run.run_id || it.first_execution_run_id != run.run_id)
}

type Told<'a> = (i64, Option<&'a WorkflowExecution>, Option<Status>);

/// What a parent's event tells of a child: which event initiated it, its run, how it ended.
fn told(event: &Event) -> Option<Told<'_>> {
    let (initiated, child, status) = match event {
        Event::ChildWorkflowExecutionStartedEventAttributes(it) => {
            (it.initiated_event_id, &it.workflow_execution, None)
        }
        Event::ChildWorkflowExecutionCompletedEventAttributes(it) => {
            let status = Some(Status::Completed);
            (it.initiated_event_id, &it.workflow_execution, status)
        }
        Event::ChildWorkflowExecutionFailedEventAttributes(it) => {
            let status = Some(Status::Failed);
            (it.initiated_event_id, &it.workflow_execution, status)
        }
        Event::ChildWorkflowExecutionCanceledEventAttributes(it) => {
            let status = Some(Status::Canceled);
            (it.initiated_event_id, &it.workflow_execution, status)
        }
        Event::ChildWorkflowExecutionTerminatedEventAttributes(it) => {
            let status = Some(Status::Terminated);
            (it.initiated_event_id, &it.workflow_execution, status)
        }
        _ => return None,
    };
    Some((initiated, child.as_ref(), status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{add, evidence, run};
    use steadfast_proto::temporal::history::v1::{
        ChildWorkflowExecutionCompletedEventAttributes, WorkflowExecutionStartedEventAttributes,
    };

    fn child(run_id: &str) -> FinalRun {
        let mut child = run("c", run_id);
        let execution = |run_id: &str| WorkflowExecution {
            workflow_id: "w".into(),
            run_id: run_id.into(),
        };
        let started = WorkflowExecutionStartedEventAttributes {
            parent_workflow_execution: Some(execution("r")),
            parent_initiated_event_id: 5,
            original_execution_run_id: run_id.into(),
            first_execution_run_id: run_id.into(),
            ..Default::default()
        };
        child.events[0].attributes = Some(Event::WorkflowExecutionStartedEventAttributes(started));
        child
    }

    #[test]
    fn a_lost_child_a_second_child_and_a_wrong_end_are_found() {
        let mut parent = run("w", "r");
        let completed = ChildWorkflowExecutionCompletedEventAttributes {
            initiated_event_id: 5,
            workflow_execution: Some(WorkflowExecution {
                workflow_id: "c".into(),
                run_id: "s".into(),
            }),
            ..Default::default()
        };
        add(&mut parent, Event::ChildWorkflowExecutionCompletedEventAttributes(completed));
        assert!(check(&evidence(vec![parent.clone(), child("s")])).is_empty());
        assert_eq!(check(&evidence(vec![parent.clone()])).len(), 1);
        let second = evidence(vec![parent.clone(), child("s"), child("t")]);
        assert_eq!(check(&second).len(), 1);
        let failed = FinalRun {
            status: Status::Failed.into(),
            ..child("s")
        };
        assert_eq!(check(&evidence(vec![parent, failed])).len(), 1);
    }
}
