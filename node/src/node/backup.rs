//! The files of a mark, as a stream.

use crate::api::{AdminError, BackupStream};
use crate::shard::Shard;
use std::sync::Arc;
use std::time::Duration;
use steadfast_engine::read::namespace;
use steadfast_proto::internal::admin::v1 as wire;
use steadfast_proto::internal::admin::v1::backup_part::Part;
use steadfast_storage::state::PinnedManifest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Backups at once: each keeps files on the disk that merges would remove.
const AT_ONCE: usize = 1;
/// Bytes of one part.
const CHUNK_BYTES: usize = 256 << 10;
/// Parts on their way: with what the connection holds, all the memory that a backup takes.
const PARTS: usize = 2;
/// Bytes a second when the caller does not say.
const PACE: u64 = 64 << 20;
/// A caller that takes nothing for so long is given up, and the files are let go.
const IDLE: Duration = Duration::from_secs(30);
/// A node that applies the mark so late is too far behind to be asked.
const MARK_WAIT: Duration = Duration::from_secs(60);

/// Where a node's backups begin.
#[derive(Debug)]
pub(super) struct Backups {
    shard: Shard,
    node_id: u64,
    cluster_name: String,
    room: Arc<Semaphore>,
}

impl Backups {
    pub(super) fn new(shard: Shard, node_id: u64, cluster_name: String) -> Self {
        Self {
            shard,
            node_id,
            cluster_name,
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Waits until a mark at `index` or later is durable here, and streams its files.
    pub(super) async fn begin(
        &self,
        index: u64,
        bytes_per_second: u64,
    ) -> Result<BackupStream, AdminError> {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let text = "this node is making a backup already; ask another, or try again later";
            return Err(AdminError::Busy(text.to_owned()));
        };
        let store = self.shard.store();
        let mut durable = store.durable();
        let reached = durable.wait_for(|durable| {
            durable
                .position
                .is_some_and(|position| position.index >= index)
        });
        match timeout(MARK_WAIT, reached).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(AdminError::Refused("this node is stopping".to_owned())),
            Err(_) => {
                return Err(AdminError::Refused(format!(
                    "node {} is behind: it has not written the mark at {index} within {} s; ask \
                     another node",
                    self.node_id,
                    MARK_WAIT.as_secs()
                )));
            }
        }
        if !self.shard.is_sound() {
            return Err(AdminError::Refused(format!(
                "the state of node {} is not that of a majority; ask another node",
                self.node_id
            )));
        }
        let pinned = store.manifest();
        let head = self.head(&pinned)?;
        let (parts, stream) = mpsc::channel(PARTS);
        let pace = match bytes_per_second {
            0 => PACE,
            given => given,
        };
        tokio::spawn(send(pinned, head, parts, pace, permit));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    fn head(&self, pinned: &PinnedManifest) -> Result<wire::BackupHead, AdminError> {
        let manifest = pinned.manifest();
        let Some(position) = manifest.position else {
            return Err(AdminError::Refused("this node has no state yet".to_owned()));
        };
        let meta = namespace::meta(&self.shard.view())
            .map_err(|fault| AdminError::Refused(fault.to_string()))?;
        Ok(wire::BackupHead {
            manifest: manifest.encode().into(),
            cluster_id: meta.cluster_id,
            cluster_name: self.cluster_name.clone(),
            node_id: self.node_id,
            term: position.term,
            index: position.index,
            bytes: manifest.files().map(|file| file.len).sum(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

type Parts = mpsc::Sender<Result<wire::BackupPart, Status>>;

/// Sends all of it, or ends: a caller that did not get everything does not finish its backup.
async fn send(
    pinned: PinnedManifest,
    head: wire::BackupHead,
    parts: Parts,
    pace: u64,
    _permit: OwnedSemaphorePermit,
) {
    let begun = Instant::now();
    if !put(&parts, Ok(Part::Head(head))).await {
        return;
    }
    let mut sent: u64 = 0;
    let files: Vec<_> = pinned.manifest().files().cloned().collect();
    for file in files {
        let mut offset = 0;
        while offset < file.len {
            let millis = sent.saturating_mul(1_000) / pace;
            sleep_until(begun + Duration::from_millis(millis)).await;
            let (from, name) = (pinned.clone(), file.name.clone());
            let read =
                tokio::task::spawn_blocking(move || from.read_file(&name, offset, CHUNK_BYTES));
            let bytes = match read.await {
                Ok(Ok(bytes)) if !bytes.is_empty() => bytes,
                Ok(Ok(_)) => return fail(&parts, format!("{} ends at {offset}", file.name)).await,
                Ok(Err(error)) => return fail(&parts, format!("{}: {error}", file.name)).await,
                Err(error) => return fail(&parts, error.to_string()).await,
            };
            let length = bytes.len() as u64;
            let chunk = wire::BackupChunk {
                name: file.name.clone(),
                offset,
                bytes,
            };
            if !put(&parts, Ok(Part::Chunk(chunk))).await {
                return;
            }
            offset += length;
            sent += length;
        }
    }
    tracing::info!(bytes = sent, "a backup was sent");
}

async fn put(parts: &Parts, part: Result<Part, Status>) -> bool {
    let part = part.map(|part| wire::BackupPart { part: Some(part) });
    match timeout(IDLE, parts.send(part)).await {
        Ok(Ok(())) => true,
        Ok(Err(_)) => {
            tracing::info!("whoever asked for a backup has left");
            false
        }
        Err(_) => {
            tracing::warn!("a backup is given up: nothing of it is taken");
            false
        }
    }
}

async fn fail(parts: &Parts, why: String) {
    tracing::error!(why, "a backup cannot be read");
    put(parts, Err(Status::data_loss(why))).await;
}
