//! User timers.

use super::key::{Key, run_family, run_writer};
use crate::id::RunRef;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A pending user timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTimer {
    /// Its started event.
    pub started_event_id: i64,
    /// When it fires.
    pub fire_at: Timestamp,
}

/// Key of a timer, by timer id.
#[must_use]
pub fn timer_key(run: &RunRef, timer_id: &str) -> Key {
    run_writer(run, 3 + timer_id.len())
        .byte(run_family::TIMER)
        .text(timer_id)
        .done()
}

/// All pending timers of a run.
#[must_use]
pub fn timer_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::TIMER).done()
}
