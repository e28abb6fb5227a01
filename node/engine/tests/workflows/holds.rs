//! What holds of each run after each step.

use crate::world::World;
use std::collections::BTreeMap;
use steadfast_engine::id::{QueueKey, TaskKind};
use steadfast_engine::tables::{Run, Tables, WorkflowTaskKind, WorkflowTaskPhase, keys};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;

/// What a run's record says and what its other records hold agree.
pub(crate) fn check_run(world: &World, run: &Run) {
    let (events, bytes) = world.history(&run.run);
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(
        ids,
        (1..run.next_event_id).collect::<Vec<_>>(),
        "ids have no gap"
    );
    assert_eq!(bytes, run.history_bytes);
    assert_eq!(
        run.close.is_none(),
        run.status == 1,
        "status says whether it runs"
    );
    check_references(&events);
    let count = |prefix: &[u8]| {
        u64::try_from(
            world
                .memory
                .scan(prefix, &keys::prefix_end(prefix), usize::MAX, false)
                .unwrap()
                .len(),
        )
        .unwrap()
    };
    assert_eq!(run.buffered_count, count(&keys::buffered_prefix(&run.run)));
    assert_eq!(run.pending_timers, count(&keys::timer_prefix(&run.run)));
    assert_eq!(
        run.pending_activities,
        count(&keys::activity_prefix(&run.run))
    );
    let task = run.workflow_task.as_ref();
    let started = task.is_some_and(|task| matches!(task.phase, WorkflowTaskPhase::Started { .. }));
    assert!(
        started || run.buffered_count == 0,
        "only a started task has a buffer"
    );
    if run.close.is_some() {
        assert!(task.is_none() && run.buffered_count == 0);
        return;
    }
    if let Some(task) = task {
        if task.kind != WorkflowTaskKind::Normal && started {
            assert_eq!(task.scheduled_event_id, run.next_event_id);
        }
        if let WorkflowTaskPhase::Scheduled { task: sequence } = task.phase {
            let name = task.queue.clone();
            let queue = QueueKey {
                namespace: run.run.namespace,
                kind: TaskKind::Workflow,
                name,
            };
            let entry = world.memory.0.get(&keys::queue_task_key(&queue, sequence));
            assert!(entry.is_some(), "a scheduled task waits in its queue");
        }
        return;
    }
    if !run.first_task_pending {
        let last = events.iter().rev().find(|event| !is_from_command(event));
        let last = last.map(HistoryEvent::event_type);
        assert_eq!(
            last,
            Some(EventType::WorkflowTaskCompleted),
            "what is new has a task: {events:#?}"
        );
    }
}

fn is_from_command(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type(),
        EventType::ActivityTaskScheduled
            | EventType::ActivityTaskCancelRequested
            | EventType::TimerStarted
            | EventType::TimerCanceled
            | EventType::MarkerRecorded
            | EventType::WorkflowExecutionUpdateAccepted
            | EventType::WorkflowExecutionUpdateCompleted
            | EventType::WorkflowExecutionOptionsUpdated
    )
}

/// Each started and closing event names the events before it that it belongs to.
#[expect(
    clippy::too_many_lines,
    reason = "one match, an arm for each kind of event"
)]
fn check_references(events: &[HistoryEvent]) {
    let mut scheduled = BTreeMap::new();
    let mut started = BTreeMap::new();
    let mut timers = BTreeMap::new();
    for event in events {
        let id = event.event_id;
        let closes = |scheduled_id: i64,
                      started_id: i64,
                      scheduled: &BTreeMap<i64, EventType>,
                      started: &BTreeMap<i64, i64>| {
            assert!(
                scheduled.contains_key(&scheduled_id),
                "event {id} closes what was scheduled"
            );
            assert_eq!(
                started.get(&scheduled_id).copied().unwrap_or(0),
                started_id,
                "event {id}: {events:#?}"
            );
        };
        match event.attributes.as_ref().unwrap() {
            Attributes::WorkflowTaskScheduledEventAttributes(_)
            | Attributes::ActivityTaskScheduledEventAttributes(_) => {
                scheduled.insert(id, event.event_type());
            }
            Attributes::WorkflowTaskStartedEventAttributes(event) => {
                assert!(started.insert(event.scheduled_event_id, id).is_none());
            }
            Attributes::ActivityTaskStartedEventAttributes(event) => {
                assert!(started.insert(event.scheduled_event_id, id).is_none());
            }
            Attributes::WorkflowTaskCompletedEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::WorkflowTaskFailedEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::WorkflowTaskTimedOutEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::ActivityTaskCompletedEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::ActivityTaskFailedEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::ActivityTaskTimedOutEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::ActivityTaskCanceledEventAttributes(event) => {
                closes(
                    event.scheduled_event_id,
                    event.started_event_id,
                    &scheduled,
                    &started,
                );
            }
            Attributes::TimerStartedEventAttributes(event) => {
                timers.insert(id, event.timer_id.clone());
            }
            Attributes::TimerFiredEventAttributes(event) => {
                let timer_id = timers.remove(&event.started_event_id);
                assert_eq!(timer_id.as_ref(), Some(&event.timer_id));
            }
            Attributes::TimerCanceledEventAttributes(event) => {
                let timer_id = timers.remove(&event.started_event_id);
                assert_eq!(timer_id.as_ref(), Some(&event.timer_id));
            }
            _ => {}
        }
    }
}
