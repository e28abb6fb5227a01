//! Purging, and followers that catch up by files.

use crate::cluster::{eventually, leader, three};
use crate::replicate::propose_all;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_too_long_catches_up_by_the_files_it_lacks() {
    let mut nodes = three(|options| options.keep_entries = 50).await;
    let first = leader(&nodes).await;
    let away = (first + 1) % 3;
    let last = propose_all(&nodes[first], 0..1000).await;
    // The follower has the first files already: they need not be sent.
    for node in &nodes {
        node.applied(last).await;
        node.machine.mark();
    }
    nodes[away].kill().await;
    let last = propose_all(&nodes[first], 1000..2000).await;
    let mark = nodes[first].machine.mark().unwrap();
    nodes[first]
        .node
        .snapshot_durable(mark.index)
        .await
        .unwrap();
    let purged = eventually("the log is purged", async || {
        nodes[first]
            .node
            .progress()
            .purged
            .filter(|purged| *purged >= 1500)
    })
    .await;
    assert!(purged <= mark.index - 50, "entries for a restart are kept");

    let node = nodes.remove(away).restart().await;
    node.applied(last).await;
    assert_eq!(node.values().len(), 2000);
    let received = node.machine.durable.lock().unwrap().received;
    let all: usize = node.values().iter().map(|value| value.len() + 4).sum();
    assert!(received > 0, "no snapshot was needed");
    assert!(
        received < all * 3 / 4,
        "{received} of {all} bytes: files it had were sent"
    );
    // And goes on by entries.
    nodes.push(node);
    let first = leader(&nodes).await;
    let last = propose_all(&nodes[first], 2000..2100).await;
    for node in &nodes {
        node.applied(last).await;
        assert_eq!(node.values().len(), 2100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_not_purged_beyond_what_is_durable() {
    let nodes = three(|options| options.keep_entries = 0).await;
    let first = leader(&nodes).await;
    propose_all(&nodes[first], 0..1500).await;
    let mark = nodes[first].machine.mark().unwrap();
    propose_all(&nodes[first], 1500..3000).await;
    nodes[first]
        .node
        .snapshot_durable(mark.index)
        .await
        .unwrap();
    eventually("the log is purged", async || {
        nodes[first]
            .node
            .progress()
            .purged
            .filter(|purged| *purged == mark.index)
    })
    .await;
    propose_all(&nodes[first], 3000..3100).await;
    assert_eq!(nodes[first].node.progress().purged, Some(mark.index));
}
