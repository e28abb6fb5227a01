//! A sticky queue without its worker: its tasks go to their normal queues as they are, without an
//! event.

use crate::execution::Execution;
use crate::id::QueueKey;
use crate::reply::{Reply, Stop};
use crate::tables::{Record, WriteSet, keys, wrong_record};

/// Tasks that one mutation moves; more wait for the next.
const TASKS_MAX: usize = 100;

pub(crate) fn apply(set: &mut WriteSet<'_>, queue: &QueueKey) -> Result<Reply, Stop> {
    let entries = set.scan_prefix(&keys::queue_prefix(queue), TASKS_MAX, false)?;
    for (key, record) in entries {
        let Record::QueueTask(entry) = record.as_ref() else {
            return Err(wrong_record(&record).into());
        };
        let Some(mut execution) = Execution::load(set, &entry.run)? else {
            set.delete(key);
            continue;
        };
        if !execution.is_claimable(entry) {
            // Its task moved on.
            set.delete(key);
            continue;
        }
        if execution.move_to_normal_queue()? {
            execution.finish()?;
        }
    }
    Ok(Reply::Done)
}
