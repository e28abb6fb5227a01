//! The segment file that is written to.

use super::LogFault;
use super::record::{Encoder, Kind, MAX_START_BYTES, Start};
use crate::codec;
use crate::disk::{Disk, DiskFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steadfast_planted::{Bug, planted};

/// The first bytes of every segment file.
pub(super) const MAGIC: &[u8; 8] = b"SFLOG\0\0\x01";

/// The path of a segment.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

/// The segment number of a file name, when it is one.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name
        .strip_suffix(".log")
        .filter(|digits| digits.len() == 10)?;
    digits.parse().ok()
}

/// The newest segment.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where its first record ends, when this process made it: beyond that it is in use.
    pub(super) start_end: u64,
    /// Where the next record goes.
    pub(super) end: u64,
    /// Everything before is durable.
    pub(super) synced: u64,
    /// The file's length: zeros from `end` on.
    pub(super) allocated: u64,
    /// The greatest index of an entry in it.
    pub(super) max_index: Option<u64>,
    pub(super) extend_bytes: u64,
}

impl Head {
    /// Creates a segment, durable with its name, before anything is written to it.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        start: &Start,
        extend_bytes: u64,
    ) -> Result<Head, LogFault> {
        let number = start.segment;
        let path = path(dir, number);
        let file = disk.create(&path).map_err(LogFault::io("create", &path))?;
        let mut head = Head {
            number,
            path,
            file,
            start_end: 0,
            end: 0,
            synced: 0,
            allocated: 0,
            max_index: None,
            extend_bytes,
        };
        let mut buffer = MAGIC.to_vec();
        let start = codec::encode(start, MAX_START_BYTES).expect("the vote in a start is bounded");
        Encoder {
            buffer: &mut buffer,
            segment: number,
            base: 0,
            synced: 0,
        }
        .put(Kind::Start, [&start, &[]]);
        head.write(&mut buffer)?;
        head.start_end = head.end;
        head.sync()?;
        disk.sync_dir(dir)
            .map_err(LogFault::io("sync the directory of", &head.path))?;
        Ok(head)
    }

    /// Appends bytes; when the file gets longer, by a whole step filled with zeros in one write,
    /// so that the next syncs need not write its length.
    pub(super) fn write(&mut self, buffer: &mut Vec<u8>) -> Result<(), LogFault> {
        let end = self.end + buffer.len() as u64;
        if end > self.allocated {
            let allocated = end.next_multiple_of(self.extend_bytes);
            let padding = usize::try_from(allocated - end).unwrap_or(0);
            buffer.resize(buffer.len() + padding, 0);
            self.allocated = allocated;
        }
        self.file
            .write_at(self.end, buffer)
            .map_err(LogFault::io("write", &self.path))?;
        self.end = end;
        Ok(())
    }

    /// Makes everything before `end` durable.
    pub(super) fn sync(&mut self) -> Result<(), LogFault> {
        let synced = self.file.sync_data();
        if !planted(Bug::FailedFsyncIgnored) {
            synced.map_err(LogFault::io("sync", &self.path))?;
        }
        self.synced = self.end;
        Ok(())
    }
}

/// Reads a whole file.
pub(super) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
