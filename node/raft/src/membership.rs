//! Changes of the membership: one at a time, learner first, voter when it has caught up.

use crate::peer::{NodeId, Peer};
use crate::types::{Raft, Types};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_proto::internal::raft::v1::join_result::Result as JoinResult;
use tokio::time::timeout;

/// A new learner may need a whole snapshot.
const CATCH_UP: Duration = Duration::from_secs(600);
/// A learner within so many entries has caught up: less than half a second of work.
pub(crate) const LAG_MAX: u64 = 4096;
/// One round of catching up takes no longer, or the learner does not vote: entries can be large, and
/// their number alone says little (Ongaro's dissertation, 4.2.1: an election time-out at the most).
const ROUND: Duration = Duration::from_secs(1);

/// Why the membership did not change (or may not have).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// This node does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Another change is under way.
    #[error("another membership change is under way")]
    InProgress,
    /// The change makes no sense.
    #[error("{0}")]
    Refused(String),
    /// The outcome is unknown: look at the membership.
    #[error("the outcome is unknown: look at the members")]
    Unknown,
    /// A learner was added but does not catch up.
    #[error("node {0} was added as a learner but has not caught up in time")]
    NotCaughtUp(NodeId),
    /// This node stops.
    #[error("raft has stopped")]
    Stopped,
}

/// Who belongs to the cluster, as of the newest membership in this node's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// All members by id.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Those that vote.
    pub voters: BTreeSet<NodeId>,
    /// A change is half done.
    pub joint: bool,
}

pub(crate) fn current(raft: &Raft) -> Members {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    Members {
        peers: membership
            .nodes()
            .map(|(id, peer)| (*id, peer.clone()))
            .collect(),
        voters: membership.voter_ids().collect(),
        joint: membership.get_joint_config().len() > 1,
    }
}

/// Makes the first membership; only on a pristine node, only once in a cluster's life.
pub(crate) async fn initialize(
    raft: &Raft,
    members: BTreeMap<NodeId, Peer>,
) -> Result<(), MembershipError> {
    match raft.initialize(members).await {
        Ok(()) => Ok(()),
        Err(RaftError::APIError(InitializeError::NotAllowed(error))) => {
            Err(MembershipError::Refused(error.to_string()))
        }
        Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
            Err(MembershipError::Refused(error.to_string()))
        }
        Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
    }
}

/// Adds a node that does not vote, and waits until it has nearly everything.
pub(crate) async fn add_learner(
    raft: &Raft,
    id: NodeId,
    peer: Peer,
) -> Result<(), MembershipError> {
    is_new(raft, id, &peer)?;
    match timeout(CATCH_UP, raft.add_learner(id, peer, true)).await {
        Ok(result) => result.map(drop).map_err(error_of),
        Err(_) => Err(MembershipError::NotCaughtUp(id)),
    }
}

/// As [`add_learner`], but returns when the membership is committed.
pub(crate) async fn begin_learner(
    raft: &Raft,
    id: NodeId,
    peer: Peer,
) -> Result<(), MembershipError> {
    is_new(raft, id, &peer)?;
    if current(raft).peers.contains_key(&id) {
        return Ok(());
    }
    raft.add_learner(id, peer, false)
        .await
        .map(drop)
        .map_err(error_of)
}

fn is_new(raft: &Raft, id: NodeId, peer: &Peer) -> Result<(), MembershipError> {
    match current(raft).peers.get(&id) {
        Some(known) if known.node_uuid != peer.node_uuid => Err(MembershipError::Refused(format!(
            "node {id} is a member with another data directory; ids are never used again"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Answers a node that asks to be added.
pub(crate) async fn answer_join(
    raft: &Raft,
    id: NodeId,
    peer: Peer,
) -> Result<JoinResult, MembershipError> {
    let elsewhere = |leader: Option<NodeId>| {
        let peers = current(raft).peers;
        let peer = leader.and_then(|leader| peers.get(&leader).cloned());
        JoinResult::LeaderAddress(peer.unwrap_or_default().raft_address)
    };
    if !leads(raft) {
        return Ok(elsewhere(leader_of(raft)));
    }
    match begin_learner(raft, id, peer).await {
        Ok(()) => Ok(JoinResult::Added(true)),
        Err(MembershipError::NotLeader { leader }) => Ok(elsewhere(leader)),
        Err(MembershipError::Refused(message)) => Ok(JoinResult::Refused(message)),
        Err(
            error @ (MembershipError::InProgress
            | MembershipError::Unknown
            | MembershipError::NotCaughtUp(_)
            | MembershipError::Stopped),
        ) => Err(error),
    }
}

/// Makes a learner vote. One that is far behind would hold up every commit.
pub(crate) async fn promote(raft: &Raft, id: NodeId) -> Result<(), MembershipError> {
    let members = current(raft);
    if leads(raft) && !members.peers.contains_key(&id) {
        return Err(MembershipError::Refused(format!(
            "node {id} is not a member; start it with --join first"
        )));
    }
    if !members.voters.contains(&id) {
        let enough = behind(raft, id).is_none_or(|behind| behind <= LAG_MAX);
        if !enough || timeout(ROUND, catches_up(raft, id)).await.is_err() {
            let behind = behind(raft, id).unwrap_or_default();
            return Err(MembershipError::Refused(format!(
                "node {id} has not caught up: it lacks {behind} entries; try again later"
            )));
        }
    }
    change(raft, ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
}

/// Removes a voter or a learner for good.
pub(crate) async fn remove(raft: &Raft, id: NodeId) -> Result<(), MembershipError> {
    let members = current(raft);
    let ids = BTreeSet::from([id]);
    if !members.peers.contains_key(&id) {
        return Err(MembershipError::Refused(format!(
            "node {id} is not a member"
        )));
    }
    if members.voters == ids {
        return Err(MembershipError::Refused(format!(
            "node {id} is the only voter"
        )));
    }
    if members.voters.contains(&id) {
        change(raft, ChangeMembers::RemoveVoters(ids)).await
    } else {
        change(raft, ChangeMembers::RemoveNodes(ids)).await
    }
}

fn leads(raft: &Raft) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.state.is_leader()
}

fn leader_of(raft: &Raft) -> Option<NodeId> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.current_leader
}

/// How many entries a peer lacks; only a leader knows.
fn behind(raft: &Raft, id: NodeId) -> Option<u64> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let matched = metrics.replication.as_ref()?.get(&id)?;
    let matched = matched.as_ref().map_or(0, |id| id.index());
    Some(metrics.last_log_index.unwrap_or(0).saturating_sub(matched))
}

/// Waits until a learner has all that is in the log now; not at all where this node does not lead.
async fn catches_up(raft: &Raft, id: NodeId) {
    let mut metrics = raft.metrics();
    let goal = metrics.borrow_watched().last_log_index;
    let has_it = |metrics: &RaftMetrics<Types>| {
        let replication = metrics.replication.as_ref();
        replication.is_none_or(|peers| {
            let matched = peers.get(&id).and_then(Option::as_ref);
            matched.map(|matched| matched.index()) >= goal
        })
    };
    while !has_it(&metrics.borrow_watched()) {
        // Raft has ended: the change will say so.
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

async fn change(raft: &Raft, change: ChangeMembers<NodeId, Peer>) -> Result<(), MembershipError> {
    raft.change_membership(change, false)
        .await
        .map(drop)
        .map_err(error_of)
}

fn error_of(error: RaftError<Types, ClientWriteError<Types>>) -> MembershipError {
    match error {
        RaftError::Fatal(_) => MembershipError::Stopped,
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            MembershipError::NotLeader {
                leader: forward.leader_id,
            }
        }
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => MembershipError::Unknown,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        )) => MembershipError::InProgress,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            MembershipError::Refused(error.to_string())
        }
        RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => {
            MembershipError::Refused(error.to_string())
        }
    }
}
