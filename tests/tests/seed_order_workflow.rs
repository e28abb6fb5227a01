//! The seed's TypeScript order workflow, taken verbatim from the seed document, run by the official
//! SDK against three nodes; and the same with nodes killed in the middle.

use std::time::Duration;
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_tests::Error;
use steadfast_tests::shop::{self, Order, Shop, event_types};

#[tokio::test]
async fn order_workflow_completes_with_one_charge() -> Result<(), Error> {
    let shop = Shop::open("verbatim").await?;
    let _worker = shop.worker(1, "worker-1").await?;
    let order = shop.order("order-1").await?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    assert_eq!(
        shop::result(&history),
        "\"Order order-1 fully processed. Tx: tx-order-1\""
    );
    let charges = shop.payments.charges("order-1");
    assert_eq!((charges.calls.len(), charges.charged), (1, 1));
    Ok(())
}

#[tokio::test]
async fn retried_charge_waits_two_four_and_eight_seconds() -> Result<(), Error> {
    let shop = Shop::open("retry").await?;
    shop.payments.fail_first(3);
    let _worker = shop.worker(2, "worker-1").await?;
    let order = shop.order("order-r").await?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    let charges = shop.payments.charges("order-r");
    assert_eq!((charges.calls.len(), charges.charged), (4, 1));
    for (gap, least) in charges.calls.windows(2).zip([2, 4, 8]) {
        let waited = gap[1] - gap[0];
        assert!(
            waited >= Duration::from_secs(least),
            "waited {waited:?}, at least {least} s"
        );
    }
    let started = shop::started_attempts(&history);
    assert_eq!(started, [4, 1], "attempts of the charge and of the update");
    Ok(())
}

#[tokio::test]
async fn charge_that_always_fails_is_called_five_times() -> Result<(), Error> {
    let shop = Shop::open("retry").await?;
    shop.payments.fail_first(u32::MAX);
    let _worker = shop.worker(3, "worker-1").await?;
    let order = shop.order("order-f").await?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionFailed)
    );
    assert_eq!(shop.payments.charges("order-f").calls.len(), 5);
    assert!(shop::failed_with_maximum_attempts(&history), "{history:?}");
    Ok(())
}

#[tokio::test]
async fn leader_killed_in_mid_activity_changes_nothing() -> Result<(), Error> {
    let mut shop = Shop::open("verbatim").await?;
    shop.payments.delay(Duration::from_secs(4));
    let leader = shop.cluster.leader().await?;
    let others = shop.others(leader);
    let worker = shop.worker(others[0], "worker-1").await?;
    let order = shop.order_at(others[1], "order-k").await?;
    shop.payments.wait_for_calls("order-k", 1).await?;
    shop.cluster.kill(leader)?;
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    let charges = shop.payments.charges("order-k");
    assert_eq!(
        (charges.calls.len(), charges.charged),
        (1, 1),
        "the charge is not called again"
    );
    assert_eq!(worker.lines_with("BEGIN updateDatabase order-k").len(), 1);
    Ok(())
}

#[tokio::test]
async fn all_nodes_killed_and_restarted_lose_nothing() -> Result<(), Error> {
    let mut shop = Shop::open("verbatim").await?;
    shop.payments.delay(Duration::from_secs(5));
    let worker = shop.worker(1, "worker-1").await?;
    let order: Order = shop.order("order-a").await?;
    shop.payments.wait_for_calls("order-a", 1).await?;
    for id in shop.cluster.ids() {
        shop.cluster.kill(id)?;
    }
    for id in shop.cluster.ids() {
        shop.cluster.restart(id)?;
    }
    let history = shop.closed(&order).await?;
    assert_eq!(
        event_types(&history).last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    let charges = shop.payments.charges("order-a");
    assert_eq!(
        (charges.calls.len(), charges.charged),
        (1, 1),
        "the charge is not called again"
    );
    assert_eq!(worker.lines_with("END chargeCreditCard order-a").len(), 1);
    Ok(())
}
