//! Reads entries, from memory or from the segment files.

use super::entries::Location;
use super::record::{ENTRY_BYTES, HEADER_BYTES, Parsed, Record, parse};
use super::shared::{Inner, Shared};
use super::{LogEntry, LogFault, segment};
use crate::disk::DiskFile;
use crate::position::Position;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Counted for each entry besides its payload, so that empty entries are bounded too.
const ENTRY_OVERHEAD: usize = 32;
/// Records that lie closer than this in a file are read together.
const NEAR_BYTES: u64 = 4 << 10;

/// Entries that lie in one stretch of one file.
struct Stretch {
    file: Arc<dyn DiskFile>,
    segment: u32,
    start: u64,
    end: u64,
    /// With the offset of each record.
    entries: Vec<(Position, u64)>,
}

enum Piece {
    InMemory(Vec<LogEntry>),
    OnDisk(Stretch),
}

pub(super) fn read(
    shared: &Shared,
    from: u64,
    to: u64,
    max_bytes: usize,
) -> Result<Vec<LogEntry>, LogFault> {
    // The lock is held for looking up only, not for the disk.
    let pieces = plan(&mut shared.lock(), from, to, max_bytes);
    let mut entries = Vec::new();
    for piece in pieces {
        match piece {
            Piece::InMemory(mut found) => entries.append(&mut found),
            Piece::OnDisk(stretch) => stretch.read(&shared.dir, &mut entries)?,
        }
    }
    Ok(entries)
}

fn plan(inner: &mut Inner, from: u64, to: u64, max_bytes: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut bytes = 0;
    for index in from..to {
        let Some((slot, payload)) = inner.entries.get(index) else {
            break;
        };
        let payload_bytes = slot.payload_bytes as usize;
        if index > from && bytes + payload_bytes + ENTRY_OVERHEAD > max_bytes {
            break;
        }
        bytes += payload_bytes + ENTRY_OVERHEAD;
        let position = Position {
            term: slot.term,
            leader: slot.leader,
            index,
        };
        if let Some(payload) = payload {
            let entry = LogEntry {
                position,
                payload: payload.clone(),
            };
            match pieces.last_mut() {
                Some(Piece::InMemory(entries)) => entries.push(entry),
                _ => pieces.push(Piece::InMemory(vec![entry])),
            }
            continue;
        }
        let Location::Written { segment, offset } = slot.location else {
            unreachable!("an entry leaves memory only when it is written")
        };
        let start = u64::from(offset);
        let end = start + (HEADER_BYTES + ENTRY_BYTES + payload_bytes) as u64;
        match pieces.last_mut() {
            Some(Piece::OnDisk(stretch)) if stretch.is_near(segment, start) => {
                stretch.end = end;
                stretch.entries.push((position, start));
            }
            _ => {
                // Files go only when no entry that is held lies in them.
                let file = inner.files[&segment].clone();
                let entries = vec![(position, start)];
                pieces.push(Piece::OnDisk(Stretch {
                    file,
                    segment,
                    start,
                    end,
                    entries,
                }));
                inner.counters.disk_reads += 1;
            }
        }
    }
    pieces
}

impl Stretch {
    fn is_near(&self, segment: u32, start: u64) -> bool {
        segment == self.segment && start >= self.end && start - self.end <= NEAR_BYTES
    }

    fn read(self, dir: &Path, entries: &mut Vec<LogEntry>) -> Result<(), LogFault> {
        let path = segment::path(dir, self.segment);
        let mut bytes = vec![0; usize::try_from(self.end - self.start).unwrap_or(0)];
        let read = self
            .file
            .read_at(self.start, &mut bytes)
            .map_err(LogFault::io("read", &path))?;
        bytes.truncate(read);
        let bytes = Bytes::from(bytes);
        for (position, offset) in self.entries {
            let damaged = |what: &str| LogFault::Damaged {
                file: path.clone(),
                offset,
                what: what.to_owned(),
            };
            let at = usize::try_from(offset - self.start).unwrap_or(0);
            let raw = match parse(&bytes, at, self.segment, self.start) {
                Parsed::Record(raw) => raw,
                Parsed::End => return Err(damaged("the record is missing")),
                Parsed::Bad(what) => return Err(damaged(what)),
            };
            match raw.decode() {
                Ok(Record::Entry(found, payload)) if found == position => {
                    entries.push(LogEntry {
                        position,
                        payload: bytes.slice_ref(payload),
                    });
                }
                Ok(_) => return Err(damaged("another record stands there")),
                Err(what) => return Err(damaged(&what)),
            }
        }
        Ok(())
    }
}
