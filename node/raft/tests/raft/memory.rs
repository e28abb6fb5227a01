//! A whole cluster on one thread, with paused time and links that can be cut.

use crate::cluster::eventually;
use crate::log;
use crate::machine::{Shared, TestMachine};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use steadfast_raft::transport::memory::MemoryNetwork;
use steadfast_raft::{ApplyMode, NoStatus, Peer, ProposeError, RaftNode, RaftOptions};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::timeout;
use uuid::Uuid;

struct Memory {
    network: MemoryNetwork,
    nodes: Vec<(RaftNode, Shared)>,
    _dirs: Vec<TempDir>,
}

async fn three() -> Memory {
    let network = MemoryNetwork::default();
    let (mut nodes, mut dirs) = (Vec::new(), Vec::new());
    for id in 1..=3u64 {
        let peer = Peer {
            raft_address: format!("n{id}"),
            node_uuid: Uuid::from_u128(u128::from(id)),
            ..Peer::default()
        };
        let mut options = RaftOptions::new(id, peer, "memory", id);
        options.apply = ApplyMode::Inline;
        let (dir, machine) = (tempfile::tempdir().unwrap(), Shared::default());
        let node = RaftNode::start(
            &Handle::current(),
            options,
            log::open(dir.path()).0,
            TestMachine(machine.clone()),
            network.transport(&format!("n{id}")),
            Arc::new(NoStatus),
        )
        .await
        .unwrap();
        network.listen(&format!("n{id}"), node.inbound());
        nodes.push((node, machine));
        dirs.push(dir);
    }
    let members: BTreeMap<u64, String> = (1..=3).map(|id| (id, format!("n{id}"))).collect();
    let begun = nodes.iter().map(|(node, _)| node.bootstrap(&members));
    for begun in futures::future::join_all(begun).await {
        begun.unwrap();
    }
    Memory {
        network,
        nodes,
        _dirs: dirs,
    }
}

impl Memory {
    async fn leader(&self, except: Option<u64>) -> &RaftNode {
        eventually("a leader", async || {
            let nodes = self.nodes.iter().map(|(node, _)| node);
            nodes
                .filter(|node| Some(node.id()) != except)
                .find(|node| node.leadership().borrow().ready)
        })
        .await
    }
}

#[tokio::test]
async fn a_cluster_in_memory_replaces_a_leader_that_is_cut_off_and_takes_it_back() {
    let memory = three().await;
    let first = memory.leader(None).await;
    first.propose(b"before").await.unwrap();
    let name = format!("n{}", first.id());
    for other in ["n1", "n2", "n3"] {
        if other != name {
            memory.network.cut(&name, other);
        }
    }
    // Proposed to a leader that is cut off: not acknowledged, whatever becomes of it.
    let lost = first.propose(b"cut off");
    let second = memory.leader(Some(first.id())).await;
    second.propose(b"after").await.unwrap();
    memory.network.heal();
    let lost = timeout(Duration::from_secs(20), lost)
        .await
        .expect("an answer in time");
    assert_eq!(lost, Err(ProposeError::Unknown));
    for (node, machine) in &memory.nodes {
        eventually("all agree", async || {
            let values = machine.state().values.clone();
            (values == ["before", "after"]).then_some(())
        })
        .await;
        assert!(node.leadership().borrow().term > 0);
    }
}

#[tokio::test]
async fn a_node_that_was_cut_off_does_not_disturb_the_leader() {
    let memory = three().await;
    let first = memory.leader(None).await;
    let term = first.leadership().borrow().term;
    let away = (1..=3).find(|id| *id != first.id()).unwrap();
    for other in 1..=3 {
        if other != away {
            memory
                .network
                .cut(&format!("n{away}"), &format!("n{other}"));
        }
    }
    // Several election timeouts: without pre-vote its term would rise meanwhile.
    tokio::time::sleep(Duration::from_secs(4)).await;
    memory.network.heal();
    let index = first.propose(b"on").await.unwrap();
    let (_, machine) = &memory.nodes[away as usize - 1];
    eventually("it follows again", async || {
        machine
            .state()
            .position
            .filter(|position| position.index >= index)
    })
    .await;
    assert_eq!(first.leadership().borrow().term, term);
    assert!(first.leadership().borrow().is_leader);
}
