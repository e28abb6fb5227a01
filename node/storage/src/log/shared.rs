//! What the handles and the writer share: the log in memory, and the queue to the disk.

use super::entries::Entries;
use super::record::{ENTRY_BYTES, HEADER_BYTES, MAX_APPEND_BYTES, MAX_VOTE_BYTES};
use super::{Done, LogEntry, LogFault};
use crate::disk::DiskFile;
use crate::position::Position;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// What the log did since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Calls of append and save_vote that became durable.
    pub appends: u64,
    /// Entries that were written.
    pub entries: u64,
    /// Bytes of records that were written.
    pub bytes: u64,
    /// Writes of collected records.
    pub batches: u64,
    /// Syncs of segment files.
    pub syncs: u64,
    /// Segment files now.
    pub segments: u64,
    /// Segment files that were deleted.
    pub segments_deleted: u64,
    /// Bytes handed in that are not durable yet.
    pub queued_bytes: u64,
    /// Bytes of entries kept in memory.
    pub cached_bytes: u64,
    /// Reads that had to go to the disk.
    pub disk_reads: u64,
}

/// One thing to write.
pub(super) enum Request {
    Append {
        entries: Vec<(u64, LogEntry)>,
        done: Done,
    },
    Vote(Bytes, Done),
    Committed(Option<Position>),
    Truncate(Option<u64>),
    Purge(Position),
}

impl Request {
    /// Bytes on disk, at most: the small records have a fixed bound.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Request::Append { entries, .. } => {
                let record = |(_, entry): &(u64, LogEntry)| {
                    (HEADER_BYTES + ENTRY_BYTES + entry.payload.len()) as u64
                };
                entries.iter().map(record).sum()
            }
            Request::Vote(vote, _) => (HEADER_BYTES + vote.len()) as u64,
            Request::Committed(_) | Request::Truncate(_) | Request::Purge(_) => 48,
        }
    }

    pub(super) fn records(&self) -> usize {
        match self {
            Request::Append { entries, .. } => entries.len(),
            Request::Vote(..)
            | Request::Committed(_)
            | Request::Truncate(_)
            | Request::Purge(_) => 1,
        }
    }

    /// Whether somebody waits for it; the others wait until somebody does.
    fn is_awaited(&self) -> bool {
        match self {
            Request::Append { .. } | Request::Vote(..) => true,
            Request::Committed(_) | Request::Truncate(_) | Request::Purge(_) => false,
        }
    }
}

/// The requests of one write.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) requests: Vec<Request>,
    pub(super) bytes: u64,
    /// Whether somebody waits for a sync.
    pub(super) awaited: bool,
}

/// What the writer should do next.
pub(super) enum Next {
    Write(Batch),
    Wait,
    /// Nobody can ask any more, and all is written.
    End,
}

pub(super) struct Inner {
    pub(super) entries: Entries,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Position>,
    pub(super) purged: Option<Position>,
    /// The segments that reads may go to.
    pub(super) files: BTreeMap<u32, Arc<dyn DiskFile>>,
    pub(super) queue: VecDeque<Request>,
    /// Requests in the queue that somebody waits for.
    pub(super) awaited: usize,
    pub(super) queued_bytes: u64,
    pub(super) fault: Option<LogFault>,
    pub(super) closed: bool,
    pub(super) counters: LogCounters,
}

impl Inner {
    pub(super) fn last(&self) -> Option<Position> {
        self.entries.last().or(self.purged)
    }

    /// Takes what one write and sync may carry.
    pub(super) fn next(&mut self, batch_records: usize, batch_bytes: u64) -> Next {
        if self.awaited == 0 && !self.closed {
            return Next::Wait;
        }
        if self.queue.is_empty() {
            return Next::End;
        }
        let (mut batch, mut records) = (Batch::default(), 0);
        while records < batch_records && batch.bytes < batch_bytes {
            let Some(request) = self.queue.pop_front() else {
                break;
            };
            records += request.records();
            batch.bytes += request.bytes();
            if request.is_awaited() {
                batch.awaited = true;
                self.awaited -= 1;
            }
            batch.requests.push(request);
        }
        Next::Write(batch)
    }
}

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) inner: Mutex<Inner>,
    /// Wakes a writer on its own thread.
    pub(super) work: Condvar,
    /// Wakes a writer on a task.
    pub(super) work_on_task: Notify,
    pub(super) poison: watch::Sender<Option<LogFault>>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, inner: Inner) -> Shared {
        let poison = watch::Sender::new(None);
        Shared {
            dir,
            inner: Mutex::new(inner),
            work: Condvar::new(),
            work_on_task: Notify::new(),
            poison,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked held the lock for an assertion before any change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    pub(super) fn append(&self, entries: Vec<LogEntry>, done: Done) {
        let bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
        if bytes > MAX_APPEND_BYTES {
            done(Err(LogFault::TooLarge {
                bytes,
                limit: MAX_APPEND_BYTES,
            }));
            return;
        }
        let mut inner = self.lock();
        if let Some(fault) = inner.fault.clone() {
            drop(inner);
            done(Err(fault));
            return;
        }
        let entries = entries
            .into_iter()
            .map(|entry| (inner.entries.push_queued(&entry), entry))
            .collect();
        self.enqueue(inner, Request::Append { entries, done });
    }

    pub(super) fn save_vote(&self, vote: Bytes, done: Done) {
        let bytes = vote.len() as u64;
        if bytes > MAX_VOTE_BYTES {
            done(Err(LogFault::TooLarge {
                bytes,
                limit: MAX_VOTE_BYTES,
            }));
            return;
        }
        let mut inner = self.lock();
        if let Some(fault) = inner.fault.clone() {
            drop(inner);
            done(Err(fault));
            return;
        }
        inner.vote = Some(vote.clone());
        self.enqueue(inner, Request::Vote(vote, done));
    }

    /// Takes a request that nobody waits for; nothing when it changes nothing.
    pub(super) fn push(&self, request: Request) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if inner.fault.is_some() {
            return;
        }
        match &request {
            Request::Committed(committed) => {
                inner.committed = *committed;
                // The newer one says all that the older one would have.
                if let Some(Request::Committed(queued)) = inner.queue.back_mut() {
                    *queued = *committed;
                    return;
                }
            }
            Request::Truncate(index) => {
                let purged = inner.purged.map(|purged| purged.index);
                assert!(*index >= purged, "purged entries are never taken back");
                inner.entries.truncate_after(*index);
            }
            Request::Purge(upto) => {
                if inner
                    .purged
                    .is_some_and(|purged| purged.index >= upto.index)
                {
                    return;
                }
                inner.purged = Some(*upto);
                inner.entries.purge(upto.index);
            }
            Request::Append { .. } | Request::Vote(..) => {}
        }
        self.enqueue(guard, request);
    }

    fn enqueue(&self, mut inner: MutexGuard<'_, Inner>, request: Request) {
        inner.queued_bytes += request.bytes();
        let awaited = request.is_awaited();
        inner.awaited += usize::from(awaited);
        inner.queue.push_back(request);
        drop(inner);
        if awaited {
            self.wake();
        }
    }

    fn wake(&self) {
        self.work.notify_one();
        self.work_on_task.notify_one();
    }

    pub(super) fn counters(&self) -> LogCounters {
        let inner = self.lock();
        LogCounters {
            segments: inner.files.len() as u64,
            queued_bytes: inner.queued_bytes,
            cached_bytes: inner.entries.cached_bytes(),
            ..inner.counters
        }
    }

    /// Breaks the log: whoever waits, `first` before those in the queue, and whoever comes later
    /// gets the fault. A log that is broken already stays broken for its first reason.
    pub(super) fn break_with(&self, fault: LogFault, first: Vec<Done>) {
        let mut inner = self.lock();
        let fault = inner.fault.get_or_insert(fault).clone();
        inner.awaited = 0;
        inner.queued_bytes = 0;
        let queue = std::mem::take(&mut inner.queue);
        drop(inner);
        // The flag goes up before anybody can act on an answer.
        self.poison
            .send_if_modified(|poison| poison.replace(fault.clone()).is_none());
        for done in first {
            done(Err(fault.clone()));
        }
        for request in queue {
            match request {
                Request::Append { done, .. } | Request::Vote(_, done) => done(Err(fault.clone())),
                Request::Committed(_) | Request::Truncate(_) | Request::Purge(_) => {}
            }
        }
    }
}
