//! A whole cluster on one thread: memory for a network, simulated disks, paused time, seeds.

use crate::cluster::eventually;
use crate::machine::{Shared, TestMachine};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_raft::transport::memory::MemoryNetwork;
use steadfast_raft::transport::{Lane, LinkError, Transport, Wire};
use steadfast_raft::{ApplyMode, NodeId, Peer, RaftNode, RaftOptions, StatusExchange};
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::log::{Log, LogOptions};
use tokio::runtime::Handle;
use uuid::Uuid;

/// What nodes told each other.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Mutex<BTreeMap<NodeId, Bytes>>, NodeId);

impl StatusExchange for Heard {
    fn status(&self) -> Bytes {
        format!("status of {}", self.1).into()
    }

    fn received(&self, from: NodeId, status: Bytes) {
        self.0.lock().unwrap().insert(from, status);
    }
}

/// Lanes whose answers may vanish without their end being told, as on a half-open connection.
#[derive(Debug)]
struct HalfOpening {
    transport: Arc<dyn Transport>,
    /// How often all append lanes of that moment fell silent.
    silences: Arc<AtomicU64>,
}

impl Transport for HalfOpening {
    fn connect(&self, address: &str, lane: Lane) -> BoxFuture<'static, Result<Wire, LinkError>> {
        let connect = self.transport.connect(address, lane);
        let silences = self.silences.clone();
        Box::pin(async move {
            let Wire { sender, receiver } = connect.await?;
            let opened = silences.load(Ordering::Relaxed);
            let heard = move || lane != Lane::Append || silences.load(Ordering::Relaxed) == opened;
            let receiver = receiver
                .filter(move |_| std::future::ready(heard()))
                .boxed();
            Ok(Wire { sender, receiver })
        })
    }
}

pub(crate) struct MemoryNode {
    pub(crate) node: RaftNode,
    pub(crate) machine: Shared,
    pub(crate) heard: Arc<Heard>,
    pub(crate) disk: SimulatedDisk,
    /// What a sync of this disk takes.
    pub(crate) sync: Arc<Mutex<Duration>>,
}

pub(crate) struct Memory {
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: Vec<MemoryNode>,
    silences: Arc<AtomicU64>,
    seed: u64,
    change: fn(&mut RaftOptions),
}

pub(crate) fn name(id: NodeId) -> String {
    format!("n{id}")
}

impl Memory {
    /// Three nodes that have bootstrapped themselves.
    pub(crate) async fn three(seed: u64, change: fn(&mut RaftOptions)) -> Memory {
        let mut memory = Memory {
            network: MemoryNetwork::default(),
            nodes: Vec::new(),
            silences: Arc::default(),
            seed,
            change,
        };
        for id in 1..=3 {
            memory
                .start(id, SimulatedDisk::new(), Shared::default())
                .await;
        }
        let members: BTreeMap<NodeId, String> = (1..=3).map(|id| (id, name(id))).collect();
        let begun = memory
            .nodes
            .iter()
            .map(|node| node.node.bootstrap(&members));
        for begun in futures::future::join_all(begun).await {
            begun.unwrap();
        }
        memory
    }

    pub(crate) fn peer(id: NodeId) -> Peer {
        let node_uuid = Uuid::from_u128(u128::from(id));
        Peer {
            raft_address: name(id),
            node_uuid,
            ..Peer::default()
        }
    }

    pub(crate) async fn start(&mut self, id: NodeId, disk: SimulatedDisk, machine: Shared) {
        let mut options = RaftOptions::new(
            id,
            Memory::peer(id),
            "memory",
            self.seed.wrapping_mul(31) + id,
        );
        options.apply = ApplyMode::Inline;
        (self.change)(&mut options);
        let (log, writer, _) = Log::open(
            Arc::new(disk.clone()),
            Path::new("/log"),
            LogOptions::default(),
        )
        .unwrap();
        let sync = Arc::new(Mutex::new(Duration::from_millis(1)));
        let latency = sync.clone();
        tokio::spawn(writer.run_on_task(move || *latency.lock().unwrap()));
        let heard = Arc::new(Heard(Mutex::default(), id));
        let node = RaftNode::start(
            &Handle::current(),
            options,
            log,
            TestMachine(machine.clone()),
            Arc::new(HalfOpening {
                transport: self.network.transport(&name(id)),
                silences: self.silences.clone(),
            }),
            heard.clone(),
        )
        .await
        .unwrap();
        self.network.listen(&name(id), node.inbound());
        self.nodes.push(MemoryNode {
            node,
            machine,
            heard,
            disk,
            sync,
        });
    }

    /// The power of all nodes fails in one moment, and comes back.
    pub(crate) async fn power_cut(&mut self, loss: impl Fn(NodeId) -> CrashLoss) {
        let dead = std::mem::take(&mut self.nodes);
        let crashed: Vec<_> = dead
            .iter()
            .map(|node| node.disk.crash(loss(node.node.id())))
            .collect();
        for node in &dead {
            self.network.remove(&name(node.node.id()));
        }
        for (node, disk) in dead.into_iter().zip(crashed) {
            node.node.shutdown().await;
            self.start(node.node.id(), disk, node.machine.reopened())
                .await;
        }
    }

    pub(crate) fn isolate(&self, id: NodeId) {
        for other in self
            .nodes
            .iter()
            .map(|node| node.node.id())
            .filter(|other| *other != id)
        {
            self.network.cut(&name(id), &name(other));
        }
    }

    /// No append lane that exists now brings an answer any more; new ones do.
    pub(crate) fn silence(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn leader(&self, except: Option<NodeId>) -> &MemoryNode {
        eventually("a leader", async || {
            let mut others = self
                .nodes
                .iter()
                .filter(|node| Some(node.node.id()) != except);
            others.find(|node| node.node.leadership().borrow().ready)
        })
        .await
    }

    pub(crate) fn follower(&self, leader: NodeId) -> &MemoryNode {
        self.nodes
            .iter()
            .find(|node| node.node.id() != leader)
            .unwrap()
    }

    /// Waits until all nodes have applied an entry.
    pub(crate) async fn applied(&self, index: u64) {
        for node in &self.nodes {
            node.applied(index).await;
        }
    }
}

impl MemoryNode {
    pub(crate) async fn applied(&self, index: u64) {
        eventually("an entry is applied", async || {
            self.machine
                .state()
                .position
                .filter(|position| position.index >= index)
        })
        .await;
    }
}
