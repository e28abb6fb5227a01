//! Proposals, leader loss, restarts, reads.

use crate::cluster::{PATIENCE, TestNode, eventually, leader, three};
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_raft::{MAX_PROPOSAL_BYTES, ProposeError, ReadError};
use tokio::time::{Instant, timeout};

fn value(number: usize) -> Bytes {
    format!("value {number}").into()
}

/// Proposes and waits, a window at a time; all must be acknowledged.
pub(crate) async fn propose_all(node: &TestNode, numbers: std::ops::Range<usize>) -> u64 {
    let mut last = 0;
    let numbers: Vec<usize> = numbers.collect();
    for window in numbers.chunks(1000) {
        let proposed = window
            .iter()
            .map(|number| node.node.propose(&value(*number)));
        let proposed: Vec<_> = proposed.collect();
        let answers = timeout(PATIENCE, join_all(proposed))
            .await
            .expect("answers in time");
        for answer in answers {
            last = last.max(answer.unwrap());
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_proposals_reach_three_nodes_in_the_order_of_calls() {
    let nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let started = Instant::now();
    let last = propose_all(&nodes[first], 0..10_000).await;
    println!("10,000 proposals in {:?}", started.elapsed());
    let expected: Vec<Bytes> = (0..10_000).map(value).collect();
    for node in &nodes {
        node.applied(last).await;
        assert!(node.values() == expected, "node {} differs", node.node.id());
    }
    for node in &nodes {
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_within_two_seconds_and_nothing_acknowledged_is_lost() {
    let mut nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    propose_all(&nodes[first], 0..500).await;
    // The last proposals are under way when the leader dies: acknowledged or unknown, not lost.
    let under_way: Vec<_> = (500..1000)
        .map(|number| (number, nodes[first].node.propose(&value(number))))
        .collect();
    let dead = nodes.remove(first);
    let killed = tokio::spawn(async move {
        dead.kill().await;
        dead
    });
    let mut acknowledged: BTreeSet<Bytes> = (0..500).map(value).collect();
    for (number, proposed) in under_way {
        match timeout(PATIENCE, proposed)
            .await
            .expect("an answer in time")
        {
            Ok(_) => {
                acknowledged.insert(value(number));
            }
            Err(ProposeError::Unknown | ProposeError::Stopped | ProposeError::NotLeader { .. }) => {
            }
            Err(other) => panic!("{other}"),
        }
    }
    let dead = killed.await.unwrap();
    let died = Instant::now();
    let second = leader(&nodes).await;
    assert!(
        died.elapsed() < Duration::from_secs(2),
        "took {:?}",
        died.elapsed()
    );
    println!("new leader after {:?}", died.elapsed());

    let last = propose_all(&nodes[second], 1000..1100).await;
    acknowledged.extend((1000..1100).map(value));
    let dead = dead.restart().await;
    nodes.push(dead);
    for node in &nodes {
        node.applied(last).await;
        let values: BTreeSet<Bytes> = node.values().into_iter().collect();
        assert!(
            values.is_superset(&acknowledged),
            "node {} lost some",
            node.node.id()
        );
        assert_eq!(
            values.len(),
            node.values().len(),
            "a proposal was applied twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_applies_again_what_its_machine_had_not_made_durable() {
    let node = TestNode::new(1).await;
    let peers = [(1, node.options.peer.clone())].into();
    node.node.initialize(peers).await.unwrap();
    node.leads().await;
    propose_all(&node, 0..150).await;
    node.machine.mark();
    let last = propose_all(&node, 150..300).await;
    let node = node.restart().await;
    node.leads().await;
    node.applied(last).await;
    assert!(node.values() == (0..300).map(value).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_refuses_definitely_and_names_the_leader() {
    let nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let id = nodes[first].node.id();
    let follower = &nodes[(first + 1) % 3].node;
    eventually("the follower knows", async || {
        follower
            .leadership()
            .borrow()
            .leader
            .as_ref()
            .filter(|l| l.id == id)
            .map(|_| ())
    })
    .await;
    assert_eq!(
        follower.propose(b"x").await,
        Err(ProposeError::NotLeader { leader: Some(id) })
    );
    assert_eq!(
        follower.read_index().await,
        Err(ReadError::NotLeader { leader: Some(id) })
    );
    let too_large = vec![0; MAX_PROPOSAL_BYTES + 1];
    assert_eq!(
        nodes[first].node.propose(&too_large).await,
        Err(ProposeError::TooLarge(MAX_PROPOSAL_BYTES + 1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_index_covers_what_was_acknowledged_and_needs_a_majority() {
    let nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let last = propose_all(&nodes[first], 0..100).await;
    let reads = (0..100).map(|_| nodes[first].node.read_index());
    for index in join_all(reads).await {
        assert!(index.unwrap() >= last);
    }
    for (place, node) in nodes.iter().enumerate() {
        if place != first {
            node.kill().await;
        }
    }
    let alone = timeout(PATIENCE, nodes[first].node.read_index())
        .await
        .expect("in time");
    assert!(
        alone.is_err(),
        "a leader without a majority answered a read: {alone:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_proposals_pass_between_nodes() {
    let nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let large = vec![7; MAX_PROPOSAL_BYTES];
    let proposed = [
        nodes[first].node.propose(&large),
        nodes[first].node.propose(b"small"),
    ];
    let mut last = 0;
    for answer in timeout(PATIENCE, join_all(proposed))
        .await
        .expect("in time")
    {
        last = last.max(answer.unwrap());
    }
    for node in &nodes {
        node.applied(last).await;
        assert_eq!(node.values().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_state_machine_stops_raft_and_says_so() {
    let node = TestNode::new(1).await;
    let peers = [(1, node.options.peer.clone())].into();
    node.node.initialize(peers).await.unwrap();
    node.leads().await;
    let outcome = timeout(PATIENCE, node.node.propose(b"fault"))
        .await
        .expect("in time");
    assert_eq!(outcome, Err(ProposeError::Unknown));
    let reason = timeout(PATIENCE, node.node.stopped())
        .await
        .expect("in time");
    assert!(reason.contains("broken"), "{reason}");
    // Raft's queue may close a moment after it has said so: what it still took is unknown.
    let more = node.node.propose(b"more").await;
    let refused = matches!(more, Err(ProposeError::Stopped | ProposeError::Unknown));
    assert!(refused, "{more:?}");
}
