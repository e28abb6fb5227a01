//! The sending side of a snapshot: offer the manifest, send the files the peer lacks.

use crate::apply_thread::blocking;
use crate::encoding;
use crate::handshake::{self, Target};
use crate::machine::SnapshotFiles;
use crate::network::Network;
use crate::state_machine::{CHUNK_BYTES, SnapshotData};
use crate::transport::{Lane, LinkError, Wire};
use crate::types::{Snapshot, Vote};
use crate::wire::{self, Body, frame};
use futures::StreamExt;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::time::{Instant, sleep_until, timeout};

/// Chunks that the peer has not taken yet: memory per transfer is bounded by 2 MiB on each side.
const WINDOW: u64 = 8;
/// A peer that takes no chunk for so long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Checking and switching over to the new state may read all of it.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// The answer to an offer: the peer looks which files it has.
const STAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a snapshot and waits for its installation; answers with the peer's vote. `rebuild`: it is
/// to replace a wrong state, applied or not.
pub(crate) async fn send(
    network: &Network,
    target: &Target,
    vote: Vote,
    snapshot: Snapshot,
    rebuild: bool,
) -> Result<Vote, LinkError> {
    let SnapshotData::Files(files) = snapshot.snapshot else {
        return Err(LinkError::Protocol(
            "a received snapshot cannot be sent".to_owned(),
        ));
    };
    let links = &network.links;
    let wire = handshake::open(&*links.transport, &links.identity, target, Lane::Snapshot).await?;
    let mut transfer = Transfer {
        network,
        wire,
        files,
        chunks: 0,
        taken: 0,
    };
    let offer = proto::SnapshotOffer {
        vote: Some(wire::vote_to(&vote)),
        last_log_id: snapshot.meta.last_log_id.as_ref().map(wire::log_id_to),
        membership: encoding::stored_membership_bytes(&snapshot.meta.last_membership),
        manifest: transfer.files.manifest.clone(),
        rebuild,
    };
    transfer.put(Body::Offer(offer)).await?;
    let mut sent = 0;
    match transfer.get(STAGE_TIMEOUT).await? {
        Body::Want(want) => {
            let mut pace = Pace {
                started: Instant::now(),
                rate: network.snapshot_rate.max(1),
            };
            for (number, file) in (0u32..).zip(&want.files) {
                sent += transfer.file(number, file, &mut pace, sent).await?;
            }
        }
        // A newer leader is known there: nothing is wanted.
        Body::Installed(installed) => return wire::vote_from(installed.vote.as_ref()),
        other => return Err(unexpected(&other)),
    }
    tracing::info!(peer = target.node_id, bytes = sent, "snapshot sent");
    loop {
        match transfer.get(INSTALL_TIMEOUT).await? {
            Body::Received(_) => {}
            Body::Installed(installed) => return wire::vote_from(installed.vote.as_ref()),
            other => return Err(unexpected(&other)),
        }
    }
}

fn unexpected(body: &Body) -> LinkError {
    match body {
        Body::Failed(message) => LinkError::Failed(message.clone()),
        _ => LinkError::Protocol("an unexpected frame in a snapshot".to_owned()),
    }
}

/// Spreads bytes over time.
struct Pace {
    started: Instant,
    rate: u64,
}

impl Pace {
    async fn until_allowed(&mut self, bytes: u64) {
        let millis = bytes.saturating_mul(1000) / self.rate;
        sleep_until(self.started + Duration::from_millis(millis)).await;
    }
}

struct Transfer<'n> {
    network: &'n Network,
    wire: Wire,
    files: SnapshotFiles,
    /// Chunks sent, and of these taken by the peer.
    chunks: u64,
    taken: u64,
}

impl Transfer<'_> {
    async fn put(&mut self, body: Body) -> Result<(), LinkError> {
        match timeout(IDLE_TIMEOUT, self.wire.sender.send(frame(body))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LinkError::Broken),
            Err(_) => Err(LinkError::Timeout(IDLE_TIMEOUT)),
        }
    }

    async fn get(&mut self, within: Duration) -> Result<Body, LinkError> {
        match timeout(within, self.wire.receiver.next()).await {
            Ok(frame) => frame.and_then(|frame| frame.body).ok_or(LinkError::Broken),
            Err(_) => Err(LinkError::Timeout(within)),
        }
    }

    async fn file(
        &mut self,
        number: u32,
        file: &proto::snapshot_want::MissingFile,
        pace: &mut Pace,
        before: u64,
    ) -> Result<u64, LinkError> {
        let mut offset = file.offset;
        while offset < file.length {
            pace.until_allowed(before + offset - file.offset).await;
            let (source, name) = (self.files.source.clone(), file.name.clone());
            let bytes = blocking(self.network.mode, move || {
                source.read(&name, offset, CHUNK_BYTES)
            })
            .await
            .map_err(|error| LinkError::Failed(error.to_string()))?
            .map_err(|error| LinkError::Failed(error.to_string()))?;
            if bytes.is_empty() {
                return Err(LinkError::Failed(format!("{} ends at {offset}", file.name)));
            }
            let length = bytes.len() as u64;
            self.put(Body::Chunk(proto::SnapshotChunk {
                file: number,
                offset,
                bytes,
            }))
            .await?;
            offset += length;
            self.chunks += 1;
            while self.chunks - self.taken > WINDOW {
                match self.get(IDLE_TIMEOUT).await? {
                    Body::Received(received) => self.taken = received.chunks.min(self.chunks),
                    other => return Err(unexpected(&other)),
                }
            }
        }
        Ok(offset - file.offset)
    }
}
