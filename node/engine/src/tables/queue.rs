//! Queued tasks: the durable backlog of each queue.

use super::key::{INDEXES, Key, KeyWriter, index_family};
use crate::id::{NamespaceNumber, QueueKey, RunRef, TaskKind};
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

/// All tasks of all queues.
#[must_use]
pub fn queues_prefix() -> Key {
    KeyWriter::new(INDEXES, 2).byte(index_family::QUEUE).done()
}

/// The queue and the sequence number inside a queued task's key.
#[must_use]
pub fn queue_of_key(key: &[u8]) -> Option<(QueueKey, u64)> {
    let rest = key.strip_prefix(&[INDEXES, index_family::QUEUE])?;
    let (namespace, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let sequence: [u8; 8] = rest.try_into().ok()?;
    let kind = if *kind == 0 {
        TaskKind::Workflow
    } else {
        TaskKind::Activity
    };
    let namespace = NamespaceNumber(u32::from_be_bytes(*namespace));
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some((
        QueueKey {
            namespace,
            kind,
            name,
        },
        u64::from_be_bytes(sequence),
    ))
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
