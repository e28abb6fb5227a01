//! A poll takes the head of a queue.

use crate::id::Reservation;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;
use crate::task_queue;

/// Answers the task, or none; a claimed task is also among the effects.
pub(crate) fn apply(set: &mut WriteSet<'_>, reservation: &Reservation) -> Result<Reply, Stop> {
    Ok(Reply::Claimed(task_queue::claim(set, reservation)?))
}
