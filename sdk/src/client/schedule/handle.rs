//! One schedule, and what the server knows of it.

use crate::client::Client;
use crate::client::error::CallError;
use crate::converter::{ConversionError, DataConverter, Value};
use crate::duration::time;
use crate::search_attributes::SearchAttributes;
use std::time::SystemTime;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::enums::v1::ScheduleOverlapPolicy;
use steadfast_proto::temporal::schedule::v1 as schedule;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use uuid::Uuid;

/// A time that is past, whose workflows are to be started now.
#[derive(Debug, Clone, PartialEq)]
pub struct Backfill {
    /// Its begin.
    pub start_at: SystemTime,
    /// Its end.
    pub end_at: SystemTime,
    /// What happens when the last workflow still runs.
    pub overlap: ScheduleOverlapPolicy,
}

impl Backfill {
    pub(super) fn to_wire(&self) -> schedule::BackfillRequest {
        schedule::BackfillRequest {
            start_time: Some(self.start_at.into()),
            end_time: Some(self.end_at.into()),
            overlap_policy: self.overlap as i32,
        }
    }
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct ScheduleHandle {
    client: Client,
    schedule_id: String,
}

impl ScheduleHandle {
    pub(super) fn new(client: Client, schedule_id: String) -> Self {
        Self {
            client,
            schedule_id,
        }
    }

    /// The schedule's id.
    pub fn schedule_id(&self) -> &str {
        &self.schedule_id
    }

    /// What the server knows of the schedule now.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when there is no such schedule.
    pub async fn describe(&self) -> Result<ScheduleDescription, CallError> {
        let request = wire::DescribeScheduleRequest {
            namespace: self.client.namespace().to_string(),
            schedule_id: self.schedule_id.clone(),
        };
        let raw = self.client.calls.describe_schedule(request).await?;
        let data = self.client.data_converter().clone();
        Ok(ScheduleDescription { raw, data })
    }

    /// Changes the schedule: what is there is given to `change`, and what it makes of it takes
    /// its place, unless someone else was faster.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when there is no such schedule; [`CallError::Rpc`] when it was
    /// changed in between, or when it is no good schedule.
    pub async fn update(
        &self,
        change: impl FnOnce(&mut schedule::Schedule) + Send,
    ) -> Result<(), CallError> {
        let described = self.describe().await?.raw;
        let mut schedule = described.schedule.unwrap_or_default();
        change(&mut schedule);
        let request = wire::UpdateScheduleRequest {
            namespace: self.client.namespace().to_string(),
            schedule_id: self.schedule_id.clone(),
            schedule: Some(schedule),
            conflict_token: described.conflict_token,
            identity: self.client.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        self.client.calls.update_schedule(request).await.map(drop)
    }

    /// Starts no more workflows until it is unpaused; the note says why.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when there is no such schedule.
    pub async fn pause(&self, note: &str) -> Result<(), CallError> {
        self.patch(schedule::SchedulePatch {
            pause: or(note, "Paused via Rust SDK"),
            ..Default::default()
        })
        .await
    }

    /// Starts workflows again; the note says why.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn unpause(&self, note: &str) -> Result<(), CallError> {
        self.patch(schedule::SchedulePatch {
            unpause: or(note, "Unpaused via Rust SDK"),
            ..Default::default()
        })
        .await
    }

    /// Starts a workflow now, by the schedule's own overlap policy when it is unspecified here.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn trigger(&self, overlap: ScheduleOverlapPolicy) -> Result<(), CallError> {
        self.patch(schedule::SchedulePatch {
            trigger_immediately: Some(schedule::TriggerImmediatelyRequest {
                overlap_policy: overlap as i32,
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
    }

    /// Starts what it would have started in times that are past.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn backfill(&self, backfill: &[Backfill]) -> Result<(), CallError> {
        self.patch(schedule::SchedulePatch {
            backfill_request: backfill.iter().map(Backfill::to_wire).collect(),
            ..Default::default()
        })
        .await
    }

    /// Deletes the schedule; workflows that run go on.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn delete(&self) -> Result<(), CallError> {
        let request = wire::DeleteScheduleRequest {
            namespace: self.client.namespace().to_string(),
            schedule_id: self.schedule_id.clone(),
            identity: self.client.identity().to_string(),
        };
        self.client.calls.delete_schedule(request).await.map(drop)
    }

    async fn patch(&self, patch: schedule::SchedulePatch) -> Result<(), CallError> {
        let request = wire::PatchScheduleRequest {
            namespace: self.client.namespace().to_string(),
            schedule_id: self.schedule_id.clone(),
            patch: Some(patch),
            identity: self.client.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
        };
        self.client.calls.patch_schedule(request).await.map(drop)
    }
}

/// An empty note would mean that nothing is to be done.
fn or(note: &str, otherwise: &str) -> String {
    match note {
        "" => otherwise.to_string(),
        note => note.to_string(),
    }
}

/// A schedule, whole.
#[derive(Debug, Clone)]
pub struct ScheduleDescription {
    raw: wire::DescribeScheduleResponse,
    data: DataConverter,
}

impl ScheduleDescription {
    /// All that the server said.
    pub fn raw(&self) -> &wire::DescribeScheduleResponse {
        &self.raw
    }

    /// It starts no workflows.
    pub fn is_paused(&self) -> bool {
        self.state().is_some_and(|state| state.paused)
    }

    /// The note for people.
    pub fn note(&self) -> &str {
        self.state().map_or("", |state| &state.notes)
    }

    /// How many workflows it has started.
    pub fn action_count(&self) -> i64 {
        self.raw.info.as_ref().map_or(0, |info| info.action_count)
    }

    /// The workflows that it started and that run.
    pub fn running_workflows(&self) -> &[common::WorkflowExecution] {
        let info = self.raw.info.as_ref();
        info.map_or(&[], |info| &info.running_workflows)
    }

    /// The next times, as many as the server gives.
    pub fn next_action_times(&self) -> Vec<SystemTime> {
        let info = self.raw.info.as_ref();
        let times = info.map_or(&[][..], |info| &info.future_action_times);
        times.iter().copied().filter_map(time).collect()
    }

    /// A value of the memo; none when there is none of this name.
    ///
    /// # Errors
    /// [`ConversionError::Decode`] when it is not a `T`.
    pub fn memo<T: Value>(&self, name: &str) -> Result<Option<T>, ConversionError> {
        memo(self.raw.memo.as_ref(), name, &self.data)
    }

    /// What it is found by.
    pub fn search_attributes(&self) -> SearchAttributes {
        SearchAttributes::from_wire(self.raw.search_attributes.clone())
    }

    fn state(&self) -> Option<&schedule::ScheduleState> {
        self.raw.schedule.as_ref()?.state.as_ref()
    }
}

/// A schedule, as lists have it.
#[derive(Debug, Clone)]
pub struct ScheduleListEntry {
    raw: schedule::ScheduleListEntry,
    data: DataConverter,
}

impl ScheduleListEntry {
    pub(super) fn new(raw: schedule::ScheduleListEntry, data: DataConverter) -> Self {
        Self { raw, data }
    }

    /// All that the server said.
    pub fn raw(&self) -> &schedule::ScheduleListEntry {
        &self.raw
    }

    /// The schedule's id.
    pub fn schedule_id(&self) -> &str {
        &self.raw.schedule_id
    }

    /// It starts no workflows.
    pub fn is_paused(&self) -> bool {
        self.raw.info.as_ref().is_some_and(|info| info.paused)
    }

    /// A value of the memo; none when there is none of this name.
    ///
    /// # Errors
    /// [`ConversionError::Decode`] when it is not a `T`.
    pub fn memo<T: Value>(&self, name: &str) -> Result<Option<T>, ConversionError> {
        memo(self.raw.memo.as_ref(), name, &self.data)
    }

    /// What it is found by.
    pub fn search_attributes(&self) -> SearchAttributes {
        SearchAttributes::from_wire(self.raw.search_attributes.clone())
    }
}

fn memo<T: Value>(
    memo: Option<&common::Memo>,
    name: &str,
    data: &DataConverter,
) -> Result<Option<T>, ConversionError> {
    let payload = memo.and_then(|memo| memo.fields.get(name));
    payload
        .map(|payload| data.converter().from_payload(payload))
        .transpose()
}
