//! What the files of a node's log tell to somebody who looks at them from outside. Their layout
//! (`node/storage/src/log/record.rs`) is known here a second time, and checksums are not asked: a
//! mistake in the log's own reading shows as a difference between nodes.
//!
//! A note of what is committed stands behind the entries that it speaks of, so the files alone say
//! which entries a node takes for committed, however far behind its writer is.

use std::collections::{BTreeMap, BTreeSet};
use steadfast_storage::{Position, codec};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC_BYTES: u64 = 8;
const HEADER_BYTES: usize = 16;
/// Before an entry's payload: term, leader, index.
const PLACE_BYTES: usize = 24;
const NOTE_BYTES: u64 = 64;
const ENTRY: u8 = 2;
const PURGE: u8 = 5;
const COMMITTED: u8 = 6;

/// A committed entry as one log has it: term, leader, hash of its payload.
pub type Committed = (u64, u64, u64);

/// The committed entries of all logs: by index, what they are, and who has them so. Where all logs
/// are the same there is one entry to an index.
pub type Logs = BTreeMap<u64, BTreeMap<Committed, BTreeSet<u64>>>;

/// A place in the files of a log: segment and offset.
pub type Place = (u32, u64);

/// A node started, and its log ended before a place up to which it had been synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortened {
    /// Which node.
    pub node: u64,
    /// Up to here it had been synced.
    pub synced: Place,
    /// Here it ended.
    pub end: Place,
}

/// Bytes of the segment of a number, from an offset, at most so many; `None` when there is no such
/// segment.
pub type Bytes<'a> = &'a dyn Fn(u32, u64, usize) -> Option<Vec<u8>>;

/// One record, with the offset behind it.
#[derive(Debug)]
struct Record {
    kind: u8,
    /// Everything before this offset was synced when it was written.
    synced: u64,
    payload: Vec<u8>,
    end: u64,
}

/// The record at an offset of a segment; `None` where no whole one is yet.
fn record(bytes: Bytes<'_>, segment: u32, at: u64) -> Option<Record> {
    let header = bytes(segment, at, HEADER_BYTES)?;
    let number = |from: usize| {
        let four = header.get(from..from + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?))
    };
    let (len, kind, synced) = (number(0)?, *header.get(8)?, number(12)?);
    let len = usize::try_from(len).ok()?;
    let payload = bytes(segment, at + HEADER_BYTES as u64, len)?;
    (kind != 0 && payload.len() == len).then(|| Record {
        kind,
        synced: u64::from(synced),
        payload,
        end: at + (HEADER_BYTES + len) as u64,
    })
}

/// Up to where a segment tells, and will tell after any loss of power, that it had been synced: the
/// last record that says so may itself be lost, the one before it not.
#[must_use]
pub fn proven_synced(bytes: Bytes<'_>, segment: u32) -> u64 {
    let (mut at, mut proven, mut newest) = (MAGIC_BYTES, 0, 0);
    while let Some(record) = record(bytes, segment, at) {
        if record.synced > newest {
            proven = newest;
            newest = record.synced;
        }
        at = record.end;
    }
    proven
}

/// Reads one log, further with each look.
#[derive(Debug, Default)]
pub struct LogStory {
    segment: u32,
    at: u64,
    /// Up to here the records say that all was synced.
    synced: Place,
    /// By index: entries that are held, committed or not.
    held: BTreeMap<u64, Committed>,
}

impl LogStory {
    /// A log whose oldest segment has this number.
    #[must_use]
    pub fn new(oldest: u32) -> LogStory {
        LogStory {
            segment: oldest,
            at: MAGIC_BYTES,
            synced: (oldest, 0),
            held: BTreeMap::new(),
        }
    }

    /// The segment that it reads in.
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> Place {
        (self.segment, self.at)
    }

    /// Up to where its records say that it was synced. (A new segment says nothing at first: it may
    /// itself be lost.)
    #[must_use]
    pub fn synced(&self) -> Place {
        self.synced
    }

    /// Reads what is new, and adds what a node's log says is committed.
    pub fn read(&mut self, node: u64, bytes: Bytes<'_>, logs: &mut Logs) {
        loop {
            while let Some(record) = record(bytes, self.segment, self.at) {
                self.at = record.end;
                if record.synced > 0 {
                    self.synced = (self.segment, record.synced);
                }
                self.take(node, &record, logs);
            }
            if bytes(self.segment + 1, 0, 0).is_none() {
                return;
            }
            (self.segment, self.at) = (self.segment + 1, MAGIC_BYTES);
        }
    }

    fn take(&mut self, node: u64, record: &Record, logs: &mut Logs) {
        let payload = &record.payload;
        match record.kind {
            ENTRY if payload.len() >= PLACE_BYTES => {
                let (place, content) = payload.split_at(PLACE_BYTES);
                let number = |at: usize| {
                    let eight = place[at..at + 8].try_into();
                    u64::from_le_bytes(eight.expect("eight bytes were taken"))
                };
                let (term, leader, index) = (number(0), number(8), number(16));
                // What stood there, and after it, was truncated before.
                self.held.split_off(&index);
                self.held.insert(index, (term, leader, xxh3_64(content)));
            }
            PURGE => {
                if let Ok(purged) = codec::decode::<Position>(payload, NOTE_BYTES) {
                    self.held = self.held.split_off(&(purged.index + 1));
                }
            }
            COMMITTED => {
                if let Ok(Some(upto)) = codec::decode::<Option<Position>>(payload, NOTE_BYTES) {
                    self.committed(node, upto.index, logs);
                }
            }
            // Starts, votes; and truncations, which the next entry tells, too.
            _ => {}
        }
    }

    /// What is known to be committed need not be held any longer.
    fn committed(&mut self, node: u64, upto: u64, logs: &mut Logs) {
        let rest = self.held.split_off(&(upto + 1));
        for (index, entry) in std::mem::replace(&mut self.held, rest) {
            let same = logs.entry(index).or_default().entry(entry).or_default();
            same.insert(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, mpsc};
    use steadfast_storage::disk::{CrashLoss, Disk, SimulatedDisk};
    use steadfast_storage::log::{Log, LogEntry, LogError, LogOptions, LogWriter};

    const DIR: &str = "data/log";

    fn path(segment: u32) -> PathBuf {
        Path::new(DIR).join(format!("{segment:010}.log"))
    }

    fn open(disk: &SimulatedDisk) -> Result<(Log, LogWriter), LogError> {
        let options = LogOptions {
            segment_bytes: 4096,
            extend_bytes: 4096,
            ..LogOptions::default()
        };
        let (log, writer, _) = Log::open(Arc::new(disk.clone()), Path::new(DIR), options)?;
        Ok((log, writer))
    }

    fn entry(term: u64, index: u64) -> LogEntry {
        let position = Position {
            term,
            leader: 1,
            index,
        };
        LogEntry {
            position,
            payload: vec![index as u8; 100].into(),
        }
    }

    /// A log in which each entry is a batch of its own.
    fn written(entries: impl IntoIterator<Item = LogEntry>, committed: u64) -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let (log, writer) = open(&disk).unwrap();
        let thread = std::thread::spawn(|| writer.run());
        let append = |entry: LogEntry| {
            let (done, synced) = mpsc::channel();
            log.append(
                vec![entry],
                Box::new(move |result| done.send(result).unwrap()),
            );
            synced.recv().unwrap().unwrap();
        };
        for entry in entries {
            if log
                .last()
                .is_some_and(|last| last.index >= entry.position.index)
            {
                log.truncate_after(entry.position.index.checked_sub(1));
            }
            append(entry);
        }
        log.save_committed(Some(entry(1, committed).position));
        drop(log);
        thread.join().unwrap();
        disk
    }

    fn told(disk: &SimulatedDisk) -> Logs {
        let mut logs = Logs::new();
        let bytes = |segment, at, len| disk.peek(&path(segment), at, len);
        LogStory::new(1).read(7, &bytes, &mut logs);
        logs
    }

    #[test]
    fn committed_entries_of_all_segments_are_told_and_no_others() {
        let disk = written((0..100).map(|index| entry(1, index)), 80);
        assert!(disk.peek(&path(3), 0, 0).is_some(), "several segments");
        let logs = told(&disk);
        assert_eq!(logs.len(), 81);
        assert!(logs.values().all(|entries| entries.len() == 1));
    }

    #[test]
    fn what_was_truncated_is_not_told() {
        let first = (0..10).map(|index| entry(1, index));
        let second = (5..9).map(|index| entry(2, index));
        let logs = told(&written(first.chain(second), 8));
        let terms: Vec<u64> = logs
            .values()
            .map(|entries| entries.keys().next().unwrap().0)
            .collect();
        assert_eq!(terms, [1, 1, 1, 1, 1, 2, 2, 2, 2]);
    }

    #[test]
    fn a_log_refuses_damage_wherever_its_segment_proves_that_it_was_synced() {
        let whole = || written((0..12).map(|index| entry(1, index)), 3);
        let proven = {
            let disk = whole();
            let bytes = |segment, at, len| disk.peek(&path(segment), at, len);
            proven_synced(&bytes, 1)
        };
        assert!(proven > 1_000, "only {proven} bytes");
        for at in (0..proven).step_by(7) {
            let disk = whole();
            disk.flip_bit(&path(1), at, 3).unwrap();
            let disk = disk.crash(CrashLoss::AllUnsynced);
            assert!(open(&disk).is_err(), "a flipped bit at {at}");
        }
    }
}
