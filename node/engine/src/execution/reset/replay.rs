//! A run's state from its events, up to a point.

use super::super::Execution;
use super::others::Others;
use crate::event::Attributes;
use crate::id::WorkerVersion;
use crate::proto::Proto;
use crate::reply::Fault;
use crate::search_attribute::unsets;
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::{
    ActivityTaskScheduledEventAttributes, HistoryEvent, WorkflowTaskCompletedEventAttributes,
};

/// Activities without a closing event, by scheduled event id.
pub(super) type Activities = BTreeMap<i64, WaitingActivity>;
/// Timers that have neither fired nor been canceled: id and time, by started event id.
pub(super) type Timers = BTreeMap<i64, (String, Timestamp)>;

/// Request ids that a reset takes over, the newest: each is a record, and a reset is one mutation. A
/// call that is repeated so much later is not recognized in the new run.
const REQUESTS_MAX: usize = 8_000;

/// What has begun and not ended at a point of a history.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) activities: Activities,
    pub(super) timers: Timers,
    pub(super) task: Option<PendingTask>,
    pub(super) others: Others,
    /// The newest request ids, oldest first: what each made, and the event's id.
    requests: VecDeque<(String, EventType, i64)>,
}

impl Pending {
    fn note_request(&mut self, request_id: String, made: EventType, event_id: i64) {
        if request_id.is_empty() {
            return;
        }
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back((request_id, made, event_id));
    }
}

/// A workflow task without its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingTask {
    pub(super) scheduled_event_id: i64,
    /// 0 before it started.
    pub(super) started_event_id: i64,
}

/// An activity without its end.
#[derive(Debug)]
pub(super) struct WaitingActivity {
    pub(super) scheduled: ActivityTaskScheduledEventAttributes,
    /// 0 before it started.
    pub(super) started_event_id: i64,
    pub(super) started_identity: String,
    /// 0 when no cancel was requested.
    pub(super) cancel_requested_event_id: i64,
}

impl Execution<'_, '_> {
    /// Takes one event of the shared history into the run's state. The started event is in it
    /// already.
    #[expect(clippy::too_many_lines, reason = "one match, an arm for each event")]
    pub(super) fn replay(
        &mut self,
        event: HistoryEvent,
        pending: &mut Pending,
    ) -> Result<(), Fault> {
        let id = event.event_id;
        let at = event
            .event_time
            .as_ref()
            .map_or(Timestamp(0), Timestamp::from_proto);
        let Some(attributes) = event.attributes else {
            return Ok(());
        };
        match attributes {
            Attributes::WorkflowTaskScheduledEventAttributes(_) => {
                pending.task = Some(PendingTask {
                    scheduled_event_id: id,
                    started_event_id: 0,
                });
            }
            Attributes::WorkflowTaskStartedEventAttributes(_) => {
                if let Some(task) = &mut pending.task {
                    task.started_event_id = id;
                }
            }
            Attributes::WorkflowTaskCompletedEventAttributes(completed) => {
                pending.task = None;
                self.run.last_completed_started_event_id = completed.started_event_id;
                self.replay_completed_task(id, &completed);
            }
            Attributes::WorkflowTaskFailedEventAttributes(_)
            | Attributes::WorkflowTaskTimedOutEventAttributes(_) => pending.task = None,
            Attributes::ActivityTaskScheduledEventAttributes(scheduled) => {
                let waiting = WaitingActivity {
                    scheduled,
                    started_event_id: 0,
                    started_identity: String::new(),
                    cancel_requested_event_id: 0,
                };
                pending.activities.insert(id, waiting);
            }
            Attributes::ActivityTaskStartedEventAttributes(started) => {
                if let Some(activity) = pending.activities.get_mut(&started.scheduled_event_id) {
                    activity.started_event_id = id;
                    activity.started_identity = started.identity;
                }
            }
            Attributes::ActivityTaskCancelRequestedEventAttributes(requested) => {
                if let Some(activity) = pending.activities.get_mut(&requested.scheduled_event_id) {
                    activity.cancel_requested_event_id = id;
                }
            }
            Attributes::ActivityTaskCompletedEventAttributes(end) => {
                pending.activities.remove(&end.scheduled_event_id);
            }
            Attributes::ActivityTaskFailedEventAttributes(end) => {
                pending.activities.remove(&end.scheduled_event_id);
            }
            Attributes::ActivityTaskTimedOutEventAttributes(end) => {
                pending.activities.remove(&end.scheduled_event_id);
            }
            Attributes::ActivityTaskCanceledEventAttributes(end) => {
                pending.activities.remove(&end.scheduled_event_id);
            }
            Attributes::TimerStartedEventAttributes(timer) => {
                let timeout = Span::from_proto(timer.start_to_fire_timeout.as_ref());
                let fire_at = at.after(timeout);
                pending.timers.insert(id, (timer.timer_id, fire_at));
            }
            Attributes::TimerFiredEventAttributes(end) => {
                pending.timers.remove(&end.started_event_id);
            }
            Attributes::TimerCanceledEventAttributes(end) => {
                pending.timers.remove(&end.started_event_id);
            }
            Attributes::WorkflowExecutionSignaledEventAttributes(signal) => {
                self.run.signal_count += 1;
                let made = EventType::WorkflowExecutionSignaled;
                pending.note_request(signal.request_id, made, id);
            }
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(_) => {
                self.run.cancel_requested = true;
            }
            Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(updated) => {
                let made = EventType::WorkflowExecutionOptionsUpdated;
                pending.note_request(updated.attached_request_id, made, id);
            }
            Attributes::UpsertWorkflowSearchAttributesEventAttributes(upserted) => {
                let fields = upserted
                    .search_attributes
                    .unwrap_or_default()
                    .indexed_fields;
                upsert(&mut self.run.search_attributes, fields);
            }
            Attributes::WorkflowPropertiesModifiedEventAttributes(modified) => {
                let fields = modified.upserted_memo.unwrap_or_default().fields;
                upsert(&mut self.run.memo, fields);
            }
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(admitted) => {
                self.replay_update_admitted(admitted);
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted) => {
                self.replay_update_accepted(id, accepted)?;
            }
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(completed) => {
                self.replay_update_completed(id, completed)?;
            }
            // Children and messages to others; the rest leaves nothing pending.
            other => pending.others.replay(id, other, event.user_metadata),
        }
        Ok(())
    }

    /// Remembers the request ids that the shared history holds, but for the oldest of very many.
    pub(super) fn restore_requests(&mut self, pending: &mut Pending) {
        for (request_id, made, event_id) in std::mem::take(&mut pending.requests) {
            self.remember_request(&request_id, made, event_id);
        }
    }

    fn replay_completed_task(&mut self, id: i64, completed: &WorkflowTaskCompletedEventAttributes) {
        #[expect(deprecated, reason = "older workers name their build by these fields")]
        let (stamp, checksum) = (
            completed.worker_version.as_ref(),
            &completed.binary_checksum,
        );
        let build_id = stamp.map_or("", |stamp| &stamp.build_id);
        let versioned = stamp.is_some_and(|stamp| stamp.use_versioning);
        self.note_build_id((!versioned && stamp.is_some()).then_some(build_id));
        let mut version = WorkerVersion {
            build_id: build_id.to_owned(),
            use_versioning: versioned,
            deployment_name: String::new(),
        };
        if let Some(deployment) = completed.deployment_version.as_ref() {
            version
                .deployment_name
                .clone_from(&deployment.deployment_name);
            if version.build_id.is_empty() {
                version.build_id.clone_from(&deployment.build_id);
            }
        }
        self.set_worker_version(version);
        self.note_reset_point(checksum, build_id, id);
    }
}

fn upsert(into: &mut BTreeMap<String, Proto<Payload>>, fields: BTreeMap<String, Payload>) {
    for (name, payload) in fields {
        if unsets(&payload) {
            into.remove(&name);
        } else {
            into.insert(name, Proto::detached(&payload));
        }
    }
}
