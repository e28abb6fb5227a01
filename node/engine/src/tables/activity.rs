//! Pending activities.

use super::key::{Key, run_family, run_writer};
use crate::id::{PollId, RunRef, WorkerVersion};
use crate::proto::Proto;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::ActivityTaskScheduledEventAttributes;

/// Where an activity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivityState {
    /// Waits in its queue (under this task number).
    Queued {
        /// Sequence number of its queue entry.
        task: u64,
    },
    /// Waits for its next attempt.
    Backoff {
        /// When that begins.
        until: Timestamp,
    },
    /// A worker has it.
    Started {
        /// Since when.
        at: Timestamp,
    },
}

/// A pending activity. It leaves no event but Scheduled (and CancelRequested) until it closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Its scheduled event.
    pub scheduled_event_id: i64,
    /// What was scheduled, time-outs and retry policy filled in; names, queue, input and header.
    pub scheduled: Proto<ActivityTaskScheduledEventAttributes>,
    /// Where it stands.
    pub state: ActivityState,
    /// From 1.
    pub attempt: i32,
    /// Claims so far in this activity; the token of a claim carries its number.
    pub claim: u64,
    /// When it was scheduled first.
    pub scheduled_at: Timestamp,
    /// When this attempt was scheduled.
    pub attempt_scheduled_at: Timestamp,
    /// Schedule-to-close; zero when infinite.
    pub schedule_to_close: Span,
    /// Schedule-to-start; zero when infinite.
    pub schedule_to_start: Span,
    /// Start-to-close; zero when infinite.
    pub start_to_close: Span,
    /// Heartbeat; zero when none.
    pub heartbeat: Span,
    /// Details of the last heartbeat.
    pub heartbeat_details: Option<Proto<common::Payloads>>,
    /// When the last heartbeat came; zero when none did in this attempt.
    pub heartbeat_at: Timestamp,
    /// Where the heartbeat time-out lies in the index of due times; zero when it is not armed. It
    /// is moved when it comes due, not with each heartbeat.
    pub heartbeat_due_at: Timestamp,
    /// The last failed attempt's failure, cut to 4 KiB.
    pub last_failure: Option<Proto<Failure>>,
    /// Who failed last or runs it now.
    pub last_worker_identity: String,
    /// When the last attempt ended.
    pub last_attempt_completed_at: Timestamp,
    /// Who runs it; the poll that got it is the request id of the started event.
    pub started_identity: String,
    /// The poll that claimed it.
    pub started_poll: Option<PollId>,
    /// The worker's version.
    pub started_version: WorkerVersion,
    /// Event id of the cancel request; 0 when there is none.
    pub cancel_requested_event_id: i64,
}

/// Key of an activity, by scheduled event id.
#[must_use]
pub fn activity_key(run: &RunRef, scheduled_event_id: i64) -> Key {
    run_writer(run, 9)
        .byte(run_family::ACTIVITY)
        .i64(scheduled_event_id)
        .done()
}

/// All pending activities of a run.
#[must_use]
pub fn activity_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::ACTIVITY).done()
}

/// Key of a pending activity's scheduled event id, by activity id.
#[must_use]
pub fn activity_by_id_key(run: &RunRef, activity_id: &str) -> Key {
    run_writer(run, 3 + activity_id.len())
        .byte(run_family::ACTIVITY_BY_ID)
        .text(activity_id)
        .done()
}
