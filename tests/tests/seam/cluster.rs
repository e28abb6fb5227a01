//! Three whole nodes on one thread: clocks, randomness, disks and network are simulated.

use crate::trace::Trace;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::clock::SimulatedClock;
use steadfast::entropy::SeededEntropy;
use steadfast::node::{Node, NodeOptions, Seams, Threads};
use steadfast::shard::{Seed, Shard};
use steadfast_engine::Timestamp;
use steadfast_raft::Timing;
use steadfast_raft::transport::memory::MemoryNetwork;
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::state::MemoryIndexFactory;
use tokio::time::sleep;

/// 2026-01-01.
const WALL: Timestamp = Timestamp(1_767_225_600_000_000_000);
const PATIENCE: Duration = Duration::from_secs(120);

struct Machine {
    node: Node,
    disk: SimulatedDisk,
    clock: Arc<SimulatedClock>,
}

/// The shards that clients reach, by node.
pub(crate) type Shards = Arc<Mutex<BTreeMap<u64, Shard>>>;

pub(crate) struct Cluster {
    seed: u64,
    trace: Trace,
    network: MemoryNetwork,
    machines: BTreeMap<u64, Machine>,
    pub(crate) shards: Shards,
    lives: u64,
}

fn name(id: u64) -> String {
    format!("n{id}")
}

/// Polls until there is something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

impl Cluster {
    pub(crate) async fn three(seed: u64, trace: &Trace) -> Cluster {
        let mut cluster = Cluster {
            seed,
            trace: trace.clone(),
            network: MemoryNetwork::default(),
            machines: BTreeMap::new(),
            shards: Shards::default(),
            lives: 0,
        };
        for id in 1..=3 {
            let clock = Arc::new(SimulatedClock::new(WALL));
            cluster.start(id, SimulatedDisk::new(), clock).await;
        }
        cluster
    }

    async fn start(&mut self, id: u64, disk: SimulatedDisk, clock: Arc<SimulatedClock>) {
        self.lives += 1;
        let disk = self.trace.disk(id, disk);
        let options = NodeOptions {
            node_id: id,
            cluster_name: "seam".into(),
            data_dir: "/data".into(),
            advertise_raft_address: name(id),
            advertise_grpc_address: format!("grpc-{id}"),
            initial_members: (1..=3).map(|id| (id, name(id))).collect(),
            seed: Seed::default(),
            ..NodeOptions::default()
        };
        let entropy = self.seed.wrapping_mul(1_000_003) + self.lives;
        let seams = Seams {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(entropy)),
            disk: Arc::new(disk.clone()),
            // What an index keeps in memory goes with the machine.
            index: Arc::new(MemoryIndexFactory::new()),
            transport: self
                .trace
                .transport(&name(id), self.network.transport(&name(id))),
            threads: Threads::Inline,
            timing: Timing::default(),
        };
        let node = Node::start_with(options, seams).await.unwrap();
        self.network.listen(&name(id), node.raft().inbound());
        self.shards.lock().unwrap().insert(id, node.shard().clone());
        self.machines.insert(id, Machine { node, disk, clock });
    }

    pub(crate) async fn leader(&self, except: Option<u64>) -> u64 {
        eventually("a leader", || {
            let serves = |(id, machine): (&u64, &Machine)| {
                (Some(*id) != except && machine.node.shard().is_leader()).then_some(*id)
            };
            self.machines.iter().find_map(serves)
        })
        .await
    }

    /// The power of one machine fails.
    pub(crate) async fn crash(&mut self, id: u64, loss: CrashLoss) -> Crashed {
        self.trace.line(&format!("crash of {id}"));
        self.shards.lock().unwrap().remove(&id);
        let Machine { node, disk, clock } = self.machines.remove(&id).unwrap();
        let disk = disk.crash(loss);
        self.isolate(id);
        self.network.remove(&name(id));
        node.shard().stop();
        node.shard().store().stop();
        node.raft().shutdown().await;
        drop(node);
        self.network.heal();
        Crashed { id, disk, clock }
    }

    /// One machine is switched off in order.
    pub(crate) async fn stop_one(&mut self, id: u64) -> Crashed {
        self.trace.line(&format!("stop of {id}"));
        self.shards.lock().unwrap().remove(&id);
        let Machine { node, disk, clock } = self.machines.remove(&id).unwrap();
        node.stop().await;
        self.network.remove(&name(id));
        let disk = disk.crash(CrashLoss::AllUnsynced);
        Crashed { id, disk, clock }
    }

    /// Why a node cannot go on, as soon as it cannot.
    pub(crate) async fn failed(&self, id: u64) -> String {
        let failed = self.machines[&id].node.failed();
        tokio::time::timeout(PATIENCE, failed).await.unwrap()
    }

    /// Leaves so many bytes free on a disk.
    pub(crate) fn fill_disk(&self, id: u64, free: u64) {
        let disk = &self.machines[&id].disk;
        let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
        disk.set_capacity(used + free);
    }

    /// And comes back.
    pub(crate) async fn restart(&mut self, crashed: Crashed) {
        self.trace.line(&format!("restart of {}", crashed.id));
        self.start(crashed.id, crashed.disk, crashed.clock).await;
    }

    pub(crate) fn isolate(&self, id: u64) {
        for other in (1..=3).filter(|other| *other != id) {
            self.network.cut(&name(id), &name(other));
        }
    }

    pub(crate) fn heal(&self) {
        self.network.heal();
    }

    /// Makes one wall clock jump, by some nanoseconds.
    pub(crate) fn jump_clock(&self, id: u64, nanos: i64) {
        self.machines[&id].clock.jump(nanos);
    }

    /// All three, in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<Shard> {
        let all: Vec<Shard> = self.shards.lock().unwrap().values().cloned().collect();
        assert_eq!(all.len(), 3, "all nodes run");
        all
    }

    pub(crate) async fn stop(self) {
        self.shards.lock().unwrap().clear();
        for (_, machine) in self.machines {
            machine.node.shard().stop();
            machine.node.shard().store().stop();
            machine.node.raft().shutdown().await;
        }
    }
}

/// What is left of a machine without power.
pub(crate) struct Crashed {
    id: u64,
    disk: SimulatedDisk,
    clock: Arc<SimulatedClock>,
}
