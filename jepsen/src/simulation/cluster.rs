//! Three or five whole nodes and what can be done to their machines.

use super::clock::WrongClock;
use super::network::SimulatedNetwork;
use super::trace::Trace;
use futures::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast::entropy::SeededEntropy;
use steadfast::node::{Node, NodeOptions, Seams, StartError, Threads};
use steadfast::shard::{Seed, Shard};
use steadfast::sizes::Sizes;
use steadfast_engine::{ENGINE_VERSION, Timestamp};
use steadfast_raft::{RaftNode, Timing};
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::state::MemoryIndexFactory;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// 2026-01-01.
pub(super) const WALL: Timestamp = Timestamp(1_767_225_600_000_000_000);
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Machine {
    node: Node,
    disk: SimulatedDisk,
    clock: Arc<WrongClock>,
}

/// How callers reach a running node.
#[derive(Debug, Clone)]
pub struct Door {
    /// The node's shard.
    pub shard: Shard,
    /// The node's Raft: for operators.
    pub raft: RaftNode,
    /// Cancelled when the machine is gone: no answer comes out any more.
    pub life: CancellationToken,
    held: watch::Sender<bool>,
}

impl Door {
    /// Waits while the machine stands still.
    pub async fn moves(&self) {
        // The door holds the sender.
        drop(self.held.subscribe().wait_for(|held| !held).await);
    }
}

/// The doors of all running nodes, by node. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Doors(Arc<Mutex<BTreeMap<u64, Door>>>);

impl Doors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The door of a node, while it runs.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Door> {
        self.lock().get(&id).cloned()
    }

    /// All doors, in the order of the nodes' numbers.
    #[must_use]
    pub fn all(&self) -> Vec<Door> {
        self.lock().values().cloned().collect()
    }

    /// The shards of all running nodes, in the order of their numbers.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        self.lock()
            .values()
            .map(|door| door.shard.clone())
            .collect()
    }

    /// The shards of all running nodes, with their numbers.
    #[must_use]
    pub fn by_id(&self) -> Vec<(u64, Shard)> {
        let doors = self.lock();
        let shard = |(id, door): (&u64, &Door)| (*id, door.shard.clone());
        doors.iter().map(shard).collect()
    }

    /// The shard of a node that says it leads.
    #[must_use]
    pub fn leader(&self) -> Option<Shard> {
        self.shards().into_iter().find(Shard::is_leader)
    }

    /// The door of a node that says it leads.
    #[must_use]
    pub fn leading(&self) -> Option<Door> {
        let all = self.all();
        all.into_iter().find(|door| door.shard.is_leader())
    }

    fn close(&self, id: u64) {
        if let Some(door) = self.lock().remove(&id) {
            door.life.cancel();
        }
    }
}

/// Nodes on machines that can be crashed, stopped, cut off and started again.
#[derive(Debug)]
pub struct Cluster {
    seed: u64,
    /// How many nodes founded it: those with the lowest numbers.
    founders: u64,
    sizes: Sizes,
    trace: Trace,
    network: SimulatedNetwork,
    machines: BTreeMap<u64, Machine>,
    /// Who belongs to it, running or not.
    members: BTreeSet<u64>,
    /// Whom a node that was added later asked.
    joined: BTreeMap<u64, u64>,
    doors: Doors,
    lives: u64,
    /// The newest engine version that each node's program knows.
    programs: BTreeMap<u64, u32>,
    /// And that of nodes that are new.
    new_program: u32,
}

fn name(id: u64) -> String {
    format!("n{id}")
}

/// Polls until there is something.
///
/// # Panics
/// When there is nothing for two (virtual) minutes.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

impl Cluster {
    /// Starts so many nodes, on a perfect network and with right clocks.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(seed: u64, size: u64, trace: &Trace) -> Result<Cluster, StartError> {
        Self::start_sized(seed, size, Sizes::default(), trace).await
    }

    /// As [`Cluster::start`], with logs and states of other sizes.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_sized(
        seed: u64,
        size: u64,
        sizes: Sizes,
        trace: &Trace,
    ) -> Result<Cluster, StartError> {
        let mut cluster = Cluster {
            seed,
            founders: size,
            sizes,
            trace: trace.clone(),
            network: SimulatedNetwork::new(seed, trace),
            machines: BTreeMap::new(),
            members: (1..=size).collect(),
            joined: BTreeMap::new(),
            doors: Doors::default(),
            lives: 0,
            programs: BTreeMap::new(),
            new_program: ENGINE_VERSION,
        };
        for id in 1..=size {
            let clock = Arc::new(WrongClock::new(WALL));
            let disk = SimulatedDisk::new();
            cluster.restart(Crashed { id, disk, clock }).await?;
        }
        Ok(cluster)
    }

    /// A new machine with an empty disk, which asks a member to be added.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn join(&mut self, id: u64, asks: u64) -> Result<(), StartError> {
        self.joined.insert(id, asks);
        self.members.insert(id);
        let clock = Arc::new(WrongClock::new(self.true_time()));
        let disk = SimulatedDisk::new();
        self.restart(Crashed { id, disk, clock }).await
    }

    /// What a right wall clock shows now.
    #[must_use]
    pub fn true_time(&self) -> Timestamp {
        let passed = i64::try_from(self.trace.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Timestamp(WALL.0.saturating_add(passed))
    }

    /// A member is none any more; its machine runs on until somebody takes it.
    pub fn forget(&mut self, id: u64) {
        self.members.remove(&id);
    }

    /// The newest engine version that a node's program knows.
    #[must_use]
    pub fn program(&self, id: u64) -> u32 {
        self.programs.get(&id).copied().unwrap_or(self.new_program)
    }

    /// New nodes know engine versions up to this one.
    pub fn set_new_program(&mut self, engine_version: u32) {
        self.new_program = engine_version;
    }

    /// A node knows at its next start what new nodes know.
    pub fn upgrade(&mut self, id: u64) {
        self.programs.insert(id, self.new_program);
    }

    /// A machine comes back, or for the first time.
    ///
    /// # Errors
    /// [`StartError`], for instance since its disk is damaged.
    pub async fn restart(&mut self, crashed: Crashed) -> Result<(), StartError> {
        let Crashed { id, disk, clock } = crashed;
        self.trace.line(|| format!("start of {id}"));
        self.lives += 1;
        let disk = self.trace.disk(id, disk);
        let options = NodeOptions {
            node_id: id,
            cluster_name: "simulation".into(),
            data_dir: "/data".into(),
            advertise_raft_address: name(id),
            advertise_grpc_address: format!("grpc-{id}"),
            initial_members: match self.joined.contains_key(&id) {
                true => BTreeMap::new(),
                false => (1..=self.founders).map(|id| (id, name(id))).collect(),
            },
            join: self
                .joined
                .get(&id)
                .map(|asks| name(*asks))
                .unwrap_or_default(),
            seed: Seed::default(),
            engine_version: Some(*self.programs.entry(id).or_insert(self.new_program)),
            ..NodeOptions::default()
        };
        let entropy = self.seed.wrapping_mul(1_000_003) + self.lives;
        let seams = Seams {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(entropy)),
            disk: Arc::new(disk.clone()),
            // What an index keeps in memory goes with the machine.
            index: Arc::new(MemoryIndexFactory::new()),
            transport: self.network.transport(&name(id)),
            threads: Threads::Inline,
            timing: Timing::default(),
            sizes: self.sizes,
        };
        let node = Node::start_with(options, seams).await?;
        self.network.listen(&name(id), node.raft().inbound());
        let door = Door {
            shard: node.shard().clone(),
            raft: node.raft().clone(),
            life: CancellationToken::new(),
            held: watch::Sender::new(false),
        };
        self.doors.lock().insert(id, door);
        self.machines.insert(id, Machine { node, disk, clock });
        Ok(())
    }

    /// How callers reach the nodes.
    #[must_use]
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// The network, to make it worse.
    #[must_use]
    pub fn network(&self) -> &SimulatedNetwork {
        &self.network
    }

    /// Waits for a node that leads.
    pub async fn leader(&self, except: Option<u64>) -> u64 {
        eventually("a leader", || {
            let serves = |(id, machine): (&u64, &Machine)| {
                (Some(*id) != except && machine.node.shard().is_leader()).then_some(*id)
            };
            self.machines.iter().find_map(serves)
        })
        .await
    }

    /// The power of one machine fails, or (with [`CrashLoss::Nothing`]) its process is killed.
    ///
    /// # Panics
    /// When the machine does not run.
    pub async fn crash(&mut self, id: u64, loss: CrashLoss) -> Crashed {
        self.trace.line(|| format!("crash of {id}, {loss:?}"));
        let Machine { node, disk, clock } = self.take(id);
        let disk = disk.crash(loss);
        self.network.remove(&name(id));
        node.shard().stop();
        node.shard().store().stop();
        node.raft().shutdown().await;
        Crashed { id, disk, clock }
    }

    /// One machine is switched off in order.
    ///
    /// # Panics
    /// When the machine does not run.
    pub async fn stop_one(&mut self, id: u64) -> Crashed {
        self.trace.line(|| format!("stop of {id}"));
        let Machine { node, disk, clock } = self.take(id);
        node.stop().await;
        self.network.remove(&name(id));
        let disk = disk.crash(CrashLoss::AllUnsynced);
        Crashed { id, disk, clock }
    }

    fn take(&mut self, id: u64) -> Machine {
        self.release(id);
        self.doors.close(id);
        let machine = self.machines.remove(&id);
        machine.expect("only a running machine is crashed or stopped")
    }

    /// Why a node cannot go on, as soon as it cannot.
    ///
    /// # Panics
    /// When it still can after two (virtual) minutes.
    pub async fn failed(&self, id: u64) -> String {
        let failed = timeout(PATIENCE, self.machines[&id].node.failed()).await;
        failed.expect("the node fails in time")
    }

    /// The nodes that run and cannot go on, with the reason.
    #[must_use]
    pub fn failures(&self) -> Vec<(u64, String)> {
        let failed = |(id, machine): (&u64, &Machine)| {
            let reason = machine.node.failed().now_or_never()?;
            Some((*id, reason))
        };
        self.machines.iter().filter_map(failed).collect()
    }

    /// Who belongs to the cluster, running or not.
    #[must_use]
    pub fn members(&self) -> &BTreeSet<u64> {
        &self.members
    }

    /// A machine stands still: it neither hears nor is heard, by nodes and by callers. (Its inner
    /// timers go on, which a stopped process's would not: what it decides meanwhile is said late.)
    pub fn hold(&self, id: u64) {
        self.network.hold(&name(id));
        if let Some(door) = self.doors.get(id) {
            door.held.send_replace(true);
        }
    }

    /// It moves again: all that waited happens at once.
    pub fn release(&self, id: u64) {
        self.network.release(&name(id));
        if let Some(door) = self.doors.get(id) {
            door.held.send_replace(false);
        }
    }

    /// The nodes that run.
    #[must_use]
    pub fn running(&self) -> Vec<u64> {
        self.machines.keys().copied().collect()
    }

    /// The disk of a running node.
    #[must_use]
    pub fn disk(&self, id: u64) -> Option<&SimulatedDisk> {
        self.machines.get(&id).map(|machine| &machine.disk)
    }

    /// What one node sends does not reach the other.
    pub fn cut(&self, from: u64, to: u64) {
        self.network.cut(&name(from), &name(to));
    }

    /// What one node sends to the other takes longer.
    pub fn slow(&self, from: u64, to: u64, by: Duration) {
        self.network.slow(&name(from), &name(to), by);
    }

    /// Leaves so many bytes free on a disk.
    pub fn fill_disk(&self, id: u64, free: u64) {
        self.machines[&id].disk.leave_free(free);
    }

    /// Cuts a node off, in both directions.
    pub fn isolate(&self, id: u64) {
        for other in self.members.iter().filter(|other| **other != id) {
            self.network.cut(&name(id), &name(*other));
            self.network.cut(&name(*other), &name(id));
        }
    }

    /// Mends all links.
    pub fn heal(&self) {
        self.network.heal();
    }

    /// Makes one wall clock jump, by some nanoseconds.
    pub fn jump_clock(&self, id: u64, nanos: i64) {
        self.machines[&id].clock.jump(nanos);
    }

    /// Lets one machine's clocks run faster or slower.
    pub fn drift_clock(&self, id: u64, rate: f64) {
        if let Some(machine) = self.machines.get(&id) {
            machine.clock.set_rate(rate);
        }
    }

    /// The shards of all nodes, in the order of their numbers.
    ///
    /// # Panics
    /// When one of them does not run.
    #[must_use]
    pub fn all(&self) -> Vec<Shard> {
        let all = self.doors.shards();
        assert_eq!(all.len(), self.members.len(), "all nodes run");
        all
    }

    /// Ends all nodes.
    pub async fn stop(self) {
        for (id, machine) in self.machines {
            self.doors.close(id);
            machine.node.shard().stop();
            machine.node.shard().store().stop();
            machine.node.raft().shutdown().await;
        }
    }
}

/// What is left of a machine without power.
#[derive(Debug)]
pub struct Crashed {
    /// Which machine.
    pub id: u64,
    disk: SimulatedDisk,
    clock: Arc<WrongClock>,
}

impl Crashed {
    /// Somebody made room on the disk.
    pub fn make_room(&self) {
        self.disk.leave_free(u64::MAX);
    }
}
