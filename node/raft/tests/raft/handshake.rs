//! Who may talk to whom.

use crate::cluster::{TestNode, eventually, three};
use crate::memory::{Memory, name};
use futures::StreamExt;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use steadfast_proto::internal::raft::v1::frame::Body;
use steadfast_raft::transport::{Lane, RefusedReason};
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

type Change = fn(&mut proto::Hello);

/// What node 1 of a cluster answers to a hello of node 2 that was changed.
async fn answer(memory: &Memory, change: Change) -> Body {
    let mut hello = proto::Hello {
        version: 2,
        lane: 2,
        cluster_name: "memory".to_owned(),
        cluster_id: String::new(),
        group: 0,
        from: 2,
        from_uuid: uuid_of(2),
        to: 1,
    };
    change(&mut hello);
    let transport = memory.network.transport(&name(2));
    let connected = transport.connect(&name(1), Lane::Control).await;
    let mut wire = connected.unwrap();
    let body = Some(Body::Hello(hello));
    wire.sender.send(proto::Frame { body }).await.unwrap();
    let answer = timeout(Duration::from_secs(5), wire.receiver.next()).await;
    answer.expect("in time").unwrap().body.unwrap()
}

fn uuid_of(id: u64) -> bytes::Bytes {
    Memory::peer(id).node_uuid.as_bytes().to_vec().into()
}

#[tokio::test(start_paused = true)]
async fn each_part_of_a_hello_is_checked() {
    let memory = Memory::three(10, |_| {}).await;
    let index = memory.leader(None).await.node.propose(b"x").await.unwrap();
    memory.applied(index).await;
    let welcome = answer(&memory, |_| {}).await;
    assert!(matches!(welcome, Body::Welcome(_)), "{welcome:?}");
    let cases: [(RefusedReason, Change); 7] = [
        (RefusedReason::Version, |hello| hello.version = 3),
        (RefusedReason::Cluster, |hello| {
            hello.cluster_name = "x".to_owned()
        }),
        (RefusedReason::Group, |hello| hello.group = 7),
        (RefusedReason::Node, |hello| hello.to = 3),
        (RefusedReason::Protocol, |hello| hello.lane = 9),
        // Known with another data directory.
        (RefusedReason::Uuid, |hello| hello.from_uuid = uuid_of(9)),
        (RefusedReason::Self_, |hello| {
            (hello.from, hello.from_uuid) = (1, uuid_of(1));
        }),
    ];
    for (reason, change) in cases {
        match answer(&memory, change).await {
            Body::Refused(refused) => assert_eq!(refused.reason(), reason),
            other => panic!("{reason:?} was not noticed: {other:?}"),
        }
    }
}
