//! What operators ask of a node.

use crate::api::{Admin, AdminError};
use crate::shard::Shard;
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
}

impl NodeAdmin {
    pub(super) fn new(cluster_name: String, shard: Shard, raft: RaftNode) -> Self {
        Self {
            cluster_name,
            shard,
            raft,
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
            });
        }
        nodes.sort_by_key(|node| node.member.as_ref().map(|member| member.id));
        let cluster_id = namespace::meta(&self.shard.view())
            .map(|meta| meta.cluster_id)
            .unwrap_or_default();
        wire::StatusResponse {
            cluster_id,
            cluster_name: self.cluster_name.clone(),
            node_id: self.raft.id(),
            leader,
            term: leadership.term,
            nodes,
        }
    }

    async fn add_member(&self, member: wire::Member) -> Result<(), AdminError> {
        if !self.raft.leadership().borrow().is_leader {
            return Err(AdminError::NotLeader(
                self.shard.leader_grpc_address().unwrap_or_default(),
            ));
        }
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
        if !self.raft.leadership().borrow().is_leader {
            return Err(AdminError::NotLeader(
                self.shard.leader_grpc_address().unwrap_or_default(),
            ));
        }
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

    fn digests(&self) -> Vec<wire::MarkDigest> {
        let digests = self.shard.store().digests();
        let digest = |mark: steadfast_storage::state::MarkDigest| wire::MarkDigest {
            index: mark.position.index,
            digest: mark.digest.to_be_bytes().to_vec().into(),
        };
        digests.into_iter().map(digest).collect()
    }
}
