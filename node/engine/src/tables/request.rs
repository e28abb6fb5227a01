//! Request ids that a run has seen: the dedup of signals, cancels and starts.

use super::key::{Key, run_family, run_writer};
use crate::id::RunRef;
use serde::{Deserialize, Serialize};

/// What a request id did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// `EventType` that it made.
    pub event_type: i32,
    /// The event's id; 0 while the event is buffered.
    pub event_id: i64,
}

/// Key of a request id.
#[must_use]
pub fn request_key(run: &RunRef, request_id: &str) -> Key {
    run_writer(run, 3 + request_id.len())
        .byte(run_family::REQUEST)
        .text(request_id)
        .done()
}
