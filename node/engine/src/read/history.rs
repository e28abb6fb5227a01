//! History in pages of transactions, as the bytes that are stored.

use crate::id::RunRef;
use crate::reply::Fault;
use crate::tables::keys::history_key;
use crate::tables::{HistoryBatch, Record, Run, Tables, WorkflowTaskKind, WorkflowTaskPhase};
use bytes::{Bytes, BytesMut};
use prost::Message;
use std::sync::Arc;
use steadfast_proto::temporal::enums::v1::{EventType, TaskQueueKind};
use steadfast_proto::temporal::history::v1 as history;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// Transactions on a page at most, as in Temporal.
pub const PAGE_BATCHES_MAX: usize = 256;
/// Bytes on a page at most, but for a single larger transaction: a page fits the 4 MiB that gRPC
/// clients receive by default.
pub const PAGE_BYTES_MAX: usize = 7 * 512 * 1024;

/// Transactions read at once: a page is cut by its bytes, and what was read beyond the cut is memory
/// that the page does not need.
const SLICE_BATCHES: usize = 16;

/// One page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// Encoded `History`.
    pub events: Bytes,
    /// How many events.
    pub count: u64,
    /// Where the next page begins: its first event's id (forward) or its last's (backward).
    pub next: Option<i64>,
}

/// A stored batch that belongs to a run, cut to the part that does.
struct Part {
    first_event_id: i64,
    count: i64,
    events: Bytes,
}

/// A page of the events from `from` to `until` (both inclusive), oldest first.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn forward(
    tables: &dyn Tables,
    run: &Run,
    from: i64,
    until: i64,
    batches_max: usize,
) -> Result<HistoryPage, Fault> {
    let mut page = PageBuilder::default();
    let mut next = from.max(1);
    let mut room = batches_max;
    while next <= until && room > 0 {
        let parts = parts_from(tables, run, next, until, room.min(SLICE_BATCHES))?;
        if parts.is_empty() {
            return Err(Fault::Decode(format!(
                "event {next} of run {} is missing",
                run.run_id
            )));
        }
        for part in parts {
            if !page.fits(&part) {
                return Ok(page.done(Some(part.first_event_id)));
            }
            next = part.first_event_id + part.count;
            room -= 1;
            page.push(&part);
        }
    }
    Ok(page.done((next <= until).then_some(next)))
}

/// A page of the events from `from` down to 1, newest first.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn backward(
    tables: &dyn Tables,
    run: &Run,
    from: i64,
    batches_max: usize,
) -> Result<HistoryPage, Fault> {
    let mut page = PageBuilder::default();
    let mut next = from;
    for _ in 0..batches_max {
        if next < 1 {
            break;
        }
        let Some(mut part) = part_containing(tables, run, next)? else {
            return Err(Fault::Decode(format!(
                "event {next} of run {} is missing",
                run.run_id
            )));
        };
        let wanted = next - part.first_event_id + 1;
        part.events = reversed(&slice_events(&part.events, 0, wanted)?)?;
        part.count = wanted;
        if !page.fits(&part) {
            break;
        }
        next = part.first_event_id - 1;
        page.push(&part);
    }
    Ok(page.done((next >= 1).then_some(next)))
}

/// One event, encoded as a `History`.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn event(tables: &dyn Tables, run: &Run, event_id: i64) -> Result<Bytes, Fault> {
    match part_containing(tables, run, event_id)? {
        Some(part) => slice_events(&part.events, event_id - part.first_event_id, 1),
        None => Err(Fault::Decode(format!(
            "event {event_id} of run {} is missing",
            run.run_id
        ))),
    }
}

/// The events of a transient or speculative workflow task, which are not stored, encoded as a
/// `History`; empty when the pending task is an ordinary one or there is none, and when events came
/// since it was scheduled: it will be an ordinary one with other ids.
#[must_use]
pub fn tail(run: &Run) -> Bytes {
    let Some(task) = run
        .workflow_task
        .as_ref()
        .filter(|task| task.kind != WorkflowTaskKind::Normal)
        .filter(|task| task.scheduled_event_id == run.next_event_id)
    else {
        return Bytes::new();
    };
    let (kind, normal_name) = if task.sticky {
        (TaskQueueKind::Sticky, run.task_queue.clone())
    } else {
        (TaskQueueKind::Normal, String::new())
    };
    let scheduled = history::WorkflowTaskScheduledEventAttributes {
        task_queue: Some(TaskQueue {
            name: task.queue.clone(),
            kind: kind.into(),
            normal_name,
        }),
        start_to_close_timeout: Some(task.timeout.to_proto()),
        attempt: task.attempt,
    };
    let mut events = vec![history::HistoryEvent {
        event_id: task.scheduled_event_id,
        event_time: Some(task.scheduled_at.to_proto()),
        event_type: EventType::WorkflowTaskScheduled.into(),
        attributes: Some(Attributes::WorkflowTaskScheduledEventAttributes(scheduled)),
        ..Default::default()
    }];
    if let WorkflowTaskPhase::Started { at, .. } = task.phase {
        let started = history::WorkflowTaskStartedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            identity: task.identity.clone(),
            request_id: task
                .poll
                .map(crate::execution::poll_text)
                .unwrap_or_default(),
            suggest_continue_as_new: task.suggest_continue_as_new,
            history_size_bytes: task.history_bytes,
            ..Default::default()
        };
        events.push(history::HistoryEvent {
            event_id: task.started_event_id,
            event_time: Some(at.to_proto()),
            event_type: EventType::WorkflowTaskStarted.into(),
            attributes: Some(Attributes::WorkflowTaskStartedEventAttributes(started)),
            ..Default::default()
        });
    }
    history::History { events }.encode_to_vec().into()
}

/// Two encoded `History` messages as one.
#[must_use]
pub fn joined(first: Bytes, second: &Bytes) -> Bytes {
    if second.is_empty() {
        return first;
    }
    let mut events = BytesMut::with_capacity(first.len() + second.len());
    events.extend_from_slice(&first);
    events.extend_from_slice(second);
    events.freeze()
}

#[derive(Default)]
struct PageBuilder {
    first: Bytes,
    more: BytesMut,
    count: u64,
}

impl PageBuilder {
    fn fits(&self, part: &Part) -> bool {
        self.count == 0 || self.first.len() + self.more.len() + part.events.len() <= PAGE_BYTES_MAX
    }

    /// The first batch is kept as it is stored; only a page of several is copied together.
    fn push(&mut self, part: &Part) {
        if self.count == 0 {
            self.first = part.events.clone();
        } else {
            self.more.extend_from_slice(&part.events);
        }
        self.count += part.count.unsigned_abs();
    }

    fn done(self, next: Option<i64>) -> HistoryPage {
        let events = joined(self.first, &self.more.freeze());
        HistoryPage {
            events,
            count: self.count,
            next,
        }
    }
}

/// Whether an event is the first of a transaction. The start of a workflow task is one of its own
/// even where it was written together with what scheduled it, because a poll could as well have
/// taken it later; not where the call that scheduled the task answered with it.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn begins_transaction(tables: &dyn Tables, run: &Run, event_id: i64) -> Result<bool, Fault> {
    let Some(part) = part_containing(tables, run, event_id)? else {
        return Ok(false);
    };
    if part.first_event_id == event_id {
        return Ok(true);
    }
    let offset = event_id - part.first_event_id;
    if offset != part.count - 1 {
        return Ok(false);
    }
    let last = slice_events(&part.events, offset, 1)?;
    let last = history::History::decode(last).map_err(|error| Fault::Decode(error.to_string()))?;
    let attributes = last
        .events
        .into_iter()
        .next()
        .and_then(|event| event.attributes);
    Ok(
        matches!(attributes, Some(Attributes::WorkflowTaskStartedEventAttributes(started))
        if started.request_id != crate::execution::INLINE_REQUEST_ID),
    )
}

/// The branch that holds an event, and the last event that the run takes from it.
fn branch_of(run: &Run, event_id: i64) -> Option<(RunRef, i64)> {
    let part = run.branches.iter().find(|part| part.until >= event_id)?;
    let branch = RunRef {
        namespace: run.run.namespace,
        workflow_id: run.run.workflow_id.clone(),
        number: part.branch,
    };
    Some((branch, part.until))
}

/// Up to `limit` batches of one branch, the first cut to begin at `from`.
fn parts_from(
    tables: &dyn Tables,
    run: &Run,
    from: i64,
    until: i64,
    limit: usize,
) -> Result<Vec<Part>, Fault> {
    let Some((branch, branch_until)) = branch_of(run, from) else {
        return Ok(Vec::new());
    };
    let until = until.min(branch_until);
    let mut stored = tables.scan(
        &history_key(&branch, from),
        &history_key(&branch, until.saturating_add(1)),
        limit,
        false,
    )?;
    let begins = match stored.first() {
        Some((key, _)) => first_event_id(key)? == from,
        None => false,
    };
    if !begins {
        let before = tables.scan(
            &history_key(&branch, 0),
            &history_key(&branch, from),
            1,
            true,
        )?;
        stored.splice(0..0, before);
        stored.truncate(limit.max(1));
    }
    let mut parts = Vec::with_capacity(stored.len());
    for (key, record) in stored {
        let first = first_event_id(&key)?;
        let batch = batch(&record)?;
        let part = cut(first, batch, from, until)?;
        if part.count > 0 {
            parts.push(part);
        }
    }
    Ok(parts)
}

/// The batch that holds an event, cut to what belongs to the run.
fn part_containing(tables: &dyn Tables, run: &Run, event_id: i64) -> Result<Option<Part>, Fault> {
    let Some((branch, until)) = branch_of(run, event_id) else {
        return Ok(None);
    };
    let found = tables.scan(
        &history_key(&branch, 0),
        &history_key(&branch, event_id.saturating_add(1)),
        1,
        true,
    )?;
    let Some((key, record)) = found.into_iter().next() else {
        return Ok(None);
    };
    let part = cut(first_event_id(&key)?, batch(&record)?, 1, until)?;
    Ok((part.first_event_id + part.count > event_id).then_some(part))
}

fn cut(first: i64, batch: &HistoryBatch, from: i64, until: i64) -> Result<Part, Fault> {
    let last = first + i64::from(batch.count) - 1;
    let (begin, end) = (first.max(from), last.min(until));
    if begin > end {
        return Ok(Part {
            first_event_id: begin,
            count: 0,
            events: Bytes::new(),
        });
    }
    let count = end - begin + 1;
    let events = if begin == first && end == last {
        batch.events.clone()
    } else {
        slice_events(&batch.events, begin - first, count)?
    };
    Ok(Part {
        first_event_id: begin,
        count,
        events,
    })
}

fn batch(record: &Arc<Record>) -> Result<&HistoryBatch, Fault> {
    match &**record {
        Record::HistoryBatch(batch) => Ok(batch),
        other => Err(Fault::Decode(format!("a history key holds {other:?}"))),
    }
}

/// The event id at the end of a batch's key.
fn first_event_id(key: &[u8]) -> Result<i64, Fault> {
    let bytes: Option<[u8; 8]> = key
        .len()
        .checked_sub(8)
        .and_then(|start| key[start..].try_into().ok());
    match bytes {
        Some(bytes) => Ok((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()),
        None => Err(Fault::Decode("a history key is too short".to_owned())),
    }
}

/// `take` events of an encoded `History` after `skip` of them; shares the bytes.
fn slice_events(events: &Bytes, skip: i64, take: i64) -> Result<Bytes, Fault> {
    let mut position = 0;
    for _ in 0..skip {
        position = frame_end(events, position)?;
    }
    let start = position;
    for _ in 0..take {
        position = frame_end(events, position)?;
    }
    Ok(events.slice(start..position))
}

fn reversed(events: &Bytes) -> Result<Bytes, Fault> {
    let mut frames = Vec::new();
    let mut position = 0;
    while position < events.len() {
        let end = frame_end(events, position)?;
        frames.push(position..end);
        position = end;
    }
    let mut out = BytesMut::with_capacity(events.len());
    for frame in frames.into_iter().rev() {
        out.extend_from_slice(&events[frame]);
    }
    Ok(out.freeze())
}

/// The end of the event (field 1 of `History`) that begins at `position`.
fn frame_end(events: &[u8], position: usize) -> Result<usize, Fault> {
    const FIELD_1_BYTES: u8 = 0x0a;
    let broken = || Fault::Decode("a history batch is damaged".to_owned());
    if events.get(position) != Some(&FIELD_1_BYTES) {
        return Err(broken());
    }
    let mut rest = &events[position + 1..];
    let before = rest.len();
    let length = prost::encoding::decode_varint(&mut rest).map_err(|_| broken())?;
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(position + 1 + before - rest.len()))
        .ok_or_else(broken)?;
    if end > events.len() {
        Err(broken())
    } else {
        Ok(end)
    }
}

#[cfg(test)]
mod tests;
