//! What operators ask of a node.

use super::backup::Backups;
use crate::api::{Admin, AdminError, BackupStream};
use crate::shard::{RaiseError, Shard, Unavailable};
use std::time::Duration;
use steadfast_engine::read::namespace;
use steadfast_proto::internal::admin::v1 as wire;
use steadfast_raft::{MembershipError, Peer, RaftNode};

/// A peer that was not heard for this long is not reachable.
const REACHABLE: Duration = Duration::from_secs(3);
const TRANSFER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct NodeAdmin {
    cluster_name: String,
    shard: Shard,
    raft: RaftNode,
    backups: Backups,
}

impl NodeAdmin {
    pub(super) fn new(cluster_name: String, shard: Shard, raft: RaftNode) -> Self {
        Self {
            backups: Backups::new(shard.clone(), raft.id(), cluster_name.clone()),
            cluster_name,
            shard,
            raft,
        }
    }

    /// Refuses what only the leader can do.
    fn leads(&self) -> Result<(), AdminError> {
        if self.raft.leadership().borrow().is_leader {
            return Ok(());
        }
        Err(AdminError::NotLeader(
            self.shard.leader_grpc_address().unwrap_or_default(),
        ))
    }

    fn unavailable(&self, why: Unavailable) -> AdminError {
        match why {
            Unavailable::NotLeader => {
                AdminError::NotLeader(self.shard.leader_grpc_address().unwrap_or_default())
            }
            Unavailable::NoLeader
            | Unavailable::Unknown
            | Unavailable::Overloaded
            | Unavailable::DiskLow
            | Unavailable::StatesDiffer
            | Unavailable::Stopping
            | Unavailable::DeadlineExceeded => AdminError::Unknown(why.to_string()),
        }
    }

    fn error(&self, error: MembershipError) -> AdminError {
        match error {
            MembershipError::NotLeader { .. } => {
                AdminError::NotLeader(self.shard.leader_grpc_address().unwrap_or_default())
            }
            MembershipError::InProgress
            | MembershipError::Refused(_)
            | MembershipError::NotCaughtUp(_)
            | MembershipError::Stopped => AdminError::Refused(error.to_string()),
            MembershipError::Unknown => AdminError::Unknown(error.to_string()),
        }
    }

    fn own(&self, leads: bool, voter: bool) -> wire::NodeStatus {
        let progress = self.raft.progress();
        wire::NodeStatus {
            member: Some(member(self.raft.id(), self.raft.peer())),
            role: role(leads, voter),
            applied: progress.applied.unwrap_or_default(),
            committed: progress.committed.unwrap_or_default(),
            reachable: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            newest_engine_version: self
                .shard
                .newest_engine_version(self.raft.id())
                .unwrap_or_default(),
        }
    }
}

fn role(leads: bool, voter: bool) -> String {
    let role = if leads {
        "leader"
    } else if voter {
        "follower"
    } else {
        "learner"
    };
    role.to_owned()
}

fn member(id: u64, peer: &Peer) -> wire::Member {
    wire::Member {
        id,
        raft_address: peer.raft_address.clone(),
        grpc_address: peer.grpc_address.clone(),
        node_uuid: peer.node_uuid.to_string(),
        http_address: peer.http_address.clone(),
    }
}

#[tonic::async_trait]
impl Admin for NodeAdmin {
    async fn status(&self) -> wire::StatusResponse {
        let leadership = self.raft.leadership().borrow().clone();
        let leader = leadership.leader.map_or(0, |leader| leader.id);
        let members = self.raft.members();
        let voter = members.voters.contains(&self.raft.id());
        let mut nodes = vec![self.own(leadership.is_leader, voter)];
        for peer in self.raft.peers() {
            nodes.push(wire::NodeStatus {
                member: Some(member(peer.id, &peer.peer)),
                role: role(peer.id == leader, peer.voter),
                applied: peer.matched.unwrap_or_default(),
                committed: 0,
                reachable: peer.last_contact.is_some_and(|ago| ago < REACHABLE),
                version: String::new(),
                newest_engine_version: self
                    .shard
                    .newest_engine_version(peer.id)
                    .unwrap_or_default(),
            });
        }
        nodes.sort_by_key(|node| node.member.as_ref().map(|member| member.id));
        let meta = namespace::meta(&self.shard.view()).unwrap_or_default();
        wire::StatusResponse {
            cluster_id: meta.cluster_id,
            engine_version: meta.engine_version,
            cluster_name: self.cluster_name.clone(),
            node_id: self.raft.id(),
            leader,
            term: leadership.term,
            nodes,
        }
    }

    async fn add_member(&self, member: wire::Member) -> Result<(), AdminError> {
        self.leads()?;
        self.raft
            .add_learner_at(member.id, &member.raft_address)
            .await
            .map_err(|error| self.error(error))
    }

    async fn promote_member(&self, id: u64) -> Result<(), AdminError> {
        self.raft
            .promote(id)
            .await
            .map_err(|error| self.error(error))
    }

    async fn remove_member(&self, id: u64) -> Result<(), AdminError> {
        self.raft
            .remove(id)
            .await
            .map_err(|error| self.error(error))
    }

    async fn transfer_leader(&self, to: u64) -> Result<(), AdminError> {
        self.leads()?;
        if to != 0 && !self.raft.members().voters.contains(&to) {
            return Err(AdminError::Refused(format!(
                "node {to} is no voter; see `steadfast cluster status`"
            )));
        }
        if self
            .shard
            .hand_over((to != 0).then_some(to), TRANSFER)
            .await
        {
            return Ok(());
        }
        Err(AdminError::Refused(
            "no other node took over in time".to_owned(),
        ))
    }

    async fn raise_engine_version(&self, to: u32) -> Result<u32, AdminError> {
        self.leads()?;
        match self.shard.raise_engine_version(to).await {
            Ok(version) => Ok(version),
            Err(RaiseError::Unavailable(why)) => Err(self.unavailable(why)),
            Err(
                error @ (RaiseError::Refused(_) | RaiseError::Engine(_) | RaiseError::Fault(_)),
            ) => Err(AdminError::Refused(error.to_string())),
        }
    }

    async fn take_mark(&self) -> Result<u64, AdminError> {
        self.leads()?;
        self.shard
            .take_mark()
            .await
            .map_err(|why| self.unavailable(why))
    }

    async fn back_up(&self, index: u64, bytes_per_second: u64) -> Result<BackupStream, AdminError> {
        self.backups.begin(index, bytes_per_second).await
    }

    fn digests(&self) -> Vec<wire::MarkDigest> {
        let digests = self.shard.store().digests();
        let digest = |mark: steadfast_storage::state::MarkDigest| wire::MarkDigest {
            index: mark.position.index,
            digest: mark.digest.to_be_bytes().to_vec().into(),
        };
        digests.into_iter().map(digest).collect()
    }
}
