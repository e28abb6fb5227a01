//! What nodes tell each other of their shard, once a second, with Raft's exchange.

use super::Core;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Weak};
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::read::namespace;
use steadfast_engine::{Mutation, Timestamp};
use steadfast_raft::StatusExchange;
use steadfast_storage::codec;

/// Below Raft's bound of 64 KiB.
const STATUS_BYTES: u64 = 60 << 10;
/// Newest digests told; peers are at most a few marks apart.
const DIGESTS: usize = 8;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Status {
    /// The wall clock.
    wall: Timestamp,
    /// The node leads.
    leads: bool,
    /// Log index of a mark, and the digest of the state there.
    digests: Vec<(u64, u128)>,
    /// Claimed tasks whose workers are gone.
    returned: Vec<TaskToken>,
    /// The node whose files are wanted, for the state here is not the majority's; 0 for none.
    rebuild_from: u64,
    /// The newest engine version that it knows.
    engine_version: u32,
}

/// The shard's side of the exchange. Weak: Raft, which the shard holds, holds this.
pub struct Exchange(Weak<Core>);

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

impl Exchange {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::downgrade(core))
    }
}

impl StatusExchange for Exchange {
    fn status(&self) -> Bytes {
        let Some(core) = self.0.upgrade() else {
            return Bytes::new();
        };
        let digests = core.store.digests();
        let newest = digests.iter().rev().take(DIGESTS);
        let mut status = Status {
            wall: core.time.clock().wall(),
            leads: core.leads(),
            digests: newest
                .map(|mark| (mark.position.index, mark.digest))
                .collect(),
            returned: core.deliveries.returned(),
            rebuild_from: core.rebuild_from(),
            engine_version: core.engine_version,
        };
        loop {
            match codec::encode(&status, STATUS_BYTES) {
                Ok(bytes) => return bytes.into(),
                // Long workflow ids: what does not fit is told next time, or runs into its time-out.
                Err(_) if !status.returned.is_empty() => {
                    status.returned.truncate(status.returned.len() / 2);
                }
                Err(_) => return Bytes::new(),
            }
        }
    }

    fn cluster_id(&self) -> String {
        let Some(core) = self.0.upgrade() else {
            return String::new();
        };
        let meta = namespace::meta(&core.view());
        meta.map(|meta| meta.cluster_id).unwrap_or_default()
    }

    fn received(&self, from: u64, status: Bytes) {
        if status.is_empty() {
            return;
        }
        let Some(core) = self.0.upgrade() else { return };
        let status: Status = match codec::decode(&status, STATUS_BYTES) {
            Ok(status) => status,
            Err(error) => {
                tracing::debug!(from, %error, "a peer's status makes no sense here");
                return;
            }
        };
        core.time.set_voters(&core.voters());
        core.time.heard(from, status.wall);
        core.time.tell_offset();
        core.versions.told(from, status.engine_version);
        if status.leads {
            core.leader_heard();
        }
        core.digests_told(from, &status.digests);
        if status.rebuild_from == core.node_id {
            core.asked_to_rebuild(from);
        }
        if core.in_office() {
            for token in status.returned {
                core.propose_detached(Mutation::ReturnTask(token));
            }
        }
    }
}
