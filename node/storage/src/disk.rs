//! The disk seam: the few file operations the log and the state files need.
//!
//! Two implementations: the real file system ([`RealDisk`]) and, in tests and simulation, a disk
//! that loses what was not synced. All calls are synchronous; callers run on threads that may
//! block (or, in simulation, on the one thread there is).

mod real;
mod simulated;

pub use real::RealDisk;
pub use simulated::{CrashLoss, DiskCounts, SimulatedDisk, Trace};

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A file system, as far as the log and the state files need one.
pub trait Disk: Send + Sync + Debug {
    /// Creates a new file for reading and writing; fails when it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing the target; durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all that is in it; success when it does not exist.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents, and makes those that are new durable.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names of a directory's entries, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes free for us and bytes in all on the device that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// How long a sync would take, on a disk whose calls return at once: a writer that must not block
    /// its thread sleeps so long instead. Zero on a disk that blocks by itself.
    fn sync_takes(&self) -> Duration {
        Duration::ZERO
    }
    /// Takes a lock on a file, creating it when needed, and holds it until the guard is dropped or
    /// the process ends. Fails with [`io::ErrorKind::WouldBlock`] when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// Holds a lock of [`Disk::lock`] while it lives.
pub trait DiskLock: Send + Sync + Debug {}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Makes written bytes (and the length) durable: `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Room on a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes this process may still write.
    pub free: u64,
    /// Size of the file system.
    pub total: u64,
}
