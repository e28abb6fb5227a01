//! A disk in memory that loses what was not synced, and breaks when told to.
//!
//! Written bytes stay *unsynced* until [`DiskFile::sync_data`], and names (creations, renames,
//! removals) until [`Disk::sync_dir`]. [`SimulatedDisk::crash`] takes away unsynced things, chosen
//! by a seed, and gives the disk as it is found after the restart; the handles from before fail.

mod contents;
mod crash;

use self::contents::{Contents, Node};
use super::{Disk, DiskFile, DiskLock, Space};
use std::fmt::{self, Debug};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Gets one line of text for each call, in order.
pub type Trace = Arc<dyn Fn(&str) + Send + Sync>;

/// What a crash takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashLoss {
    /// The process was killed, the machine lives: nothing is lost.
    Nothing,
    /// The power failed before anything unsynced reached the platter.
    AllUnsynced,
    /// The power failed: of each file either nothing, all, a prefix of the writes (the last one
    /// torn) or any set of sectors survives; of each directory a prefix, or any set, of its changes.
    Seeded(u64),
}

/// How often the disk was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Calls that change or sync something.
    pub calls: u64,
    /// Writes to files.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
}

/// A disk in memory. Cloning shares it.
#[derive(Clone)]
pub struct SimulatedDisk {
    contents: Arc<Mutex<Contents>>,
    /// Handles of an earlier life of the machine must not touch this one.
    life: u64,
    trace: Option<Trace>,
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
    path: PathBuf,
}

struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl SimulatedDisk {
    /// An empty disk without faults and practically without bounds.
    #[expect(
        clippy::new_without_default,
        reason = "a disk is made on purpose, never by default"
    )]
    pub fn new() -> SimulatedDisk {
        SimulatedDisk {
            contents: Arc::new(Mutex::new(Contents::new())),
            life: 0,
            trace: None,
        }
    }

    /// The same disk, reporting each call of this handle and its files.
    pub fn with_trace(mut self, trace: Trace) -> SimulatedDisk {
        self.trace = Some(trace);
        self
    }

    /// Stops the machine and starts it again: the result is the disk as it is found then. All
    /// handles from before fail from now on, and their locks are gone. Faults are lifted, but for
    /// the size of the disk, wrong reads and stray writes.
    #[must_use = "the handle from before the crash no longer works"]
    pub fn crash(&self, loss: CrashLoss) -> SimulatedDisk {
        self.report(|| format!("crash {loss:?}"));
        let mut contents = self.lock_contents();
        contents.crash(loss);
        SimulatedDisk {
            life: contents.life,
            ..self.clone()
        }
    }

    /// The `nth` call from now that changes or syncs something (1 is the next) and all later ones
    /// fail without effect, as when the power goes.
    pub fn cut_power_at(&self, nth: u64) {
        let mut contents = self.lock_contents();
        contents.power_cut = Some(contents.counts.calls + nth.max(1));
    }

    /// Lets the `nth` sync of a file from now (1 is the next) fail. What it should have synced is
    /// lost at a crash even when a later sync succeeds, as on Linux.
    pub fn fail_sync(&self, nth: u64) {
        let mut contents = self.lock_contents();
        contents.failing_sync = Some(contents.counts.syncs + nth.max(1));
    }

    /// Makes syncs take so long, until the next crash.
    pub fn set_sync_takes(&self, takes: Duration) {
        self.lock_contents().sync_takes = takes;
    }

    /// Bounds the bytes of all files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock_contents().capacity = bytes;
    }

    /// Lets the files of others fill the disk until so many bytes are free; with [`u64::MAX`] they go.
    pub fn leave_free(&self, bytes: u64) {
        let mut contents = self.lock_contents();
        contents.others = 0;
        contents.others = contents.free().saturating_sub(bytes);
    }

    /// Turns one bit of a file, synced or not.
    ///
    /// # Errors
    /// When there is no such file, or it is shorter.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        self.lock_contents().flip_bit(path, offset, bit)
    }

    /// Lets the `nth` read of files below `dir` from now (1 is the next) show one wrong bit; the
    /// bytes on the disk stay right.
    pub fn flip_read(&self, dir: &Path, nth: u64) {
        self.lock_contents().wrong_read = Some((dir.to_path_buf(), nth.max(1)));
    }

    /// Lets the `nth` write to files below `dir` from now (1 is the next) land at another place of
    /// its file, and succeed.
    pub fn stray_write(&self, dir: &Path, nth: u64) {
        self.lock_contents().stray_write = Some((dir.to_path_buf(), nth.max(1)));
    }

    /// Calls and syncs so far.
    pub fn counts(&self) -> DiskCounts {
        self.lock_contents().counts
    }

    /// The paths of all files, sorted, with their lengths: for the assertions of tests.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let contents = self.lock_contents();
        let mut files = Vec::new();
        for (path, node) in &contents.names {
            if let Node::File(file) = node {
                files.push((path.clone(), contents.len(*file)));
            }
        }
        files
    }

    /// Bytes of a file as they are, at most so many: for those who watch a node from outside. It is
    /// no call of the node's, and no fault is spent on it. `None` when there is no such file.
    pub fn peek(&self, path: &Path, offset: u64, len: usize) -> Option<Vec<u8>> {
        self.lock_contents().peek(path, offset, len)
    }

    fn report(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace(&line());
        }
    }

    fn lock_contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For calls that only look.
    fn look(&self) -> io::Result<MutexGuard<'_, Contents>> {
        let contents = self.lock_contents();
        contents.check_alive(self.life)?;
        Ok(contents)
    }

    /// For calls that change or sync: each is a point where the power may fail.
    fn change(&self) -> io::Result<MutexGuard<'_, Contents>> {
        let mut contents = self.lock_contents();
        contents.counts.calls += 1;
        contents.check_alive(self.life)?;
        Ok(contents)
    }

    fn file(&self, file: u64, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile {
            disk: self.clone(),
            file,
            path: path.to_path_buf(),
        })
    }
}

impl Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Debug for SimulatedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedLock")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut contents = self.disk.lock_contents();
        if contents.life == self.disk.life {
            contents.locks.remove(&self.path);
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.report(|| format!("create {}", path.display()));
        let file = self.change()?.create(path)?;
        Ok(self.file(file, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.report(|| format!("open {}", path.display()));
        let file = self.look()?.find(path)?;
        Ok(self.file(file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.report(|| format!("rename {} {}", from.display(), to.display()));
        self.change()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.report(|| format!("remove {}", path.display()));
        self.change()?.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.report(|| format!("remove_dir_all {}", path.display()));
        self.change()?.remove_dir_all(path);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.report(|| format!("create_dir_all {}", path.display()));
        self.change()?.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.report(|| format!("list {}", dir.display()));
        self.look()?.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.report(|| format!("exists {}", path.display()));
        Ok(self.look()?.names.contains_key(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.report(|| format!("sync_dir {}", dir.display()));
        self.change()?.sync_dir(dir)
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let contents = self.look()?;
        let free = contents.free();
        Ok(Space {
            free,
            total: contents.capacity,
        })
    }

    fn sync_takes(&self) -> Duration {
        self.lock_contents().sync_takes
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.report(|| format!("lock {}", path.display()));
        let mut contents = self.change()?;
        if contents.locks.contains(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !contents.names.contains_key(path) {
            contents.create(path)?;
        }
        contents.locks.insert(path.to_path_buf());
        drop(contents);
        Ok(Box::new(SimulatedLock {
            disk: self.clone(),
            path: path.to_path_buf(),
        }))
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk
            .report(|| format!("write {} {offset}+{}", self.path.display(), bytes.len()));
        self.disk
            .change()?
            .write(self.file, &self.path, offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk
            .report(|| format!("read {} {offset}+{}", self.path.display(), buffer.len()));
        self.disk
            .look()?
            .read(self.file, &self.path, offset, buffer)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk
            .report(|| format!("sync_data {}", self.path.display()));
        self.disk.change()?.sync_data(self.file)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.look()?.len(self.file))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk
            .report(|| format!("set_len {} {len}", self.path.display()));
        self.disk.change()?.set_len(self.file, len)
    }
}
