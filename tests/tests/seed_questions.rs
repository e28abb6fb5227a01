//! The seed's questions and answers, each as a test with official SDKs and real nodes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use steadfast_proto::internal::admin::v1::{DigestRequest, LocalHistoryRequest};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_tests::Error;
use steadfast_tests::shop::{self, QUEUE, Shop, event_types, workflow_task_identities};

/// Q1: the history suppresses completed activities when another worker goes on.
#[tokio::test]
async fn another_worker_replays_and_completed_activities_are_suppressed() -> Result<(), Error> {
    let shop = Shop::open("verbatim").await?;
    let mut first = shop.worker(1, "worker-1").await?;
    shop.payments.delay(Duration::from_secs(3));
    let order = shop.order("q1").await?;
    // The first activity runs; its worker dies when its result was recorded, with the second
    // activity finished or not.
    first
        .wait_for_line("BEGIN updateDatabase q1", Duration::from_secs(60))
        .await?;
    first.kill()?;
    let second = shop.worker(2, "worker-2").await?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    assert_eq!(
        second.lines_with("BEGIN chargeCreditCard q1").len(),
        0,
        "{:?}",
        second.lines()
    );
    assert_eq!(shop.payments.charges("q1").calls.len(), 1);
    Ok(())
}

/// Q2, scenario A: the cluster is down while an activity finishes; the worker repeats its answer.
#[tokio::test]
async fn completion_is_retried_until_the_cluster_is_back() -> Result<(), Error> {
    let mut shop = Shop::open("verbatim").await?;
    shop.payments.delay(Duration::from_secs(2));
    let worker = shop.worker(1, "worker-1").await?;
    let order = shop.order("q2a").await?;
    shop.payments.wait_for_calls("q2a", 1).await?;
    for id in shop.cluster.ids() {
        shop.cluster.kill(id)?;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    for id in shop.cluster.ids() {
        shop.cluster.restart(id)?;
    }
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    let charges = shop.payments.charges("q2a");
    assert_eq!(
        (charges.calls.len(), charges.charged),
        (1, 1),
        "{:?}",
        worker.lines()
    );
    Ok(())
}

/// Q2, scenario A for longer than SDKs repeat: the time-out path and the idempotency key.
#[tokio::test]
async fn outage_of_thirty_seconds_ends_with_the_time_out_and_one_charge() -> Result<(), Error> {
    let mut shop = Shop::open("verbatim").await?;
    shop.payments.delay(Duration::from_secs(2));
    let _worker = shop.worker(1, "worker-1").await?;
    let order = shop.order("q2a-30").await?;
    shop.payments.wait_for_calls("q2a-30", 1).await?;
    for id in shop.cluster.ids() {
        shop.cluster.kill(id)?;
    }
    tokio::time::sleep(Duration::from_millis(30_000)).await;
    for id in shop.cluster.ids() {
        shop.cluster.restart(id)?;
    }
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    let charges = shop.payments.charges("q2a-30");
    assert!(
        charges.calls.len() <= 2,
        "one more call at most: {charges:?}"
    );
    assert_eq!(charges.charged, 1, "the customer pays once");
    Ok(())
}

/// Q2, scenario B: the worker dies in mid-activity; the start-to-close time-out queues it again and
/// the idempotency key makes the second call harmless.
#[tokio::test]
async fn time_out_requeues_and_the_idempotency_key_saves_the_customer() -> Result<(), Error> {
    let shop = Shop::open("verbatim").await?;
    shop.payments.delay(Duration::from_secs(2));
    let mut first = shop.worker(1, "worker-1").await?;
    let order = shop.order("q2b").await?;
    shop.payments.wait_for_calls("q2b", 1).await?;
    first.kill()?;
    let began = Instant::now();
    let _second = shop.worker(2, "worker-2").await?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    assert!(
        began.elapsed() > Duration::from_secs(50),
        "the time-out of a minute was waited for"
    );
    let charges = shop.payments.charges("q2b");
    assert_eq!((charges.calls.len(), charges.charged), (2, 1));
    assert_eq!(shop::started_attempts(&history), [2, 1]);
    Ok(())
}

/// Q3: no affinity: two workers on two nodes share a queue, and either continues any workflow.
#[tokio::test]
async fn workers_on_two_nodes_share_a_queue() -> Result<(), Error> {
    let shop = Shop::open("verbatim").await?;
    let (mut one, mut two) =
        tokio::try_join!(shop.worker(1, "worker-1"), shop.worker(2, "worker-2"))?;
    let mut orders = Vec::new();
    for number in 0..40 {
        orders.push(shop.order(&format!("q3-{number}")).await?);
    }
    let mut seen = BTreeSet::new();
    for order in &orders {
        let history = shop.closed(order).await?;
        assert_eq!(
            event_types(&history).last(),
            Some(&EventType::WorkflowExecutionCompleted)
        );
        seen.extend(workflow_task_identities(&history));
    }
    assert_eq!(
        seen,
        BTreeSet::from(["worker-1".to_owned(), "worker-2".to_owned()])
    );
    // And the one continues what the other began.
    shop.payments.delay(Duration::from_secs(3));
    let order = shop.order("q3-last").await?;
    shop.payments.wait_for_calls("q3-last", 1).await?;
    let began_by_one = !one.lines_with("BEGIN chargeCreditCard q3-last").is_empty();
    let (runs, other) = if began_by_one {
        (&mut one, &two)
    } else {
        (&mut two, &one)
    };
    runs.wait_for_line("END chargeCreditCard q3-last", Duration::from_secs(20))
        .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    runs.kill()?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    assert_eq!(
        shop.payments.charges("q3-last").calls.len(),
        1,
        "{:?}",
        other.lines()
    );
    Ok(())
}

/// Each node's own state gives the same history, byte for byte, and the same digests.
#[tokio::test]
async fn histories_and_digests_of_all_nodes_are_equal() -> Result<(), Error> {
    let shop = Shop::open("verbatim").await?;
    let _worker = shop.worker(1, "worker-1").await?;
    let mut orders = Vec::new();
    for number in 0..10 {
        orders.push(shop.order(&format!("q8-{number}")).await?);
    }
    for order in &orders {
        let events = shop.closed(order).await?;
        let mut copies = Vec::new();
        for node in shop.cluster.ids() {
            copies.push(local_history(&shop, node, order, events.len()).await?);
        }
        assert!(
            copies.iter().all(|copy| *copy == copies[0]),
            "histories differ"
        );
    }
    let mut digests = Vec::new();
    for node in shop.cluster.ids() {
        let answer = shop
            .cluster
            .admin(node)
            .await?
            .digest(DigestRequest {})
            .await?;
        digests.push(answer.into_inner().digests);
    }
    for index in digests[0].iter().map(|digest| digest.index) {
        let of = |node: &Vec<_>| -> Option<Vec<u8>> {
            node.iter()
                .find(
                    |digest: &&steadfast_proto::internal::admin::v1::MarkDigest| {
                        digest.index == index
                    },
                )
                .map(|digest| digest.digest.to_vec())
        };
        let first = of(&digests[0]);
        assert!(
            digests
                .iter()
                .all(|node| of(node).is_none() || of(node) == first)
        );
    }
    Ok(())
}

async fn local_history(
    shop: &Shop,
    node: u64,
    order: &shop::Order,
    events: usize,
) -> Result<Vec<u8>, Error> {
    use prost::Message;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let request = LocalHistoryRequest {
            namespace: "default".to_owned(),
            workflow_id: order.workflow_id.clone(),
            run_id: order.run_id.clone(),
        };
        let answer = shop
            .cluster
            .admin(node)
            .await?
            .local_history(request)
            .await?
            .into_inner();
        let decoded =
            steadfast_proto::temporal::history::v1::History::decode(answer.history.clone())
                .map_err(|error| Error::Program(error.to_string()))?;
        if decoded.events.len() == events {
            return Ok(answer.history.to_vec());
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!(
                "node {node} lags on queue {QUEUE}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
