//! Several nodes in one process over gRPC on localhost.

use crate::log;
use crate::machine::{Shared, TestMachine};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use steadfast_raft::transport::grpc::{self, GrpcTransport};
use steadfast_raft::{Leadership, NoStatus, NodeId, Peer, RaftNode, RaftOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Long enough for a slow machine, short enough to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestNode {
    pub(crate) node: RaftNode,
    pub(crate) machine: Shared,
    pub(crate) options: RaftOptions,
    pub(crate) dir: Arc<TempDir>,
    server: JoinHandle<()>,
    log_writer: std::thread::JoinHandle<()>,
}

impl TestNode {
    pub(crate) async fn new(id: NodeId) -> TestNode {
        TestNode::with(id, |_| {}).await
    }

    pub(crate) async fn with(id: NodeId, change: impl FnOnce(&mut RaftOptions)) -> TestNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = Peer {
            raft_address: address,
            grpc_address: format!("127.0.0.1:{}", 40_000 + id),
            http_address: String::new(),
            node_uuid: Uuid::new_v4(),
        };
        let mut options = RaftOptions::new(id, peer, "test", id);
        change(&mut options);
        let dir = Arc::new(tempfile::tempdir().unwrap());
        TestNode::start(options, dir, Shared::default(), listener).await
    }

    async fn start(
        options: RaftOptions,
        dir: Arc<TempDir>,
        machine: Shared,
        listener: TcpListener,
    ) -> TestNode {
        let (log, log_writer) = log::open(dir.path());
        let node = RaftNode::start(
            &Handle::current(),
            options.clone(),
            log,
            TestMachine(machine.clone()),
            Arc::new(GrpcTransport),
            Arc::new(NoStatus),
        )
        .await
        .unwrap();
        let inbound = node.inbound();
        let server = tokio::spawn(async move {
            grpc::serve(listener, inbound, std::future::pending())
                .await
                .unwrap();
        });
        TestNode {
            node,
            machine,
            options,
            dir,
            server,
            log_writer,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.options.peer.raft_address.clone()
    }

    /// Stops the node; its disk stays.
    pub(crate) async fn kill(&self) {
        self.server.abort();
        self.node.shutdown().await;
    }

    /// Starts the killed node again from what was durable.
    pub(crate) async fn restart(self) -> TestNode {
        self.kill().await;
        let TestNode {
            node,
            machine,
            options,
            dir,
            server,
            log_writer,
        } = self;
        drop(node);
        drop(server.await);
        // Two writers on one log would be two truths.
        tokio::task::spawn_blocking(|| log_writer.join())
            .await
            .unwrap()
            .unwrap();
        let listener = eventually("the port is free", async || {
            TcpListener::bind(&options.peer.raft_address).await.ok()
        })
        .await;
        TestNode::start(options, dir, machine.reopened(), listener).await
    }

    pub(crate) fn values(&self) -> Vec<Bytes> {
        self.machine.state().values.clone()
    }

    pub(crate) async fn applied(&self, index: u64) {
        eventually("an entry is applied", async || {
            self.machine
                .state()
                .position
                .filter(|position| position.index >= index)
        })
        .await;
    }

    pub(crate) async fn leads(&self) -> Leadership {
        let mut leadership = self.node.leadership();
        let ready = timeout(PATIENCE, leadership.wait_for(|now| now.ready)).await;
        ready.expect("leads in time").unwrap().clone()
    }
}

/// Polls until there is something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn addresses(nodes: &[TestNode]) -> BTreeMap<NodeId, String> {
    nodes
        .iter()
        .map(|node| (node.node.id(), node.address()))
        .collect()
}

/// Three nodes that have bootstrapped themselves.
pub(crate) async fn three(change: impl Fn(&mut RaftOptions)) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(TestNode::with(id, &change).await);
    }
    let members = addresses(&nodes);
    let begun = nodes.iter().map(|node| node.node.bootstrap(&members));
    for begun in timeout(PATIENCE, futures::future::join_all(begun))
        .await
        .expect("in time")
    {
        begun.unwrap();
    }
    nodes
}

/// The place in `nodes` of the node that leads and is ready.
pub(crate) async fn leader(nodes: &[TestNode]) -> usize {
    eventually("a leader", async || {
        nodes
            .iter()
            .position(|node| node.node.leadership().borrow().ready)
    })
    .await
}
