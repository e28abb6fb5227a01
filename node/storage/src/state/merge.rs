//! Many sorted files as one sorted stream, and the making of one file out of it.

use super::digest::record_hash;
use super::fault::StateError;
use super::files::PinnedManifest;
use super::manifest::FileEntry;
use super::record::{Key, RawChange};
use super::record_file::{FileHeader, FileKind, RecordReader, RecordWriter};
use crate::disk::Disk;
use std::path::{Path, PathBuf};

/// The newest version of each record of some files that lie over one another, in key order.
#[derive(Debug)]
pub(crate) struct NewestRecords {
    /// Lowest (oldest) first.
    readers: Vec<RecordReader>,
}

impl NewestRecords {
    /// All files of a manifest but the `skipped` lowest.
    pub(crate) fn open(pinned: &PinnedManifest, skipped: usize) -> Result<Self, StateError> {
        let files = pinned.files().iter().skip(skipped);
        let readers = files.map(|held| RecordReader::open(pinned.disk(), &held.path));
        Ok(Self {
            readers: readers.collect::<Result<_, _>>()?,
        })
    }

    /// The next record, deleted ones without a value.
    pub(crate) fn next(&mut self) -> Result<Option<RawChange>, StateError> {
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
        Ok(newest)
    }

    /// Bytes of records read from all files so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.readers.iter().map(RecordReader::read_bytes).sum()
    }
}

/// The digest of the state that a manifest's files make.
pub(crate) fn digest_of(pinned: &PinnedManifest) -> Result<u128, StateError> {
    let mut records = NewestRecords::open(pinned, 0)?;
    let mut digest = 0_u128;
    while let Some((key, value)) = records.next()? {
        digest = digest.wrapping_add(value.map_or(0, |value| record_hash(&key, &value)));
    }
    Ok(digest)
}

/// Makes one file of the newest files of a manifest: of all of them a base, else a delta.
#[derive(Debug)]
pub(crate) struct FileMerge {
    pinned: PinnedManifest,
    kind: FileKind,
    skipped: usize,
    records: NewestRecords,
    writer: RecordWriter,
    digest: u128,
}

/// A merged file under its final name, not yet in the manifest.
#[derive(Debug)]
pub(crate) struct MergedFile {
    pub(crate) kind: FileKind,
    pub(crate) entry: FileEntry,
    /// The files that it takes the place of.
    pub(crate) merged: Vec<FileEntry>,
    /// Of a base, the digest of the state.
    pub(crate) digest: Option<u128>,
}

const TEMPORARY: &str = "merge.tmp";

impl FileMerge {
    /// Starts on all files but the `skipped` lowest; `None` before the first mark.
    pub(crate) fn start(
        pinned: PinnedManifest,
        skipped: usize,
        dir: &Path,
    ) -> Result<Option<Self>, StateError> {
        let manifest = pinned.manifest();
        let Some(position) = manifest.position else {
            return Ok(None);
        };
        let kind = if skipped == 0 {
            FileKind::Base
        } else {
            FileKind::Delta
        };
        let header = FileHeader {
            kind,
            mark: manifest.mark,
            position,
        };
        let writer = RecordWriter::create(pinned.disk(), dir.join(TEMPORARY), &header)?;
        let records = NewestRecords::open(&pinned, skipped)?;
        Ok(Some(Self {
            pinned,
            kind,
            skipped,
            records,
            writer,
            digest: 0,
        }))
    }

    /// Reads about so many bytes. How many it were, and whether there is more.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<(u64, bool), StateError> {
        let before = self.records.read_bytes();
        loop {
            let Some((key, value)) = self.records.next()? else {
                return Ok((self.records.read_bytes() - before, false));
            };
            if let Some(value) = &value {
                self.digest = self.digest.wrapping_add(record_hash(&key, value));
            }
            // Below a base is nothing that a tombstone could hide.
            if value.is_some() || self.kind == FileKind::Delta {
                self.writer.push(&key, value.as_deref())?;
            }
            let read = self.records.read_bytes() - before;
            if read >= bytes {
                return Ok((read, true));
            }
        }
    }

    /// Ends the file and gives it its name.
    pub(crate) fn finish(self, dir: &Path) -> Result<MergedFile, StateError> {
        let manifest = self.pinned.manifest();
        let entry = finish_file(
            self.pinned.disk(),
            self.writer,
            dir,
            self.kind,
            manifest.mark,
        )?;
        let merged = manifest.files().skip(self.skipped).cloned().collect();
        let digest = (self.kind == FileKind::Base).then_some(self.digest);
        Ok(MergedFile {
            kind: self.kind,
            entry,
            merged,
            digest,
        })
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
    disk.rename(&temporary, &dir.join(&name))
        .map_err(StateError::io("rename", &temporary))?;
    Ok(FileEntry {
        name,
        len,
        checksum,
        mark,
    })
}
