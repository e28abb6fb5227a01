//! Many sorted files as one sorted stream, and the making of a new base out of it.

use super::digest::record_hash;
use super::fault::StateError;
use super::files::PinnedManifest;
use super::manifest::FileEntry;
use super::record::Key;
use super::record_file::{FileHeader, FileKind, RecordReader, RecordWriter};
use crate::disk::Disk;
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// The live records of a manifest, in key order.
#[derive(Debug)]
pub(crate) struct LiveRecords {
    /// Lowest (oldest) first.
    readers: Vec<RecordReader>,
}

impl LiveRecords {
    pub(crate) fn open(pinned: &PinnedManifest) -> Result<Self, StateError> {
        let readers = pinned.files().iter().map(|held| RecordReader::open(pinned.disk(), &held.path));
        Ok(Self { readers: readers.collect::<Result<_, _>>()? })
    }

    /// The next record that is not deleted.
    pub(crate) fn next(&mut self) -> Result<Option<(Key, Bytes)>, StateError> {
        loop {
            let mut first: Option<Key> = None;
            for reader in &mut self.readers {
                if let Some((key, _)) = reader.peek()?
                    && first.as_ref().is_none_or(|first| key < first)
                {
                    first = Some(key.clone());
                }
            }
            let Some(key) = first else {
                return Ok(None);
            };
            let mut newest = None;
            for reader in &mut self.readers {
                if reader.peek()?.is_some_and(|(found, _)| *found == key) {
                    newest = reader.next()?;
                }
            }
            if let Some((key, Some(value))) = newest {
                return Ok(Some((key, value)));
            }
        }
    }

    /// Bytes of records read from all files so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.readers.iter().map(RecordReader::read_bytes).sum()
    }
}

/// The digest of the state that a manifest's files make.
pub(crate) fn digest_of(pinned: &PinnedManifest) -> Result<u128, StateError> {
    let mut records = LiveRecords::open(pinned)?;
    let mut digest = 0_u128;
    while let Some((key, value)) = records.next()? {
        digest = digest.wrapping_add(record_hash(&key, &value));
    }
    Ok(digest)
}

/// Makes a base of all files of a manifest.
#[derive(Debug)]
pub(crate) struct BaseMerge {
    pinned: PinnedManifest,
    records: LiveRecords,
    writer: RecordWriter,
    digest: u128,
}

/// A new base file under its final name, not yet in the manifest.
#[derive(Debug)]
pub(crate) struct MadeBase {
    pub(crate) entry: FileEntry,
    pub(crate) digest: u128,
}

const TEMPORARY: &str = "base.tmp";

impl BaseMerge {
    /// Starts; `None` before the first mark.
    pub(crate) fn start(pinned: PinnedManifest, dir: &Path) -> Result<Option<Self>, StateError> {
        let manifest = pinned.manifest();
        let Some(position) = manifest.position else {
            return Ok(None);
        };
        let header = FileHeader { kind: FileKind::Base, mark: manifest.mark, position };
        let writer = RecordWriter::create(pinned.disk(), dir.join(TEMPORARY), &header)?;
        let records = LiveRecords::open(&pinned)?;
        Ok(Some(Self { pinned, records, writer, digest: 0 }))
    }

    /// Mark of the base in the making.
    pub(crate) fn mark(&self) -> u64 {
        self.pinned.manifest().mark
    }

    /// Reads about so many bytes. How many it were, and whether there is more.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<(u64, bool), StateError> {
        let before = self.records.read_bytes();
        loop {
            let Some((key, value)) = self.records.next()? else {
                return Ok((self.records.read_bytes() - before, false));
            };
            self.digest = self.digest.wrapping_add(record_hash(&key, &value));
            self.writer.push(&key, Some(&value))?;
            let read = self.records.read_bytes() - before;
            if read >= bytes {
                return Ok((read, true));
            }
        }
    }

    /// Ends the file and gives it its name.
    pub(crate) fn finish(self, dir: &Path) -> Result<MadeBase, StateError> {
        let mark = self.mark();
        let entry = finish_file(self.pinned.disk(), self.writer, dir, FileKind::Base, mark)?;
        Ok(MadeBase { entry, digest: self.digest })
    }
}

/// Ends a file and gives it the name that its content has.
pub(crate) fn finish_file(
    disk: &dyn Disk,
    writer: RecordWriter,
    dir: &Path,
    kind: FileKind,
    mark: u64,
) -> Result<FileEntry, StateError> {
    let temporary: PathBuf = writer.path().to_path_buf();
    let (len, checksum) = writer.finish()?;
    let kind = match kind {
        FileKind::Base => "base",
        FileKind::Delta => "delta",
    };
    let name = format!("{kind}-{mark:016x}-{checksum:032x}");
    disk.rename(&temporary, &dir.join(&name)).map_err(StateError::io("rename", &temporary))?;
    Ok(FileEntry { name, len, checksum, mark })
}
