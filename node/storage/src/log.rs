//! The replicated log on disk: entries, the vote and hints, in one append-only file cut into
//! segments (design D4).
//!
//! ```text
//! append, save_vote --> in memory (readable at once) + queue --> LogWriter: one write, one sync,
//!                                                                then the callbacks, in order
//! ```
//! Everything goes through the one queue, so that the file tells the story in the order in which
//! it happened. Nothing is called durable before the sync that made it so. A write or sync that
//! fails poisons the log: all waiting and later callbacks get the fault, and the process must end.

mod entries;
mod fault;
mod options;
mod read;
mod record;
mod recovery;
mod segment;
mod shared;
mod writer;

pub use crate::position::Position;
pub use fault::{LogError, LogFault};
pub use options::LogOptions;
pub use record::MAX_APPEND_BYTES;
pub use shared::LogCounters;
pub use writer::LogWriter;

use crate::disk::Disk;
use bytes::Bytes;
use shared::{Request, Shared};
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// One entry of the log. The payload means nothing to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub position: Position,
    /// What it says.
    pub payload: Bytes,
}

/// What the log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest vote.
    pub vote: Option<Bytes>,
    /// A place up to which entries are known to be committed; may lag, never leads [`Self::last`].
    pub committed: Option<Position>,
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The last entry, or the last purged one when none is held.
    pub last: Option<Position>,
}

/// Called once, on the writer's thread, in the order of the calls: `Ok` after the sync that made
/// the thing durable. Must not block. When the process is being torn down it may be dropped instead.
pub type Done = Box<dyn FnOnce(Result<(), LogFault>) + Send>;

/// A handle on the log. Cloning shares it; the writer ends when the last one is dropped.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

/// Tells the writer when nobody can ask for anything any more.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.handle.shared.dir)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir`, creating it when there is none, and reads it through. The writer
    /// must be run for anything to become durable. Only one process may have the log open: see
    /// [`crate::directory`].
    ///
    /// # Errors
    /// When the disk fails, and when a file is damaged anywhere but in a tail that was never
    /// called durable: such a log must not be used.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
    ) -> Result<(Log, LogWriter, Recovered), LogError> {
        let options = options.within_bounds();
        let replay = recovery::recover(&disk, dir, &options)?;
        let recovered = replay.summary();
        let (shared, writer) = writer::start(disk, dir, options, replay);
        Ok((
            Log {
                handle: Arc::new(Handle { shared }),
            },
            writer,
            recovered,
        ))
    }

    /// Appends entries that follow the last one without a gap; they can be read when this returns.
    /// Never waits: see [`Log::queued_bytes`]. More than [`MAX_APPEND_BYTES`] is refused to `done`.
    ///
    /// # Panics
    /// When the entries leave a gap: the caller is broken, and so would be the log.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) {
        self.handle.shared.append(entries, done);
    }

    /// Saves the vote, in order with the entries.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.handle.shared.save_vote(vote, done);
    }

    /// Notes the place up to which entries are committed. Only a hint: it reaches the disk with a
    /// later append or vote, or when the log is closed.
    pub fn save_committed(&self, committed: Option<Position>) {
        self.handle.shared.push(Request::Committed(committed));
    }

    /// Forgets the entries after `index`, or all of them.
    ///
    /// # Panics
    /// When that would take back a purged entry.
    pub fn truncate_after(&self, index: Option<u64>) {
        self.handle.shared.push(Request::Truncate(index));
    }

    /// Forgets the entries up to and including a place, which may lie beyond the last entry (then
    /// the log goes on after it). Files go when the note of it is durable.
    pub fn purge(&self, upto: Position) {
        self.handle.shared.push(Request::Purge(upto));
    }

    /// The entries of `from..to_exclusive`: a run without gaps that starts at `from`, about
    /// `max_bytes` of payload but at least one entry; empty when `from` is not held. Entries that
    /// are no longer in memory are read from disk, blocking.
    ///
    /// # Errors
    /// When the disk fails or its bytes are not those that were written.
    pub fn read(
        &self,
        from: u64,
        to_exclusive: u64,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, LogFault> {
        read::read(&self.handle.shared, from, to_exclusive, max_bytes)
    }

    /// The newest vote, durable or not yet.
    pub fn vote(&self) -> Option<Bytes> {
        self.handle.shared.lock().vote.clone()
    }

    /// The newest known committed place.
    pub fn committed(&self) -> Option<Position> {
        self.handle.shared.lock().committed
    }

    /// The last purged entry.
    pub fn purged(&self) -> Option<Position> {
        self.handle.shared.lock().purged
    }

    /// The last entry, or the last purged one when none is held.
    pub fn last(&self) -> Option<Position> {
        self.handle.shared.lock().last()
    }

    /// Bytes handed in that are not durable yet. The log never refuses a caller for being slow, so
    /// admission of new work must look at this.
    pub fn queued_bytes(&self) -> u64 {
        self.handle.shared.lock().queued_bytes
    }

    /// What the log did so far.
    pub fn counters(&self) -> LogCounters {
        self.handle.shared.counters()
    }

    /// Holds the fault once the log is broken. The process must end then: what is on disk is no
    /// longer known.
    pub fn poisoned(&self) -> watch::Receiver<Option<LogFault>> {
        self.handle.shared.poison.subscribe()
    }
}
