//! What is outstanding, read from the indexes: a new leader's duties, and each step of its loops.
//!
//! Everything here is a cursor: it costs the same whether ten runs are open or ten million, and
//! nothing has to be handed over from the leader before.

use crate::id::QueueKey;
use crate::reply::Fault;
use crate::tables::keys::{
    due_prefix, due_time, message_key, message_of_key, outbox_prefix, prefix_end, queue_of_key,
    queue_prefix, queues_prefix,
};
use crate::tables::{Key, MessageRef, Tables};
use crate::time::Timestamp;

/// The earliest due time; `None` when nothing waits for its time.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn earliest_due(tables: &dyn Tables) -> Result<Option<Timestamp>, Fault> {
    let prefix = due_prefix();
    let Some((key, _)) = tables.scan(&prefix, &prefix_end(&prefix), 1, false)?.pop() else {
        return Ok(None);
    };
    time_of(&key).map(Some)
}

/// Up to `limit` items that are due at `now`, earliest first, for `FireDue` mutations.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn due(tables: &dyn Tables, now: Timestamp, limit: usize) -> Result<Vec<Key>, Fault> {
    let prefix = due_prefix();
    let mut keys = Vec::new();
    for (key, _) in tables.scan(&prefix, &prefix_end(&prefix), limit, false)? {
        if time_of(&key)? > now {
            break;
        }
        keys.push(key);
    }
    Ok(keys)
}

/// The next queue that has tasks, after the given one (from the beginning when `None`): a walk over
/// all of them offers each backlog to waiting pollers.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn next_queue(
    tables: &dyn Tables,
    after: Option<&QueueKey>,
) -> Result<Option<QueueKey>, Fault> {
    let all = queues_prefix();
    let from = after.map_or_else(|| all.clone(), |queue| prefix_end(&queue_prefix(queue)));
    let Some((key, _)) = tables.scan(&from, &prefix_end(&all), 1, false)?.pop() else {
        return Ok(None);
    };
    match queue_of_key(&key) {
        Some((queue, _)) => Ok(Some(queue)),
        None => Err(Fault::Decode("a queue's key has no meaning".to_owned())),
    }
}

/// Up to `limit` messages of the outbox after the given one (from the beginning when `None`), for
/// `DeliverMessage` mutations in this order.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn outbox(
    tables: &dyn Tables,
    after: Option<MessageRef>,
    limit: usize,
) -> Result<Vec<MessageRef>, Fault> {
    let all = outbox_prefix();
    let from = after.map_or_else(|| all.clone(), |after| prefix_end(&message_key(after)));
    let found = tables.scan(&from, &prefix_end(&all), limit, false)?;
    let named = found.into_iter().map(|(key, _)| message_of_key(&key));
    named
        .map(|message| message.ok_or_else(|| Fault::Decode("a message's key is short".to_owned())))
        .collect()
}

fn time_of(key: &[u8]) -> Result<Timestamp, Fault> {
    due_time(key).ok_or_else(|| Fault::Decode("a due key is short".to_owned()))
}
