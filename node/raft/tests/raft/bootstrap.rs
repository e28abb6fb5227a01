//! How a cluster begins.

use crate::cluster::{TestNode, addresses, leader, three};
use std::time::Duration;
use steadfast_raft::{BootstrapError, Bootstrapped};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_lowest_id_begins_and_only_when_all_are_there() {
    let nodes = [TestNode::new(1).await, TestNode::new(2).await];
    let mut members = addresses(&nodes);
    // Nobody is at the third address.
    members.insert(3, "127.0.0.1:1".to_owned());
    for node in &nodes {
        let begun = timeout(Duration::from_secs(1), node.node.bootstrap(&members)).await;
        assert!(begun.is_err(), "{begun:?}");
        assert!(node.node.is_pristine().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_lists_of_members_are_noticed() {
    let nodes = [TestNode::new(1).await, TestNode::new(2).await];
    let members = addresses(&nodes);
    let mut other = members.clone();
    other.insert(3, "127.0.0.1:1".to_owned());
    let both = futures::future::join(
        timeout(Duration::from_secs(2), nodes[0].node.bootstrap(&other)),
        timeout(Duration::from_secs(2), nodes[1].node.bootstrap(&members)),
    );
    let (first, second) = both.await;
    assert_eq!(first.unwrap(), Err(BootstrapError::DifferentMembers(2)));
    assert!(!matches!(second, Ok(Ok(_))), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_cluster_does_not_begin_again() {
    let nodes = three(|_| {}).await;
    leader(&nodes).await;
    let members = addresses(&nodes);
    let mut again = Vec::new();
    for node in nodes {
        again.push(node.restart().await);
    }
    for node in &again {
        assert_eq!(
            node.node.bootstrap(&members).await,
            Ok(Bootstrapped::Already)
        );
    }
    leader(&again).await;
}
