//! Who may talk to whom.

use crate::cluster::{TestNode, eventually, three};
use std::time::Duration;
use steadfast_raft::{BootstrapError, Bootstrapped};
use tokio::time::timeout;

/// What becomes of a new node that is started with the addresses of `to`.
async fn bootstrap_against(
    id: u64,
    to: &TestNode,
    cluster_id: &str,
) -> Option<Result<Bootstrapped, BootstrapError>> {
    let node = TestNode::with(id, |options| options.cluster_name = cluster_id.to_owned()).await;
    let members = [(id, node.address()), (to.node.id(), to.address())].into();
    let result = timeout(Duration::from_secs(2), node.node.bootstrap(&members))
        .await
        .ok();
    node.kill().await;
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused() {
    let nodes = three(|_| {}).await;
    let refused = bootstrap_against(9, &nodes[0], "another").await.unwrap();
    let Err(BootstrapError::WrongPeer(message)) = refused else {
        panic!("{refused:?}")
    };
    assert!(message.contains("this is cluster \"test\""), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_does_not_return_under_its_id() {
    let nodes = three(|_| {}).await;
    for node in &nodes {
        eventually("all know all", async || {
            (node.node.members().peers.len() == 3).then_some(())
        })
        .await;
    }
    // Node 3 again, with an empty directory.
    nodes[2].kill().await;
    let refused = bootstrap_against(3, &nodes[0], "test").await.unwrap();
    assert_eq!(refused, Err(BootstrapError::IdentityLost(3)));
    // Node 1 again, whose duty it was to begin the cluster: it must not begin another one.
    nodes[0].kill().await;
    let refused = bootstrap_against(1, &nodes[1], "test").await.unwrap();
    assert_eq!(refused, Err(BootstrapError::IdentityLost(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_talk_to_itself_nor_to_a_wrong_address() {
    let node = TestNode::new(1).await;
    let members = [(1, node.address()), (2, node.address())].into();
    let refused = timeout(Duration::from_secs(5), node.node.bootstrap(&members))
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(BootstrapError::WrongPeer(_))),
        "{refused:?}"
    );
    let other = TestNode::new(3).await;
    let members = [(1, node.address()), (2, other.address())].into();
    let refused = timeout(Duration::from_secs(5), node.node.bootstrap(&members))
        .await
        .unwrap();
    let Err(BootstrapError::WrongPeer(message)) = refused else {
        panic!("{refused:?}")
    };
    assert!(message.contains("node 3"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_group_is_refused() {
    let nodes = [
        TestNode::new(1).await,
        TestNode::with(2, |options| options.group = 7).await,
    ];
    let members = [(1, nodes[0].address()), (2, nodes[1].address())].into();
    let refused = timeout(Duration::from_secs(5), nodes[0].node.bootstrap(&members))
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(BootstrapError::WrongPeer(_))),
        "{refused:?}"
    );
}
