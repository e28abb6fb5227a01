//! The durable backlog of a task queue.

use crate::id::QueueKey;
use crate::reply::Fault;
use crate::tables::keys::{prefix_end, queue_prefix};
use crate::tables::{Record, Tables};
use crate::time::Timestamp;

/// What waits in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many tasks, counted up to the limit of the call.
    pub count: usize,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
}

/// The backlog of a queue, counted up to `limit` tasks.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn backlog(tables: &dyn Tables, queue: &QueueKey, limit: usize) -> Result<Backlog, Fault> {
    let prefix = queue_prefix(queue);
    let tasks = tables.scan(&prefix, &prefix_end(&prefix), limit, false)?;
    let oldest = match tasks.first().map(|(_, record)| &**record) {
        Some(Record::QueueTask(task)) => Some(task.queued_at),
        Some(other) => return Err(Fault::Decode(format!("a queue's key holds {other:?}"))),
        None => None,
    };
    Ok(Backlog {
        count: tasks.len(),
        oldest,
    })
}
