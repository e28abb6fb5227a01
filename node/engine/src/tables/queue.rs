//! Queued tasks: the durable backlog of each queue.

use super::key::{INDEXES, Key, KeyWriter, index_family};
use crate::id::{QueueKey, RunRef, TaskKind};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A queued task. It points to its workflow task or activity, which tells whether it still stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTask {
    /// Whose.
    pub run: RunRef,
    /// The workflow task's number within the run, or the activity's scheduled event id.
    pub subject: i64,
    /// Since when it is queued.
    pub queued_at: Timestamp,
}

/// Key of a queued task: queue, then sequence number.
#[must_use]
pub fn queue_task_key(queue: &QueueKey, sequence: u64) -> Key {
    queue_writer(queue).u64(sequence).done()
}

/// All tasks of a queue, oldest first.
#[must_use]
pub fn queue_prefix(queue: &QueueKey) -> Key {
    queue_writer(queue).done()
}

fn queue_writer(queue: &QueueKey) -> KeyWriter {
    let kind = match queue.kind {
        TaskKind::Workflow => 0,
        TaskKind::Activity => 1,
    };
    KeyWriter::new(INDEXES, 17 + queue.name.len())
        .byte(index_family::QUEUE)
        .u32(queue.namespace.0)
        .byte(kind)
        .text(&queue.name)
}
