//! A backup: the files of the state at a mark, with their list, in a directory of their own.
//!
//! The list comes last and by rename: a directory without it is a backup that was not finished.

use super::fault::StateError;
use super::files::{MAX_READ_BYTES, PinnedManifest};
use super::manifest::{MANIFEST_FILE, MAX_BYTES, Manifest};
use super::record_file::read_exact;
use super::staging::{Staging, staged_path};
use crate::directory::FORMAT;
use crate::disk::Disk;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MANIFEST_NEW: &str = "MANIFEST.new";
/// Begins the list, before the format of what the files hold and the manifest.
const MAGIC: &[u8; 8] = b"SFBACKUP";
const HEADER_BYTES: usize = 12;

/// Writes a backup. One that is dropped before [`BackupWriter::finish`] stays unfinished.
#[derive(Debug)]
pub struct BackupWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    manifest: Manifest,
    staging: Staging,
}

impl BackupWriter {
    /// Begins a backup of the state that `manifest` lists, in a directory that is new or empty.
    ///
    /// # Errors
    /// [`StateError::Backup`] when the directory holds something, [`StateError::Staged`] when the
    /// list makes no sense, [`StateError::Io`].
    pub fn begin(disk: Arc<dyn Disk>, dir: &Path, manifest: Manifest) -> Result<Self, StateError> {
        disk.create_dir_all(dir)
            .map_err(StateError::io("create", dir))?;
        let there = disk.list(dir).map_err(StateError::io("list", dir))?;
        if let Some(name) = there.first() {
            return Err(StateError::backup(
                dir,
                format!("the directory is not empty: it holds {name}"),
            ));
        }
        let staging = Staging::start(
            disk.clone(),
            dir,
            manifest.clone(),
            &PinnedManifest::nothing(disk.clone()),
        )?;
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            manifest,
            staging,
        })
    }

    /// Takes bytes of a file of the list. Any order, any size.
    ///
    /// # Errors
    /// [`StateError::Staged`] for bytes outside of the list's files, [`StateError::Io`].
    pub fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), StateError> {
        self.staging.write(name, offset, bytes)
    }

    /// Syncs and checks all files, then writes the list: the backup is complete and durable.
    ///
    /// # Errors
    /// [`StateError::Staged`] when a file is incomplete or not what the list says,
    /// [`StateError::Io`].
    pub fn finish(self) -> Result<(), StateError> {
        let (disk, dir) = (&*self.disk, &self.dir);
        for entry in self.staging.finish()?.moved {
            let from = staged_path(dir, &entry.name);
            disk.rename(&from, &dir.join(&entry.name))
                .map_err(StateError::io("rename", &from))?;
        }
        let new = dir.join(MANIFEST_NEW);
        let file = disk.create(&new).map_err(StateError::io("create", &new))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.manifest.encode());
        file.write_at(0, &bytes)
            .map_err(StateError::io("write", &new))?;
        file.sync_data().map_err(StateError::io("fsync", &new))?;
        disk.sync_dir(dir).map_err(StateError::io("fsync", dir))?;
        disk.rename(&new, &dir.join(MANIFEST_FILE))
            .map_err(StateError::io("rename", &new))?;
        disk.sync_dir(dir).map_err(StateError::io("fsync", dir))
    }
}

/// A finished backup, to be read. Nothing in its directory is changed.
#[derive(Debug)]
pub struct Backup {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    manifest: Manifest,
}

impl Backup {
    /// Reads the list of a backup.
    ///
    /// # Errors
    /// [`StateError::Backup`] when there is no finished backup, or its list is damaged;
    /// [`StateError::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(MANIFEST_FILE);
        if !disk
            .exists(&path)
            .map_err(StateError::io("look for", &path))?
        {
            let what = format!("it has no {MANIFEST_FILE}: no backup was finished there");
            return Err(StateError::backup(dir, what));
        }
        let file = disk.open(&path).map_err(StateError::io("open", &path))?;
        let len = file.len().map_err(StateError::io("measure", &path))?;
        if len > MAX_BYTES {
            let what = format!("its {MANIFEST_FILE} is too long");
            return Err(StateError::backup(dir, what));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        read_exact(&*file, &path, 0, &mut bytes)?;
        let manifest = decode(&bytes).map_err(|what| StateError::backup(dir, what))?;
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            manifest,
        })
    }

    /// The list.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of a file of the list: up to [`MAX_READ_BYTES`] from `offset`, fewer only at the end.
    ///
    /// # Errors
    /// [`StateError::Backup`] when the file is not there, [`StateError::Io`].
    pub fn read(&self, name: &str, offset: u64) -> Result<Bytes, StateError> {
        let path = self.dir.join(name);
        if !self
            .disk
            .exists(&path)
            .map_err(StateError::io("look for", &path))?
        {
            return Err(StateError::backup(&self.dir, format!("{name} is missing")));
        }
        let file = self
            .disk
            .open(&path)
            .map_err(StateError::io("open", &path))?;
        let mut buffer = vec![0; MAX_READ_BYTES];
        let count = file
            .read_at(offset, &mut buffer)
            .map_err(StateError::io("read", &path))?;
        buffer.truncate(count);
        Ok(buffer.into())
    }

    /// Fills a staging of this backup's list.
    ///
    /// # Errors
    /// [`StateError::Backup`] when a file is missing or shorter than the list says,
    /// [`StateError::Io`]. Whether the bytes are the right ones tells [`Staging::finish`].
    pub fn fill(&self, staging: &mut Staging) -> Result<(), StateError> {
        let filled = staging.fill(|name, offset| self.read(name, offset));
        filled.map_err(|error| match error {
            StateError::Staged(what) => StateError::backup(&self.dir, what),
            other => other,
        })
    }
}

fn decode(bytes: &[u8]) -> Result<Manifest, String> {
    let damaged = |why: &str| format!("its {MANIFEST_FILE} is damaged: {why}");
    let Some((header, manifest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged("it is too short"));
    };
    let (magic, format) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(damaged("it does not begin as it should"));
    }
    if format != FORMAT.to_le_bytes() {
        let found = format
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        return Err(format!(
            "it has format {found}; this version knows format {FORMAT}"
        ));
    }
    Manifest::decode(manifest).map_err(|error| damaged(&error.to_string()))
}
