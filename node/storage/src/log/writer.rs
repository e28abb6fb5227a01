//! The one writer of the log: takes what is queued, writes it at once, syncs once, then answers.

use super::record::{Encoder, Kind, Start};
use super::recovery::{Replay, Sealed};
use super::segment::Head;
use super::shared::{Batch, Inner, LogCounters, Next, Request, Shared};
use super::{Done, LogFault, LogOptions};
use crate::disk::Disk;
use crate::position::Position;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use steadfast_planted::{Bug, planted};

/// A buffer that a large batch left behind is not kept beyond this.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// Writes what the handles of a [`super::Log`] hand in. Must be run; dropping it breaks the log.
pub struct LogWriter {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    options: LogOptions,
    head: Head,
    sealed: BTreeMap<u32, Sealed>,
    written: Written,
    /// Index of the last purged entry of which a durable record exists.
    durable_purge: Option<u64>,
    buffer: Vec<u8>,
}

/// What the records amount to that are written, for the start of the next segment.
struct Written {
    vote: Option<Bytes>,
    committed: Option<Position>,
    purged: Option<Position>,
    last: Option<u64>,
}

/// Where an entry was written.
struct Place {
    index: u64,
    sequence: u64,
    offset: u32,
}

/// A batch that is on disk, or is not.
struct Outcome {
    result: Result<(), LogFault>,
    done: Vec<Done>,
    /// Bytes no longer queued.
    bytes: u64,
}

/// Makes the two ends of a log that was read.
pub(super) fn start(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: LogOptions,
    replay: Replay,
) -> (Arc<Shared>, LogWriter) {
    let Replay {
        entries,
        vote,
        committed,
        purged,
        sealed,
        head,
    } = replay;
    let mut files: BTreeMap<_, _> = sealed
        .iter()
        .map(|(number, sealed)| (*number, sealed.file.clone()))
        .collect();
    files.insert(head.number, head.file.clone());
    let last = entries.last().or(purged).map(|last| last.index);
    let inner = Inner {
        entries,
        vote: vote.clone(),
        committed,
        purged,
        files,
        queue: VecDeque::new(),
        awaited: 0,
        queued_bytes: 0,
        fault: None,
        closed: false,
        counters: LogCounters::default(),
    };
    let shared = Arc::new(Shared::new(dir.to_path_buf(), inner));
    let writer = LogWriter {
        shared: shared.clone(),
        disk,
        options,
        head,
        sealed,
        written: Written {
            vote,
            committed,
            purged,
            last,
        },
        // Opening synced all that was found.
        durable_purge: purged.map(|purged| purged.index),
        buffer: Vec::new(),
    };
    (shared, writer)
}

impl Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let inner = self.shared.lock();
        let orderly = inner.closed && inner.queue.is_empty();
        drop(inner);
        if !orderly {
            // No one would ever answer those who wait.
            self.shared.break_with(LogFault::WriterEnded, Vec::new());
        }
    }
}

impl LogWriter {
    /// Writes until all handles are dropped or the disk fails. Blocks: for a thread of its own.
    pub fn run(mut self) {
        while let Some(batch) = self.wait() {
            let outcome = self.perform(batch);
            if !self.complete(outcome) {
                return;
            }
        }
        self.mark_end();
    }

    /// The same on a task, for simulation: `latency` is slept between a sync and its callbacks.
    pub async fn run_on_task(mut self, mut latency: impl FnMut() -> Duration) {
        loop {
            match self.next() {
                Next::Write(batch) => {
                    let outcome = self.perform(batch);
                    tokio::time::sleep(latency()).await;
                    if !self.complete(outcome) {
                        return;
                    }
                }
                Next::Wait => self.shared.work_on_task.notified().await,
                Next::End => break,
            }
        }
        self.mark_end();
    }

    fn next(&self) -> Next {
        self.shared
            .lock()
            .next(self.options.batch_records, self.options.batch_bytes as u64)
    }

    /// Blocks until there is something to write; `None` at the end.
    fn wait(&self) -> Option<Batch> {
        let mut inner = self.shared.lock();
        loop {
            match inner.next(self.options.batch_records, self.options.batch_bytes as u64) {
                Next::Write(batch) => return Some(batch),
                Next::End => return None,
                Next::Wait => {
                    let waited = self.shared.work.wait(inner);
                    inner = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Writes and, when somebody waits for it, syncs a batch.
    fn perform(&mut self, batch: Batch) -> Outcome {
        let Batch {
            requests,
            bytes,
            awaited,
        } = batch;
        let awaited = awaited && !planted(Bug::AcknowledgeBeforeFsync);
        let mut done = Vec::new();
        let mut result = self.make_room(bytes);
        let mut places = Vec::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut encoder = Encoder {
            buffer: &mut buffer,
            segment: self.head.number,
            base: self.head.end,
            synced: self.head.synced,
        };
        for request in requests {
            self.written
                .encode(request, &mut encoder, &mut places, &mut done);
        }
        self.head.max_index = self
            .head
            .max_index
            .max(places.iter().map(|place| place.index).max());
        let records = buffer.len() as u64;
        if records > 0 {
            result = result.and_then(|()| self.head.write(&mut buffer));
        }
        if awaited {
            result = result.and_then(|()| self.sync());
        }
        if result.is_ok() {
            self.note_written(&places, records);
        }
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            self.buffer = buffer;
        }
        Outcome {
            result,
            done,
            bytes,
        }
    }

    /// Begins a new segment when this one would become too large.
    fn make_room(&mut self, bytes: u64) -> Result<(), LogFault> {
        if self.head.end + bytes <= self.options.segment_bytes
            || self.head.end <= self.head.start_end
        {
            return Ok(());
        }
        self.sync()?;
        let start = Start {
            segment: self.head.number + 1,
            previous_end: self.head.end,
            vote: self.written.vote.as_ref().map(|vote| vote.to_vec()),
            committed: self.written.committed,
            purged: self.written.purged,
            last: self.written.last,
        };
        let extend_bytes = self.options.extend_bytes;
        let dir = &self.shared.dir;
        let next = Head::create(self.disk.as_ref(), dir, &start, extend_bytes)?;
        let Head {
            number,
            path,
            file,
            max_index,
            ..
        } = std::mem::replace(&mut self.head, next);
        self.sealed.insert(
            number,
            Sealed {
                path,
                file,
                max_index,
            },
        );
        self.shared
            .lock()
            .files
            .insert(self.head.number, self.head.file.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogFault> {
        if self.head.synced < self.head.end {
            self.head.sync()?;
            self.shared.lock().counters.syncs += 1;
        }
        self.durable_purge = self.written.purged.map(|purged| purged.index);
        Ok(())
    }

    fn note_written(&self, places: &[Place], bytes: u64) {
        let mut guard = self.shared.lock();
        let inner = &mut *guard;
        for place in places {
            inner
                .entries
                .written(place.index, place.sequence, self.head.number, place.offset);
        }
        inner.entries.evict();
        inner.counters.entries += places.len() as u64;
        inner.counters.bytes += bytes;
        inner.counters.batches += 1;
    }

    /// Answers those who waited, in order; false when the log is broken.
    fn complete(&mut self, outcome: Outcome) -> bool {
        let Outcome {
            result,
            done,
            bytes,
        } = outcome;
        if let Err(fault) = result {
            tracing::error!(%fault, "the log is broken");
            self.shared.break_with(fault, done);
            return false;
        }
        let mut inner = self.shared.lock();
        inner.queued_bytes -= bytes;
        inner.counters.appends += done.len() as u64;
        drop(inner);
        for done in done {
            done(Ok(()));
        }
        if let Err(fault) = self.delete_purged() {
            tracing::error!(%fault, "the log is broken");
            self.shared.break_with(fault, Vec::new());
            return false;
        }
        true
    }

    /// Deletes the oldest segments while all their entries are durably purged.
    fn delete_purged(&mut self) -> Result<(), LogFault> {
        while let Some(oldest) = self.sealed.first_entry() {
            if oldest.get().max_index > self.durable_purge {
                break;
            }
            let (number, sealed) = oldest.remove_entry();
            let mut inner = self.shared.lock();
            inner.files.remove(&number);
            inner.counters.segments_deleted += 1;
            drop(inner);
            let dir = &self.shared.dir;
            self.disk
                .remove(&sealed.path)
                .map_err(LogFault::io("remove", &sealed.path))?;
            // One at a time: a gap in the numbers would look like a lost file.
            self.disk
                .sync_dir(dir)
                .map_err(LogFault::io("remove", &sealed.path))?;
        }
        Ok(())
    }

    /// Ends an intact log with a record that says that all before it was durable, so that later
    /// damage to the last entries is not taken for a torn write.
    fn mark_end(&mut self) {
        let mut buffer = Vec::new();
        let mut encoder = Encoder {
            buffer: &mut buffer,
            segment: self.head.number,
            base: self.head.end,
            synced: self.head.synced,
        };
        encoder.note(Kind::Committed, &self.written.committed);
        let marked = self.sync().and_then(|()| self.head.write(&mut buffer));
        if let Err(fault) = marked.and_then(|()| self.sync()) {
            tracing::warn!(%fault, "the log could not be ended in order; nothing durable is lost");
        }
    }
}

impl Written {
    fn encode(
        &mut self,
        request: Request,
        encoder: &mut Encoder<'_>,
        places: &mut Vec<Place>,
        done: &mut Vec<Done>,
    ) {
        match request {
            Request::Append {
                entries,
                done: answer,
            } => {
                for (sequence, entry) in entries {
                    let index = entry.position.index;
                    let offset = encoder.entry(entry.position, &entry.payload);
                    places.push(Place {
                        index,
                        sequence,
                        offset,
                    });
                    self.last = Some(index);
                }
                done.push(answer);
            }
            Request::Vote(vote, answer) => {
                encoder.put(Kind::Vote, [&vote, &[]]);
                self.vote = Some(vote);
                done.push(answer);
            }
            Request::Committed(committed) => {
                encoder.note(Kind::Committed, &committed);
                self.committed = committed;
            }
            Request::Truncate(index) => {
                if !planted(Bug::TruncationNotWritten) {
                    encoder.note(Kind::Truncate, &index);
                }
                self.last = self.last.min(index);
            }
            Request::Purge(upto) => {
                encoder.note(Kind::Purge, &upto);
                self.purged = Some(upto);
                self.last = self.last.max(Some(upto.index));
            }
        }
    }
}
