//! Machines and disks that are slow for longer than any election timeout: nobody is elected.

use crate::cluster::{PATIENCE, TestNode, addresses, eventually, leader, three};
use crate::machine::Gate;
use crate::memory::Memory;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// Longer than the lease and the longest random wait after it.
const LONG: Duration = Duration::from_millis(1_500);

/// Opens gates also when a test fails: a machine that waits cannot be stopped.
struct Closed(Vec<Gate>);

impl Closed {
    fn new(gates: impl IntoIterator<Item = Gate>) -> Closed {
        let gates: Vec<Gate> = gates.into_iter().collect();
        gates.iter().for_each(Gate::close);
        Closed(gates)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.iter().for_each(Gate::open);
    }
}

/// One thread for each node's Raft, so that what blocks it blocks all of this node.
fn runtimes() -> Vec<Runtime> {
    let runtime = |_| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    (0..3).map(runtime).collect()
}

#[test]
fn nobody_is_elected_while_the_leaders_machine_is_busy() {
    let runtimes = runtimes();
    let test = Builder::new_current_thread().enable_all().build().unwrap();
    test.block_on(async {
        let mut nodes = Vec::new();
        for (id, runtime) in (1..).zip(&runtimes) {
            nodes.push(runtime.spawn(TestNode::new(id)).await.unwrap());
        }
        let members = addresses(&nodes);
        let begun = nodes.iter().map(|node| node.node.bootstrap(&members));
        for begun in futures::future::join_all(begun).await {
            begun.unwrap();
        }
        let first = leader(&nodes).await;
        let before = nodes[first].node.leadership().borrow().clone();

        let closed = Closed::new([nodes[first].machine.gate.clone()]);
        let proposed = nodes[first].node.propose(b"slow");
        sleep(LONG).await;
        for node in &nodes {
            let now = node.node.leadership().borrow().clone();
            let seen = (now.term, now.leader.map(|leader| leader.id));
            let id = nodes[first].node.id();
            assert_eq!(seen, (before.term, Some(id)), "at node {}", node.node.id());
        }
        drop(closed);
        let answered = timeout(PATIENCE, proposed).await.expect("in time");
        assert!(answered.is_ok(), "{answered:?}");
        for node in &nodes {
            node.kill().await;
        }
    });
    for runtime in runtimes {
        runtime.shutdown_background();
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_elected_while_the_leaders_disk_is_slow() {
    let memory = Memory::three(8, |_| {}).await;
    let first = memory.leader(None).await;
    let before = first.node.leadership().borrow().clone();
    *first.sync.lock().unwrap() = LONG;
    // Its followers' disks are a majority.
    for number in 0..20u8 {
        let proposed = timeout(LONG / 2, first.node.propose(&[number])).await;
        proposed.expect("by the disks of the others").unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(*first.node.leadership().borrow(), before);
    let away = memory.follower(first.node.id());
    assert_eq!(away.node.leadership().borrow().term, before.term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_applied() {
    let node = TestNode::new(1).await;
    let peers = [(1, node.options.peer.clone())].into();
    node.node.initialize(peers).await.unwrap();
    node.leads().await;
    let closed = Closed::new([node.machine.gate.clone()]);
    let mut proposed = node.node.propose(b"x");
    let early = timeout(Duration::from_millis(300), &mut proposed).await;
    assert!(early.is_err(), "acknowledged before it was applied");
    drop(closed);
    timeout(PATIENCE, proposed).await.expect("in time").unwrap();
    assert_eq!(node.values(), ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_ready_only_when_it_has_applied_its_own_first_entry() {
    let mut nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let dead = nodes.remove(first);
    let gates = nodes.iter().map(|node| node.machine.gate.clone());
    let closed = Closed::new(gates);
    dead.kill().await;
    let second = eventually("another leads", async || {
        let leads = |node: &TestNode| node.node.leadership().borrow().is_leader;
        nodes.iter().position(leads)
    })
    .await;
    sleep(Duration::from_millis(300)).await;
    let ready = |node: &TestNode| node.node.leadership().borrow().ready;
    assert!(!nodes.iter().any(ready), "ready with a state of the past");
    drop(closed);
    nodes[second].leads().await;
}
