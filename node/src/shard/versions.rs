//! Engine versions: which rules the members know, and raising the ones in force.

use super::{Class, Core, Unavailable};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use steadfast_engine::read::namespace;
use steadfast_engine::{Fault, Mutation, Refusal};
use tokio::time::Instant;

/// What a member told counts for this long; nodes talk once a second. One that is not heard may
/// have come back with another program.
const TOLD_FOR: Duration = Duration::from_secs(5);

/// Why the engine version was not raised.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// Some members do not know it, or are not there to say so.
    #[error("{0}")]
    Refused(String),
    /// It may or may not have been raised.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The engine does not take it.
    #[error(transparent)]
    Engine(#[from] Refusal),
    /// The state cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The newest engine version of each peer, and when it was told.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<BTreeMap<u64, (u32, Instant)>>);

impl Versions {
    pub(super) fn told(&self, peer: u64, newest: u32) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(peer, (newest, Instant::now()));
    }

    /// What a peer knows; nothing when it was not heard of late.
    pub(super) fn of(&self, peer: u64) -> Option<u32> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, at) = told.get(&peer)?;
        (at.elapsed() <= TOLD_FOR).then_some(*newest)
    }
}

impl Core {
    /// The newest engine version that a member is known to know.
    pub(super) fn newest_engine_version(&self, member: u64) -> Option<u32> {
        if member == self.node_id {
            return Some(self.engine_version);
        }
        self.versions.of(member)
    }

    /// Raises the engine version to `to`, or with 0 as far as all members know.
    pub(super) async fn raise_engine_version(&self, to: u32) -> Result<u32, RaiseError> {
        let Some(raft) = self.raft() else {
            return Err(Unavailable::NoLeader.into());
        };
        let mut all = u32::MAX;
        for id in raft.members().peers.into_keys() {
            let Some(newest) = self.newest_engine_version(id) else {
                return Err(RaiseError::Refused(format!(
                    "node {id} does not answer, so which engine versions it knows is unknown; \
                     start it, or remove it from the cluster"
                )));
            };
            if newest < to {
                return Err(RaiseError::Refused(format!(
                    "node {id} knows engine versions up to {newest}; start it with a newer \
                     program first"
                )));
            }
            all = all.min(newest);
        }
        let now = namespace::meta(&self.read().await?)?.engine_version;
        let wanted = if to == 0 { all } else { to };
        if wanted < now {
            return Err(RaiseError::Refused(format!(
                "the engine version is {now} and never goes down"
            )));
        }
        if wanted > now {
            let raised = self.propose(Class::Drains, Mutation::RaiseEngineVersion(wanted))?;
            raised.await.unwrap_or(Err(Unavailable::Unknown))??;
        }
        Ok(wanted)
    }
}
