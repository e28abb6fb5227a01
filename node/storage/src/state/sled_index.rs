//! sled as the random-access index of the state at rest. Nothing of sled is named elsewhere.
//!
//! sled's `flush` is not durable and its open can panic, so an index is believed only within one
//! boot of the machine (a marker holds the boot id, fsynced before the first open) or after it was
//! closed (then its files were fsynced and the marker says so until the next open), only if the
//! kernel lost none of its writes since, and only if it opens; otherwise it is thrown away and fed
//! again from the files.

use super::fault::IndexError;
use super::index::{Index, IndexChange, IndexFactory};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MARKER: &str = "boot-id";
const DATABASE: &str = "sled";
/// In the marker of an index that was closed in order: no boot id.
const CLEAN: &str = "clean";
/// sled's threads outlive its last handle by the jobs they have begun, and hold the lock till then.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// Opens sled databases on the real file system.
#[derive(Debug, Clone)]
pub struct SledIndexFactory {
    cache_bytes: u64,
    boot_id: String,
    lock_wait: Duration,
}

/// Why a database did not open.
enum OpenError {
    /// Somebody has it open: it is as good as it was.
    InUse(String),
    /// It is worth nothing.
    Broken(String),
}

impl SledIndexFactory {
    /// With a cache of so many bytes for each open index. Reads the boot id of the machine; without
    /// one, every open starts from nothing.
    #[must_use]
    pub fn new(cache_bytes: u64) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::with_boot_id(cache_bytes, boot_id.trim())
    }

    /// As [`SledIndexFactory::new`], with a given boot id: tests play a restart of the machine.
    #[must_use]
    pub fn with_boot_id(cache_bytes: u64, boot_id: &str) -> Self {
        Self {
            cache_bytes,
            boot_id: boot_id.to_owned(),
            lock_wait: LOCK_WAIT,
        }
    }

    /// Waits so long for the one who has the database open (10 s unless told), then `open` fails.
    #[must_use]
    pub fn with_lock_wait(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }

    fn trusted(&self, dir: &Path) -> bool {
        fs::read_to_string(dir.join(MARKER)).is_ok_and(|found| {
            let found = found.trim();
            found == CLEAN || !found.is_empty() && found == self.boot_id
        })
    }

    /// Opens the database, or makes it, when nobody has it open any more.
    fn open_database(&self, dir: &Path) -> Result<Arc<dyn Index>, OpenError> {
        let path = dir.join(DATABASE);
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(self.cache_bytes)
            .flush_every_ms(Some(500));
        let until = Instant::now() + self.lock_wait;
        loop {
            // A damaged database can panic inside open.
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(database)) => {
                    return Ok(Arc::new(SledIndex {
                        database,
                        closed: Closed {
                            dir: dir.to_path_buf(),
                            broken: AtomicBool::new(false),
                        },
                    }));
                }
                Ok(Err(error)) if is_locked(&error) => {
                    if Instant::now() >= until {
                        return Err(OpenError::InUse(error.to_string()));
                    }
                    std::thread::sleep(LOCK_RETRY);
                }
                Ok(Err(error)) => return Err(OpenError::Broken(error.to_string())),
                Err(_) => return Err(OpenError::Broken("opening it panicked".to_owned())),
            }
        }
    }

    /// Opens a database that another run of this program, or of the machine, has left.
    fn reopen_database(&self, dir: &Path) -> Result<Arc<dyn Index>, OpenError> {
        let path = dir.join(DATABASE);
        remove_unfinished_snapshots(&path)
            .map_err(|error| OpenError::Broken(format!("cannot remove a snapshot: {error}")))?;
        // sled does not fsync: that the kernel gave up a write is told to the next one who does.
        match sync_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::Broken(format!("writes were lost: {error}")));
            }
            Ok(()) | Err(_) => {}
        }
        self.open_database(dir)
    }
}

/// sled has no kind of error for a lock that another one holds.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

impl IndexFactory for SledIndexFactory {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>, IndexError> {
        if self.trusted(dir) {
            // No longer clean from here on.
            write_marker(dir, &self.boot_id).map_err(store("mark the index as in use"))?;
            match self.reopen_database(dir) {
                Ok(index) => return Ok(index),
                Err(OpenError::InUse(error)) => return Err(IndexError::Store(error)),
                Err(OpenError::Broken(error)) => {
                    tracing::warn!(%error, "the index does not open: it is rebuilt from the state files");
                }
            }
        }
        self.discard(dir)?;
        fs::create_dir_all(dir).map_err(store("make the index"))?;
        write_marker(dir, &self.boot_id).map_err(store("mark the index as in use"))?;
        self.open_database(dir).map_err(|error| match error {
            OpenError::InUse(error) | OpenError::Broken(error) => IndexError::Store(error),
        })
    }

    fn discard(&self, dir: &Path) -> Result<(), IndexError> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(store("remove the index")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn write_marker(dir: &Path, text: &str) -> io::Result<()> {
    let mut marker = File::create(dir.join(MARKER))?;
    marker.write_all(text.as_bytes())?;
    marker.sync_all()?;
    File::open(dir)?.sync_all()
}

/// A kill while sled writes such a file makes every later open fail; it is only a cache.
fn remove_unfinished_snapshots(database: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path: PathBuf = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn store<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> IndexError {
    move |error| IndexError::Store(format!("cannot {what}: {error}"))
}

/// One sled tree.
#[derive(Debug)]
struct SledIndex {
    /// Dropped first: sled's threads have ended when the files are closed.
    database: sled::Db,
    closed: Closed,
}

/// Closes the files when the database is gone.
#[derive(Debug)]
struct Closed {
    dir: PathBuf,
    /// A call failed: what is in the files is anybody's guess.
    broken: AtomicBool,
}

impl Closed {
    fn failed(&self, what: &'static str, error: sled::Error) -> IndexError {
        self.broken.store(true, Ordering::Relaxed);
        store(what)(error)
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        if self.database.flush().is_err() {
            self.closed.broken.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        // An index that was thrown away is not there any more, which is no error.
        if let Err(error) = sync_all(&self.dir.join(DATABASE))
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .and_then(|()| write_marker(&self.dir, CLEAN))
        {
            tracing::debug!(%error, "the index is rebuilt after the machine's next start");
        }
    }
}

/// Fsyncs a directory and all in it.
fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        let value = self
            .database
            .get(key)
            .map_err(|error| self.closed.failed("read", error))?;
        Ok(value.map(Bytes::from_owner))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, IndexError> {
        let range = self.database.range::<&[u8], _>((from, to));
        let mut found = Vec::with_capacity(limit.min(64));
        let mut copy = |record: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = record.map_err(|error| self.closed.failed("read", error))?;
            found.push((Bytes::from_owner(key), Bytes::from_owner(value)));
            Ok(())
        };
        if reverse {
            range.rev().take(limit).try_for_each(&mut copy)?;
        } else {
            range.take(limit).try_for_each(&mut copy)?;
        }
        Ok(found)
    }

    fn apply_batch(&self, changes: Vec<IndexChange>) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.database
            .apply_batch(batch)
            .map_err(|error| self.closed.failed("write", error))
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.database
            .flush()
            .map(|_| ())
            .map_err(|error| self.closed.failed("flush", error))
    }
}
