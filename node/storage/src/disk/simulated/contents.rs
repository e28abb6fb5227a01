//! What a simulated disk holds: synced and unsynced, for files and for names.

use super::DiskCounts;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A sync of a good disk.
pub(super) const SYNC_TAKES: Duration = Duration::from_micros(500);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// The file of this number.
    File(u64),
    Dir,
}

/// A change of a file's bytes that is not synced.
#[derive(Debug)]
pub(super) enum FileChange {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

/// A change of a directory that is not synced.
#[derive(Debug)]
pub(super) enum NameChange {
    Add(PathBuf, Node),
    Remove(PathBuf),
    /// Within one directory, hence all or nothing.
    Rename(PathBuf, PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct FileContents {
    pub(super) synced: Vec<u8>,
    pub(super) current: Vec<u8>,
    pub(super) unsynced: Vec<FileChange>,
}

/// Everything on the disk, and its faults.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) life: u64,
    pub(super) files: BTreeMap<u64, FileContents>,
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) synced_names: BTreeMap<PathBuf, Node>,
    /// With the directory each belongs to, in order.
    pub(super) unsynced_names: Vec<(PathBuf, NameChange)>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) counts: DiskCounts,
    pub(super) capacity: u64,
    /// Bytes that others take.
    pub(super) others: u64,
    pub(super) power_cut: Option<u64>,
    pub(super) failing_sync: Option<u64>,
    pub(super) sync_takes: Duration,
    /// Below this directory the read of this number (counted down) shows a wrong bit.
    pub(super) wrong_read: Option<(PathBuf, u64)>,
    /// Below this directory the write of this number (counted down) lands elsewhere.
    pub(super) stray_write: Option<(PathBuf, u64)>,
    next_file: u64,
}

/// A stray write misses its place by so much.
const STRAY_BYTES: u64 = 4096;

/// Counts a fault down; whether it happens now.
fn happens(fault: &mut Option<(PathBuf, u64)>, path: &Path) -> bool {
    let Some((below, left)) = fault else {
        return false;
    };
    if path.starts_with(below) {
        *left -= 1;
        if *left == 0 {
            *fault = None;
            return true;
        }
    }
    false
}

impl Contents {
    pub(super) fn new() -> Contents {
        Contents {
            life: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locks: BTreeSet::new(),
            counts: DiskCounts::default(),
            capacity: 1 << 40,
            others: 0,
            power_cut: None,
            failing_sync: None,
            sync_takes: SYNC_TAKES,
            wrong_read: None,
            stray_write: None,
            next_file: 0,
        }
    }

    pub(super) fn check_alive(&self, life: u64) -> io::Result<()> {
        if life != self.life {
            return Err(io::Error::other("this handle is from before a crash"));
        }
        if self.power_cut.is_some_and(|at| self.counts.calls >= at) {
            return Err(io::Error::other("the power is cut"));
        }
        Ok(())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn len(&self, file: u64) -> u64 {
        self.files
            .get(&file)
            .map_or(0, |file| file.current.len() as u64)
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let file_bytes = |node: &Node| match node {
            Node::File(file) => self.len(*file),
            Node::Dir => 0,
        };
        self.names.values().map(file_bytes).sum()
    }

    pub(super) fn free(&self) -> u64 {
        let taken = self.used().saturating_add(self.others);
        self.capacity.saturating_sub(taken)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        let dir = parent(path);
        if !dir.as_os_str().is_empty() && !self.names.contains_key(&dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, FileContents::default());
        self.names.insert(path.to_path_buf(), Node::File(file));
        self.unsynced_names
            .push((dir, NameChange::Add(path.to_path_buf(), Node::File(file))));
        Ok(file)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for part in path.ancestors() {
            if part.as_os_str().is_empty() {
                continue;
            }
            if let Some(Node::File(_)) = self.names.get(part) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.names.insert(part.to_path_buf(), Node::Dir);
            self.synced_names.insert(part.to_path_buf(), Node::Dir);
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = *self.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let (from_dir, to_dir) = (parent(from), parent(to));
        if !to_dir.as_os_str().is_empty() && !self.names.contains_key(&to_dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if node == Node::Dir && self.names.contains_key(to) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        apply(
            &mut self.names,
            &NameChange::Rename(from.to_path_buf(), to.to_path_buf()),
        );
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        if from_dir == to_dir || node == Node::Dir {
            self.unsynced_names
                .push((from_dir, NameChange::Rename(from, to)));
        } else {
            self.unsynced_names
                .push((to_dir, NameChange::Add(to, node)));
            self.unsynced_names
                .push((from_dir, NameChange::Remove(from)));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.remove_dir_all(path);
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) {
        if self.names.contains_key(path) {
            let change = NameChange::Remove(path.to_path_buf());
            apply(&mut self.names, &change);
            self.unsynced_names.push((parent(path), change));
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if self.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = self.names.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.counts.dir_syncs += 1;
        if self.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for (of, change) in std::mem::take(&mut self.unsynced_names) {
            if of == dir {
                apply(&mut self.synced_names, &change);
            } else {
                self.unsynced_names.push((of, change));
            }
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        file: u64,
        path: &Path,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.counts.writes += 1;
        let offset = if happens(&mut self.stray_write, path) {
            // Before its place when there is room, so that it also damages what stands there.
            offset
                .checked_sub(STRAY_BYTES)
                .unwrap_or(offset + STRAY_BYTES)
        } else {
            offset
        };
        self.counts.bytes += bytes.len() as u64;
        let free = self.free();
        let contents = self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        let room = (contents.current.len() as u64 + free).saturating_sub(offset);
        // A full disk takes what fits, as the operating system does.
        let fitting = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let change = FileChange::Write {
            offset,
            bytes: bytes[..fitting].to_vec(),
        };
        change.apply(&mut contents.current);
        contents.unsynced.push(change);
        if fitting < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        file: u64,
        path: &Path,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let contents = self.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(contents.current.len());
        let end = start
            .saturating_add(buffer.len())
            .min(contents.current.len());
        buffer[..end - start].copy_from_slice(&contents.current[start..end]);
        if end > start && happens(&mut self.wrong_read, path) {
            buffer[(end - start) / 2] ^= 0x10;
        }
        Ok(end - start)
    }

    pub(super) fn peek(&self, path: &Path, offset: u64, len: usize) -> Option<Vec<u8>> {
        let bytes = &self.files.get(&self.find(path).ok()?)?.current;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let start = start.min(bytes.len());
        let end = start.saturating_add(len).min(bytes.len());
        Some(bytes[start..end].to_vec())
    }

    pub(super) fn set_len(&mut self, file: u64, len: u64) -> io::Result<()> {
        let contents = self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        let change = FileChange::SetLen(len);
        change.apply(&mut contents.current);
        contents.unsynced.push(change);
        Ok(())
    }

    pub(super) fn sync_data(&mut self, file: u64) -> io::Result<()> {
        self.counts.syncs += 1;
        let contents = self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        let unsynced = std::mem::take(&mut contents.unsynced);
        if self.failing_sync == Some(self.counts.syncs) {
            return Err(io::Error::other("injected failure of a sync"));
        }
        for change in unsynced {
            change.apply(&mut contents.synced);
        }
        Ok(())
    }

    pub(super) fn flip_bit(&mut self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let file = self.find(path)?;
        let contents = self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let byte = contents
            .current
            .get_mut(at)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        *byte ^= 1 << (bit % 8);
        if let Some(byte) = contents.synced.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        Ok(())
    }
}

impl FileChange {
    pub(super) fn apply(&self, to: &mut Vec<u8>) {
        match self {
            FileChange::Write { offset, bytes } => write_into(to, *offset, bytes),
            FileChange::SetLen(len) => to.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
        }
    }
}

/// Writes bytes into a file's contents, filling a gap with zeros.
pub(super) fn write_into(to: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[start..end].copy_from_slice(bytes);
}

/// Carries a change out; a directory takes what is in it along.
pub(super) fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &NameChange) {
    match change {
        NameChange::Add(path, node) => {
            let dir = parent(path);
            if dir.as_os_str().is_empty() || names.contains_key(&dir) {
                names.insert(path.clone(), *node);
            }
        }
        NameChange::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
        NameChange::Rename(from, to) => {
            let moved: Vec<(PathBuf, Node)> = names
                .iter()
                .filter_map(|(name, node)| Some((name.strip_prefix(from).ok()?, *node)))
                .map(|(rest, node)| (joined(to, rest), node))
                .collect();
            if !moved.is_empty() {
                names.retain(|name, _| !name.starts_with(from) && !name.starts_with(to));
                names.extend(moved);
            }
        }
    }
}

/// Joins without the trailing slash that an empty rest would leave.
fn joined(dir: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        dir.to_path_buf()
    } else {
        dir.join(rest)
    }
}

pub(super) fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}
