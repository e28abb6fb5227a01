//! Our own encodings of what openraft keeps: entry payloads, the vote, memberships.

use crate::peer::{NodeId, Peer};
use crate::types::{Entry, LeaderId, LogId, Membership, Payload, Proposal, StoredMembership, Vote};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use steadfast_proto::internal::raft::v1 as proto;
use steadfast_storage::log::{LogEntry, Position};

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;
/// Version of the vote record and of the membership encoding.
const VERSION: u8 = 1;
/// Version, term, node id, committed.
const VOTE_BYTES: usize = 1 + 8 + 8 + 1;

pub(crate) fn position(log_id: &LogId) -> Position {
    let leader = log_id.committed_leader_id();
    Position {
        term: leader.term,
        leader: leader.node_id,
        index: log_id.index(),
    }
}

pub(crate) fn log_id(position: Position) -> LogId {
    LogId::new(
        LeaderId {
            term: position.term,
            node_id: position.leader,
        },
        position.index,
    )
}

/// Puts the kind byte before a mutation: the one copy on a proposal's way to disk and peers.
pub(crate) fn proposal(content: &[u8]) -> Proposal {
    let mut bytes = BytesMut::with_capacity(1 + content.len());
    bytes.put_u8(NORMAL);
    bytes.put_slice(content);
    Proposal(bytes.freeze())
}

pub(crate) fn payload_bytes(payload: &Payload) -> Bytes {
    match payload {
        Payload::Blank => Bytes::from_static(&[BLANK]),
        Payload::Normal(proposal) => proposal.0.clone(),
        Payload::Membership(membership) => {
            let message = membership_message(membership);
            let mut bytes = BytesMut::with_capacity(2 + message.encoded_len());
            bytes.put_u8(MEMBERSHIP);
            bytes.put_u8(VERSION);
            bytes.put_slice(&message.encode_to_vec());
            bytes.freeze()
        }
    }
}

pub(crate) fn payload(bytes: Bytes) -> io::Result<Payload> {
    match bytes.first() {
        Some(&BLANK) if bytes.len() == 1 => Ok(Payload::Blank),
        Some(&NORMAL) => Ok(Payload::Normal(Proposal(bytes))),
        Some(&MEMBERSHIP) if bytes.get(1) == Some(&VERSION) => {
            let message = proto::Membership::decode(bytes.slice(2..)).map_err(io::Error::other)?;
            Ok(Payload::Membership(membership(&message)?))
        }
        other => Err(io::Error::other(format!(
            "unknown kind of log entry: {other:?}"
        ))),
    }
}

pub(crate) fn to_log_entry(entry: &Entry) -> LogEntry {
    LogEntry {
        position: position(&entry.log_id),
        payload: payload_bytes(&entry.payload),
    }
}

pub(crate) fn from_log_entry(entry: LogEntry) -> io::Result<Entry> {
    Ok(Entry {
        log_id: log_id(entry.position),
        payload: payload(entry.payload)?,
    })
}

pub(crate) fn vote_bytes(vote: &Vote) -> Bytes {
    let mut bytes = BytesMut::with_capacity(VOTE_BYTES);
    bytes.put_u8(VERSION);
    bytes.put_u64_le(vote.leader_id.term);
    bytes.put_u64_le(vote.leader_id.node_id);
    bytes.put_u8(u8::from(vote.committed));
    bytes.freeze()
}

pub(crate) fn vote(bytes: &[u8]) -> io::Result<Vote> {
    let bytes: &[u8; VOTE_BYTES] = bytes
        .try_into()
        .map_err(|_| io::Error::other("a vote record of the wrong length"))?;
    let [version, rest @ .., committed] = bytes;
    if *version != VERSION || *committed > 1 {
        return Err(io::Error::other("a vote record of an unknown version"));
    }
    let (term, node_id) = rest.split_at(8);
    let number = |part: &[u8]| {
        part.try_into()
            .map(u64::from_le_bytes)
            .map_err(io::Error::other)
    };
    let leader_id = LeaderId {
        term: number(term)?,
        node_id: number(node_id)?,
    };
    Ok(Vote {
        leader_id,
        committed: *committed == 1,
    })
}

/// A membership with the place of its entry, as the state machine keeps it; empty for none.
pub(crate) fn stored_membership_bytes(stored: &StoredMembership) -> Bytes {
    if stored.log_id().is_none() && stored.membership().nodes().next().is_none() {
        return Bytes::new();
    }
    let message = proto::StoredMembership {
        log_id: stored.log_id().as_ref().map(crate::wire::log_id_to),
        membership: Some(membership_message(stored.membership())),
    };
    let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
    bytes.put_u8(VERSION);
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

pub(crate) fn stored_membership(bytes: &[u8]) -> io::Result<StoredMembership> {
    let Some((version, rest)) = bytes.split_first() else {
        return Ok(StoredMembership::default());
    };
    if *version != VERSION {
        return Err(io::Error::other(
            "a membership record of an unknown version",
        ));
    }
    let message = proto::StoredMembership::decode(rest).map_err(io::Error::other)?;
    let members = membership(&message.membership.unwrap_or_default())?;
    Ok(StoredMembership::new(
        message.log_id.map(|id| crate::wire::log_id_from(&id)),
        members,
    ))
}

fn membership_message(membership: &Membership) -> proto::Membership {
    let config = |voters: &BTreeSet<NodeId>| proto::membership::Config {
        voters: voters.iter().copied().collect(),
    };
    proto::Membership {
        configs: membership.get_joint_config().iter().map(config).collect(),
        members: membership
            .nodes()
            .map(|(id, peer)| proto::membership::Member {
                node_id: *id,
                peer: Some(peer.to_proto()),
            })
            .collect(),
    }
}

fn membership(message: &proto::Membership) -> io::Result<Membership> {
    let configs: Vec<BTreeSet<NodeId>> = message
        .configs
        .iter()
        .map(|config| config.voters.iter().copied().collect())
        .collect();
    let members: BTreeMap<NodeId, Peer> = message
        .members
        .iter()
        .map(|member| {
            (
                member.node_id,
                member
                    .peer
                    .as_ref()
                    .map(Peer::from_proto)
                    .unwrap_or_default(),
            )
        })
        .collect();
    if configs.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, members).map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back_as_they_went() {
        let members = BTreeMap::from([
            (1, Peer::default()),
            (
                7,
                Peer {
                    raft_address: "a:1".into(),
                    ..Peer::default()
                },
            ),
        ]);
        let membership =
            Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([7])], members).unwrap();
        for original in [
            Payload::Blank,
            Payload::Normal(proposal(b"mutation")),
            Payload::Membership(membership),
        ] {
            assert_eq!(payload(payload_bytes(&original)).unwrap(), original);
        }
        assert!(payload(Bytes::new()).is_err());
        assert!(payload(Bytes::from_static(&[9, 9])).is_err());
    }

    #[test]
    fn votes_come_back_as_they_went_and_garbage_is_refused() {
        let original = Vote {
            leader_id: LeaderId {
                term: 7,
                node_id: 3,
            },
            committed: true,
        };
        let bytes = vote_bytes(&original);
        assert_eq!(vote(&bytes).unwrap(), original);
        assert!(vote(&bytes[1..]).is_err());
        assert!(vote(&[9; VOTE_BYTES]).is_err());
    }
}
