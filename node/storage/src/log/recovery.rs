//! Reads the log through when it is opened, and cuts off what was never durable.
//!
//! A crash may leave, at the end of the newest segment only, bytes that nobody was told are
//! durable: they are replaced by zeros. Bytes that were durable and are wrong, anywhere, stop the
//! start: what they said may have been promised to others.

use super::entries::Entries;
use super::record::{Parsed, Record, Start, parse, synced_beyond};
use super::segment::{self, Head, MAGIC, read_all};
use super::{LogError, LogOptions, Recovered};
use crate::disk::{Disk, DiskFile};
use crate::position::Position;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment that is no longer written to.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// The greatest index of an entry in it.
    pub(super) max_index: Option<u64>,
}

/// The log as its files tell it.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) entries: Entries,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Position>,
    pub(super) purged: Option<Position>,
    pub(super) sealed: BTreeMap<u32, Sealed>,
    pub(super) head: Head,
}

impl Replay {
    pub(super) fn summary(&self) -> Recovered {
        Recovered {
            vote: self.vote.clone(),
            committed: self.committed,
            purged: self.purged,
            last: self.entries.last().or(self.purged),
        }
    }
}

/// One segment file in memory.
struct Segment {
    number: u32,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
}

/// What the records told so far.
struct Story {
    entries: Entries,
    vote: Option<Bytes>,
    committed: Option<Position>,
    purged: Option<Position>,
    /// The last entry before the oldest segment: it must have been purged in the end.
    missing: Option<u64>,
}

/// Where a segment's records end.
struct End {
    offset: usize,
    /// What stands there, when it is not zeros.
    bad: Option<&'static str>,
    /// Everything before was durable when the last record was written.
    synced: u64,
    max_index: Option<u64>,
}

pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &LogOptions,
) -> Result<Replay, LogError> {
    disk.create_dir_all(dir)
        .map_err(LogError::io("create", dir))?;
    let mut numbers = segment_numbers(disk.as_ref(), dir)?;
    drop_unborn(disk.as_ref(), dir, &mut numbers)?;
    let mut story = Story {
        entries: Entries::new(None, options.cache_bytes),
        vote: None,
        committed: None,
        purged: None,
        missing: None,
    };
    let mut sealed = BTreeMap::new();
    let mut previous: Option<(Segment, End)> = None;
    let newest = numbers.last().copied();
    for number in numbers {
        let mut segment = load(disk.as_ref(), dir, number)?;
        let start = start_of(&segment)?;
        if let Some((before, end)) = previous.take() {
            check_sealed(&before, &end, &start)?;
            let Segment {
                number, path, file, ..
            } = before;
            sealed.insert(
                number,
                Sealed {
                    path,
                    file,
                    max_index: end.max_index,
                },
            );
        } else {
            story.begin(&start, options);
        }
        let end = story.read(&segment)?;
        if Some(number) != newest {
            // One file at a time is in memory.
            segment.bytes = Vec::new();
        }
        previous = Some((segment, end));
    }
    let head = match previous {
        Some((segment, end)) => open_head(disk.as_ref(), dir, segment, &end, options)?,
        None => {
            let start = Start {
                segment: 1,
                ..Start::default()
            };
            Head::create(disk.as_ref(), dir, &start, options.extend_bytes)?
        }
    };
    story.finish(sealed, head, dir)
}

/// The numbers of the segments, which follow each other.
fn segment_numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u32>, LogError> {
    let names = disk.list(dir).map_err(LogError::io("list", dir))?;
    let numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| segment::number(name))
        .collect();
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(LogError::Missing {
                file: segment::path(dir, pair[0] + 1),
            });
        }
    }
    Ok(numbers)
}

fn load(disk: &dyn Disk, dir: &Path, number: u32) -> Result<Segment, LogError> {
    let path = segment::path(dir, number);
    let file = disk.open(&path).map_err(LogError::io("open", &path))?;
    let bytes = read_all(file.as_ref()).map_err(LogError::io("read", &path))?;
    Ok(Segment {
        number,
        path,
        file,
        bytes,
    })
}

/// Removes the newest file when the crash came before its creation was durable: nothing was
/// written to it then, and the segment before it is the newest.
fn drop_unborn(disk: &dyn Disk, dir: &Path, numbers: &mut Vec<u32>) -> Result<(), LogError> {
    let Some(newest) = numbers.last().copied() else {
        return Ok(());
    };
    let segment = load(disk, dir, newest)?;
    let Err(damage) = start_of(&segment) else {
        return Ok(());
    };
    // The first segment has none before it; any later one is made while the one before exists.
    let may_be_unborn = newest == 1 || numbers.len() > 1;
    if !may_be_unborn || synced_beyond(&segment.bytes, 0, newest) {
        return Err(damage);
    }
    tracing::warn!(file = %segment.path.display(), "removing a log file whose creation was cut off");
    disk.remove(&segment.path)
        .map_err(LogError::io("remove", &segment.path))?;
    disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
    numbers.pop();
    Ok(())
}

fn start_of(segment: &Segment) -> Result<Start, LogError> {
    let damaged = |what: &str| LogError::damaged(&segment.path, 0, what);
    if !segment.bytes.starts_with(MAGIC) {
        return Err(damaged(
            "it does not begin as a log file of this version does",
        ));
    }
    let Parsed::Record(raw) = parse(&segment.bytes, MAGIC.len(), segment.number, 0) else {
        return Err(damaged("its first record is not good"));
    };
    match raw.decode() {
        Ok(Record::Start(start)) if start.segment == segment.number => Ok(start),
        Ok(_) => Err(damaged("its first record is of the wrong kind")),
        Err(what) => Err(damaged(&what)),
    }
}

/// A sealed segment was synced to its end before the next one was made.
fn check_sealed(segment: &Segment, end: &End, next: &Start) -> Result<(), LogError> {
    let offset = end.offset as u64;
    if let Some(bad) = end.bad {
        return Err(LogError::damaged(&segment.path, offset, bad));
    }
    if offset != next.previous_end {
        let what = format!("its records end here and not at {}", next.previous_end);
        return Err(LogError::damaged(&segment.path, offset, what));
    }
    Ok(())
}

/// Makes the newest segment ready to be written to.
fn open_head(
    disk: &dyn Disk,
    dir: &Path,
    segment: Segment,
    end: &End,
    options: &LogOptions,
) -> Result<Head, LogError> {
    let Segment {
        number,
        path,
        file,
        bytes,
    } = segment;
    if synced_beyond(&bytes, end.offset, number) {
        let what = end.bad.unwrap_or("the record is missing");
        return Err(LogError::damaged(&path, end.offset as u64, what));
    }
    if let Some(offset) = cut_short(bytes.len() as u64, end, options) {
        let what = "the file ends here, after records that were durable";
        return Err(LogError::damaged(&path, offset, what));
    }
    let garbage = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if garbage > end.offset {
        tracing::warn!(
            file = %path.display(), offset = end.offset, bytes = garbage - end.offset,
            "cutting off a write of the log that a crash interrupted"
        );
    }
    let allocated = (bytes.len() as u64).next_multiple_of(options.extend_bytes);
    // What a killed process wrote but did not sync is about to be reported as durable. It is
    // written again, because after a failed sync the system believes that it needs no other. Zeros
    // follow: nothing of a torn write can ever look like a record that follows a new one, and the
    // length is whole, see `cut_short`.
    let unsynced = usize::try_from(end.synced).unwrap_or(0).min(end.offset);
    let mut tail = bytes[unsynced..end.offset].to_vec();
    tail.resize(usize::try_from(allocated).unwrap_or(0) - unsynced, 0);
    file.write_at(unsynced as u64, &tail)
        .map_err(LogError::io("write", &path))?;
    file.sync_data().map_err(LogError::io("sync", &path))?;
    disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
    Ok(Head {
        number,
        path,
        file,
        start_end: 0,
        end: end.offset as u64,
        synced: end.offset as u64,
        allocated,
        max_index: end.max_index,
        extend_bytes: options.extend_bytes,
    })
}

/// Where a file ends that was longer once, when its records tell so: it gets longer by whole steps,
/// so a length between two steps is that of a step that was never synced, and then no record after
/// its begin was.
fn cut_short(bytes: u64, end: &End, options: &LogOptions) -> Option<u64> {
    let whole = bytes / options.extend_bytes * options.extend_bytes;
    (bytes > whole && end.synced > whole).then_some(bytes)
}

impl Story {
    /// Starts from what the oldest segment says about those before it.
    fn begin(&mut self, start: &Start, options: &LogOptions) {
        self.vote = start.vote.clone().map(Bytes::from);
        self.committed = start.committed;
        self.purged = start.purged;
        self.missing = start.last;
        let purged = start.purged.map(|purged| purged.index);
        let next = start.last.max(purged).map(|last| last.saturating_add(1));
        self.entries = Entries::new(next, options.cache_bytes);
    }

    /// Reads a segment's records up to the first that is not good.
    fn read(&mut self, segment: &Segment) -> Result<End, LogError> {
        let mut end = End {
            offset: MAGIC.len(),
            bad: None,
            synced: 0,
            max_index: None,
        };
        loop {
            let raw = match parse(&segment.bytes, end.offset, segment.number, 0) {
                Parsed::Record(raw) => raw,
                Parsed::End => return Ok(end),
                Parsed::Bad(what) => {
                    return Ok(End {
                        bad: Some(what),
                        ..end
                    });
                }
            };
            let told = raw
                .decode()
                .and_then(|record| self.tell(record, segment, &mut end));
            told.map_err(|what| LogError::damaged(&segment.path, end.offset as u64, what))?;
            end.synced = raw.synced;
            end.offset += raw.bytes();
        }
    }

    fn tell(&mut self, record: Record<'_>, at: &Segment, end: &mut End) -> Result<(), String> {
        match record {
            Record::Start(_) => {
                if end.offset != MAGIC.len() {
                    return Err("a first record stands in the middle".into());
                }
            }
            Record::Entry(position, payload) => {
                let next = self.entries.next_index().unwrap_or(position.index);
                if position.index != next {
                    return Err(format!(
                        "entry {} stands where {next} should",
                        position.index
                    ));
                }
                let offset = u32::try_from(end.offset).map_err(|error| error.to_string())?;
                let payload = Bytes::copy_from_slice(payload);
                self.entries
                    .push_written(position, payload, (at.number, offset));
                end.max_index = end.max_index.max(Some(position.index));
            }
            Record::Vote(vote) => self.vote = Some(Bytes::copy_from_slice(vote)),
            Record::Truncate(index) => self.entries.truncate_after(index),
            Record::Purge(upto) => {
                if self.purged.is_none_or(|purged| purged.index < upto.index) {
                    self.purged = Some(upto);
                }
                self.entries.purge(upto.index);
            }
            Record::Committed(committed) => self.committed = committed,
        }
        Ok(())
    }

    fn finish(
        self,
        sealed: BTreeMap<u32, Sealed>,
        head: Head,
        dir: &Path,
    ) -> Result<Replay, LogError> {
        let Story {
            entries,
            vote,
            committed,
            purged,
            missing,
        } = self;
        if missing > purged.map(|purged| purged.index) {
            let oldest = sealed.keys().next().copied().unwrap_or(head.number);
            return Err(LogError::Missing {
                file: segment::path(dir, oldest.saturating_sub(1)),
            });
        }
        let last = entries.last().or(purged);
        // The hint may have survived entries that did not; what is purged was committed.
        let held = |place: &Position| last.is_some_and(|last| place.index <= last.index);
        let beyond_purged =
            |place: &Position| purged.is_none_or(|purged| place.index > purged.index);
        let committed = committed.filter(held).filter(beyond_purged).or(purged);
        Ok(Replay {
            entries,
            vote,
            committed,
            purged,
            sealed,
            head,
        })
    }
}
