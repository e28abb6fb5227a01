//! History batches (events written by one mutation) and events that wait.

use super::key::{Key, KeyWriter, run_family, run_writer};
use crate::id::RunRef;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The events of one transaction, encoded as a `temporal.api.history.v1.History`: batches laid one
/// after another are again one `History`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryBatch {
    /// Encoded events.
    pub events: Bytes,
    /// How many.
    pub count: u32,
}

/// An event without an id that waits for the end of the started workflow task, encoded as a
/// `HistoryEvent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferedEvent {
    /// The encoded event.
    pub event: Bytes,
}

/// A run begins with a part of another's history: that part stays for as long as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchUse {
    /// The last event of the part.
    pub until: i64,
}

/// Key of a use, among the keys of the run that wrote the branch.
#[must_use]
pub fn branch_use_key(branch: &RunRef, user_number: u64) -> Key {
    run_writer(branch, 9)
        .byte(run_family::BRANCH_USE)
        .u64(user_number)
        .done()
}

/// All uses of a branch.
#[must_use]
pub fn branch_use_prefix(branch: &RunRef) -> Key {
    run_writer(branch, 1).byte(run_family::BRANCH_USE).done()
}

/// Key of a batch. A branch is the number of the run that wrote it; its batches lie among that
/// run's keys, so a reset run reads its base's prefix there.
#[must_use]
pub fn history_key(branch: &RunRef, first_event_id: i64) -> Key {
    history(branch).i64(first_event_id).done()
}

/// All batches of a branch.
#[must_use]
pub fn history_prefix(branch: &RunRef) -> Key {
    history(branch).done()
}

fn history(branch: &RunRef) -> KeyWriter {
    run_writer(branch, 9).byte(run_family::HISTORY)
}

/// Key of a buffered event, by arrival.
#[must_use]
pub fn buffered_key(run: &RunRef, sequence: u64) -> Key {
    run_writer(run, 9)
        .byte(run_family::BUFFERED)
        .u64(sequence)
        .done()
}

/// All buffered events of a run.
#[must_use]
pub fn buffered_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::BUFFERED).done()
}
