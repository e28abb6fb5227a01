//! How a cluster begins: exactly once, by the lowest id, when all its members are there and new.

use crate::exchange::{self, peer_of};
use crate::handshake::Target;
use crate::membership::MembershipError;
use crate::node::RaftNode;
use crate::peer::{NodeId, uuid_from};
use crate::transport::{LinkError, RefusedReason};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use steadfast_proto::internal::raft::v1::join_result::Result as JoinResult;
use uuid::Uuid;

/// Between tries to reach the others.
const RETRY: Duration = Duration::from_millis(200);

/// How this node came to have a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bootstrapped {
    /// It had one when it started.
    Already,
    /// It has begun the cluster.
    Initialized,
    /// Another has begun the cluster, or added this node to it.
    Joined,
}

/// Why this node must not run: each needs a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The node is not in its own list.
    #[error("node {0} is not in its own list of initial members")]
    NotAMember(NodeId),
    /// Two nodes were started with different lists.
    #[error("node {0} was started with another list of initial members")]
    DifferentMembers(NodeId),
    /// The cluster knows this id with another data directory.
    #[error(
        "the cluster knows node {0} with another data directory; a node that lost its disk must \
         not return under its id: remove node {0} from the cluster, then start this one with a \
         new id and --join"
    )]
    IdentityLost(NodeId),
    /// The cluster does not take this node.
    #[error("cannot join: {0}")]
    NotTaken(String),
    /// A listed address belongs to somebody else.
    #[error("{0}")]
    WrongPeer(String),
    /// This node stops.
    #[error("raft has stopped")]
    Stopped,
}

/// Waits until this node has a log; begins the cluster if that is this node's duty. `members`
/// are the addresses of the initial members, this node among them; none for a node that waits
/// to be added.
pub(crate) async fn bootstrap(
    node: &RaftNode,
    members: &BTreeMap<NodeId, String>,
) -> Result<Bootstrapped, BootstrapError> {
    let me = node.id();
    if !members.is_empty() && !members.contains_key(&me) {
        return Err(BootstrapError::NotAMember(me));
    }
    node.exchanger().set_initial_members(members);
    if !pristine(node).await? {
        return Ok(Bootstrapped::Already);
    }
    let others: Vec<Target> = members
        .iter()
        .filter(|(id, _)| **id != me)
        .map(|(id, address)| Target {
            node_id: *id,
            address: address.clone(),
            node_uuid: Uuid::nil(),
        })
        .collect();
    loop {
        let answers = join_all(others.iter().map(|target| node.exchanger().with(target))).await;
        let mut new = BTreeMap::from([(me, node.peer().clone())]);
        for (target, answer) in others.iter().zip(answers) {
            if let Some(exchange) = judge(node, members, target.node_id, answer)?
                && exchange.pristine
            {
                new.insert(target.node_id, peer_of(&exchange));
            }
        }
        if !pristine(node).await? {
            return Ok(Bootstrapped::Joined);
        }
        let lowest = members.keys().next() == Some(&me);
        if lowest && new.len() == members.len() {
            match node.initialize(new).await {
                Ok(()) => return Ok(Bootstrapped::Initialized),
                Err(MembershipError::Stopped) => return Err(BootstrapError::Stopped),
                // A log came in between: look again.
                Err(error) => tracing::info!(%error, "the cluster has begun without this node"),
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Asks the member at `address`, or the leader that it names, to add this node as a learner, until
/// this node has a log. Adding needs no operator: a learner decides nothing. Its vote does.
pub(crate) async fn join(node: &RaftNode, address: &str) -> Result<Bootstrapped, BootstrapError> {
    if !pristine(node).await? {
        return Ok(Bootstrapped::Already);
    }
    let mut at = address.to_owned();
    let mut told = String::new();
    loop {
        let answer = node.exchanger().join(&at).await;
        let waits = match join_answer(node, answer)? {
            Asked::Added => None,
            Asked::Leader(leader) if !leader.is_empty() && leader != at => {
                at = leader;
                continue;
            }
            Asked::Leader(_) => Some("the cluster has no leader now".to_owned()),
            Asked::Again(why) => Some(why),
        };
        if let Some(why) = waits {
            if why != told {
                tracing::warn!(address = at, "cannot join yet, trying again: {why}");
                told = why;
            }
            at = address.to_owned();
        }
        if !pristine(node).await? {
            return Ok(Bootstrapped::Joined);
        }
        tokio::time::sleep(RETRY).await;
    }
}

enum Asked {
    Added,
    /// Empty when nobody leads.
    Leader(String),
    Again(String),
}

fn join_answer(
    node: &RaftNode,
    answer: Result<proto::JoinResult, LinkError>,
) -> Result<Asked, BootstrapError> {
    match answer {
        Ok(answer) => match answer.result {
            Some(JoinResult::Added(_)) => Ok(Asked::Added),
            Some(JoinResult::LeaderAddress(address)) => Ok(Asked::Leader(address)),
            Some(JoinResult::Refused(message)) => Err(BootstrapError::NotTaken(message)),
            None => Ok(Asked::Again("an empty answer".to_owned())),
        },
        Err(LinkError::Refused {
            reason: RefusedReason::Uuid,
            ..
        }) => Err(BootstrapError::IdentityLost(node.id())),
        Err(LinkError::Refused { message, .. }) => Err(BootstrapError::NotTaken(message)),
        Err(
            error @ (LinkError::Unreachable(_)
            | LinkError::Broken
            | LinkError::Timeout(_)
            | LinkError::Failed(_)
            | LinkError::Protocol(_)
            | LinkError::Busy),
        ) => Ok(Asked::Again(error.to_string())),
    }
}

async fn pristine(node: &RaftNode) -> Result<bool, BootstrapError> {
    node.is_pristine()
        .await
        .map_err(|_| BootstrapError::Stopped)
}

/// What an answer means for this node, which is pristine; none when the peer is not there.
fn judge(
    node: &RaftNode,
    members: &BTreeMap<NodeId, String>,
    peer: NodeId,
    answer: Result<proto::Exchange, LinkError>,
) -> Result<Option<proto::Exchange>, BootstrapError> {
    let exchange = match answer {
        Ok(exchange) => exchange,
        Err(LinkError::Refused {
            reason: RefusedReason::Uuid,
            ..
        }) => {
            return Err(BootstrapError::IdentityLost(node.id()));
        }
        Err(LinkError::Refused { message, .. }) => return Err(BootstrapError::WrongPeer(message)),
        Err(
            LinkError::Unreachable(_)
            | LinkError::Broken
            | LinkError::Timeout(_)
            | LinkError::Failed(_)
            | LinkError::Protocol(_)
            | LinkError::Busy,
        ) => return Ok(None),
    };
    let known = uuid_from(&exchange.known_uuid);
    if !known.is_nil() && known != node.peer().node_uuid {
        return Err(BootstrapError::IdentityLost(node.id()));
    }
    let theirs = exchange.initial_members;
    if exchange.pristine && theirs != 0 && theirs != exchange::checksum(members) {
        return Err(BootstrapError::DifferentMembers(peer));
    }
    Ok(Some(exchange))
}
