//! Safety (design D4): replicas that hold different states, a full disk, an orderly end.

use crate::worker::{Client, event_types, history};
use crate::{equal, has, three, told};
use std::time::Duration;
use steadfast::shard::{Class, Shard, Unavailable};
use steadfast::telemetry::Page;
use steadfast_engine::id::NamespaceNumber;
use steadfast_engine::read::namespace;
use steadfast_engine::tables::keys::{prefix_end, visibility_prefix};
use steadfast_engine::{Mutation, Tables};
use steadfast_jepsen::simulation::{Cluster, Trace, eventually};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_storage::disk::CrashLoss;
use tokio::time::sleep;

/// Longer than the time between marks, and than what follows from one.
const MARKED: Duration = Duration::from_secs(40);

/// A cluster in which the workflow `order` has completed and a mark was made.
async fn with_order(seed: u64, trace: &Trace) -> (Cluster, Client) {
    let cluster = three(seed, trace).await;
    let client = Client::new(cluster.doors().clone(), trace);
    client.work();
    client.start("order", "order").await;
    eventually("the order completes", || {
        has(&cluster, "order", EventType::WorkflowExecutionCompleted, 1)
    })
    .await;
    sleep(MARKED).await;
    (cluster, client)
}

fn shard(cluster: &Cluster, id: u64) -> Shard {
    cluster.doors().get(id).unwrap().shard
}

fn listed(shard: &Shard) -> usize {
    let prefix = visibility_prefix(number(shard));
    let rows = shard.view().scan(&prefix, &prefix_end(&prefix), 100, false);
    rows.unwrap().len()
}

fn number(shard: &Shard) -> NamespaceNumber {
    let found = namespace::by_name(&shard.view(), "default").unwrap();
    found.unwrap().number
}

/// One replica loses a row of the list, and nobody notices yet.
fn corrupt(shard: &Shard) {
    let prefix = visibility_prefix(number(shard));
    let rows = shard.view().scan(&prefix, &prefix_end(&prefix), 1, false);
    let (key, _) = rows.unwrap().remove(0);
    let applied = shard.store().applied().unwrap();
    shard.store().merge(vec![(key, None)], applied);
}

fn metric(shard: &Shard, name: &str) -> u64 {
    let mut page = Page::default();
    shard.render(&mut page);
    let page = page.done();
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("steadfast_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// One of three differs; all is written meanwhile. It is rebuilt, and nothing is lost.
async fn minority(seed: u64, leads: bool, trace: Trace) {
    let (cluster, client) = with_order(seed, &trace).await;
    let leader = cluster.leader(None).await;
    let wrong = if leads { leader } else { leader % 3 + 1 };
    let wrong_one = shard(&cluster, wrong);
    corrupt(&wrong_one);
    assert_eq!(listed(&wrong_one), 0);
    client.start("second", "order").await;
    eventually("the state is rebuilt", || {
        (metric(&wrong_one, "rebuilds_total") == 1).then_some(())
    })
    .await;
    if leads {
        assert!(!wrong_one.is_leader(), "a wrong state led on");
    }
    eventually("the second order completes", || {
        has(&cluster, "second", EventType::WorkflowExecutionCompleted, 1)
    })
    .await;
    client.start("third", "order").await;
    sleep(MARKED).await;
    equal(&cluster);
    for shard in cluster.all() {
        assert_eq!(metric(&shard, "states_differ"), 0);
        assert_eq!(listed(&shard), 3);
        let activities = event_types(&history(&shard, "second").unwrap());
        let completed = activities
            .iter()
            .filter(|event| **event == EventType::ActivityTaskCompleted);
        assert_eq!(completed.count(), 2, "an activity ran twice or never");
    }
    cluster.stop().await;
}

#[test]
fn a_follower_with_another_state_is_rebuilt_from_the_majority() {
    told(1, |trace| minority(1, false, trace));
}

#[test]
fn a_leader_with_another_state_hands_over_and_is_rebuilt() {
    told(2, |trace| minority(2, true, trace));
}

fn set_config() -> Mutation {
    Mutation::SetConfig {
        key: "limit.maxIDLength".into(),
        value: Some("500".into()),
    }
}

/// Two of three differ while the third is away: nobody knows who is right.
async fn split(seed: u64, trace: Trace) {
    let (mut cluster, client) = with_order(seed, &trace).await;
    let leader = cluster.leader(None).await;
    let (wrong, away) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let crashed = cluster.crash(away, CrashLoss::AllUnsynced).await;
    corrupt(&shard(&cluster, wrong));
    client.start("second", "order").await;
    let leading = shard(&cluster, leader);
    eventually("the states are split", || {
        (metric(&leading, "states_differ") == 2).then_some(())
    })
    .await;
    assert_eq!(
        leading.propose(Class::Fills, set_config()).await,
        Err(Unavailable::StatesDiffer)
    );
    assert!(!leading.is_sound(), "not ready");
    cluster.restart(crashed).await.unwrap();
    eventually("the wrong one is rebuilt", || {
        (metric(&shard(&cluster, wrong), "rebuilds_total") == 1).then_some(())
    })
    .await;
    eventually("the states are the same again", || {
        let sound = |shard: &Shard| metric(shard, "states_differ") == 0;
        cluster.all().iter().all(sound).then_some(())
    })
    .await;
    let leading = shard(&cluster, cluster.leader(None).await);
    assert!(
        leading
            .propose(Class::Fills, set_config())
            .await
            .unwrap()
            .is_ok()
    );
    client.start("third", "order").await;
    sleep(MARKED).await;
    equal(&cluster);
    cluster.stop().await;
}

#[test]
fn without_a_majority_for_one_state_writes_are_refused_until_there_is_one() {
    told(3, |trace| split(3, trace));
}

/// The leader's disk is full: it ends in order, and another leads.
async fn full_disk(seed: u64, trace: Trace) {
    let (mut cluster, client) = with_order(seed, &trace).await;
    let leader = cluster.leader(None).await;
    cluster.fill_disk(leader, 200);
    let reason = cluster.failed(leader).await;
    assert!(reason.contains("the disk is full"), "{reason}");
    let stopped = cluster.stop_one(leader).await;
    let next = cluster.leader(None).await;
    assert_ne!(next, leader);
    client.start("second", "order").await;
    drop(stopped);
    cluster.stop().await;
}

#[test]
fn a_node_whose_disk_is_full_stops_in_order() {
    told(4, |trace| full_disk(4, trace));
}

/// What a leader applied before an orderly end is at rest when it comes back.
async fn orderly(seed: u64, trace: Trace) {
    let (mut cluster, client) = with_order(seed, &trace).await;
    client.start("second", "order").await;
    let leader = cluster.leader(None).await;
    let applied = shard(&cluster, leader).store().applied().unwrap().index;
    let stopped = cluster.stop_one(leader).await;
    cluster.restart(stopped).await.unwrap();
    let at_rest = shard(&cluster, leader).store().digests()[0].position.index;
    assert!(at_rest > applied, "{at_rest} is before {applied}");
    cluster.stop().await;
}

#[test]
fn a_leader_that_stops_in_order_leaves_nothing_to_replay() {
    told(5, |trace| orderly(5, trace));
}
