//! One seed, one story, told by three whole nodes: what the simulator will stand on.
//!
//! Nothing here is real: time, disks, network and randomness are the seed's. Each peer message,
//! disk call, applied mutation and fired timer is in the trace.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "seam/safety.rs"]
mod safety;
#[path = "seam/worker.rs"]
mod worker;

use std::future::Future;
use std::time::Duration;
use steadfast_jepsen::simulation::{self, Cluster, Recording, Trace, eventually};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_storage::disk::CrashLoss;
use tokio::time::sleep;
use worker::{Client, event_types, history};

const HOUR: i64 = 3_600_000_000_000;

/// Tells a story in virtual time; gives its trace.
fn told<F: Future<Output = ()>>(seed: u64, story: impl FnOnce(Trace) -> F) -> String {
    simulation::told(seed, Recording::Kept, story).1
}

async fn three(seed: u64, trace: &Trace) -> Cluster {
    Cluster::start(seed, 3, trace).await.unwrap()
}

fn has(cluster: &Cluster, workflow_id: &str, event: EventType, times: usize) -> Option<()> {
    let shards = cluster.doors().shards();
    let seen = |shard| {
        let events = history(shard, workflow_id).map(|history| event_types(&history));
        events
            .unwrap_or_default()
            .iter()
            .filter(|seen| **seen == event)
            .count()
            >= times
    };
    shards.iter().any(seen).then_some(())
}

/// An order of two activities. The leader crashes after the first, with writes that were not
/// synced; the next leader is cut off during the second.
async fn order(seed: u64, trace: Trace) {
    let mut cluster = three(seed, &trace).await;
    let client = Client::new(cluster.doors().clone(), &trace);
    client.work();
    client.start("order", "order").await;
    client.start("timer", "timer").await;
    eventually("the first activity completes", || {
        has(&cluster, "order", EventType::ActivityTaskCompleted, 1)
    })
    .await;

    for number in 0..5 {
        client.signal("order", number);
    }
    sleep(Duration::from_micros(100 * (seed % 8))).await;
    let first = cluster.leader(None).await;
    let loss = if seed.is_multiple_of(2) {
        CrashLoss::AllUnsynced
    } else {
        CrashLoss::Seeded(seed)
    };
    let crashed = cluster.crash(first, loss).await;
    let second = cluster.leader(None).await;
    cluster.restart(crashed).await.unwrap();

    sleep(Duration::from_millis(500)).await;
    cluster.isolate(second);
    trace.line(|| format!("{second} is cut off"));
    let third = cluster.leader(Some(second)).await;
    assert_ne!(third, second);
    sleep(Duration::from_secs(2)).await;
    cluster.heal();
    trace.line(|| "healed".into());

    eventually("the order completes", || {
        has(&cluster, "order", EventType::WorkflowExecutionCompleted, 1)
    })
    .await;
    // Longer than the time between marks: all replicas compare their states.
    sleep(Duration::from_secs(45)).await;
    equal(&cluster);
    let activities: Vec<String> = client.done.lock().unwrap().begun.keys().cloned().collect();
    assert_eq!(activities, ["order/1", "order/2"]);
    cluster.stop().await;
}

/// All replicas hold the same bytes.
fn equal(cluster: &Cluster) {
    let all = cluster.all();
    let histories: Vec<_> = all
        .iter()
        .map(|shard| history(shard, "order").unwrap())
        .collect();
    let events = event_types(&histories[0]);
    assert_eq!(events.last(), Some(&EventType::WorkflowExecutionCompleted));
    let completed = events
        .iter()
        .filter(|event| **event == EventType::ActivityTaskCompleted);
    assert_eq!(completed.count(), 2);
    assert!(
        histories.windows(2).all(|two| two[0] == two[1]),
        "histories differ"
    );
    let digest = |shard: &steadfast::shard::Shard| *shard.store().newest_digest().borrow();
    let digests: Vec<_> = all.iter().map(digest).collect();
    assert!(digests[0].is_some(), "no mark was made");
    assert!(
        digests.windows(2).all(|two| two[0] == two[1]),
        "states differ: {digests:?}"
    );
}

/// Fails with the first line in which two traces differ.
fn assert_same(seed: u64, first: &str, again: &str) {
    if first == again {
        return;
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (first.lines().collect(), again.lines().collect());
    let differs = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let from = differs.saturating_sub(5);
    let part = |lines: &[&str]| lines[from..lines.len().min(differs + 3)].join("\n");
    panic!(
        "seed {seed}, line {differs}:\n{}\n-- and again --\n{}",
        part(&a),
        part(&b)
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| told(seed, |trace| order(seed, trace));
    let traces: Vec<String> = (0..4).map(run).collect();
    for (seed, first) in (0..).zip(&traces) {
        for part in [
            "append",
            "disk ",
            "applied",
            "FireDue",
            "sync_data",
            "crash of",
        ] {
            assert!(first.contains(part), "the trace lacks {part}");
        }
        assert_same(seed, first, &run(seed));
    }
    assert!(
        traces.windows(2).all(|two| two[0] != two[1]),
        "the seed changes nothing"
    );
}

/// Whose clocks are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Leader,
    /// That of a follower which might lead after a second, when the leader crashes.
    Follower,
    /// Those of both, in opposite directions: one of them must lead then.
    Followers,
}

/// A timer of five seconds, while clocks are wrong. Tells whether a wrong one led.
async fn timer(seed: u64, wrong: Wrong, wrong_by: i64, trace: Trace) -> bool {
    let mut cluster = three(seed, &trace).await;
    let client = Client::new(cluster.doors().clone(), &trace);
    client.work();
    let leader = cluster.leader(None).await;
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let wrong_ones = match wrong {
        Wrong::Leader => vec![leader],
        Wrong::Follower => vec![one],
        Wrong::Followers => vec![one, other],
    };
    for (node, wrong_by) in wrong_ones.iter().zip([wrong_by, -wrong_by]) {
        cluster.jump_clock(*node, wrong_by);
    }
    client.start("timer", "timer").await;
    eventually("the timer starts", || {
        has(&cluster, "timer", EventType::TimerStarted, 1)
    })
    .await;
    let started = trace.elapsed();
    sleep(Duration::from_secs(1)).await;
    let crashed = cluster.crash(leader, CrashLoss::AllUnsynced).await;
    let next = cluster.leader(None).await;
    cluster.restart(crashed).await.unwrap();
    eventually("the timer fires", || {
        has(&cluster, "timer", EventType::TimerFired, 1)
    })
    .await;
    let took = trace.elapsed() - started;
    // What was seen of the start may be later than it by one look.
    assert!(
        took >= Duration::from_millis(4_950),
        "fired early, after {took:?}"
    );
    // Cluster time stands still while nobody leads, and is steered back by a tenth at most.
    let leaderless = match wrong {
        Wrong::Leader | Wrong::Follower => 3,
        Wrong::Followers => 10,
    };
    assert!(
        took <= Duration::from_secs(5 + leaderless),
        "fired late, after {took:?}"
    );
    cluster.stop().await;
    wrong == Wrong::Leader || wrong_ones.contains(&next)
}

/// Runs the story with each node's clock wrong in turn. A follower with a wrong clock does not
/// lead, while another can.
fn timers(wrong_by: i64) {
    let wrong_led = |seed: u64, wrong: Wrong| {
        let led = std::cell::Cell::new(false);
        let story = |trace| async { led.set(timer(seed, wrong, wrong_by, trace).await) };
        told(seed, story);
        led.get()
    };
    assert!(wrong_led(1, Wrong::Leader));
    for seed in 1..=6 {
        assert!(!wrong_led(seed, Wrong::Follower), "seed {seed}");
    }
    for seed in 1..=2 {
        assert!(wrong_led(seed, Wrong::Followers), "seed {seed}");
    }
}

#[test]
fn a_leader_an_hour_ahead_fires_no_timer_early() {
    timers(HOUR);
}

#[test]
fn a_leader_an_hour_behind_fires_no_timer_late() {
    timers(-HOUR);
}
