//! A node: its parts, the order in which they start, and the order in which they stop.

mod admin;
mod backup;
mod begin;
mod health;

use crate::api::{self, Admin};
use crate::clock::{Clock, RealClock};
use crate::entropy::{Entropy, OsEntropy};
use crate::http;
use crate::shard::{Seed, Shard, ShardParts, StateRecord};
use crate::sizes::Sizes;
use admin::NodeAdmin;
use begin::{Beginning, begin, has_its_vote, knows_its_state};
use health::NodeHealth;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use steadfast_engine::tables::grouping;
use steadfast_raft::transport::grpc::{self, GrpcTransport};
use steadfast_raft::{ApplyMode, Peer, RaftNode, RaftOptions, Timing, Transport};
use steadfast_storage::directory::{Directory, DirectoryError, Identity};
use steadfast_storage::disk::{Disk, RealDisk};
use steadfast_storage::log::{Log, LogError, LogWriter};
use steadfast_storage::state::{IndexFactory, Keeper, SledIndexFactory, StateError, StateStore};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// sled's cache.
const INDEX_CACHE_BYTES: u64 = 32 << 20;
/// Raft's threads: apart from those of users' calls, so that these cannot delay a heartbeat.
const RAFT_THREADS: usize = 2;
/// A node on its way out waits so long for its last mark.
const REST: Duration = Duration::from_secs(1);
/// It tries so long to hand over its leadership.
const TRANSFER: Duration = Duration::from_secs(2);
/// And gives calls so long to finish.
const CALLS_END: Duration = Duration::from_secs(4);
/// Threads get so long to end.
const THREADS_END: Duration = Duration::from_secs(2);

/// What a node is started with.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Its number.
    pub node_id: u64,
    /// The cluster's name.
    pub cluster_name: String,
    /// Where log and state are kept.
    pub data_dir: PathBuf,
    /// Where to listen for clients; empty for nowhere (simulation).
    pub grpc_address: String,
    /// Where to listen for other nodes; empty for nowhere.
    pub raft_address: String,
    /// Where to serve health and metrics; empty for nowhere.
    pub http_address: String,
    /// Under which others reach the first; empty: as bound.
    pub advertise_grpc_address: String,
    /// Under which others reach the second; empty: as bound.
    pub advertise_raft_address: String,
    /// Under which others reach the third; empty: as bound.
    pub advertise_http_address: String,
    /// Members of a new cluster, with their Raft addresses; empty to wait for being added.
    pub initial_members: BTreeMap<u64, String>,
    /// The Raft address of a member that a new node asks to be added; nobody when empty.
    pub join: String,
    /// What a new cluster begins with.
    pub seed: Seed,
    /// The newest engine version that it knows, up to the engine's newest; none for that which new
    /// clusters begin with. Builds of tests know one more.
    pub engine_version: Option<u32>,
}

/// Whether the parts of a node have threads of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// As in production.
    Real,
    /// All on the calling thread's runtime, so that one thread runs a cluster from a seed.
    Inline,
}

/// What a node touches the world through.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The index of the state at rest.
    pub index: Arc<dyn IndexFactory>,
    /// The way to other nodes.
    pub transport: Arc<dyn Transport>,
    /// Threads.
    pub threads: Threads,
    /// Raft's clocks.
    pub timing: Timing,
    /// Sizes of log and state.
    pub sizes: Sizes,
}

impl Seams {
    /// The real world.
    ///
    /// # Errors
    /// Without randomness there is no node.
    pub fn real() -> io::Result<Self> {
        Ok(Self {
            clock: Arc::new(RealClock::default()),
            entropy: Arc::new(OsEntropy::new()?),
            disk: Arc::new(RealDisk),
            index: Arc::new(SledIndexFactory::new(INDEX_CACHE_BYTES)),
            transport: Arc::new(GrpcTransport),
            threads: Threads::Real,
            timing: Timing::default(),
            sizes: Sizes::default(),
        })
    }
}

/// Why a node did not start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("cannot listen on {address} for {what}: {source}; is another process using the port?")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A newer program wrote the state, or a much older one.
    #[error(
        "the state in the data directory is of engine version {found}, and this program knows \
         {oldest} to {newest}; start the node with the version of the program that it had"
    )]
    EngineVersion {
        /// The state's.
        found: u32,
        /// The oldest known here.
        oldest: u32,
        /// The newest known here.
        newest: u32,
    },
    /// Raft did not start.
    #[error(transparent)]
    Raft(#[from] steadfast_raft::StartError),
    /// The state holds nonsense.
    #[error(transparent)]
    Engine(#[from] steadfast_engine::Fault),
    /// No threads, or no randomness.
    #[error("the operating system refused: {0}")]
    System(#[from] io::Error),
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    shard: Shard,
    raft: RaftNode,
    addresses: Addresses,
    /// No more connections.
    closing: CancellationToken,
    /// Peers' connections and health pages, which live as long as Raft.
    ended: CancellationToken,
    failed: watch::Sender<Option<String>>,
    grpc: Option<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    raft_runtime: Option<RaftRuntime>,
    threads_end: Vec<tokio::sync::oneshot::Receiver<()>>,
    directory: Directory,
}

/// Where a node listens, as bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Clients.
    pub grpc: String,
    /// Other nodes.
    pub raft: String,
    /// Health and metrics.
    pub http: String,
}

impl Node {
    /// Starts a node in the real world, on the calling runtime. It serves when this returns;
    /// whether there is a leader yet is another question.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Node, StartError> {
        Self::start_with(options, Seams::real()?).await
    }

    /// As [`Node::start`], in the given world.
    ///
    /// # Errors
    /// [`StartError`].
    #[expect(
        clippy::too_many_lines,
        reason = "the order of the start, to be read top to bottom"
    )]
    pub async fn start_with(options: NodeOptions, seams: Seams) -> Result<Node, StartError> {
        // 1. Ports: the likeliest thing to be refused, and the cheapest to find out.
        let grpc_listener = listen("gRPC", &options.grpc_address).await?;
        let raft_listener = listen("other nodes", &options.raft_address).await?;
        let http_listener = listen("HTTP", &options.http_address).await?;
        let addresses = Addresses {
            grpc: bound(grpc_listener.as_ref()),
            raft: bound(raft_listener.as_ref()),
            http: bound(http_listener.as_ref()),
        };

        // 2. The data directory: ours alone, and ours for ever.
        let mut directory = Directory::open(seams.disk.clone(), &options.data_dir)?;
        let identity = directory
            .establish(identity(&options, &*seams.entropy))?
            .clone();

        // 3. Log and state, each with its thread.
        let failed = watch::Sender::new(None);
        let mut threads_end = Vec::new();
        let (log, writer, recovered) =
            Log::open(seams.disk.clone(), &directory.log_dir(), seams.sizes.log())?;
        threads_end.push(run_writer(&seams, writer)?);
        let (store, keeper) = StateStore::<StateRecord>::open(
            seams.disk.clone(),
            seams.index.clone(),
            &directory.state_dir(),
            seams.sizes.state(grouping),
        )?;
        let applied = store.applied().is_some();
        has_its_vote(&directory, options.node_id, &recovered, applied)?;
        let engine_version = knows_its_state(&store, options.engine_version)?;
        threads_end.push(run_keeper(seams.threads, keeper, failed.clone())?);

        // 4. The shard, and Raft under it, on a runtime of its own.
        let parts = ShardParts {
            node_id: options.node_id,
            store,
            clock: seams.clock.clone(),
            entropy: seams.entropy.clone(),
            seed: options.seed.clone(),
            may_block: seams.threads == Threads::Real,
            sizes: seams.sizes,
            engine_version,
        };
        let (shard, machine, loops) = Shard::new(parts);
        let raft_runtime = match seams.threads {
            Threads::Real => Some(RaftRuntime(Some(raft_runtime()?))),
            Threads::Inline => None,
        };
        let own = raft_runtime.as_ref().and_then(|runtime| runtime.0.as_ref());
        let raft_handle = own.map_or_else(Handle::current, |runtime| runtime.handle().clone());
        let raft_options = raft_options(&options, &seams, &identity, &addresses);
        let exchange = Arc::new(shard.exchange());
        let poisoned = log.poisoned();
        let counters = log.clone();
        let beginning = Beginning {
            members: options.initial_members.clone(),
            join: options.join.clone(),
            log: log.clone(),
            marker: directory.log_marker(),
        };
        let raft = RaftNode::start(
            &raft_handle,
            raft_options,
            log,
            machine,
            seams.transport.clone(),
            exchange,
        )
        .await?;

        // 5. Whoever watches, and whoever serves.
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = vec![tokio::spawn(loops.run(raft.clone()))];
        tasks.push(tokio::spawn(watch_raft(raft.clone(), failed.clone())));
        tasks.push(tokio::spawn(watch_shard(shard.clone(), failed.clone())));
        tasks.push(tokio::spawn(watch_log(poisoned, failed.clone())));
        tasks.push(tokio::spawn(begin(raft.clone(), beginning, failed.clone())));
        if let Some(listener) = raft_listener {
            let (inbound, ended) = (raft.inbound(), ended.clone());
            let (listener, failed) = (listener.into_std()?, failed.clone());
            tasks.push(raft_handle.spawn(async move {
                let served = match TcpListener::from_std(listener) {
                    Ok(listener) => grpc::serve(listener, inbound, ended.cancelled_owned())
                        .await
                        .map_err(|e| e.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                told(&failed, served);
            }));
        }
        let grpc = grpc_listener.map(|listener| {
            let admin: Arc<dyn Admin> = Arc::new(NodeAdmin::new(
                options.cluster_name.clone(),
                shard.clone(),
                raft.clone(),
            ));
            let (shard, closing, failed) = (shard.clone(), closing.clone(), failed.clone());
            tokio::spawn(async move {
                let served = api::serve(shard, admin, listener, closing.cancelled_owned()).await;
                told(&failed, served.map_err(|error| error.to_string()));
            })
        });
        if let Some(listener) = http_listener {
            let health = Arc::new(NodeHealth::new(options.node_id, shard.clone(), counters));
            let (ended, failed) = (ended.clone(), failed.clone());
            tasks.push(tokio::spawn(async move {
                let served = http::serve(listener, health, ended).await;
                told(&failed, served.map_err(|error| error.to_string()));
            }));
        }
        Ok(Node {
            shard,
            raft,
            addresses,
            closing,
            ended,
            failed,
            grpc,
            tasks,
            raft_runtime,
            threads_end,
            directory,
        })
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Raft.
    #[must_use]
    pub fn raft(&self) -> &RaftNode {
        &self.raft
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Resolves with a line when the node cannot go on: a broken disk, a damaged entry, a peer that
    /// proves that this node must not run. The process must end then.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops in the order of design D11: polls end empty, leadership goes to another, calls
    /// finish, Raft and the threads end. Takes less than ten seconds.
    pub async fn stop(self) {
        let Self {
            shard,
            raft,
            closing,
            ended,
            grpc,
            tasks,
            raft_runtime,
            threads_end,
            directory,
            ..
        } = self;
        shard.end_polls();
        shard.rest(REST).await;
        if !shard.hand_over(None, TRANSFER).await {
            tracing::debug!("no other node took over the leadership");
        }
        closing.cancel();
        if let Some(grpc) = grpc
            && timeout(CALLS_END, grpc).await.is_err()
        {
            tracing::warn!("some calls did not finish in time");
        }
        shard.stop();
        raft.shutdown().await;
        ended.cancel();
        for task in &tasks {
            task.abort();
        }
        shard.store().stop();
        drop((raft, shard));
        // What they hold goes with them: the index is closed by its last user.
        drop(timeout(THREADS_END, futures::future::join_all(tasks)).await);
        let all = futures::future::join_all(threads_end);
        if timeout(THREADS_END, all).await.is_err() {
            tracing::debug!("a thread is still busy");
        }
        drop(raft_runtime);
        // Released last: nobody else may open what a thread still writes.
        drop(directory);
    }
}

async fn listen(what: &'static str, address: &str) -> Result<Option<TcpListener>, StartError> {
    if address.is_empty() {
        return Ok(None);
    }
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(source) => Err(StartError::Listen {
            what,
            address: address.to_owned(),
            source,
        }),
    }
}

fn bound(listener: Option<&TcpListener>) -> String {
    listener
        .and_then(|listener| listener.local_addr().ok())
        .map(|bound| bound.to_string())
        .unwrap_or_default()
}

fn identity(options: &NodeOptions, entropy: &dyn Entropy) -> Identity {
    Identity {
        cluster_name: options.cluster_name.clone(),
        node_id: options.node_id,
        node_uuid: entropy.node_uuid(),
        initial_members: options.initial_members.clone(),
    }
}

fn raft_options(
    options: &NodeOptions,
    seams: &Seams,
    identity: &Identity,
    addresses: &Addresses,
) -> RaftOptions {
    let or = |given: &String, bound: &String| {
        if given.is_empty() {
            bound.clone()
        } else {
            given.clone()
        }
    };
    let peer = Peer {
        raft_address: or(&options.advertise_raft_address, &addresses.raft),
        grpc_address: or(&options.advertise_grpc_address, &addresses.grpc),
        http_address: or(&options.advertise_http_address, &addresses.http),
        node_uuid: identity.node_uuid,
    };
    let cluster = identity.cluster_name.clone();
    let mut raft = RaftOptions::new(options.node_id, peer, cluster, seams.entropy.number());
    raft.timing = seams.timing;
    raft.keep_entries = seams.sizes.keep_entries;
    raft.apply = match seams.threads {
        Threads::Real => ApplyMode::Thread,
        Threads::Inline => ApplyMode::Inline,
    };
    raft
}

/// Raft's own runtime. It may be dropped where nothing may block: a start that fails or is given
/// up ends it as well as an orderly stop.
#[derive(Debug)]
struct RaftRuntime(Option<Runtime>);

impl Drop for RaftRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn raft_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(RAFT_THREADS)
        .thread_name("raft")
        .enable_all()
        .build()
}

type End = tokio::sync::oneshot::Receiver<()>;

fn run_writer(seams: &Seams, writer: LogWriter) -> io::Result<End> {
    let (ends, end) = tokio::sync::oneshot::channel::<()>();
    match seams.threads {
        Threads::Real => {
            thread::Builder::new()
                .name("log".to_owned())
                .spawn(move || {
                    writer.run();
                    drop(ends);
                })?;
        }
        Threads::Inline => {
            let disk = seams.disk.clone();
            tokio::spawn(async move {
                writer.run_on_task(|| disk.sync_takes()).await;
                drop(ends);
            });
        }
    }
    Ok(end)
}

fn run_keeper(
    threads: Threads,
    keeper: Keeper<StateRecord>,
    failed: watch::Sender<Option<String>>,
) -> io::Result<End> {
    let (ends, end) = tokio::sync::oneshot::channel::<()>();
    let ended = move |result: Result<(), StateError>| {
        told(&failed, result.map_err(|error| error.to_string()));
        drop(ends);
    };
    match threads {
        Threads::Real => {
            thread::Builder::new()
                .name("state".to_owned())
                .spawn(move || ended(keeper.run()))?;
        }
        Threads::Inline => {
            tokio::spawn(async move { ended(keeper.run_on_task().await) });
        }
    }
    Ok(end)
}

/// The first failure counts; the rest follows from it.
fn told(failed: &watch::Sender<Option<String>>, result: Result<(), String>) {
    if let Err(reason) = result {
        failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(reason);
            first
        });
    }
}

async fn watch_raft(raft: RaftNode, failed: watch::Sender<Option<String>>) {
    let reason = raft.stopped().await;
    told(&failed, Err(reason));
}

async fn watch_shard(shard: Shard, failed: watch::Sender<Option<String>>) {
    let reason = shard.failed().await;
    told(&failed, Err(reason));
}

async fn watch_log(
    mut poisoned: watch::Receiver<Option<steadfast_storage::log::LogFault>>,
    failed: watch::Sender<Option<String>>,
) {
    let fault = poisoned
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|fault| fault.clone());
    if let Some(fault) = fault {
        told(&failed, Err(fault.to_string()));
    }
}
