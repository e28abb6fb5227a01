//! The handle to Raft that node holds.

use crate::bootstrap::{self, BootstrapError, Bootstrapped};
use crate::config::RaftOptions;
use crate::exchange::{Exchanger, StatusExchange, peer_of};
use crate::handshake::{Identity, Target};
use crate::inbound::{Inbound, Served};
use crate::leadership::{self, Leadership};
use crate::link::Links;
use crate::log_store::LogStore;
use crate::machine::StateMachine;
use crate::membership::{self, Members, MembershipError};
use crate::network::Network;
use crate::peer::{NodeId, Peer};
use crate::propose::{self, Proposed};
use crate::read_index::{ReadError, ReadIndex};
use crate::state_machine::Machine;
use crate::transport::{LinkError, Transport};
use crate::types::{Raft, Runtime};
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_storage::log::Log;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use uuid::Uuid;

/// How long `shutdown` waits for the apply thread to finish its batch.
const APPLY_END: Duration = Duration::from_secs(10);
/// Inbound lanes draw their seeds apart from openraft's.
const INBOUND_SEEDS: u64 = 0x9e37_79b9_7f4a_7c15;

/// Raft did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error("raft settings: {0}")]
    Settings(String),
    /// No apply thread.
    #[error("the apply thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Log and state do not fit together, or cannot be read.
    #[error("log or state: {0}")]
    Storage(String),
    /// The runtime is shutting down.
    #[error("the runtime has stopped")]
    Stopped,
}

/// How far this node is; indexes of entries, none before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The newest entry in the log.
    pub last_log: Option<u64>,
    /// Known to be committed.
    pub committed: Option<u64>,
    /// Applied here.
    pub applied: Option<u64>,
    /// The newest durable snapshot Raft knows.
    pub snapshot: Option<u64>,
    /// The newest entry no longer in the log.
    pub purged: Option<u64>,
}

/// How far a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProgress {
    /// Its id.
    pub id: NodeId,
    /// Its addresses.
    pub peer: Peer,
    /// Whether it votes.
    pub voter: bool,
    /// The newest entry it is known to have; only a leader knows.
    pub matched: Option<u64>,
    /// How long ago it was heard.
    pub last_contact: Option<Duration>,
}

/// Raft, running. Clones are the same node.
#[derive(Debug, Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: RaftOptions,
    raft: Raft,
    machine: Machine,
    runtime: Handle,
    links: Links,
    network: Network,
    /// Peers that are being sent a snapshot for a rebuild.
    rebuilding: Mutex<BTreeSet<NodeId>>,
    exchanger: Exchanger,
    inbound: Inbound,
    reads: ReadIndex,
    leadership: watch::Receiver<Leadership>,
    stopped: watch::Receiver<Option<String>>,
    stopping: watch::Sender<bool>,
    /// One membership change at a time.
    changing: Arc<tokio::sync::Mutex<()>>,
    tasks: Vec<AbortHandle>,
    machine_ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl RaftNode {
    /// Starts Raft on `runtime`, which should be its own. The log's writer must run already.
    /// Committed entries that the state machine has not applied are applied before this returns.
    pub async fn start(
        runtime: &Handle,
        options: RaftOptions,
        log: Log,
        machine: impl StateMachine,
        transport: Arc<dyn Transport>,
        status: Arc<dyn StatusExchange>,
    ) -> Result<RaftNode, StartError> {
        let seed = options.seed;
        let start = start(runtime.clone(), options, log, machine, transport, status);
        runtime
            .spawn(Runtime::scope(seed, start))
            .await
            .map_err(|_| StartError::Stopped)?
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.inner.options.node_id
    }

    /// This node's addresses and identity.
    pub fn peer(&self) -> &Peer {
        &self.inner.options.peer
    }

    /// Where transports deliver the lanes of peers.
    pub fn inbound(&self) -> Inbound {
        self.inner.inbound.clone()
    }

    pub(crate) fn exchanger(&self) -> &Exchanger {
        &self.inner.exchanger
    }

    /// Enqueues a proposal at once; the order of calls is the order in the log. The future (which
    /// may be dropped) tells the entry's index once it is applied here.
    pub fn propose(&self, content: &[u8]) -> Proposed {
        propose::propose(&self.inner.raft, content)
    }

    /// The index that must be applied before a linearizable read that begins now.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        self.inner.reads.get().await
    }

    /// Who leads, now and in future.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// How far this node is.
    pub fn progress(&self) -> Progress {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<crate::types::LogId>| id.as_ref().map(|id| id.index());
        Progress {
            last_log: metrics.last_log_index,
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
        }
    }

    /// How far every other member is.
    pub fn peers(&self) -> Vec<PeerProgress> {
        let members = self.members();
        // Before the metrics are borrowed: a writer of theirs that waits for us makes all readers
        // wait, also one who has the exchanger's lock.
        let last_contacts = self.inner.exchanger.last_contacts();
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let acked = |id: &NodeId| -> Option<Duration> {
            Some(metrics.heartbeat.as_ref()?.get(id)?.as_ref()?.elapsed())
        };
        let mut peers = Vec::new();
        for (id, peer) in members.peers {
            if id == self.id() {
                continue;
            }
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&id));
            let heard = [acked(&id), last_contacts.get(&id).copied()];
            peers.push(PeerProgress {
                id,
                peer,
                voter: members.voters.contains(&id),
                matched: matched.and_then(|id| id.as_ref()).map(|id| id.index()),
                last_contact: heard.into_iter().flatten().min(),
            });
        }
        peers
    }

    /// Who belongs to the cluster.
    pub fn members(&self) -> Members {
        membership::current(&self.inner.raft)
    }

    /// Whether this node has never been part of a cluster.
    pub async fn is_pristine(&self) -> Result<bool, MembershipError> {
        let initialized = self.inner.raft.is_initialized().await;
        initialized
            .map(|initialized| !initialized)
            .map_err(|_| MembershipError::Stopped)
    }

    /// Waits until this node has a log, and begins the cluster if that is its duty (design D3).
    /// `members`: id and raft address of each initial member; empty to wait for being added.
    pub async fn bootstrap(
        &self,
        members: &BTreeMap<NodeId, String>,
    ) -> Result<Bootstrapped, BootstrapError> {
        let (node, members) = (self.clone(), members.clone());
        let task = async move { bootstrap::bootstrap(&node, &members).await };
        self.inner
            .runtime
            .spawn(task)
            .await
            .unwrap_or(Err(BootstrapError::Stopped))
    }

    /// As [`RaftNode::bootstrap`] for a node that joins: asks the member at `address` (or the
    /// leader that it names) to add this node as a learner, until it has a log.
    pub async fn join(&self, address: &str) -> Result<Bootstrapped, BootstrapError> {
        let (node, address) = (self.clone(), address.to_owned());
        let task = async move { bootstrap::join(&node, &address).await };
        self.inner
            .runtime
            .spawn(task)
            .await
            .unwrap_or(Err(BootstrapError::Stopped))
    }

    /// Begins a cluster of `members`; only on a pristine node.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Peer>) -> Result<(), MembershipError> {
        self.change(|raft| async move { membership::initialize(&raft, members).await })
            .await
    }

    /// Adds a node that does not vote and waits until it has nearly everything.
    pub async fn add_learner(&self, id: NodeId, peer: Peer) -> Result<(), MembershipError> {
        self.change(move |raft| async move { membership::add_learner(&raft, id, peer).await })
            .await
    }

    /// Adds the new node that listens at `address` as a learner; it tells the rest itself. Returns
    /// when that is committed; the node catches up later.
    pub async fn add_learner_at(&self, id: NodeId, address: &str) -> Result<(), MembershipError> {
        let target = Target {
            node_id: id,
            address: address.to_owned(),
            node_uuid: Uuid::nil(),
        };
        let exchanger = self.exchanger().clone();
        let asked = self
            .inner
            .runtime
            .spawn(async move { exchanger.with(&target).await });
        let asked = asked.await.map_err(|_| MembershipError::Stopped)?;
        let exchange = asked.map_err(|error| {
            MembershipError::Refused(format!("node {id} at {address}: {error}"))
        })?;
        if !exchange.pristine && !self.members().peers.contains_key(&id) {
            return Err(MembershipError::Refused(format!(
                "node {id} at {address} has data already; a node that joins begins with an empty \
                 --data-dir"
            )));
        }
        let peer = peer_of(&exchange);
        self.change(move |raft| async move { membership::begin_learner(&raft, id, peer).await })
            .await
    }

    /// Makes a learner that has caught up a voter.
    pub async fn promote(&self, id: NodeId) -> Result<(), MembershipError> {
        self.change(move |raft| async move { membership::promote(&raft, id).await })
            .await
    }

    /// Removes a member for good; its id is not given again.
    pub async fn remove(&self, id: NodeId) -> Result<(), MembershipError> {
        self.change(move |raft| async move { membership::remove(&raft, id).await })
            .await
    }

    /// Runs a change to its end even if the caller leaves: half of one is worse than either.
    async fn change<F>(
        &self,
        change: impl FnOnce(Raft) -> F + Send + 'static,
    ) -> Result<(), MembershipError>
    where
        F: Future<Output = Result<(), MembershipError>> + Send + 'static,
    {
        let Ok(guard) = self.inner.changing.clone().try_lock_owned() else {
            return Err(MembershipError::InProgress);
        };
        let raft = self.inner.raft.clone();
        let task: JoinHandle<_> = self.inner.runtime.spawn(async move {
            let result = change(raft).await;
            drop(guard);
            result
        });
        task.await.unwrap_or(Err(MembershipError::Stopped))
    }

    /// Hands the leadership to `to`, or to the voter that is furthest; true when this node no
    /// longer leads within `within`.
    pub async fn transfer_leader(&self, to: Option<NodeId>, within: Duration) -> bool {
        let mut leadership = self.leadership();
        if !leadership.borrow().is_leader {
            return true;
        }
        let furthest = || {
            self.peers()
                .into_iter()
                .filter(|p| p.voter)
                .max_by_key(|p| p.matched)
        };
        let Some(to) = to.or_else(|| furthest().map(|peer| peer.id)) else {
            return false;
        };
        if self.inner.raft.trigger().transfer_leader(to).await.is_err() {
            return true;
        }
        timeout(within, leadership.wait_for(|now| !now.is_leader))
            .await
            .is_ok()
    }

    /// To be called when a snapshot up to `index` is durable: lets the log be purged up to there,
    /// but for the entries kept for followers that were away.
    pub async fn snapshot_durable(&self, index: u64) -> Result<(), MembershipError> {
        if self.progress().snapshot.is_some_and(|known| known >= index) {
            return Ok(());
        }
        self.inner
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|_| MembershipError::Stopped)
    }

    /// Sends this node's newest snapshot to a peer whose state is wrong and which asks for it, in
    /// the background; not twice at once.
    pub fn send_rebuild(&self, to: NodeId) {
        let Some(peer) = self.members().peers.get(&to).cloned() else {
            return;
        };
        if !self.rebuilding().insert(to) {
            return;
        }
        let node = self.clone();
        let target = Target {
            node_id: to,
            address: peer.raft_address,
            node_uuid: peer.node_uuid,
        };
        self.inner.runtime.spawn(async move {
            match node.rebuild(&target).await {
                Ok(()) => tracing::warn!(peer = to, "a peer's state was rebuilt from this node's"),
                Err(error) => tracing::info!(peer = to, %error, "no rebuild; it asks again"),
            }
            node.rebuilding().remove(&to);
        });
    }

    async fn rebuild(&self, target: &Target) -> Result<(), LinkError> {
        let failed = |error: std::io::Error| LinkError::Failed(error.to_string());
        let snapshot = self.inner.machine.newest_snapshot().await.map_err(failed)?;
        let Some(snapshot) = snapshot else {
            return Err(LinkError::Failed("no snapshot here".to_owned()));
        };
        let vote = self.inner.raft.metrics().borrow_watched().vote;
        self.inner.network.rebuild(target, vote, snapshot).await
    }

    fn rebuilding(&self) -> std::sync::MutexGuard<'_, BTreeSet<NodeId>> {
        let rebuilding = self.inner.rebuilding.lock();
        rebuilding.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node stands for election when it misses a leader; at the start it does. What a
    /// leader hands over it takes either way.
    pub fn stand(&self, stands: bool) {
        self.inner.raft.runtime_config().elect(stands);
    }

    /// Starts an election here. For tests and operators.
    pub async fn campaign(&self) -> Result<(), MembershipError> {
        self.inner
            .raft
            .trigger()
            .elect(true)
            .await
            .map_err(|_| MembershipError::Stopped)
    }

    /// Waits until Raft has stopped, by [`RaftNode::shutdown`] or by a fault; tells why. After a
    /// fault the process must end.
    pub async fn stopped(&self) -> String {
        let mut stopped = self.inner.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "raft stopped".to_owned(),
        }
    }

    /// Stops Raft, closes all lanes, and waits for the state machine to be dropped.
    pub async fn shutdown(&self) {
        self.inner.stopping.send_replace(true);
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        self.inner.machine.stop().await;
        self.inner.links.close();
        for task in &self.inner.tasks {
            task.abort();
        }
        let ended = {
            self.inner
                .machine_ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        };
        if let Some(ended) = ended
            && timeout(APPLY_END, ended).await.is_err()
        {
            tracing::warn!("the apply thread is still busy");
        }
    }
}

async fn start(
    runtime: Handle,
    options: RaftOptions,
    log: Log,
    machine: impl StateMachine,
    transport: Arc<dyn Transport>,
    status: Arc<dyn StatusExchange>,
) -> Result<RaftNode, StartError> {
    assert!(!options.peer.node_uuid.is_nil(), "a node has an identity");
    let config = options
        .config()
        .validate()
        .map_err(|e| StartError::Settings(e.to_string()))?;
    let (machine, machine_ended) = Machine::start(options.apply, machine)?;
    let links = Links::new(identity_of(&options, &status), transport);
    let network = Network {
        links: links.clone(),
        mode: options.apply,
        snapshot_rate: options.snapshot_rate,
    };
    let store = LogStore::new(log);
    let log = store.clone();
    let raft = Raft::new(
        options.node_id,
        Arc::new(config),
        network.clone(),
        store,
        machine.clone(),
    )
    .await
    .map_err(|error| StartError::Storage(error.to_string()))?;

    let (stopping, is_stopping) = watch::channel(false);
    let (leadership, leadership_now) = watch::channel(Leadership::default());
    let (stopped, stopped_now) = watch::channel(None);
    let exchanger = Exchanger::new(
        links.clone(),
        raft.clone(),
        options.peer.clone(),
        status,
        stopped.clone(),
    );
    let changing: Arc<tokio::sync::Mutex<()>> = Arc::default();
    let served = Served {
        identity: links.identity.clone(),
        raft: raft.clone(),
        machine: machine.clone(),
        log,
        exchanger: exchanger.clone(),
        changing: changing.clone(),
    };
    let inbound = Inbound::new(served, options.seed ^ INBOUND_SEEDS, is_stopping);
    let tasks = vec![
        tokio::spawn(leadership::watch(raft.clone(), leadership, stopped)).abort_handle(),
        tokio::spawn(exchanger.clone().run()).abort_handle(),
    ];
    let inner = Inner {
        reads: ReadIndex::start(raft.clone()),
        options,
        raft,
        machine,
        runtime,
        links,
        network,
        rebuilding: Mutex::default(),
        exchanger,
        inbound,
        leadership: leadership_now,
        stopped: stopped_now,
        stopping,
        changing,
        tasks,
        machine_ended: Mutex::new(Some(machine_ended)),
    };
    Ok(RaftNode {
        inner: Arc::new(inner),
    })
}

fn identity_of(options: &RaftOptions, status: &Arc<dyn StatusExchange>) -> Identity {
    Identity {
        cluster_name: options.cluster_name.clone(),
        status: status.clone(),
        group: options.group,
        node_id: options.node_id,
        node_uuid: options.peer.node_uuid,
    }
}
