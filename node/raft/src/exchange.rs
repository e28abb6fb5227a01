//! What nodes tell each other once a second: who they are, and the node's own status.

use crate::handshake::{Target, WHOEVER};
use crate::link::Links;
use crate::peer::{NodeId, Peer, uuid_bytes, uuid_from};
use crate::transport::LinkError;
use crate::types::Raft;
use bytes::Bytes;
use futures::future::join_all;
use openraft::async_runtime::WatchReceiver;
use proto::answer::Answer;
use proto::call::Call;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

const INTERVAL: Duration = Duration::from_secs(1);
/// An exchange that takes longer than its interval is worth nothing.
const DEADLINE: Duration = Duration::from_millis(900);
/// A status is a few numbers; more would disturb heartbeats on the same lane.
const MAX_STATUS_BYTES: usize = 64 << 10;
/// A join is committed before it is answered.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// The node's side of the exchange. Both calls must be quick: they run on Raft's runtime.
pub trait StatusExchange: Send + Sync + Debug + 'static {
    /// What peers are told: wall clock, digests, engine versions, disk. At most 64 KiB.
    fn status(&self) -> Bytes;
    /// What a peer told. At most once a second and direction per peer.
    fn received(&self, from: NodeId, status: Bytes);
    /// The id that the cluster's first leader made; empty while this node has no state.
    fn cluster_id(&self) -> String {
        String::new()
    }
}

/// Tells nothing, hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStatus;

impl StatusExchange for NoStatus {
    fn status(&self) -> Bytes {
        Bytes::new()
    }
    fn received(&self, _from: NodeId, _status: Bytes) {}
}

/// Talks to all known peers.
#[derive(Debug, Clone)]
pub(crate) struct Exchanger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    links: Links,
    raft: Raft,
    peer: Peer,
    status: Arc<dyn StatusExchange>,
    state: Mutex<State>,
    /// Told when the cluster goes on without this node.
    stopped: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    initial_members: BTreeMap<NodeId, String>,
    heard: BTreeMap<NodeId, Instant>,
    /// This node was seen in the membership since it started.
    was_member: bool,
}

impl Exchanger {
    pub(crate) fn new(
        links: Links,
        raft: Raft,
        peer: Peer,
        status: Arc<dyn StatusExchange>,
        stopped: watch::Sender<Option<String>>,
    ) -> Exchanger {
        let state = Mutex::default();
        Exchanger {
            shared: Arc::new(Shared {
                links,
                raft,
                peer,
                status,
                state,
                stopped,
            }),
        }
    }

    /// Also talk to these, before there is a membership.
    pub(crate) fn set_initial_members(&self, members: &BTreeMap<NodeId, String>) {
        self.state().initial_members = members.clone();
    }

    /// How long ago each peer was heard here. Not to be called while Raft's metrics are borrowed.
    pub(crate) fn last_contacts(&self) -> BTreeMap<NodeId, Duration> {
        let state = self.state();
        let heard = state.heard.iter();
        heard.map(|(id, at)| (*id, at.elapsed())).collect()
    }

    /// Asks one peer, and tells it.
    pub(crate) async fn with(&self, target: &Target) -> Result<proto::Exchange, LinkError> {
        let message = self.message(target.node_id).await?;
        match self
            .shared
            .links
            .call(target, Call::Exchange(message), DEADLINE)
            .await?
        {
            Answer::Exchange(answer) => {
                self.take(target.node_id, &answer);
                self.still_member(Some(&answer));
                Ok(answer)
            }
            Answer::Heartbeat(_)
            | Answer::Vote(_)
            | Answer::TransferLeader(_)
            | Answer::Join(_)
            | Answer::Failed(_) => Err(LinkError::Protocol("no exchange".to_owned())),
        }
    }

    /// Asks whoever listens at `address` to add this node.
    pub(crate) async fn join(&self, address: &str) -> Result<proto::JoinResult, LinkError> {
        let target = Target {
            node_id: WHOEVER,
            address: address.to_owned(),
            node_uuid: Uuid::nil(),
        };
        let join = proto::Join {
            peer: Some(self.shared.peer.to_proto()),
        };
        match self
            .shared
            .links
            .call(&target, Call::Join(join), JOIN_DEADLINE)
            .await?
        {
            Answer::Join(result) => Ok(result),
            Answer::Heartbeat(_)
            | Answer::Vote(_)
            | Answer::TransferLeader(_)
            | Answer::Exchange(_)
            | Answer::Failed(_) => Err(LinkError::Protocol("no answer to a join".to_owned())),
        }
    }

    /// Hears one peer, and answers.
    pub(crate) async fn answer(
        &self,
        from: NodeId,
        exchange: &proto::Exchange,
    ) -> Result<proto::Exchange, LinkError> {
        self.take(from, exchange);
        self.message(from).await
    }

    /// Talks to everybody for ever.
    pub(crate) async fn run(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.still_member(None);
            let targets = self.targets();
            let all = join_all(targets.iter().map(|target| self.with(target))).await;
            for (target, result) in targets.iter().zip(all) {
                if let Err(error) = result {
                    tracing::debug!(peer = target.node_id, %error, "no exchange");
                }
            }
        }
    }

    fn targets(&self) -> Vec<Target> {
        let me = self.shared.links.identity.node_id;
        let mut targets = BTreeMap::new();
        for (node_id, address) in &self.state().initial_members {
            let target = Target {
                node_id: *node_id,
                address: address.clone(),
                node_uuid: Uuid::nil(),
            };
            targets.insert(*node_id, target);
        }
        for (node_id, peer) in members(&self.shared.raft) {
            let (address, node_uuid) = (peer.raft_address, peer.node_uuid);
            targets.insert(
                node_id,
                Target {
                    node_id,
                    address,
                    node_uuid,
                },
            );
        }
        targets.remove(&me);
        targets.into_values().collect()
    }

    async fn message(&self, to: NodeId) -> Result<proto::Exchange, LinkError> {
        let raft = &self.shared.raft;
        let initialized = raft.is_initialized().await;
        let initialized = initialized.map_err(|error| LinkError::Failed(error.to_string()))?;
        let known = members(raft)
            .get(&to)
            .map_or(Uuid::nil(), |peer| peer.node_uuid);
        let status = self.shared.status.status();
        assert!(
            status.len() <= MAX_STATUS_BYTES,
            "a status of {} bytes",
            status.len()
        );
        // In a statement of its own: what follows waits for Raft's metrics, and whoever has them may
        // wait for this lock.
        let initial_members = checksum(&self.state().initial_members);
        Ok(proto::Exchange {
            node_id: self.shared.links.identity.node_id,
            node_uuid: uuid_bytes(self.shared.links.identity.node_uuid),
            pristine: !initialized,
            initial_members,
            known_uuid: uuid_bytes(known),
            peer: Some(self.shared.peer.to_proto()),
            status,
            membership_index: OwnMembership::of(raft, to).committed_index,
            leads: leads(raft),
        })
    }

    /// Ends this node when the cluster has removed it. It may never receive the entry that says
    /// so: a leader stops sending once the entry is committed. So what peers answer counts too.
    fn still_member(&self, answer: Option<&proto::Exchange>) {
        let me = self.shared.links.identity.node_id;
        let own = OwnMembership::of(&self.shared.raft, me);
        let removed = {
            let mut state = self.state();
            state.was_member |= own.member;
            let founder = state.initial_members.contains_key(&me);
            own.removed(state.was_member || founder, answer)
        };
        if removed {
            let reason = format!(
                "node {me} is no member of the cluster any more: it was removed; its data \
                 directory is of no use, and a node in its place needs an empty one, a new \
                 --node-id and --join"
            );
            self.shared.stopped.send_if_modified(|stopped| {
                let first = stopped.is_none();
                stopped.get_or_insert(reason);
                first
            });
        }
    }

    fn take(&self, from: NodeId, exchange: &proto::Exchange) {
        self.state().heard.insert(from, Instant::now());
        if exchange.status.len() <= MAX_STATUS_BYTES {
            self.shared.status.received(from, exchange.status.clone());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this node's log says of its own membership.
struct OwnMembership {
    /// The membership in effect here names this node.
    member: bool,
    /// Its index in the log; 0 for a node without a log.
    index: u64,
    /// As `index`, but 0 while it is not committed.
    committed_index: u64,
}

impl OwnMembership {
    fn of(raft: &Raft, me: NodeId) -> OwnMembership {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        let index = stored.log_id().as_ref().map_or(0, |id| id.index());
        let committed = metrics.local_committed.as_ref().map_or(0, |id| id.index());
        OwnMembership {
            member: stored.get_node(&me).is_some(),
            index,
            committed_index: if index <= committed { index } else { 0 },
        }
    }

    /// `known`: this node was a member once. `answer`: what a peer says.
    fn removed(&self, known: bool, answer: Option<&proto::Exchange>) -> bool {
        if self.index == 0 {
            return false;
        }
        let told = answer.is_some_and(|answer| {
            let unknown = !answer.pristine && answer.known_uuid.is_empty();
            let later = answer.membership_index > self.index;
            // A node that was just added may read old memberships first; only who leads knows.
            let leads = answer.leads && answer.membership_index >= self.index;
            unknown && ((known && later) || (!self.member && leads))
        });
        told || (known && !self.member && self.committed_index > 0)
    }
}

fn leads(raft: &Raft) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.state.is_leader()
}

/// All members of the membership in effect here, learners too.
pub(crate) fn members(raft: &Raft) -> BTreeMap<NodeId, Peer> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics
        .membership_config
        .nodes()
        .map(|(id, peer)| (*id, peer.clone()))
        .collect()
}

/// The uuid under which membership knows a node.
pub(crate) fn known_uuid(raft: &Raft, node: NodeId) -> Option<Uuid> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics
        .membership_config
        .get_node(&node)
        .map(|peer| peer.node_uuid)
}

/// The uuid of a node that answered.
pub(crate) fn peer_of(exchange: &proto::Exchange) -> Peer {
    let mut peer = exchange
        .peer
        .as_ref()
        .map(Peer::from_proto)
        .unwrap_or_default();
    peer.node_uuid = uuid_from(&exchange.node_uuid);
    peer
}

/// Same list, same number; 0 for none. FNV-1a: it must be equal on every machine, nothing more.
pub(crate) fn checksum(members: &BTreeMap<NodeId, String>) -> u64 {
    if members.is_empty() {
        return 0;
    }
    let text: String = members
        .iter()
        .map(|(id, address)| format!("{id}={address},"))
        .collect();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
