//! The receiving side of a snapshot.

use crate::apply_thread::blocking;
use crate::encoding;
use crate::log_store::LogStore;
use crate::machine::{MissingFile, SnapshotStage};
use crate::state_machine::{Machine, SnapshotData};
use crate::transport::{LinkError, Wire};
use crate::types::{Raft, Snapshot, SnapshotMeta, Vote};
use crate::wire::{self, Body, frame};
use bytes::Bytes;
use futures::StreamExt;
use openraft::async_runtime::WatchReceiver;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use steadfast_storage::log::Position;
use tokio::time::timeout;

/// A leader that sends nothing for so long is given up; what has come is kept for the next try.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives one snapshot and installs it; a failure is told to the sender.
pub(crate) async fn receive(mut wire: Wire, raft: &Raft, machine: &Machine, log: &LogStore) {
    let last = match transfer(&mut wire, raft, machine, log).await {
        Ok(vote) => Body::Installed(proto::SnapshotInstalled {
            vote: Some(wire::vote_to(&vote)),
        }),
        Err(error) => {
            tracing::warn!(%error, "snapshot not received");
            Body::Failed(error.to_string())
        }
    };
    drop(wire.sender.send(frame(last)).await);
    // The sender closes the lane when it has read the last frame.
    drop(timeout(IDLE_TIMEOUT, wire.receiver.next()).await);
}

async fn next(wire: &mut Wire) -> Result<Body, LinkError> {
    match timeout(IDLE_TIMEOUT, wire.receiver.next()).await {
        Ok(frame) => frame.and_then(|frame| frame.body).ok_or(LinkError::Broken),
        Err(_) => Err(LinkError::Timeout(IDLE_TIMEOUT)),
    }
}

fn failed(error: &dyn std::fmt::Display) -> LinkError {
    LinkError::Failed(error.to_string())
}

async fn transfer(
    wire: &mut Wire,
    raft: &Raft,
    machine: &Machine,
    log: &LogStore,
) -> Result<Vote, LinkError> {
    let Body::Offer(offer) = next(wire).await? else {
        return Err(LinkError::Protocol(
            "a snapshot without an offer".to_owned(),
        ));
    };
    let vote = wire::vote_from(offer.vote.as_ref())?;
    let membership = encoding::stored_membership(&offer.membership).map_err(|e| failed(&e))?;
    let last_log_id = offer.last_log_id.as_ref().map(wire::log_id_from);
    let meta = SnapshotMeta {
        last_log_id,
        last_membership: membership,
    };

    let (mine, applied) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.vote, metrics.last_applied)
    };
    if offer.rebuild {
        let position = meta.last_log_id.as_ref().map(encoding::position);
        let Some(position) = position else {
            return Err(LinkError::Protocol("a rebuild from nothing".to_owned()));
        };
        rebuild(wire, machine, log, position, offer.manifest).await?;
        return Ok(mine);
    }
    // Nothing is received from a leader of the past, nor what is applied here already.
    if mine > vote || meta.last_log_id <= applied {
        return Ok(mine);
    }

    let stage = take(wire, machine, offer.manifest).await?;
    let snapshot = Snapshot {
        meta,
        snapshot: SnapshotData::Stage(stage),
    };
    let response = raft
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(|e| failed(&e))?;
    Ok(response.vote)
}

/// Replaces a wrong state; openraft, to which nothing new was applied, does not hear of it.
async fn rebuild(
    wire: &mut Wire,
    machine: &Machine,
    log: &LogStore,
    position: Position,
    manifest: Bytes,
) -> Result<(), LinkError> {
    let unwanted = || LinkError::Failed("no such rebuild is wanted now".to_owned());
    let wanted = machine.is_to_rebuild(position).await;
    if !wanted.map_err(|error| failed(&error))? || !log.follows(position) {
        return Err(unwanted());
    }
    let stage = take(wire, machine, manifest).await?;
    let done = machine.rebuild(stage, position, log.clone()).await;
    if done.map_err(|error| failed(&error))? {
        Ok(())
    } else {
        Err(unwanted())
    }
}

/// Receives the files that are missing.
async fn take(
    wire: &mut Wire,
    machine: &Machine,
    manifest: Bytes,
) -> Result<Box<dyn SnapshotStage>, LinkError> {
    let stage = machine
        .stage(manifest)
        .await
        .map_err(|error| failed(&error))?;
    let files = stage.missing();
    let want = files.iter().map(|file| proto::snapshot_want::MissingFile {
        name: file.name.clone(),
        offset: file.offset,
        length: file.length,
    });
    let want = proto::SnapshotWant {
        files: want.collect(),
    };
    send(wire, Body::Want(want)).await?;
    fill(wire, machine, stage, &files).await
}

async fn send(wire: &mut Wire, body: Body) -> Result<(), LinkError> {
    match timeout(IDLE_TIMEOUT, wire.sender.send(frame(body))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(LinkError::Broken),
        Err(_) => Err(LinkError::Timeout(IDLE_TIMEOUT)),
    }
}

async fn fill(
    wire: &mut Wire,
    machine: &Machine,
    mut stage: Box<dyn SnapshotStage>,
    files: &[MissingFile],
) -> Result<Box<dyn SnapshotStage>, LinkError> {
    let mut chunks = 0;
    for (number, file) in (0u32..).zip(files) {
        let mut offset = file.offset;
        while offset < file.length {
            let Body::Chunk(chunk) = next(wire).await? else {
                return Err(LinkError::Protocol(
                    "a snapshot without its chunk".to_owned(),
                ));
            };
            let end = offset + chunk.bytes.len() as u64;
            let expected = chunk.file == number && chunk.offset == offset;
            if !expected || chunk.bytes.is_empty() || end > file.length {
                return Err(LinkError::Protocol("a chunk out of order".to_owned()));
            }
            let name = file.name.clone();
            stage = blocking(machine.mode(), move || {
                stage
                    .write(&name, chunk.offset, &chunk.bytes)
                    .map(|()| stage)
            })
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
            offset = end;
            chunks += 1;
            send(wire, Body::Received(proto::SnapshotReceived { chunks })).await?;
        }
    }
    Ok(stage)
}
