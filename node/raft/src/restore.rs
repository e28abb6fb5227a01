//! What the log of a node says that begins with a restored state.

use crate::encoding;
use crate::peer::{NodeId, Peer};
use crate::types::{LeaderId, Membership, StoredMembership, Vote};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use steadfast_storage::log::Position;

/// Goes into the log and beside the state of each founding member of a restored cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredLog {
    /// To be saved as the log's vote: no leader of the new cluster has a term before the state's.
    pub vote: Bytes,
    /// To be kept with the state's mark: the founding members, all of them voters.
    pub membership: Bytes,
}

/// For a state at `position` and a cluster of `members`, whose data directories exist already:
/// their uuids are in it.
///
/// # Errors
/// When there are no members.
pub fn restored_log(
    position: Position,
    members: BTreeMap<NodeId, Peer>,
) -> io::Result<RestoredLog> {
    let voters: BTreeSet<NodeId> = members.keys().copied().collect();
    if voters.is_empty() {
        return Err(io::Error::other("a cluster has members"));
    }
    let membership = Membership::new(vec![voters], members)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let stored = StoredMembership::new(Some(encoding::log_id(position)), membership);
    let vote = Vote {
        leader_id: LeaderId {
            term: position.term,
            node_id: position.leader,
        },
        committed: false,
    };
    Ok(RestoredLog {
        vote: encoding::vote_bytes(&vote),
        membership: encoding::stored_membership_bytes(&stored),
    })
}
