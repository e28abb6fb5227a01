//! The shard: one Raft group and its state, as the rest of the node sees it.
//!
//! ```text
//! propose --> propose::run (stamps, batches) --> raft --> apply::Machine (engine, store)
//!                                                           --> replies, effect::release
//! read    --> raft's read index --> applied --> View
//! poll    --> matching <-- effects; lead::run takes office and leaves it
//! ```

mod admission;
mod apply;
mod claim;
mod delivery;
mod effect;
mod exchange;
mod item;
mod lead;
mod mark;
mod metrics;
mod pending;
mod poll;
mod propose;
mod read;
mod record;
mod reserve;
mod soundness;
mod stand;
mod versions;
mod watchers;

pub use apply::Machine;
pub use delivery::Delivery;
pub use exchange::Exchange;
pub(crate) use item::{LogItem, decode as decode_item};
pub use poll::{Poll, Polled};
pub(crate) use record::stored;
pub use record::{StateRecord, View};
pub use steadfast_raft::Leadership;
pub use versions::RaiseError;

use crate::clock::{Clock, ClusterTime};
use crate::entropy::Entropy;
use crate::matching::Matching;
use crate::outbox::Outbox;
use crate::queries::Queries;
use crate::sizes::Sizes;
use crate::telemetry::Telemetry;
use crate::timers::Alarm;
use crate::updates::Updates;
use admission::Admission;
use delivery::Deliveries;
use pending::Pending;
use propose::Queued;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use steadfast_engine::id::{PollId, RunRef};
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::{Mutation, Refusal, Reply};
use steadfast_planted::{Bug, planted};
use steadfast_raft::RaftNode;
use steadfast_storage::state::StateStore;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watchers::RunWatchers;

/// How long a call waits for a leader (design D3).
const LEADER_WAIT: Duration = Duration::from_secs(2);

/// Why a call cannot be served here and now, or what became of it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There was no leader for two seconds.
    #[error("no leader")]
    NoLeader,
    /// Another node leads. Nothing was done.
    #[error("not the leader")]
    NotLeader,
    /// It may have been done, now or later, or never.
    #[error("the outcome is unknown")]
    Unknown,
    /// Too much is on its way already. Nothing was done.
    #[error("too many requests are on their way")]
    Overloaded,
    /// The disk is nearly full: work that fills it is refused.
    #[error("the disk is nearly full")]
    DiskLow,
    /// The nodes hold different states and none has a majority (design D4). Nothing was done.
    #[error("the nodes' states differ and none has a majority: writes are refused")]
    StatesDiffer,
    /// This node stops. Nothing was done.
    #[error("the node is stopping")]
    Stopping,
    /// The caller's time is over.
    #[error("deadline exceeded")]
    DeadlineExceeded,
}

/// What a mutation does to the amount of work there is (design D8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Completions, heartbeats, timers: a quarter of all room is kept for them.
    Drains,
    /// Starts, signals: refused first.
    Fills,
}

/// What the first leader of a new cluster puts into the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seed {
    /// Namespaces to make, besides `default`.
    pub namespaces: Vec<String>,
    /// Dynamic configuration: key and JSON value.
    pub config: Vec<(String, String)>,
    /// Search attributes: name and `IndexedValueType`.
    pub search_attributes: Vec<(String, i32)>,
}

/// What a shard is made of.
#[derive(Debug)]
pub struct ShardParts {
    /// This node.
    pub node_id: u64,
    /// The open state.
    pub store: StateStore<StateRecord>,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// For a new cluster.
    pub seed: Seed,
    /// The apply thread may block on the keeper; false when all runs on one thread.
    pub may_block: bool,
    /// When marks are due.
    pub sizes: Sizes,
    /// The newest engine version that this node knows.
    pub engine_version: u32,
}

/// The shard. Clones are the same.
#[derive(Debug, Clone)]
pub struct Shard {
    core: Arc<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    node_id: u64,
    /// Names this process among all that ever were.
    boot: u64,
    store: StateStore<StateRecord>,
    raft: OnceLock<RaftNode>,
    pub(crate) time: ClusterTime,
    entropy: Arc<dyn Entropy>,
    seed: Seed,
    sizes: Sizes,
    may_block: bool,
    pub(crate) telemetry: Telemetry,
    admission: Admission,
    pending: Pending,
    /// Unbounded as a channel: admission bounds calls, waiting polls bound claims.
    queue: mpsc::UnboundedSender<Queued>,
    matching: Matching,
    queries: Queries,
    updates: Updates,
    pub(crate) alarm: Alarm,
    pub(crate) outbox: Outbox,
    watchers: RunWatchers,
    deliveries: Deliveries,
    sequence: AtomicU64,
    polls: AtomicU64,
    in_office: AtomicBool,
    /// Nothing new is proposed: the leadership is about to go to another node.
    resigning: AtomicBool,
    office: watch::Sender<bool>,
    applied: watch::Sender<u64>,
    disk_low: AtomicBool,
    /// Why this node must stop, once it must.
    failed: watch::Sender<Option<String>>,
    /// When a leader was last known to be there.
    led_at: std::sync::Mutex<Instant>,
    soundness: soundness::Soundness,
    /// The newest engine version that this node knows.
    engine_version: u32,
    versions: versions::Versions,
    /// Polls end empty.
    ending: CancellationToken,
    /// Everything ends.
    stopped: CancellationToken,
}

/// The loops of a shard, to be run until the shard is stopped.
#[derive(Debug)]
pub struct ShardLoops {
    core: Arc<Core>,
    queue: mpsc::UnboundedReceiver<Queued>,
}

impl Shard {
    /// A shard without Raft: [`ShardLoops::run`] gives it one. The machine is for Raft to drive.
    #[must_use]
    pub fn new(parts: ShardParts) -> (Shard, Machine, ShardLoops) {
        let (queue, queued) = mpsc::unbounded_channel();
        let applied = parts.store.applied().map_or(0, |position| position.index);
        let boot = parts.entropy.number();
        let core = Arc::new(Core {
            node_id: parts.node_id,
            boot,
            time: ClusterTime::new(parts.clock, parts.node_id),
            store: parts.store,
            raft: OnceLock::new(),
            entropy: parts.entropy,
            seed: parts.seed,
            sizes: parts.sizes,
            may_block: parts.may_block,
            telemetry: Telemetry::default(),
            admission: Admission::default(),
            pending: Pending::default(),
            queue,
            matching: Matching::default(),
            queries: Queries::new(boot),
            updates: Updates::default(),
            alarm: Alarm::default(),
            outbox: Outbox::default(),
            watchers: RunWatchers::default(),
            deliveries: Deliveries::default(),
            sequence: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            in_office: AtomicBool::new(false),
            resigning: AtomicBool::new(false),
            office: watch::Sender::new(false),
            applied: watch::Sender::new(applied),
            disk_low: AtomicBool::new(false),
            failed: watch::Sender::new(None),
            led_at: std::sync::Mutex::new(Instant::now()),
            soundness: soundness::Soundness::default(),
            engine_version: parts.engine_version,
            versions: versions::Versions::default(),
            ending: CancellationToken::new(),
            stopped: CancellationToken::new(),
        });
        let machine = Machine::new(core.clone());
        (
            Shard { core: core.clone() },
            machine,
            ShardLoops {
                core,
                queue: queued,
            },
        )
    }

    /// Proposes a mutation and waits for what came of it.
    ///
    /// # Errors
    /// [`Unavailable`]; only [`Unavailable::Unknown`] leaves open whether it was done.
    pub async fn propose(
        &self,
        class: Class,
        mutation: Mutation,
    ) -> Result<Result<Reply, Refusal>, Unavailable> {
        self.core.wait_for_office().await?;
        if class == Class::Fills && self.core.disk_low.load(Ordering::Relaxed) {
            return Err(Unavailable::DiskLow);
        }
        let at_once = planted(Bug::SignalAcknowledgedBeforeCommit)
            && matches!(mutation, Mutation::SignalWorkflowExecution(_));
        let answered = self.core.propose(class, mutation)?;
        if at_once {
            return Ok(Ok(Reply::Signaled { link: None }));
        }
        answered.await.unwrap_or(Err(Unavailable::Unknown))
    }

    /// A view that contains everything that was acknowledged before the call.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn read(&self) -> Result<View, Unavailable> {
        self.core.read().await
    }

    /// This node's applied state, which may be behind.
    #[must_use]
    pub fn view(&self) -> View {
        self.core.view()
    }

    /// Waits for a task or a query; `None` when the time is over or the node stops.
    ///
    /// # Errors
    /// [`Unavailable::NotLeader`] when this node does not lead (any more).
    pub async fn poll(&self, poll: Poll, deadline: Instant) -> Result<Option<Polled>, Unavailable> {
        self.core.poll(poll, deadline).await
    }

    /// Waits until a run has an event after `past_event_id`, or has closed, or is gone, or
    /// `deadline`; the view in which that is so.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when too many wait.
    pub async fn run_changed(
        &self,
        run: &RunRef,
        past_event_id: i64,
        deadline: Instant,
    ) -> Result<View, Unavailable> {
        self.core.run_changed(run, past_event_id, deadline).await
    }

    /// This node leads and serves.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.core.in_office()
    }

    /// Which voter should lead next, when this node leads: one whose state is right, that was heard
    /// of late, has a right clock, and has most of the log, in this order.
    #[must_use]
    pub fn successor(&self) -> Option<u64> {
        stand::successor(&self.core)
    }

    /// Hands the leadership to a node, or to the [`Shard::successor`], so that nobody sees it: what
    /// comes meanwhile waits for the new leader, what is proposed already has its answer first.
    /// True when this node does not lead any more.
    pub async fn hand_over(&self, to: Option<u64>, within: Duration) -> bool {
        lead::hand_over(&self.core, to, within).await
    }

    /// Whether this node's state is that of a majority, and there is one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.core.unsound() == 0
    }

    /// Where the leader's clients connect, when another node leads.
    #[must_use]
    pub fn leader_grpc_address(&self) -> Option<String> {
        let leadership = self.core.raft()?.leadership();
        let leader = leadership.borrow().leader.clone()?;
        if leader.id == self.core.node_id {
            return None;
        }
        leader
            .peer
            .map(|peer| peer.grpc_address)
            .filter(|address| !address.is_empty())
    }

    /// Where the leader's clients connect, whoever leads.
    #[must_use]
    pub fn leading_grpc_address(&self) -> Option<String> {
        let raft = self.core.raft()?;
        let leader = raft.leadership().borrow().leader.clone()?;
        if leader.id == self.core.node_id {
            return Some(raft.peer().grpc_address.clone());
        }
        leader.peer.map(|peer| peer.grpc_address)
    }

    /// Where the leader's health pages are, when another node leads.
    #[must_use]
    pub fn leader_http_address(&self) -> Option<String> {
        let leader = self.core.raft()?.leadership().borrow().leader.clone()?;
        let peer = leader.peer.filter(|_| leader.id != self.core.node_id)?;
        Some(peer.http_address).filter(|address| !address.is_empty())
    }

    /// Who leads, as Raft sees it.
    ///
    /// # Panics
    /// Before [`ShardLoops::run`] was called.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        match self.core.raft() {
            Some(raft) => raft.leadership(),
            None => panic!("the shard runs before it is asked"),
        }
    }

    /// Registers a poll that is forwarded to the leader: its task is delivered when this node
    /// applies the claim, whatever becomes of the leader's answer.
    #[must_use]
    pub fn register_delivery(&self, poll: PollId) -> Delivery {
        Delivery::register(self.core.clone(), poll)
    }

    /// A claimed task whose worker is gone goes back. On any node; the leader hears of it.
    pub fn return_task(&self, token: TaskToken) {
        self.core.return_task(token, "its answer was not written");
    }

    /// A name for a new poll of this process.
    #[must_use]
    pub fn next_poll_id(&self) -> PollId {
        let sequence = self.core.polls.fetch_add(1, Ordering::Relaxed) + 1;
        PollId {
            boot: self.core.boot,
            sequence,
        }
    }

    /// The waiting polls.
    #[must_use]
    pub fn matching(&self) -> &Matching {
        &self.core.matching
    }

    /// The waiting queries.
    #[must_use]
    pub fn queries(&self) -> &Queries {
        &self.core.queries
    }

    /// Who waits for updates.
    #[must_use]
    pub fn updates(&self) -> &Updates {
        &self.core.updates
    }

    /// What was counted.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.core.telemetry
    }

    /// The text of a random UUID.
    #[must_use]
    pub fn uuid(&self) -> String {
        self.core.entropy.uuid()
    }

    /// What Raft's exchange between nodes carries for this shard.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        Exchange::new(&self.core)
    }

    /// The state.
    #[must_use]
    pub fn store(&self) -> &StateStore<StateRecord> {
        &self.core.store
    }

    /// Whether polls end now, since the node stops.
    pub(crate) fn polls_end(&self) -> &CancellationToken {
        &self.core.ending
    }

    /// Resolves when the node must stop: with the reason.
    pub async fn failed(&self) -> String {
        let mut failed = self.core.failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await;
        // The shard holds the sender: there is a reason.
        reason
            .map_or_else(|_| None, |reason| reason.clone())
            .unwrap_or_default()
    }

    /// Before an orderly end, while calls still end: writes what was applied of late to the files.
    pub async fn rest(&self, within: Duration) {
        mark::rest(&self.core, within).await;
    }

    /// Takes a mark that holds everything acknowledged before the call, and waits until it is
    /// durable here; its log index.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn take_mark(&self) -> Result<u64, Unavailable> {
        mark::take(&self.core).await
    }

    /// Raises the engine version to `to`, or with 0 as far as all members know; the version then.
    /// Only the leader can.
    ///
    /// # Errors
    /// [`RaiseError`].
    pub async fn raise_engine_version(&self, to: u32) -> Result<u32, RaiseError> {
        self.core.raise_engine_version(to).await
    }

    /// The newest engine version that a member knows; nothing while it is not heard.
    #[must_use]
    pub fn newest_engine_version(&self, member: u64) -> Option<u32> {
        self.core.newest_engine_version(member)
    }

    /// Ends all polls with empty answers; new ones, too. The first step of a node's end.
    pub fn end_polls(&self) {
        self.core.ending.cancel();
    }

    /// Ends the loops.
    pub fn stop(&self) {
        self.core.ending.cancel();
        self.core.stopped.cancel();
    }

    /// Gauges and counters, into a page of metrics.
    pub fn render(&self, page: &mut crate::telemetry::Page) {
        metrics::render(&self.core, page);
    }
}

impl ShardLoops {
    /// Runs the shard on its Raft until it is stopped. The shard can be asked as soon as this
    /// returns, before the future is polled.
    pub fn run(self, raft: RaftNode) -> impl Future<Output = ()> + Send + 'static {
        let Self { core, queue } = self;
        let set = core.raft.set(raft);
        assert!(set.is_ok(), "a shard gets its Raft once");
        async move {
            let loops = async {
                tokio::join!(
                    propose::run(&core, queue),
                    lead::run(&core),
                    stand::watch(&core),
                    mark::purge_log(&core),
                    mark::watch_disk(&core),
                )
            };
            core.stopped.run_until_cancelled(loops).await;
            core.leave_office();
        }
    }
}

impl Core {
    pub(crate) fn raft(&self) -> Option<&RaftNode> {
        self.raft.get()
    }

    pub(crate) fn view(&self) -> View {
        View(self.store.view())
    }

    pub(crate) fn in_office(&self) -> bool {
        self.in_office.load(Ordering::Acquire)
    }

    /// Waits up to two seconds until this node leads and serves.
    async fn wait_for_office(&self) -> Result<(), Unavailable> {
        if self.in_office() {
            return Ok(());
        }
        if self.stopped.is_cancelled() {
            return Err(Unavailable::Stopping);
        }
        let Some(raft) = self.raft() else {
            return Err(Unavailable::NoLeader);
        };
        let (mut office, mut leadership) = (self.office.subscribe(), raft.leadership());
        let mine = |now: &Leadership| {
            now.leader
                .as_ref()
                .is_none_or(|leader| leader.id == self.node_id)
        };
        tokio::select! {
            biased;
            _ = office.wait_for(|office| *office) => Ok(()),
            _ = leadership.wait_for(|now| !mine(now)) => Err(Unavailable::NotLeader),
            () = self.stopped.cancelled() => Err(Unavailable::Stopping),
            () = tokio::time::sleep(LEADER_WAIT) => Err(Unavailable::NoLeader),
        }
    }

    /// The node must stop.
    fn fail(&self, reason: String) {
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(reason);
            first
        });
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The members' raft ids that vote.
    fn voters(&self) -> std::collections::BTreeSet<u64> {
        self.raft()
            .map(|raft| raft.members().voters)
            .unwrap_or_default()
    }
}
