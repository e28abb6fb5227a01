//! openraft's log traits over the log of steadfast-storage.
//!
//! Nothing here waits for the disk but `save_vote`; entries are readable when `append` returns,
//! and are called durable only by the log's own callback after its fsync.

use crate::encoding;
use crate::types::{Entry, LogId, Types, Vote};
use futures::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use steadfast_planted::{Bug, planted};
use steadfast_storage::log::{Log, Position};
use tokio::sync::oneshot;

/// Bytes of entries in one read: bounds a frame, and the memory of replication per peer.
const READ_BYTES: usize = 1 << 20;
/// Bytes of entries in one append to the log, which refuses larger ones; one entry may be larger.
const APPEND_BYTES: usize = 16 << 20;

/// The log as openraft sees it. Cloning shares it.
#[derive(Debug, Clone)]
pub struct LogStore {
    log: Log,
}

impl LogStore {
    /// Wraps a log whose writer is running.
    pub fn new(log: Log) -> LogStore {
        LogStore { log }
    }

    /// At least one and about 1 MiB of entries of `from..to`, which must be in the log.
    pub(crate) fn read(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let entries = self
            .log
            .read(from, to, READ_BYTES)
            .map_err(io::Error::other)?;
        for (expected, entry) in (from..).zip(&entries) {
            if entry.position.index != expected {
                return Err(io::Error::other(format!("no entry {expected} in the log")));
            }
        }
        if entries.is_empty() {
            return Err(io::Error::other(format!("no entry {from} in the log")));
        }
        entries.into_iter().map(encoding::from_log_entry).collect()
    }

    /// Whether the log has all that comes after `position`.
    pub(crate) fn follows(&self, position: Position) -> bool {
        self.log
            .purged()
            .is_none_or(|purged| purged.index <= position.index)
    }

    /// The part of a range that the log holds.
    fn held(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(to) => to.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let first = match self.log.purged() {
            Some(purged) => purged.index + 1,
            // A log that was never purged begins at 0, or at 1.
            None => u64::from(from == 0 && self.read(0, 1).is_err()),
        };
        let end = self.log.last().map_or(0, |last| last.index + 1);
        (from.max(first), to.min(end))
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (mut from, to) = self.held(&range);
        let mut entries = Vec::new();
        while from < to {
            let mut more = self.read(from, to)?;
            from += more.len() as u64;
            entries.append(&mut more);
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.held(&range);
        let start = (self.clone(), from, to, Vec::new().into_iter());
        stream::unfold(start, |(store, from, to, mut read)| async move {
            if let Some(entry) = read.next() {
                return Some((Ok(entry), (store, from, to, read)));
            }
            if from >= to {
                return None;
            }
            match store.read(from, to) {
                Ok(entries) => {
                    let next = from + entries.len() as u64;
                    let mut read = entries.into_iter();
                    let entry = read.next()?;
                    Some((Ok(entry), (store, next, to, read)))
                }
                Err(error) => Some((Err(error), (store, to, to, read))),
            }
        })
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        self.read(start, end)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.log
            .vote()
            .map(|bytes| encoding::vote(&bytes))
            .transpose()
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let purged = self.log.purged().map(encoding::log_id);
        let last = self.log.last().map(encoding::log_id).or(purged);
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if planted(Bug::VoteNotPersisted) && self.log.vote().is_some() {
            return Ok(());
        }
        let (done, synced) = oneshot::channel();
        let bytes = encoding::vote_bytes(vote);
        self.log
            .save_vote(bytes, Box::new(move |result| drop(done.send(result))));
        match synced.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the log's writer has ended")),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log
            .save_committed(committed.as_ref().map(encoding::position));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(encoding::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut part = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let entry = encoding::to_log_entry(&entry);
            if bytes + entry.payload.len() > APPEND_BYTES && !part.is_empty() {
                // The callback of the last part speaks for all: they are written in order, and a
                // log that failed once fails for ever.
                self.log.append(std::mem::take(&mut part), Box::new(drop));
                bytes = 0;
            }
            bytes += entry.payload.len();
            part.push(entry);
        }
        let done =
            move |result: Result<(), _>| callback.io_completed(result.map_err(io::Error::other));
        self.log.append(part, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last_log_id.map(|id| id.index()));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.log.purge(encoding::position(&log_id));
        Ok(())
    }
}
