//! openraft's state machine traits over ours.

use crate::apply_thread::{ApplyMode, MachineHandle, blocking};
use crate::encoding;
use crate::log_store::LogStore;
use crate::machine::{Committed, Content, Fault, SnapshotFiles, SnapshotStage, StateMachine};
use crate::types::{Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::io;
use steadfast_storage::log::Position;
use tokio::sync::oneshot;

/// Entries of one `apply` call: bounds how long heartbeats of an inline machine wait.
const MAX_BATCH_ENTRIES: usize = 512;
/// Bytes of one `apply` call.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// One read of a snapshot file.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// The contents of a snapshot: files to read here, or a stage filled by a peer.
#[derive(Debug)]
pub enum SnapshotData {
    /// Ours, to be sent.
    Files(SnapshotFiles),
    /// A peer's, complete, to be installed.
    Stage(Box<dyn SnapshotStage>),
}

/// openraft's view of the state machine.
#[derive(Debug, Clone)]
pub struct Machine {
    handle: MachineHandle,
    mode: ApplyMode,
}

impl Machine {
    /// Starts `machine` as `mode` says; the receiver ends when it has been dropped.
    pub fn start(
        mode: ApplyMode,
        machine: impl StateMachine,
    ) -> io::Result<(Machine, oneshot::Receiver<()>)> {
        let (handle, ended) = MachineHandle::start(mode, machine)?;
        Ok((Machine { handle, mode }, ended))
    }

    pub(crate) fn mode(&self) -> ApplyMode {
        self.mode
    }

    /// Drops the state machine.
    pub(crate) async fn stop(&self) {
        self.handle.stop().await;
    }

    async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn StateMachine) -> Result<R, Fault> + Send + 'static,
    ) -> io::Result<R> {
        self.handle.call(call).await?.map_err(io::Error::other)
    }

    pub(crate) async fn newest_snapshot(&self) -> io::Result<Option<Snapshot>> {
        let files = self.call(|machine| machine.snapshot()).await?;
        files.map(snapshot_of).transpose()
    }

    /// Begins to receive a snapshot.
    pub(crate) async fn stage(&self, manifest: bytes::Bytes) -> io::Result<Box<dyn SnapshotStage>> {
        self.call(move |machine| machine.stage(manifest)).await
    }

    /// Whether a peer's snapshot of `position` is to replace the state.
    pub(crate) async fn is_to_rebuild(&self, position: Position) -> io::Result<bool> {
        self.call(move |machine| Ok(machine.is_to_rebuild(position)))
            .await
    }

    /// Replaces the state by a peer's, and applies the log after it again, in one job: nothing is
    /// applied meanwhile. False when that is not wanted any more.
    pub(crate) async fn rebuild(
        &self,
        stage: Box<dyn SnapshotStage>,
        position: Position,
        log: LogStore,
    ) -> io::Result<bool> {
        self.call(move |machine| {
            if !machine.is_to_rebuild(position) || !log.follows(position) {
                return Ok(false);
            }
            let mut read = |from, to| {
                let entries = log.read(from, to).map_err(Fault::new)?;
                Ok(entries.into_iter().map(committed).collect())
            };
            machine.rebuild(stage, &mut read)?;
            Ok(true)
        })
        .await
    }

    /// Copies a snapshot of this process: a stage filled from its own files.
    async fn stage_from(&self, files: SnapshotFiles) -> io::Result<Box<dyn SnapshotStage>> {
        let mut stage = self.stage(files.manifest.clone()).await?;
        blocking(self.mode, move || {
            for file in stage.missing() {
                let mut offset = file.offset;
                while offset < file.length {
                    let bytes = files.source.read(&file.name, offset, CHUNK_BYTES)?;
                    if bytes.is_empty() {
                        return Err(Fault::new(format!("{} ends at {offset}", file.name)));
                    }
                    stage.write(&file.name, offset, &bytes)?;
                    offset += bytes.len() as u64;
                }
            }
            Ok(stage)
        })
        .await?
        .map_err(io::Error::other)
    }

    async fn apply_batch(&self, batch: &mut Batch) -> io::Result<()> {
        let entries = std::mem::take(&mut batch.entries);
        let responders = std::mem::take(&mut batch.responders);
        batch.bytes = 0;
        if entries.is_empty() {
            return Ok(());
        }
        self.call(move |machine| machine.apply(entries)).await?;
        for responder in responders {
            responder.send(());
        }
        Ok(())
    }
}

/// Entries collected for one call of the machine.
#[derive(Default)]
struct Batch {
    entries: Vec<Committed>,
    responders: Vec<ApplyResponder<Types>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, entry: Entry, responder: Option<ApplyResponder<Types>>) {
        let committed = committed(entry);
        if let Content::Normal(bytes) | Content::Membership(bytes) = &committed.content {
            self.bytes += bytes.len();
        }
        self.entries.push(committed);
        self.responders.extend(responder);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= MAX_BATCH_ENTRIES || self.bytes >= MAX_BATCH_BYTES
    }
}

fn committed(entry: Entry) -> Committed {
    let position = encoding::position(&entry.log_id);
    let content = match entry.payload {
        Payload::Blank => Content::Blank,
        Payload::Normal(proposal) => Content::Normal(proposal.0.slice(1..)),
        Payload::Membership(membership) => {
            let stored = StoredMembership::new(Some(entry.log_id), membership);
            Content::Membership(encoding::stored_membership_bytes(&stored))
        }
    };
    Committed { position, content }
}

fn snapshot_of(files: SnapshotFiles) -> io::Result<Snapshot> {
    let meta = SnapshotMeta {
        last_log_id: Some(encoding::log_id(files.position)),
        last_membership: encoding::stored_membership(&files.membership)?,
    };
    Ok(Snapshot {
        meta,
        snapshot: SnapshotData::Files(files),
    })
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = NewestSnapshot;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let (position, membership) = self.call(|machine| Ok(machine.applied())).await?;
        Ok((
            position.map(encoding::log_id),
            encoding::stored_membership(&membership)?,
        ))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            batch.push(entry, responder);
            if batch.is_full() {
                self.apply_batch(&mut batch).await?;
            }
        }
        self.apply_batch(&mut batch).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<NewestSnapshot> {
        // Without a durable mark there is nothing to announce; openraft asks again.
        match self.newest_snapshot().await {
            Ok(None) if !force => None,
            snapshot => Some(NewestSnapshot(Some(snapshot))),
        }
    }

    async fn get_snapshot_builder(&mut self) -> NewestSnapshot {
        NewestSnapshot(Some(self.newest_snapshot().await))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let stage = match snapshot {
            SnapshotData::Stage(stage) => stage,
            SnapshotData::Files(files) => self.stage_from(files).await?,
        };
        let applied = self
            .call(move |machine| {
                machine.install(stage)?;
                Ok(machine.applied().0)
            })
            .await?;
        // Raft goes on from meta; a state at another place would diverge in silence.
        if applied.map(encoding::log_id) == meta.last_log_id {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "installed a snapshot of {applied:?}, not of {meta}"
            )))
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.newest_snapshot().await
    }
}

/// "Builds" a snapshot: it exists already, since node writes delta files on its own.
#[derive(Debug)]
pub struct NewestSnapshot(Option<io::Result<Option<Snapshot>>>);

impl RaftSnapshotBuilder<Types> for NewestSnapshot {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        match self.0.take() {
            Some(Ok(Some(snapshot))) => Ok(snapshot),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => Err(io::Error::other(
                "the log is purged but there is no durable snapshot: files are missing",
            )),
        }
    }
}
