//! The state at rest: an overlay in memory, files that are the truth, a disposable index.
//!
//! The owner applies entries one after another with [`StateStore::merge`] and, when the replicated
//! input says so, calls [`StateStore::mark`], which freezes the overlay. The [`Keeper`] brings
//! frozen overlays to rest: first as a delta file, which makes the mark durable, then in the index.
//! [`StateStore::view`]s are consistent whatever happens meanwhile. After a restart the state is
//! that of the newest durable mark; the log has the rest.

mod backup;
mod block;
mod digest;
mod fault;
mod feed;
mod files;
mod gaps;
mod index;
mod keeper;
mod manifest;
mod memory_index;
mod merge;
mod open;
mod options;
mod overlay;
mod packed;
mod record;
mod record_file;
mod shared;
mod sled_index;
mod staging;
mod undo;
mod view;

pub use backup::{Backup, BackupWriter};
pub use digest::MarkDigest;
pub use fault::{IndexError, StateError, StateFault};
pub use files::{MAX_READ_BYTES, PinnedManifest};
pub use index::{Index, IndexChange, IndexFactory};
pub use keeper::{Keeper, KeeperStep};
pub use manifest::{FileEntry, Manifest};
pub use memory_index::{MemoryIndex, MemoryIndexFactory};
pub use options::StateOptions;
pub use record::{DecodeError, Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Record};
pub use shared::{Durable, StateCounters};
pub use sled_index::SledIndexFactory;
pub use staging::{Staged, Staging};
pub use view::View;

use crate::Position;
use crate::disk::{Disk, Space};
use bytes::Bytes;
use manifest::LocalManifest;
use overlay::Layers;
use shared::Shared;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Frozen overlays are kept below [`StateOptions::max_frozen`] by the writer's waiting; a writer
/// that does not wait is stopped here.
const FROZEN_FACTOR: usize = 8;

/// The disk counts as full when less than this part of the low bound is free.
const EMPTY_PART: u64 = 8;

/// A handle to the state of one node. The last one dropped stops the keeper.
#[derive(Debug)]
pub struct StateStore<R: Record> {
    handle: Arc<Handle<R>>,
}

#[derive(Debug)]
struct Handle<R>(Arc<Shared<R>>);

impl<R> Drop for Handle<R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<R: Record> Clone for StateStore<R> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

/// Room on the device of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the disk says.
    pub space: Space,
    /// Less is free than [`StateOptions::min_free_bytes`] and than 5 % of the device: work that
    /// fills should be refused.
    pub low: bool,
    /// Less than an eighth of that bound is free: what the log and the next delta file need soon.
    /// The node should stop while it still can in order.
    pub empty: bool,
}

impl<R: Record> StateStore<R> {
    /// Opens the state in a directory, or starts an empty one. Reads all files to check them and
    /// feeds the index with what it lacks: blocks, seconds for gigabytes.
    ///
    /// # Errors
    /// [`StateError::Damaged`] names the file that is; the node must not start.
    pub fn open(
        disk: Arc<dyn Disk>,
        index: Arc<dyn IndexFactory>,
        dir: &Path,
        options: StateOptions,
    ) -> Result<(Self, Keeper<R>), StateError> {
        let shared = Arc::new(open::open(disk, index, dir, options)?);
        let keeper = Keeper::new(shared.clone());
        Ok((
            Self {
                handle: Arc::new(Handle(shared)),
            },
            keeper,
        ))
    }

    /// The last applied entry; after opening, that of the newest durable mark.
    #[must_use]
    pub fn applied(&self) -> Option<Position> {
        self.layers().applied
    }

    /// What was given with the last mark; after opening, with the newest durable one.
    #[must_use]
    pub fn meta(&self) -> Bytes {
        self.layers().meta.clone()
    }

    /// The state as it is now. Cheap. A view that is dropped before the next merge costs nothing.
    #[must_use]
    pub fn view(&self) -> View<R> {
        View::of(&self.layers())
    }

    /// Takes the changes of an applied entry into the overlay, visible at once together. One
    /// writer only; positions ascend, and stay while one entry's mutations are taken in one by one.
    pub fn merge(&self, changes: Vec<(Key, Option<Arc<R>>)>, applied: Position) {
        self.layers().merge(changes, applied);
    }

    /// Freezes the overlay at the applied position, by a pointer swap. Call it while applying a
    /// replicated mark, so that all replicas do it at the same entry, and only when
    /// [`StateStore::frozen_full`] is false: wait with [`StateStore::wait_for_room`] or
    /// [`StateStore::room`] before. Nothing happens before the first merge.
    pub fn mark(&self, meta: Bytes) {
        let mut layers = self.layers();
        let bound = self.shared().options.max_frozen * FROZEN_FACTOR;
        assert!(
            layers.frozen.len() < bound,
            "the writer waits while too many overlays are frozen"
        );
        if layers.freeze(meta) {
            self.shared().frozen.send_replace(layers.frozen.len());
            drop(layers);
            self.shared().wake.wake();
        }
    }

    /// Bytes of all overlays, about: keys, [`Record::weight`] and the maps.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.layers().bytes()
    }

    /// Bytes of the active overlay, about: what the next mark would freeze.
    #[must_use]
    pub fn active_bytes(&self) -> usize {
        self.layers().active_bytes
    }

    /// Whether so many overlays are frozen that the next mark must wait for the keeper.
    #[must_use]
    pub fn frozen_full(&self) -> bool {
        self.is_full(&self.layers())
    }

    /// Blocks until the next mark may be made. False when the store was stopped or its keeper
    /// failed.
    #[must_use]
    pub fn wait_for_room(&self) -> bool {
        let shared = self.shared();
        let mut layers = self.layers();
        while self.is_full(&layers) && !shared.is_stopping() {
            layers = shared
                .room
                .wait(layers)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !shared.is_stopping()
    }

    /// As [`StateStore::wait_for_room`], for a task.
    pub async fn room(&self) -> bool {
        let shared = self.shared();
        let mut frozen = shared.frozen.subscribe();
        let full = shared.options.max_frozen;
        let waited = frozen
            .wait_for(|frozen| *frozen < full || shared.is_stopping())
            .await;
        waited.is_ok() && !shared.is_stopping()
    }

    /// What the state costs.
    #[must_use]
    pub fn counters(&self) -> StateCounters {
        let counts = &self.shared().counts;
        let deltas = self.shared().files().manifest().deltas.len();
        let layers = self.layers();
        StateCounters {
            overlay_records: layers.active.len() as u64,
            overlay_bytes: layers.bytes() as u64,
            dead_passed: layers.learned.dead_passed(),
            frozen: layers.frozen.len() as u64,
            deltas: deltas as u64,
            index_puts: counts.index_puts.load(Ordering::Relaxed),
            index_deletes: counts.index_deletes.load(Ordering::Relaxed),
            index_batches: counts.index_batches.load(Ordering::Relaxed),
            index_bytes: counts.index_bytes.load(Ordering::Relaxed),
            deltas_written: counts.deltas_written.load(Ordering::Relaxed),
            delta_bytes: counts.delta_bytes.load(Ordering::Relaxed),
            merges: counts.merges.load(Ordering::Relaxed),
            merge_bytes: counts.merge_bytes.load(Ordering::Relaxed),
        }
    }

    /// The newest durable mark: the log may be purged up to its position.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.shared().durable.subscribe()
    }

    /// Digests of the last completed marks, oldest first, at most [`StateOptions::kept_digests`].
    #[must_use]
    pub fn digests(&self) -> Vec<MarkDigest> {
        self.shared().digests().iter().copied().collect()
    }

    /// The newest of [`StateStore::digests`], as it comes.
    #[must_use]
    pub fn newest_digest(&self) -> watch::Receiver<Option<MarkDigest>> {
        self.shared().newest_digest.subscribe()
    }

    /// Reads all files and computes the digest of the durable state from nothing, with its mark.
    /// Blocks; for inspection and tests.
    ///
    /// # Errors
    /// [`StateError`] when a file cannot be read.
    pub fn recompute_digest(&self) -> Result<Option<MarkDigest>, StateError> {
        let pinned = self.manifest();
        let Manifest { mark, position, .. } = *pinned.manifest();
        let digest = merge::digest_of(&pinned)?;
        Ok(position.map(|position| MarkDigest {
            mark,
            position,
            digest,
        }))
    }

    /// The files of the durable state; they stay while the list is held.
    #[must_use]
    pub fn manifest(&self) -> PinnedManifest {
        self.shared().files().pin()
    }

    /// Begins to take in the state of another node.
    ///
    /// # Errors
    /// [`StateError::Staged`] for a manifest that makes no sense, [`StateError::Io`].
    pub fn stage(&self, manifest: Manifest) -> Result<Staging, StateError> {
        let shared = self.shared();
        Staging::start(shared.disk.clone(), &shared.dir, manifest, &self.manifest())
    }

    /// Replaces the whole state: overlays, files, index. Blocks while a new index is built; views
    /// taken before stay as they are. After a crash it is either the old state or the new one.
    /// Nothing may be merged or marked meanwhile.
    ///
    /// # Errors
    /// [`StateError`]; the old state is still there unless the error came from writing the
    /// manifest, after which the node must restart.
    pub fn install(&self, staged: Staged) -> Result<(), StateError> {
        let shared = self.shared();
        let disk = &*shared.disk;
        let Staged {
            manifest,
            moved,
            present,
        } = staged;
        // Held throughout: the keeper must not name a file meanwhile.
        let mut files = shared.files();
        for entry in &moved {
            let from = staging::staged_path(&shared.dir, &entry.name);
            disk.rename(&from, &shared.dir.join(&entry.name))
                .map_err(StateError::io("rename", &from))?;
        }
        disk.sync_dir(&shared.dir)
            .map_err(StateError::io("fsync", &shared.dir))?;
        let old_number = files.local().index;
        let local = LocalManifest {
            index: old_number + 1,
            manifest,
        };
        let index = open::index_dir(&shared.dir, local.index);
        let (packed, complete) = open::build_index(
            disk,
            &*shared.factory,
            &shared.dir,
            &index,
            &local.manifest,
            shared.options,
            &shared.counts,
        )?;
        files.replace(local)?;
        drop(present);
        let manifest = files.manifest();
        let durable = Durable {
            position: manifest.position,
            mark: manifest.mark,
        };
        let old = {
            let mut layers = self.layers();
            let next = Layers::at_rest(packed, manifest, layers.generation + 1);
            let old = std::mem::replace(&mut *layers, next);
            shared.digests().clear();
            shared.frozen.send_replace(0);
            shared.room.notify_all();
            old
        };
        drop(files);
        shared
            .replaced()
            .push((old.packed.clone(), open::index_dir(&shared.dir, old_number)));
        drop(old);
        if let Some(position) = durable.position {
            shared.add_digest(MarkDigest {
                mark: durable.mark,
                position,
                digest: complete.digest,
            });
        }
        shared.durable.send_replace(durable);
        shared.wake.wake();
        Ok(())
    }

    /// Room on the device.
    ///
    /// # Errors
    /// What the disk says.
    pub fn space(&self) -> io::Result<Room> {
        let space = self.shared().disk.space(&self.shared().dir)?;
        let least = self.shared().options.min_free_bytes.min(space.total / 20);
        Ok(Room {
            space,
            low: space.free <= least,
            empty: space.free <= least / EMPTY_PART,
        })
    }

    /// Ends the keeper; what is frozen and not durable is in the log still.
    pub fn stop(&self) {
        self.shared().stop();
    }

    fn shared(&self) -> &Shared<R> {
        &self.handle.0
    }

    fn layers(&self) -> std::sync::MutexGuard<'_, Layers<R>> {
        self.shared().layers()
    }

    fn is_full(&self, layers: &Layers<R>) -> bool {
        layers.frozen.len() >= self.shared().options.max_frozen
    }
}
