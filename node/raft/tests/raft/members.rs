//! Learners, voters, removal, transfer.

use crate::cluster::{PATIENCE, TestNode, eventually, leader, three};
use crate::replicate::propose_all;
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_raft::MembershipError;
use tokio::time::timeout;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_added_promoted_and_another_removed() {
    let mut nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    propose_all(&nodes[first], 0..100).await;
    let fourth = TestNode::new(4).await;
    let raft = nodes[first].node.clone();
    raft.add_learner(4, fourth.options.peer.clone())
        .await
        .unwrap();
    assert_eq!(raft.members().voters, BTreeSet::from([1, 2, 3]));
    raft.promote(4).await.unwrap();
    assert_eq!(raft.members().voters, BTreeSet::from([1, 2, 3, 4]));
    let removed = nodes[(first + 1) % 3].node.id();
    raft.remove(removed).await.unwrap();
    let members = raft.members();
    assert!(!members.peers.contains_key(&removed) && !members.joint);
    nodes.push(fourth);
    let last = propose_all(&nodes[first], 100..200).await;
    for node in nodes.iter().filter(|node| node.node.id() != removed) {
        node.applied(last).await;
        assert_eq!(node.values().len(), 200);
    }
    assert!(
        raft.peers()
            .iter()
            .any(|peer| peer.id == 4 && peer.voter && peer.matched.is_some())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_changes_are_refused() {
    let nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let raft = &nodes[first].node;
    assert!(matches!(
        raft.promote(9).await,
        Err(MembershipError::Refused(_))
    ));
    assert!(matches!(
        raft.remove(9).await,
        Err(MembershipError::Refused(_))
    ));
    let mut peer = nodes[first].options.peer.clone();
    peer.node_uuid = Uuid::new_v4();
    let again = raft.add_learner(raft.id(), peer).await;
    assert!(
        matches!(again, Err(MembershipError::Refused(_))),
        "{again:?}"
    );
    let follower = &nodes[(first + 1) % 3].node;
    let refused = follower.promote(9).await;
    assert!(
        matches!(refused, Err(MembershipError::NotLeader { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_an_election_timeout() {
    let nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    propose_all(&nodes[first], 0..100).await;
    let to = nodes[(first + 1) % 3].node.id();
    let gone = nodes[first]
        .node
        .transfer_leader(Some(to), Duration::from_secs(2))
        .await;
    assert!(gone);
    eventually("the other leads", async || {
        nodes[(first + 1) % 3]
            .node
            .leadership()
            .borrow()
            .ready
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_removes_itself_and_another_takes_over() {
    let mut nodes = three(|_| {}).await;
    let first = leader(&nodes).await;
    let id = nodes[first].node.id();
    timeout(PATIENCE, nodes[first].node.remove(id))
        .await
        .expect("in time")
        .unwrap();
    let removed = nodes.remove(first);
    let second = leader(&nodes).await;
    assert!(!nodes[second].node.members().peers.contains_key(&id));
    propose_all(&nodes[second], 0..10).await;
    removed.kill().await;
}
