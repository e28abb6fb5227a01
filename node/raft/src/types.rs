//! The types openraft is instantiated with.

use crate::peer::{NodeId, Peer};
use bytes::Bytes;
use openraft::impls::leader_id_adv;
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, RaftTypeConfig};
use std::fmt;
use tokio::sync::oneshot;

/// openraft over tokio, with random numbers that follow from the seed of the enclosing scope.
pub(crate) type Runtime =
    openraft_rt::deterministic_rng::DeterministicRng<openraft_rt_tokio::TokioRuntime>;

/// openraft's type parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = ();
    type NodeId = NodeId;
    type Node = Peer;
    type Term = u64;
    type LeaderId = leader_id_adv::LeaderId<u64, NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Proposal, NodeId, Peer>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = OneAnswer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, NodeId>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, NodeId, Peer>;
pub(crate) type Membership = openraft::Membership<NodeId, Peer>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, NodeId, Peer>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, NodeId, Peer>;
pub(crate) type Snapshot =
    openraft::Snapshot<LeaderId, NodeId, Peer, crate::state_machine::SnapshotData>;
pub(crate) type Raft = openraft::Raft<Types, crate::state_machine::Machine>;

/// One proposal as it lies in the log: the kind byte, then the mutation. Cloning is a counter.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Hands openraft's verdict to whoever still waits; most callers were answered by the node's own
/// apply before, so that a closed receiver is normal (openraft's own responder would warn).
#[derive(Debug)]
pub struct OneAnswer<T>(pub(crate) oneshot::Sender<T>);

impl<T: OptionalSend + 'static> Responder<Types, T> for OneAnswer<T> {
    fn on_complete(self, result: T) {
        drop(self.0.send(result));
    }
}
