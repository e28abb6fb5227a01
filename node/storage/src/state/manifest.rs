//! The manifest: which immutable files are the state, at which mark.

use super::fault::StateError;
use super::record_file::read_exact;
use crate::Position;
use crate::disk::Disk;
use bincode::Options;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the manifest file; it is replaced by rename.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST";
const MANIFEST_TEMPORARY: &str = "MANIFEST.tmp";
const MAGIC: &[u8; 8] = b"SFMANIF1";
/// Far more than the file list of a state can be.
pub(crate) const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// An immutable file of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the state's directory; made of its kind, mark and checksum.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// xxh3-128 of all its bytes.
    pub checksum: u128,
    /// Mark up to which it holds changes.
    pub mark: u64,
}

/// One base file and the deltas after it: the whole state at a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Number of the newest mark; 0 before the first.
    pub mark: u64,
    /// Position of the newest mark; `None` before the first.
    pub position: Option<Position>,
    /// What the owner of the state gave with the mark.
    pub meta: Bytes,
    /// All records up to its mark; none while everything is in deltas.
    pub base: Option<FileEntry>,
    /// Changes after the base, oldest first.
    pub deltas: Vec<FileEntry>,
}

impl Manifest {
    /// All files, in the order in which they lie over one another, lowest first.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.base.iter().chain(&self.deltas)
    }

    /// For a peer or a backup.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// What [`Manifest::encode`] made.
    ///
    /// # Errors
    /// [`StateError::Staged`] when the bytes are not a manifest or it makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let manifest: Self = decode(bytes).map_err(StateError::Staged)?;
        manifest.check().map_err(StateError::Staged)?;
        Ok(manifest)
    }

    /// The list must be able to be a state: marks ascend, names are plain.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut last = 0;
        for file in self.files() {
            let plain = file.name.starts_with("base-") || file.name.starts_with("delta-");
            if !plain
                || !file
                    .name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-')
                || file.name.len() > 100
            {
                return Err(format!("{:?} is not the name of a state file", file.name));
            }
            if file.mark <= last {
                return Err("the files' marks do not ascend".to_owned());
            }
            last = file.mark;
        }
        if last != self.mark || (self.mark == 0) != self.position.is_none() {
            return Err("the newest file's mark is not the manifest's".to_owned());
        }
        Ok(())
    }
}

/// What the manifest file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalManifest {
    /// Number of the directory of the index; another one after each install.
    pub(crate) index: u64,
    pub(crate) manifest: Manifest,
}

/// Reads the manifest file; `None` when there is none.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<LocalManifest>, StateError> {
    let path = dir.join(MANIFEST_FILE);
    if !disk
        .exists(&path)
        .map_err(StateError::io("look for", &path))?
    {
        return Ok(None);
    }
    let file = disk.open(&path).map_err(StateError::io("open", &path))?;
    let len = file.len().map_err(StateError::io("measure", &path))?;
    if len > MAX_BYTES {
        return Err(StateError::damaged(&path, "it is too long"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    read_exact(&*file, &path, 0, &mut bytes)?;
    let local: LocalManifest = decode(&bytes).map_err(|what| StateError::damaged(&path, what))?;
    local
        .manifest
        .check()
        .map_err(|what| StateError::damaged(&path, what))?;
    Ok(Some(local))
}

/// Replaces the manifest file; durable on return, together with everything renamed before in the
/// directory.
pub(crate) fn save(disk: &dyn Disk, dir: &Path, local: &LocalManifest) -> Result<(), StateError> {
    let temporary = dir.join(MANIFEST_TEMPORARY);
    if disk
        .exists(&temporary)
        .map_err(StateError::io("look for", &temporary))?
    {
        disk.remove(&temporary)
            .map_err(StateError::io("remove", &temporary))?;
    }
    let file = disk
        .create(&temporary)
        .map_err(StateError::io("create", &temporary))?;
    file.write_at(0, &encode(local))
        .map_err(StateError::io("write", &temporary))?;
    file.sync_data()
        .map_err(StateError::io("fsync", &temporary))?;
    // The data files must have their names before a manifest mentions them.
    disk.sync_dir(dir).map_err(StateError::io("fsync", dir))?;
    disk.rename(&temporary, &dir.join(MANIFEST_FILE))
        .map_err(StateError::io("rename", &temporary))?;
    disk.sync_dir(dir).map_err(StateError::io("fsync", dir))
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(MAX_BYTES)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    let body = options()
        .serialize(value)
        .expect("a manifest has a few dozen files");
    bytes[8..12].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
        return Err("it is too short".to_owned());
    };
    let Some((crc, body)) = rest.split_first_chunk::<4>() else {
        return Err("it is too short".to_owned());
    };
    if magic != MAGIC {
        return Err("it is not a manifest of this version".to_owned());
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err("its checksum is wrong".to_owned());
    }
    options()
        .deserialize(body)
        .map_err(|error| format!("it cannot be decoded: {error}"))
}
