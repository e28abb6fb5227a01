//! A new cluster out of a backup: the data directories of its founding members.
//!
//! The first one gets the backup's files, a new cluster id, and void claims; a mark makes that
//! durable, and the others get the files of this mark. So all begin with the same state at the
//! same place in the log, which is empty and goes on from there.

use crate::entropy::Entropy;
use crate::shard::{StateRecord, View, stored};
use crate::sizes::Sizes;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use steadfast_engine::restore::{OpenRuns, new_cluster, void_activities, void_workflow_task};
use steadfast_engine::tables::grouping;
use steadfast_engine::{Fault, Timestamp, read::namespace};
use steadfast_raft::{Peer, Position, restored_log};
use steadfast_storage::directory::{Directory, DirectoryError, Identity};
use steadfast_storage::disk::Disk;
use steadfast_storage::log::{Log, LogError};
use steadfast_storage::state::{
    Backup, IndexFactory, Keeper, Manifest, PinnedManifest, StateError, StateStore,
};

/// What is restored, and to where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The folder of a finished backup.
    pub backup: PathBuf,
    /// The folder in which each member gets its data directory, `node-ID`.
    pub out: PathBuf,
    /// The new cluster's name.
    pub cluster_name: String,
    /// Its founding members. (Their uuids are made here.)
    pub members: BTreeMap<u64, Peer>,
    /// The newest engine version that these nodes know.
    pub engine_version: u32,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster's id.
    pub cluster_id: String,
    /// The cluster that the backup is of.
    pub from_cluster_id: String,
    /// Where in its log it was.
    pub backed_up_at: Position,
    /// The place at which the new cluster's log begins.
    pub position: Position,
    /// The time from which it goes on.
    pub time: Timestamp,
    /// Runs that go on.
    pub open_runs: u64,
    /// The data directories.
    pub data_dirs: BTreeMap<u64, PathBuf>,
}

/// Why nothing can be started from what is there now: remove the folder and try again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A data directory is there already.
    #[error("{} exists already; restore into a new folder", .0.display())]
    Exists(PathBuf),
    /// A newer program made the backup, or a much older one.
    #[error(
        "the backup is of engine version {found}, and this program knows {oldest} to {newest}; \
         restore it with the version of the program that it was made by"
    )]
    EngineVersion {
        /// The backup's.
        found: u32,
        /// The oldest known here.
        oldest: u32,
        /// The newest known here.
        newest: u32,
    },
    /// The backup is of a cluster that had not begun.
    #[error("the backup holds nothing")]
    Empty,
    /// The backup or the new state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state holds nonsense.
    #[error(transparent)]
    Engine(#[from] Fault),
    /// The system refused.
    #[error("the operating system refused: {0}")]
    System(#[from] io::Error),
}

/// Makes the data directories. Blocks; takes a read of the backup and a write for each member.
/// Until it returns, no node starts from any of them: one whose restore was cut off is refused.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    disk: &Arc<dyn Disk>,
    index: &Arc<dyn IndexFactory>,
    entropy: &dyn Entropy,
    mut options: RestoreOptions,
) -> Result<Restored, RestoreError> {
    let backup = Backup::open(disk.clone(), &options.backup)?;
    let backed_up_at = backup.manifest().position.ok_or(RestoreError::Empty)?;
    let data_dirs: BTreeMap<u64, PathBuf> = options
        .members
        .keys()
        .map(|id| (*id, options.out.join(format!("node-{id}"))))
        .collect();
    for dir in data_dirs.values() {
        if disk.exists(dir)? {
            return Err(RestoreError::Exists(dir.clone()));
        }
    }
    let mut first: Option<(State, Begun)> = None;
    for (id, peer) in &mut options.members {
        peer.node_uuid = entropy.node_uuid();
        tracing::debug!(node = id, uuid = %peer.node_uuid, "a new data directory");
    }
    for (id, dir) in &data_dirs {
        let mut directory = Directory::open(disk.clone(), dir)?;
        let mut state = State::open(disk, index, &directory)?;
        let begun = match &first {
            None => {
                state.install(backup.manifest().clone(), &Files::Backup(&backup))?;
                let begun = state.begin(entropy, &options)?;
                first.insert((state, begun)).1.clone()
            }
            Some((with, begun)) => {
                let pinned = with.store.manifest();
                state.install(pinned.manifest().clone(), &Files::Pinned(&pinned))?;
                begun.clone()
            }
        };
        write_log(disk, &directory, &begun)?;
        directory.log_marker().set()?;
        // Last: without it no node starts here.
        directory.establish(Identity {
            cluster_name: options.cluster_name.clone(),
            node_id: *id,
            node_uuid: options.members[id].node_uuid,
            initial_members: options
                .members
                .iter()
                .map(|(id, peer)| (*id, peer.raft_address.clone()))
                .collect(),
        })?;
    }
    let (_, begun) = first.ok_or(RestoreError::Empty)?;
    Ok(Restored {
        cluster_id: begun.cluster_id,
        from_cluster_id: begun.from_cluster_id,
        backed_up_at,
        position: begun.position,
        time: begun.time,
        open_runs: begun.open_runs,
        data_dirs,
    })
}

/// Where the files of a state come from.
enum Files<'a> {
    Backup(&'a Backup),
    Pinned(&'a PinnedManifest),
}

/// How the new cluster begins.
#[derive(Debug, Clone)]
struct Begun {
    cluster_id: String,
    from_cluster_id: String,
    position: Position,
    vote: bytes::Bytes,
    time: Timestamp,
    open_runs: u64,
}

/// The state of one member, open.
struct State {
    store: StateStore<StateRecord>,
    keeper: Keeper<StateRecord>,
    sizes: Sizes,
}

impl State {
    fn open(
        disk: &Arc<dyn Disk>,
        index: &Arc<dyn IndexFactory>,
        directory: &Directory,
    ) -> Result<Self, RestoreError> {
        let sizes = Sizes::default();
        let (store, keeper) = StateStore::open(
            disk.clone(),
            index.clone(),
            &directory.state_dir(),
            sizes.state(grouping),
        )?;
        Ok(Self {
            store,
            keeper,
            sizes,
        })
    }

    fn install(&mut self, manifest: Manifest, files: &Files<'_>) -> Result<(), RestoreError> {
        let mut staging = self.store.stage(manifest)?;
        match files {
            Files::Backup(backup) => backup.fill(&mut staging)?,
            Files::Pinned(pinned) => staging.fill(|name, offset| pinned.bytes(name, offset))?,
        }
        self.store.install(staging.finish()?)?;
        Ok(self.keeper.settle()?)
    }

    /// Gives the state to a new cluster, durably.
    fn begin(
        &mut self,
        entropy: &dyn Entropy,
        options: &RestoreOptions,
    ) -> Result<Begun, RestoreError> {
        let before = namespace::meta(&self.view())?;
        let (oldest, newest) = (
            steadfast_engine::OLDEST_ENGINE_VERSION,
            options.engine_version,
        );
        if !(oldest..=newest).contains(&before.engine_version) {
            return Err(RestoreError::EngineVersion {
                found: before.engine_version,
                oldest,
                newest,
            });
        }
        let mut position = self.store.applied().ok_or(RestoreError::Empty)?;
        position.index += 1;
        let cluster_id = entropy.uuid();
        let changes = new_cluster(&self.view(), &cluster_id)?;
        self.store.merge(stored(changes), position);
        let (mut runs, mut open_runs) = (OpenRuns::default(), 0);
        loop {
            let slice = runs.next(&self.view())?;
            if slice.is_empty() {
                break;
            }
            for run in &slice {
                open_runs += 1;
                if let Some(changes) = void_workflow_task(&self.view(), run)? {
                    self.store.merge(stored(changes), position);
                }
                let mut from = None;
                while let Some(changes) = void_activities(&self.view(), run, &mut from)? {
                    self.store.merge(stored(changes), position);
                }
            }
            if self.store.active_bytes() >= self.sizes.mark_bytes {
                self.mark(bytes::Bytes::new())?;
                position.index += 1;
            }
        }
        // An entry of its own for the last mark, whatever was marked before.
        self.store.merge(Vec::new(), position);
        let log = restored_log(position, options.members.clone())?;
        self.mark(log.membership)?;
        Ok(Begun {
            cluster_id,
            from_cluster_id: before.cluster_id,
            position,
            vote: log.vote,
            time: before.applied_at,
            open_runs,
        })
    }

    fn mark(&mut self, membership: bytes::Bytes) -> Result<(), RestoreError> {
        self.store.mark(membership);
        Ok(self.keeper.settle()?)
    }

    fn view(&self) -> View {
        View::of(&self.store)
    }
}

/// An empty log that goes on after the state's place, with a vote of its term.
fn write_log(
    disk: &Arc<dyn Disk>,
    directory: &Directory,
    begun: &Begun,
) -> Result<(), RestoreError> {
    let (log, writer, _) = Log::open(disk.clone(), &directory.log_dir(), Sizes::default().log())?;
    let writes = thread::Builder::new()
        .name("restore-log".to_owned())
        .spawn(move || writer.run())?;
    log.purge(begun.position);
    let (done, saved) = mpsc::channel();
    log.save_vote(
        begun.vote.clone(),
        // The receiver waits below.
        Box::new(move |result| drop(done.send(result))),
    );
    let saved = saved
        .recv()
        .map_err(|_| io::Error::other("the log's writer has ended"))?;
    saved.map_err(io::Error::other)?;
    drop(log);
    match writes.join() {
        Ok(()) => Ok(()),
        Err(_) => Err(io::Error::other("the log's writer has panicked").into()),
    }
}
