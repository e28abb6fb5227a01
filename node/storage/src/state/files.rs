//! The files of the state on disk, and who holds them.

use super::fault::StateError;
use super::manifest::{FileEntry, LocalManifest, Manifest, save};
use super::record_file::{FileKind, RecordReader, measure};
use crate::disk::Disk;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes one call of [`PinnedManifest::read_file`] gives back.
pub const MAX_READ_BYTES: usize = 4 * 1024 * 1024;

/// A file that must stay on disk while this is held.
#[derive(Debug)]
pub(crate) struct HeldFile {
    pub(crate) entry: FileEntry,
    pub(crate) path: PathBuf,
}

/// The local files: which the manifest names, and which are only waiting to be let go.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    local: LocalManifest,
    held: Vec<Arc<HeldFile>>,
    /// Not in the manifest any more; removed when nobody holds them.
    obsolete: Vec<Arc<HeldFile>>,
}

impl Files {
    /// Takes over a manifest that was read; every file is read whole and compared.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        local: LocalManifest,
    ) -> Result<Self, StateError> {
        for (number, entry) in local.manifest.files().enumerate() {
            let kind = if number == 0 && local.manifest.base.is_some() {
                FileKind::Base
            } else {
                FileKind::Delta
            };
            check_file(&*disk, &dir.join(&entry.name), entry, kind)?;
        }
        let held = hold(&dir, &local.manifest);
        Ok(Self {
            disk,
            dir,
            local,
            held,
            obsolete: Vec::new(),
        })
    }

    pub(crate) fn local(&self) -> &LocalManifest {
        &self.local
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.local.manifest
    }

    /// Makes another manifest the durable one. Its files are in the directory under their names.
    pub(crate) fn replace(&mut self, local: LocalManifest) -> Result<(), StateError> {
        assert!(local.manifest.check().is_ok(), "own manifests make sense");
        save(&*self.disk, &self.dir, &local)?;
        self.local = local;
        let mut held = hold(&self.dir, &self.local.manifest);
        for file in &mut held {
            let same = |old: &&Arc<HeldFile>| old.entry == file.entry;
            if let Some(old) = self
                .held
                .iter()
                .find(same)
                .or_else(|| self.obsolete.iter().find(same))
            {
                *file = old.clone();
            }
        }
        self.obsolete.append(&mut self.held);
        self.obsolete
            .retain(|old| !held.iter().any(|file| Arc::ptr_eq(old, file)));
        self.held = held;
        Ok(())
    }

    pub(crate) fn pin(&self) -> PinnedManifest {
        PinnedManifest {
            disk: self.disk.clone(),
            manifest: Arc::new(self.local.manifest.clone()),
            files: self.held.clone(),
        }
    }

    /// Removes obsolete files that nobody holds.
    pub(crate) fn sweep(&mut self) -> Result<(), StateError> {
        let (free, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.obsolete)
            .into_iter()
            .partition(|file| Arc::strong_count(file) == 1);
        self.obsolete = kept;
        for file in free {
            self.disk
                .remove(&file.path)
                .map_err(StateError::io("remove", &file.path))?;
        }
        Ok(())
    }
}

fn hold(dir: &Path, manifest: &Manifest) -> Vec<Arc<HeldFile>> {
    manifest
        .files()
        .map(|entry| {
            Arc::new(HeldFile {
                entry: entry.clone(),
                path: dir.join(&entry.name),
            })
        })
        .collect()
}

/// Compares a file with its entry.
pub(crate) fn check_file(
    disk: &dyn Disk,
    path: &Path,
    entry: &FileEntry,
    kind: FileKind,
) -> Result<(), StateError> {
    if !disk
        .exists(path)
        .map_err(StateError::io("look for", path))?
    {
        return Err(StateError::damaged(path, "it is missing"));
    }
    let (len, checksum) = measure(disk, path)?;
    if len != entry.len {
        return Err(StateError::damaged(
            path,
            format!("it has {len} bytes instead of {}", entry.len),
        ));
    }
    if checksum != entry.checksum {
        return Err(StateError::damaged(path, "its checksum is wrong"));
    }
    let header = *RecordReader::open(disk, path)?.header();
    if header.kind != kind || header.mark != entry.mark {
        return Err(StateError::damaged(
            path,
            "it is another file than its name says",
        ));
    }
    Ok(())
}

/// The files of the state at a mark; they stay on disk while this is held. A snapshot for a peer
/// or a backup.
#[derive(Debug, Clone)]
pub struct PinnedManifest {
    disk: Arc<dyn Disk>,
    manifest: Arc<Manifest>,
    files: Vec<Arc<HeldFile>>,
}

impl PinnedManifest {
    /// No files at all.
    pub(crate) fn nothing(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            manifest: Arc::default(),
            files: Vec::new(),
        }
    }

    /// The list.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn files(&self) -> &[Arc<HeldFile>] {
        &self.files
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Bytes of a file of the list: up to [`MAX_READ_BYTES`] from `offset`, fewer only at the end.
    ///
    /// # Errors
    /// [`StateError::Io`]: for a file that is not in the list, too.
    pub fn bytes(&self, name: &str, offset: u64) -> Result<Bytes, StateError> {
        self.read_file(name, offset, MAX_READ_BYTES)
            .map_err(StateError::io("read", Path::new(name)))
    }

    /// Bytes of a file of the list: up to `len` (at most [`MAX_READ_BYTES`]) from `offset`, fewer
    /// only at the end.
    ///
    /// # Errors
    /// `NotFound` for a file that is not in the list, and what the disk says.
    pub fn read_file(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        let Some(held) = self.files.iter().find(|held| held.entry.name == name) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{name} is not in the manifest"),
            ));
        };
        let file = self.disk.open(&held.path)?;
        let mut buffer = vec![0; len.min(MAX_READ_BYTES)];
        let mut filled = 0;
        while filled < buffer.len() {
            let count = file.read_at(offset + filled as u64, &mut buffer[filled..])?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        buffer.truncate(filled);
        Ok(Bytes::from(buffer))
    }
}
