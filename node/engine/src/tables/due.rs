//! The one index of due times (design D6).

use super::key::{INDEXES, Key, KeyWriter, index_family, run_prefix};
use crate::id::RunRef;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What is due. A stale item (its subject moved on) is dropped without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DueKind {
    /// A user timer.
    UserTimer {
        /// Its started event id.
        started_event_id: i64,
        /// Its id.
        timer_id: String,
    },
    /// A queued or retried activity's schedule-to-start time-out.
    ActivityScheduleToStart {
        /// The activity.
        scheduled_event_id: i64,
        /// Of this attempt.
        attempt: i32,
    },
    /// Schedule-to-close time-out.
    ActivityScheduleToClose {
        /// The activity.
        scheduled_event_id: i64,
    },
    /// Start-to-close time-out.
    ActivityStartToClose {
        /// The activity.
        scheduled_event_id: i64,
        /// Of this claim.
        claim: u64,
    },
    /// Heartbeat time-out; re-armed lazily from the last heartbeat.
    ActivityHeartbeat {
        /// The activity.
        scheduled_event_id: i64,
        /// Of this claim.
        claim: u64,
    },
    /// The next attempt begins.
    ActivityRetry {
        /// The activity.
        scheduled_event_id: i64,
        /// The attempt that begins.
        attempt: i32,
    },
    /// A sticky (or speculative) workflow task's schedule-to-start time-out.
    WorkflowTaskScheduleToStart {
        /// Number of the workflow task within the run.
        task: u64,
    },
    /// A workflow task's start-to-close time-out.
    WorkflowTaskStartToClose {
        /// Number of the workflow task within the run.
        task: u64,
    },
    /// The first workflow task of a delayed, retried or cron run.
    FirstWorkflowTask,
    /// The run time-out.
    RunTimeout,
    /// The execution time-out.
    ExecutionTimeout,
    /// A closed run's retention has passed.
    Retention,
}

/// A due item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Whose.
    pub run: RunRef,
    /// What.
    pub kind: DueKind,
}

/// Key of a due item: time, run, kind.
#[must_use]
pub fn due_key(at: Timestamp, run: &RunRef, kind: &DueKind) -> Key {
    let writer = KeyWriter::new(INDEXES, 48 + run.workflow_id.len())
        .byte(index_family::DUE)
        .i64(at.0)
        .raw(&run_prefix(run)[1..]);
    match kind {
        DueKind::UserTimer {
            started_event_id, ..
        } => writer.byte(0).i64(*started_event_id),
        DueKind::ActivityScheduleToStart {
            scheduled_event_id,
            attempt,
        } => writer
            .byte(1)
            .i64(*scheduled_event_id)
            .i64(i64::from(*attempt)),
        DueKind::ActivityScheduleToClose { scheduled_event_id } => {
            writer.byte(2).i64(*scheduled_event_id)
        }
        DueKind::ActivityStartToClose {
            scheduled_event_id,
            claim,
        } => writer.byte(3).i64(*scheduled_event_id).u64(*claim),
        DueKind::ActivityHeartbeat {
            scheduled_event_id,
            claim,
        } => writer.byte(4).i64(*scheduled_event_id).u64(*claim),
        DueKind::ActivityRetry {
            scheduled_event_id,
            attempt,
        } => writer
            .byte(5)
            .i64(*scheduled_event_id)
            .i64(i64::from(*attempt)),
        DueKind::WorkflowTaskScheduleToStart { task } => writer.byte(6).u64(*task),
        DueKind::WorkflowTaskStartToClose { task } => writer.byte(7).u64(*task),
        DueKind::FirstWorkflowTask => writer.byte(8),
        DueKind::RunTimeout => writer.byte(9),
        DueKind::ExecutionTimeout => writer.byte(10),
        DueKind::Retention => writer.byte(11),
    }
    .done()
}

/// All due items, earliest first.
#[must_use]
pub fn due_prefix() -> Key {
    KeyWriter::new(INDEXES, 2).byte(index_family::DUE).done()
}

/// The time inside the key of a due item.
#[must_use]
pub fn due_time(key: &[u8]) -> Option<Timestamp> {
    let bytes: [u8; 8] = key.get(2..10)?.try_into().ok()?;
    Some(Timestamp(
        (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed(),
    ))
}
