//! Files of another node's state on their way in.

use super::fault::StateError;
use super::files::{HeldFile, PinnedManifest, check_file};
use super::manifest::{FileEntry, Manifest};
use super::record_file::FileKind;
use crate::disk::{Disk, DiskFile};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// End of the names of files on their way in.
pub(crate) const STAGED_SUFFIX: &str = ".staged";

/// Where a file lies until it is installed.
pub(crate) fn staged_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{STAGED_SUFFIX}"))
}

/// Removes the files of an earlier staging.
pub(crate) fn remove_staged(disk: &dyn Disk, dir: &Path) -> Result<(), StateError> {
    for name in disk.list(dir).map_err(StateError::io("list", dir))? {
        if name.ends_with(STAGED_SUFFIX) {
            let path = dir.join(&name);
            disk.remove(&path)
                .map_err(StateError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Collects the files of a manifest that this node lacks. One at a time per store: a new one
/// throws the files of an earlier one away.
#[derive(Debug)]
pub struct Staging {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    manifest: Manifest,
    missing: Vec<FileEntry>,
    /// Local files that the manifest names too: they stay while this is alive.
    present: Vec<Arc<HeldFile>>,
    open: BTreeMap<String, Arc<dyn DiskFile>>,
}

/// A complete and checked state of another node, ready for
/// [`StateStore::install`](super::StateStore::install).
#[derive(Debug)]
pub struct Staged {
    pub(crate) manifest: Manifest,
    pub(crate) moved: Vec<FileEntry>,
    pub(crate) present: Vec<Arc<HeldFile>>,
}

impl Staging {
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        manifest: Manifest,
        local: &PinnedManifest,
    ) -> Result<Self, StateError> {
        manifest.check().map_err(StateError::Staged)?;
        remove_staged(&*disk, dir)?;
        let mut missing = Vec::new();
        let mut present = Vec::new();
        for entry in manifest.files() {
            match local.files().iter().find(|held| held.entry == *entry) {
                Some(held) => present.push(held.clone()),
                None => missing.push(entry.clone()),
            }
        }
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            manifest,
            missing,
            present,
            open: BTreeMap::new(),
        })
    }

    /// The files that must be written, with their lengths.
    #[must_use]
    pub fn missing(&self) -> &[FileEntry] {
        &self.missing
    }

    /// Writes bytes of a missing file. Any order, any size.
    ///
    /// # Errors
    /// [`StateError::Staged`] for bytes outside of what is missing, [`StateError::Io`].
    pub fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), StateError> {
        let Some(entry) = self.missing.iter().find(|entry| entry.name == name) else {
            return Err(StateError::Staged(format!(
                "{name:?} is not a file that is missing"
            )));
        };
        if offset
            .checked_add(bytes.len() as u64)
            .is_none_or(|end| end > entry.len)
        {
            return Err(StateError::Staged(format!(
                "{name} is only {} bytes long",
                entry.len
            )));
        }
        let path = staged_path(&self.dir, name);
        let file = match self.open.get(name) {
            Some(file) => file.clone(),
            None => {
                let file = self
                    .disk
                    .create(&path)
                    .map_err(StateError::io("create", &path))?;
                self.open.insert(name.to_owned(), file.clone());
                file
            }
        };
        file.write_at(offset, bytes)
            .map_err(StateError::io("write", &path))
    }

    /// Writes all missing files. `read` gives bytes of a file from an offset on, none only at its end.
    ///
    /// # Errors
    /// What `read` says, [`StateError::Staged`] when a file ends too early, [`StateError::Io`].
    pub fn fill(
        &mut self,
        mut read: impl FnMut(&str, u64) -> Result<Bytes, StateError>,
    ) -> Result<(), StateError> {
        for entry in self.missing.clone() {
            let mut offset = 0;
            while offset < entry.len {
                let mut bytes = read(&entry.name, offset)?;
                if bytes.is_empty() {
                    let what = format!("{} ends at {offset} of {}", entry.name, entry.len);
                    return Err(StateError::Staged(what));
                }
                bytes.truncate(usize::try_from(entry.len - offset).unwrap_or(usize::MAX));
                self.write(&entry.name, offset, &bytes)?;
                offset += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Fsyncs and checks every received file.
    ///
    /// # Errors
    /// [`StateError::Staged`] when a file is incomplete or not what the manifest says,
    /// [`StateError::Io`].
    pub fn finish(self) -> Result<Staged, StateError> {
        for entry in &self.missing {
            let path = staged_path(&self.dir, &entry.name);
            let Some(file) = self.open.get(&entry.name) else {
                return Err(StateError::Staged(format!(
                    "{} was not received",
                    entry.name
                )));
            };
            file.sync_data().map_err(StateError::io("fsync", &path))?;
            let is_base = self
                .manifest
                .base
                .as_ref()
                .is_some_and(|base| base.name == entry.name);
            let kind = if is_base {
                FileKind::Base
            } else {
                FileKind::Delta
            };
            match check_file(&*self.disk, &path, entry, kind) {
                Err(StateError::Damaged { what, .. }) => {
                    return Err(StateError::Staged(format!("{}: {what}", entry.name)));
                }
                checked => checked?,
            }
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(StateError::io("fsync", &self.dir))?;
        Ok(Staged {
            manifest: self.manifest,
            moved: self.missing,
            present: self.present,
        })
    }
}
