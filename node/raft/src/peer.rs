//! Who a member is.

use bytes::Bytes;
use steadfast_proto::internal::raft::v1 as proto;
use uuid::Uuid;

/// A node's number, given once and never again (a node that lost its disk gets a new one).
pub type NodeId = u64;

/// Where a member listens and which data directory it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// `HOST:PORT` of the peer port.
    pub raft_address: String,
    /// `HOST:PORT` that clients use.
    pub grpc_address: String,
    /// `HOST:PORT` of health and metrics.
    pub http_address: String,
    /// Identity of the data directory, random at its creation; nil when not known yet.
    pub node_uuid: Uuid,
}

impl Peer {
    pub(crate) fn to_proto(&self) -> proto::Peer {
        proto::Peer {
            raft_address: self.raft_address.clone(),
            grpc_address: self.grpc_address.clone(),
            http_address: self.http_address.clone(),
            node_uuid: uuid_bytes(self.node_uuid),
        }
    }

    pub(crate) fn from_proto(peer: &proto::Peer) -> Peer {
        Peer {
            raft_address: peer.raft_address.clone(),
            grpc_address: peer.grpc_address.clone(),
            http_address: peer.http_address.clone(),
            node_uuid: uuid_from(&peer.node_uuid),
        }
    }
}

/// Sixteen bytes, or none for the nil uuid.
pub(crate) fn uuid_bytes(uuid: Uuid) -> Bytes {
    if uuid.is_nil() {
        Bytes::new()
    } else {
        Bytes::copy_from_slice(uuid.as_bytes())
    }
}

/// The nil uuid for anything that is not sixteen bytes.
pub(crate) fn uuid_from(bytes: &[u8]) -> Uuid {
    Uuid::from_slice(bytes).unwrap_or(Uuid::nil())
}
