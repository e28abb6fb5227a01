//! A run's history: dense ids, and each event names the events that it belongs to.

use super::{Report, for_each};
use crate::event::Attributes;
use crate::read;
use crate::reply::Fault;
use crate::tables::{Record, Run, Tables, keys};
use prost::Message;
use std::collections::BTreeMap;
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};

pub(super) fn check(tables: &dyn Tables, run: &Run, report: &mut Report) -> Result<(), Fault> {
    let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
    let mut events: Vec<HistoryEvent> = Vec::new();
    let mut bytes = 0_usize;
    if let [shared @ .., _] = run.branches.as_slice()
        && let Some(last) = shared.last()
    {
        // A shared prefix lies with the runs that wrote it.
        let mut next = Some(1);
        while let Some(from) = next {
            let most = read::history::PAGE_BATCHES_MAX;
            let Ok(page) = read::history::forward(tables, run, from, last.until, most) else {
                report.require(false, || format!("{}: a shared event is missing", name()));
                return Ok(());
            };
            next = page.next;
            bytes += page.events.len();
            let decoded = History::decode(page.events).unwrap_or_default();
            events.extend(decoded.events);
        }
    }
    for_each(tables, &keys::history_prefix(&run.run), |_, record| {
        if let Record::HistoryBatch(batch) = record {
            bytes += batch.events.len();
            let decoded = History::decode(batch.events.clone()).unwrap_or_default();
            report.require(decoded.events.len() == batch.count as usize, || {
                format!("{}: a batch does not hold what it counts", name())
            });
            events.extend(decoded.events);
        }
    })?;
    let dense = (1..run.next_event_id).eq(events.iter().map(|event| event.event_id));
    report.require(dense, || format!("{}: event ids have gaps", name()));
    report.require(i64::try_from(bytes) == Ok(run.history_bytes), || {
        format!(
            "{}: {} bytes are counted, {bytes} are there",
            name(),
            run.history_bytes
        )
    });
    check_times(&events, &name, report);
    let mut links = Links::default();
    for event in &events {
        let fits = links.add(event);
        report.require(fits, || {
            format!("{}: event {} is out of place", name(), event.event_id)
        });
    }
    check_end(run, &events, &name, report);
    Ok(())
}

/// A started event of an activity carries the time of its start, which lies before those around it.
fn check_times(events: &[HistoryEvent], name: &impl Fn() -> String, report: &mut Report) {
    let mut last = (0, 0);
    for event in events {
        if event.event_type() == EventType::ActivityTaskStarted {
            continue;
        }
        let at = event
            .event_time
            .map_or((0, 0), |time| (time.seconds, time.nanos));
        report.require(at >= last || may_be_buffered(event), || {
            format!(
                "{}: time runs backwards at event {}",
                name(),
                event.event_id
            )
        });
        last = last.max(at);
    }
}

/// Closing events of activities and children are moved behind others that came later.
fn may_be_buffered(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type(),
        EventType::StartChildWorkflowExecutionFailed
            | EventType::ChildWorkflowExecutionStarted
            | EventType::ChildWorkflowExecutionCompleted
            | EventType::ChildWorkflowExecutionFailed
            | EventType::ChildWorkflowExecutionCanceled
            | EventType::ChildWorkflowExecutionTimedOut
            | EventType::ChildWorkflowExecutionTerminated
            | EventType::SignalExternalWorkflowExecutionFailed
            | EventType::ExternalWorkflowExecutionSignaled
            | EventType::RequestCancelExternalWorkflowExecutionFailed
            | EventType::ExternalWorkflowExecutionCancelRequested
            | EventType::ActivityTaskCompleted
            | EventType::ActivityTaskFailed
            | EventType::ActivityTaskTimedOut
            | EventType::ActivityTaskCanceled
            | EventType::WorkflowExecutionSignaled
            | EventType::WorkflowExecutionCancelRequested
            | EventType::TimerFired
    )
}

/// The last event of an open run asks for a task, or a task is there; of a closed one it closes.
fn check_end(run: &Run, events: &[HistoryEvent], name: &impl Fn() -> String, report: &mut Report) {
    if let Some(close) = &run.close {
        let last = events.last().map_or(0, |event| event.event_id);
        report.require(close.event_id == last, || {
            format!("{}: events after the close", name())
        });
        return;
    }
    if run.workflow_task.is_some() || run.first_task_pending {
        return;
    }
    let last = events.iter().rev().find(|event| !is_of_command(event));
    let seen = last.is_some_and(|event| event.event_type() == EventType::WorkflowTaskCompleted);
    report.require(seen, || {
        format!("{}: an event that no task tells of", name())
    });
}

fn is_of_command(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type(),
        EventType::ActivityTaskScheduled
            | EventType::ActivityTaskCancelRequested
            | EventType::TimerStarted
            | EventType::TimerCanceled
            | EventType::MarkerRecorded
            | EventType::StartChildWorkflowExecutionInitiated
            | EventType::SignalExternalWorkflowExecutionInitiated
            | EventType::RequestCancelExternalWorkflowExecutionInitiated
            | EventType::UpsertWorkflowSearchAttributes
            | EventType::WorkflowPropertiesModified
            | EventType::WorkflowExecutionUpdateAccepted
            | EventType::WorkflowExecutionUpdateCompleted
            | EventType::WorkflowExecutionOptionsUpdated
    )
}

/// What is open at a point of the history.
#[derive(Debug, Default)]
struct Links {
    /// Scheduled tasks and activities, with their started event (0 before).
    scheduled: BTreeMap<i64, i64>,
    timers: BTreeMap<i64, String>,
    /// Accepted updates.
    updates: BTreeMap<i64, String>,
}

impl Links {
    /// Whether the event belongs where it is.
    fn add(&mut self, event: &HistoryEvent) -> bool {
        let id = event.event_id;
        match event.attributes.as_ref() {
            Some(
                Attributes::WorkflowTaskScheduledEventAttributes(_)
                | Attributes::ActivityTaskScheduledEventAttributes(_),
            ) => self.scheduled.insert(id, 0).is_none(),
            Some(Attributes::WorkflowTaskStartedEventAttributes(event)) => {
                self.start(event.scheduled_event_id, id)
            }
            Some(Attributes::ActivityTaskStartedEventAttributes(event)) => {
                self.start(event.scheduled_event_id, id)
            }
            Some(Attributes::WorkflowTaskCompletedEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::WorkflowTaskFailedEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::WorkflowTaskTimedOutEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::ActivityTaskCompletedEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::ActivityTaskFailedEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::ActivityTaskTimedOutEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::ActivityTaskCanceledEventAttributes(event)) => {
                self.end(event.scheduled_event_id, event.started_event_id)
            }
            Some(Attributes::TimerStartedEventAttributes(event)) => {
                self.timers.insert(id, event.timer_id.clone()).is_none()
            }
            Some(Attributes::TimerFiredEventAttributes(event)) => {
                self.timers.remove(&event.started_event_id).as_ref() == Some(&event.timer_id)
            }
            Some(Attributes::TimerCanceledEventAttributes(event)) => {
                self.timers.remove(&event.started_event_id).as_ref() == Some(&event.timer_id)
            }
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(event)) => {
                let update_id = event.protocol_instance_id.clone();
                self.updates.insert(id, update_id).is_none()
            }
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(event)) => {
                let update_id = event.meta.as_ref().map(|meta| &meta.update_id);
                self.updates.remove(&event.accepted_event_id).as_ref() == update_id
            }
            Some(other) => self.add_external(id, other),
            None => false,
        }
    }

    /// As `add`, for children and for signals and requests to cancel to others.
    fn add_external(&mut self, id: i64, event: &Attributes) -> bool {
        match event {
            Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_)
            | Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
            | Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => {
                self.scheduled.insert(id, 0).is_none()
            }
            Attributes::ChildWorkflowExecutionStartedEventAttributes(event) => {
                self.start(event.initiated_event_id, id)
            }
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(event) => {
                self.end(event.initiated_event_id, 0)
            }
            Attributes::ChildWorkflowExecutionCompletedEventAttributes(event) => {
                self.end(event.initiated_event_id, event.started_event_id)
            }
            Attributes::ChildWorkflowExecutionFailedEventAttributes(event) => {
                self.end(event.initiated_event_id, event.started_event_id)
            }
            Attributes::ChildWorkflowExecutionCanceledEventAttributes(event) => {
                self.end(event.initiated_event_id, event.started_event_id)
            }
            Attributes::ChildWorkflowExecutionTimedOutEventAttributes(event) => {
                self.end(event.initiated_event_id, event.started_event_id)
            }
            Attributes::ChildWorkflowExecutionTerminatedEventAttributes(event) => {
                self.end(event.initiated_event_id, event.started_event_id)
            }
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(event) => {
                self.end(event.initiated_event_id, 0)
            }
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(event) => {
                self.end(event.initiated_event_id, 0)
            }
            Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(event) => {
                self.end(event.initiated_event_id, 0)
            }
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(event) => {
                self.end(event.initiated_event_id, 0)
            }
            _ => true,
        }
    }

    fn start(&mut self, scheduled: i64, started: i64) -> bool {
        match self.scheduled.get_mut(&scheduled) {
            Some(slot) if *slot == 0 => {
                *slot = started;
                true
            }
            Some(_) | None => false,
        }
    }

    fn end(&mut self, scheduled: i64, started: i64) -> bool {
        self.scheduled.remove(&scheduled) == Some(started)
    }
}
