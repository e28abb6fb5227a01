//! Task queues: what waits, who may have it next, and the claim that hands a task out (design D5).
//!
//! A queue is the run of keys under [`keys::queue_prefix`], oldest first. An entry points to its
//! workflow task or activity, which alone decides whether the entry still stands: an entry whose
//! subject moved on is dropped by the next claim that meets it. So closing a run with thousands of
//! activities writes nothing here.

use crate::effect::{AssignedTask, Effect};
use crate::execution::Execution;
use crate::execution::activity::{self, Starter};
use crate::id::{QueueKey, Reservation, TaskKind};
use crate::reply::Fault;
use crate::tables::{Key, QueueTask, Record, WriteSet, keys, wrong_record};
use steadfast_planted::{Bug, planted};

/// Stale entries that one claim drops at most. When there are more, the claim answers "none" and
/// leaves [`Effect::TaskQueued`], so that the poller claims again.
const STALE_MAX: usize = 64;

/// Puts a task at the end of a queue; its sequence number is new in the whole state.
pub fn push(set: &mut WriteSet<'_>, queue: &QueueKey, task: QueueTask) -> u64 {
    let sequence = set.meta.next_task;
    set.meta.next_task += 1;
    set.put(
        keys::queue_task_key(queue, sequence),
        Record::QueueTask(task),
    );
    set.effects.push(Effect::TaskQueued {
        queue: queue.clone(),
    });
    sequence
}

/// Takes a task out of a queue; harmless when it is not there.
pub fn remove(set: &mut WriteSet<'_>, queue: &QueueKey, sequence: u64) {
    set.delete(keys::queue_task_key(queue, sequence));
}

/// The oldest entry of a queue.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn head(set: &WriteSet<'_>, queue: &QueueKey) -> Result<Option<(Key, QueueTask)>, Fault> {
    let entry = set.scan_prefix(&keys::queue_prefix(queue), 1, false)?.pop();
    match entry.as_ref().map(|(key, record)| (key, &**record)) {
        Some((key, Record::QueueTask(task))) => Ok(Some((key.clone(), task.clone()))),
        Some((_, other)) => Err(wrong_record(other)),
        None => Ok(None),
    }
}

/// Uses up a waiting poller of this queue, so that a task made now goes straight to it. `None`
/// when nobody waits, or when the queue's oldest task waits too long already: older ones come
/// first then (Temporal's `matching.backlogNegligibleAge`).
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn take_reservation(
    set: &mut WriteSet<'_>,
    queue: &QueueKey,
) -> Result<Option<Reservation>, Fault> {
    let Some(position) = set
        .reservations
        .iter()
        .position(|waiting| waiting.queue == *queue)
    else {
        return Ok(None);
    };
    if let Some((_, oldest)) = head(set, queue)?
        && set.now.since(oldest.queued_at) >= set.limits().backlog_negligible_age
    {
        return Ok(None);
    }
    Ok(Some(set.reservations.remove(position)))
}

/// A poll takes the oldest task that still stands: QUEUED becomes RUNNING here and nowhere else,
/// so of two claims the first in the log wins.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn claim(
    set: &mut WriteSet<'_>,
    reservation: &Reservation,
) -> Result<Option<Box<AssignedTask>>, Fault> {
    for _ in 0..STALE_MAX {
        let Some((key, entry)) = head(set, &reservation.queue)? else {
            return Ok(None);
        };
        let sequence = sequence_of(&key)?;
        let kept = planted(Bug::ClaimByReadThenWrite).then(|| key.clone());
        set.delete(key);
        let assigned = match reservation.queue.kind {
            TaskKind::Workflow => claim_workflow_task(set, reservation, &entry)?,
            TaskKind::Activity => claim_activity(set, reservation, &entry, sequence)?,
        };
        if let Some(task) = assigned {
            if let Some(key) = kept.filter(|_| reservation.queue.kind == TaskKind::Activity) {
                set.put(key, Record::QueueTask(entry));
            }
            let (reservation, task) = (reservation.clone(), Box::new(task));
            set.effects.push(Effect::TaskAssigned {
                reservation,
                task: task.clone(),
            });
            return Ok(Some(task));
        }
    }
    set.effects.push(Effect::TaskQueued {
        queue: reservation.queue.clone(),
    });
    Ok(None)
}

/// Polls whose reservations the mutation did not use take what waits in their queues: the claim
/// rides along, and needs no mutation of its own.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn claim_for_the_rest(set: &mut WriteSet<'_>) -> Result<(), Fault> {
    let mut empty: Option<QueueKey> = None;
    for reservation in std::mem::take(&mut set.reservations) {
        if empty.as_ref() == Some(&reservation.queue) || set.is_full() {
            continue;
        }
        if claim(set, &reservation)?.is_none() {
            empty = Some(reservation.queue);
        }
    }
    Ok(())
}

fn claim_workflow_task(
    set: &mut WriteSet<'_>,
    reservation: &Reservation,
    entry: &QueueTask,
) -> Result<Option<AssignedTask>, Fault> {
    let Some(mut execution) = Execution::load(set, &entry.run)? else {
        return Ok(None);
    };
    if !execution.is_claimable(entry) {
        return Ok(None);
    }
    if execution.ends_instead_of_start()? {
        execution.finish()?;
        return Ok(None);
    }
    let task = execution.start_workflow_task(reservation)?;
    execution.finish()?;
    Ok(Some(AssignedTask::Workflow(task)))
}

fn claim_activity(
    set: &mut WriteSet<'_>,
    reservation: &Reservation,
    entry: &QueueTask,
    sequence: u64,
) -> Result<Option<AssignedTask>, Fault> {
    let Some(mut execution) = Execution::load(set, &entry.run)? else {
        return Ok(None);
    };
    let Some(pending) = activity::claimable(&execution, entry.subject, sequence)? else {
        return Ok(None);
    };
    let task = activity::claim(&mut execution, pending, Starter::from(reservation));
    execution.finish()?;
    Ok(Some(AssignedTask::Activity(task)))
}

fn sequence_of(key: &[u8]) -> Result<u64, Fault> {
    let tail = key
        .len()
        .checked_sub(8)
        .and_then(|start| key[start..].try_into().ok());
    tail.map(u64::from_be_bytes)
        .ok_or_else(|| Fault::Decode("a queue's key is short".to_owned()))
}
