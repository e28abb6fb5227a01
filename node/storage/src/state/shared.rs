//! What the store's handles and its keeper share.

use super::digest::MarkDigest;
use super::feed::FeedCounters;
use super::files::Files;
use super::index::IndexFactory;
use super::options::StateOptions;
use super::overlay::Layers;
use super::packed::Packed;
use crate::Position;
use crate::disk::Disk;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The newest mark that is on disk for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durable {
    /// Its position; the log before it is not needed any more. `None` before the first.
    pub position: Option<Position>,
    /// Its number; 0 before the first.
    pub mark: u64,
}

/// What the state costs. All but the first five count from the opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounters {
    /// Records in the active overlay.
    pub overlay_records: u64,
    /// Bytes of all overlays, about.
    pub overlay_bytes: u64,
    /// Deleted records that scans had to pass, since the opening or the last install.
    pub dead_passed: u64,
    /// Frozen overlays.
    pub frozen: u64,
    /// Deltas after the base.
    pub deltas: u64,
    /// Puts to the index, its own bookkeeping counted.
    pub index_puts: u64,
    /// Deletes from the index.
    pub index_deletes: u64,
    /// Batches to the index.
    pub index_batches: u64,
    /// Bytes put to the index.
    pub index_bytes: u64,
    /// Delta files written.
    pub deltas_written: u64,
    /// Bytes of delta files written.
    pub delta_bytes: u64,
    /// Files made by merging others.
    pub merges: u64,
    /// Bytes of such files.
    pub merge_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) index_puts: AtomicU64,
    pub(crate) index_deletes: AtomicU64,
    pub(crate) index_batches: AtomicU64,
    pub(crate) index_bytes: AtomicU64,
    pub(crate) deltas_written: AtomicU64,
    pub(crate) delta_bytes: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) merge_bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn add_feed(&self, fed: FeedCounters) {
        self.index_puts.fetch_add(fed.puts, Ordering::Relaxed);
        self.index_deletes.fetch_add(fed.deletes, Ordering::Relaxed);
        self.index_batches.fetch_add(fed.batches, Ordering::Relaxed);
        self.index_bytes.fetch_add(fed.bytes, Ordering::Relaxed);
    }
}

/// Lock order: `files`, then `layers`, then the rest.
#[derive(Debug)]
pub(crate) struct Shared<R> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) factory: Arc<dyn IndexFactory>,
    pub(crate) dir: PathBuf,
    pub(crate) options: StateOptions,
    pub(crate) layers: Mutex<Layers<R>>,
    pub(crate) files: Mutex<Files>,
    /// Indexes that were replaced by an install, each with its directory, until no view has them.
    pub(crate) replaced: Mutex<Vec<(Arc<Packed>, PathBuf)>>,
    pub(crate) digests: Mutex<VecDeque<MarkDigest>>,
    pub(crate) newest_digest: watch::Sender<Option<MarkDigest>>,
    pub(crate) durable: watch::Sender<Durable>,
    /// Number of frozen overlays.
    pub(crate) frozen: watch::Sender<usize>,
    /// Signalled with `layers` when an overlay was dropped or the keeper stopped.
    pub(crate) room: Condvar,
    pub(crate) stopping: AtomicBool,
    pub(crate) wake: Wake,
    pub(crate) counts: Counts,
}

impl<R> Shared<R> {
    pub(crate) fn layers(&self) -> MutexGuard<'_, Layers<R>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replaced(&self) -> MutexGuard<'_, Vec<(Arc<Packed>, PathBuf)>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn digests(&self) -> MutexGuard<'_, VecDeque<MarkDigest>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_digest(&self, digest: MarkDigest) {
        let mut digests = self.digests();
        if digests.len() >= self.options.kept_digests.max(1) {
            digests.pop_front();
        }
        digests.push_back(digest);
        drop(digests);
        self.newest_digest.send_replace(Some(digest));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// No more work: the keeper ends and whoever waits for room goes on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake.wake();
        let _layers = self.layers();
        self.room.notify_all();
        self.frozen.send_modify(|_| {});
    }
}

/// Wakes the keeper, on a thread or on a task.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    woken: Mutex<bool>,
    condvar: Condvar,
    notify: Notify,
}

impl Wake {
    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condvar.notify_one();
        self.notify.notify_one();
    }

    /// Blocks until woken, or for a time at most.
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !*woken {
            match at_most {
                None => {
                    woken = self
                        .condvar
                        .wait(woken)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                Some(at_most) => {
                    let waited = self.condvar.wait_timeout(woken, at_most);
                    woken = waited.unwrap_or_else(PoisonError::into_inner).0;
                    break;
                }
            }
        }
        *woken = false;
    }

    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}
