//! Workflow updates of a run: those that wait or run, and where the outcome of the others is.

use super::key::{Key, run_family, run_writer};
use crate::id::RunRef;
use crate::proto::Proto;
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::update::v1::Request;

/// One update. A rejected or aborted one has no record: it leaves no trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Its place among the run's updates, from 1, in the order of admission.
    pub sequence: u64,
    /// Where it stands.
    pub state: UpdateState,
    /// What is asked; `None` once an event holds it (accepted, or admitted by a reset).
    pub request: Option<Proto<Request>>,
    /// Request id of the call that admitted it; empty when it gave none.
    pub request_id: String,
}

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateState {
    /// It waits for a workflow task to start.
    Admitted,
    /// A worker has it, with this workflow task or an earlier one.
    Sent {
        /// Number of the workflow task within the run.
        task: u64,
    },
    /// The workflow has accepted it and works on it.
    Accepted {
        /// The accepted event.
        event_id: i64,
    },
    /// It is done; the outcome is in the completed event.
    Completed {
        /// The accepted event.
        accepted_event_id: i64,
        /// The completed event.
        event_id: i64,
    },
}

impl UpdateState {
    /// Whether the workflow has not accepted it yet.
    #[must_use]
    pub fn is_unanswered(self) -> bool {
        match self {
            Self::Admitted | Self::Sent { .. } => true,
            Self::Accepted { .. } | Self::Completed { .. } => false,
        }
    }
}

/// Counts of a run's updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateCounts {
    /// Updates that were ever admitted.
    pub admitted: u64,
    /// Admitted, sent and accepted ones; none of a closed run.
    pub open: u64,
    /// Completed ones.
    pub completed: u64,
    /// Encoded bytes of the requests of those that are not accepted.
    pub request_bytes: u64,
}

/// Key of an update, by its id.
#[must_use]
pub fn update_key(run: &RunRef, update_id: &str) -> Key {
    run_writer(run, 3 + update_id.len())
        .byte(run_family::UPDATE)
        .text(update_id)
        .done()
}

/// All updates of a run that have a record.
#[must_use]
pub fn update_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::UPDATE).done()
}

/// Key of an open update's id, by its sequence number.
#[must_use]
pub fn open_update_key(run: &RunRef, sequence: u64) -> Key {
    run_writer(run, 9)
        .byte(run_family::OPEN_UPDATE)
        .u64(sequence)
        .done()
}

/// The ids of all open updates of a run, in the order of admission.
#[must_use]
pub fn open_update_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::OPEN_UPDATE).done()
}
