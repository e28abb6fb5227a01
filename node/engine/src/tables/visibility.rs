//! Rows of the list of executions, in the order in which Temporal lists them: running ones first,
//! then by close time, then by start time, newest first.

use super::key::{INDEXES, Key, KeyWriter, index_family};
use crate::id::{NamespaceNumber, RunRef};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What filters and lists need of a run. Memo and search attributes are in the run's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisibilityRow {
    /// The run.
    pub run: RunRef,
    /// Its id.
    pub run_id: String,
    /// Workflow type.
    pub workflow_type: String,
    /// Normal task queue.
    pub task_queue: String,
    /// `WorkflowExecutionStatus`.
    pub status: i32,
    /// Start.
    pub started_at: Timestamp,
    /// When the first workflow task is to be scheduled.
    pub execution_at: Timestamp,
    /// Close; `None` while it runs.
    pub closed_at: Option<Timestamp>,
    /// Events; filled at close.
    pub history_length: i64,
    /// Bytes; filled at close.
    pub history_bytes: i64,
    /// State transitions; filled at close.
    pub state_transitions: i64,
}

/// Key of a row.
#[must_use]
pub fn visibility_key(
    namespace: NamespaceNumber,
    started_at: Timestamp,
    closed_at: Option<Timestamp>,
    run_number: u64,
) -> Key {
    // Descending times: the complement sorts the other way.
    let writer = namespace_writer(namespace);
    match closed_at {
        None => writer.byte(0),
        Some(at) => writer.byte(1).i64(!at.0),
    }
    .i64(!started_at.0)
    .u64(!run_number)
    .done()
}

/// All rows of a namespace, in listing order.
#[must_use]
pub fn visibility_prefix(namespace: NamespaceNumber) -> Key {
    namespace_writer(namespace).done()
}

fn namespace_writer(namespace: NamespaceNumber) -> KeyWriter {
    KeyWriter::new(INDEXES, 32)
        .byte(index_family::VISIBILITY)
        .u32(namespace.0)
}
