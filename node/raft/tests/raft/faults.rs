//! Links that are cut, leaders that die in the middle, power that fails.

use crate::cluster::eventually;
use crate::machine::Shared;
use crate::memory::{Memory, name};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_raft::{MembershipError, ProposeError};
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_is_replaced_and_taken_back() {
    let memory = Memory::three(1, |_| {}).await;
    let first = memory.leader(None).await;
    first.node.propose(b"before").await.unwrap();
    memory.isolate(first.node.id());
    // Proposed to a leader that is cut off: not acknowledged, whatever becomes of it.
    let lost = first.node.propose(b"cut off");
    let second = memory.leader(Some(first.node.id())).await;
    let index = second.node.propose(b"after").await.unwrap();
    memory.network.heal();
    let lost = timeout(Duration::from_secs(20), lost)
        .await
        .expect("an answer in time");
    assert_eq!(lost, Err(ProposeError::Unknown));
    memory.applied(index).await;
    for node in &memory.nodes {
        assert_eq!(node.machine.state().values, ["before", "after"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_ran_out_refuses_definitely() {
    let memory = Memory::three(2, |_| {}).await;
    let first = memory.leader(None).await;
    memory.isolate(first.node.id());
    sleep(Duration::from_secs(1)).await;
    let refused = timeout(Duration::from_secs(5), first.node.propose(b"x"))
        .await
        .unwrap();
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    let read = timeout(Duration::from_secs(5), first.node.read_index())
        .await
        .unwrap();
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_does_not_disturb_the_leader() {
    let memory = Memory::three(3, |_| {}).await;
    let first = memory.leader(None).await;
    let term = first.node.leadership().borrow().term;
    let away = memory.follower(first.node.id());
    memory.isolate(away.node.id());
    // Many election timeouts: without pre-vote its term would rise meanwhile.
    sleep(Duration::from_secs(30)).await;
    memory.network.heal();
    let index = first.node.propose(b"on").await.unwrap();
    away.applied(index).await;
    assert_eq!(first.node.leadership().borrow().term, term);
    assert!(first.node.leadership().borrow().is_leader);
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_lacks_a_few_entries_for_long_does_not_vote() {
    let mut memory = Memory::three(6, |_| {}).await;
    memory
        .start(4, SimulatedDisk::new(), Shared::default())
        .await;
    let first = memory.leader(None).await;
    first.node.add_learner(4, Memory::peer(4)).await.unwrap();
    memory.isolate(4);
    first
        .node
        .propose(b"large, were it for real")
        .await
        .unwrap();
    let refused = first.node.promote(4).await;
    assert!(
        matches!(&refused, Err(MembershipError::Refused(why)) if why.contains("has not caught up")),
        "{refused:?}"
    );
    assert_eq!(first.node.members().voters.len(), 3);
    memory.network.heal();
    eventually("it may vote", async || {
        first.node.promote(4).await.is_ok().then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_finishes_the_membership_change_of_a_dead_one() {
    let mut memory = Memory::three(4, |_| {}).await;
    memory
        .start(4, SimulatedDisk::new(), Shared::default())
        .await;
    let first = memory.leader(None).await;
    let id = first.node.id();
    first.node.add_learner(4, Memory::peer(4)).await.unwrap();
    // The leader is cut off in the moment in which it applies the joint membership.
    let network = memory.network.clone();
    first.machine.on_membership(move || {
        for other in 1..=4 {
            network.cut(&name(id), &name(other));
        }
    });
    let node = first.node.clone();
    let promoted = tokio::spawn(async move { node.promote(4).await });
    let second = memory.leader(Some(id)).await;
    eventually("the change is finished", async || {
        let members = second.node.members();
        (members.voters.len() == 4 && !members.joint).then_some(())
    })
    .await;
    memory.network.heal();
    let index = second.node.propose(b"on").await.unwrap();
    memory.applied(index).await;
    let outcome = timeout(Duration::from_secs(20), promoted)
        .await
        .expect("in time")
        .unwrap();
    assert!(
        outcome.is_err(),
        "the old leader knows the outcome: {outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_snapshot_goes_on_where_it_broke() {
    let memory = Memory::three(5, |options| {
        options.keep_entries = 10;
        options.snapshot_rate = 20 << 10;
    })
    .await;
    let first = memory.leader(None).await;
    let away = memory.follower(first.node.id());
    memory.isolate(away.node.id());
    let mut last = 0;
    // Files of 100 values: more than one chunk each, ten seconds of sending in all.
    for number in 0..1500u32 {
        let value = [number.to_le_bytes().as_slice(), &[7; 150]].concat();
        last = first.node.propose(&value).await.unwrap();
    }
    let mark = first.machine.mark().unwrap();
    first.node.snapshot_durable(mark.index).await.unwrap();
    eventually("the log is purged", async || {
        first.node.progress().purged.filter(|purged| *purged > 1000)
    })
    .await;
    let healed = Instant::now();
    memory.network.heal();
    let received = || away.machine.durable.lock().unwrap().received;
    eventually("half is sent", async || {
        (received() > 100 << 10).then_some(())
    })
    .await;
    // 100 KiB at 20 KiB a second, less the file that may be sent at once.
    let took = healed.elapsed();
    assert!(took > Duration::from_secs(3), "sent too fast: {took:?}");
    memory.isolate(away.node.id());
    sleep(Duration::from_secs(30)).await;
    memory.network.heal();
    away.applied(last).await;
    let all = 1500 * (4 + 4 + 150);
    assert_eq!(received(), all, "bytes were sent twice");
}

#[tokio::test(start_paused = true)]
async fn nodes_hear_each_others_status() {
    let memory = Memory::three(6, |_| {}).await;
    for node in &memory.nodes {
        eventually("both others are heard", async || {
            (node.heard.0.lock().unwrap().len() == 2).then_some(())
        })
        .await;
        for (from, status) in node.heard.0.lock().unwrap().iter() {
            assert_eq!(*status, format!("status of {from}"));
        }
        assert!(
            node.node
                .peers()
                .iter()
                .all(|peer| peer.last_contact.is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_half_open_are_made_anew() {
    let memory = Memory::three(9, |_| {}).await;
    let first = memory.leader(None).await;
    first.node.propose(b"before").await.unwrap();
    for value in [b"one", b"two"] {
        memory.silence();
        let proposed = timeout(Duration::from_secs(10), first.node.propose(value)).await;
        let answer = proposed.expect("a lane that brings no answer is given up");
        answer.unwrap();
    }
}

/// Proposes for ever, noting what was acknowledged.
async fn work(node: steadfast_raft::RaftNode, acknowledged: Arc<Mutex<BTreeSet<Bytes>>>) {
    for number in 0.. {
        let value = Bytes::from(format!("{}-{number}", node.id()));
        if node.propose(&value).await.is_ok() {
            acknowledged.lock().unwrap().insert(value);
        } else {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_when_the_power_of_all_nodes_fails_at_once() {
    for seed in 0..20 {
        let mut memory = Memory::three(seed, |_| {}).await;
        let mut expected = BTreeSet::new();
        for cut in 0..3 {
            let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
            let workers: Vec<_> = (memory.nodes.iter())
                .map(|node| tokio::spawn(work(node.node.clone(), acknowledged.clone())))
                .collect();
            memory.leader(None).await;
            sleep(Duration::from_millis(50 + 7 * seed)).await;
            if cut == 1 {
                memory.nodes[0].machine.mark();
            }
            // What is acknowledged later does not count: it may come from nodes that are dead.
            expected.append(&mut acknowledged.lock().unwrap());
            assert!(!expected.is_empty());
            let loss = |id| match seed {
                0 => CrashLoss::AllUnsynced,
                _ => CrashLoss::Seeded(seed * 100 + cut * 10 + id),
            };
            memory.power_cut(loss).await;
            for worker in workers {
                worker.abort();
            }
        }
        let leader = memory.leader(None).await;
        let index = leader.node.propose(b"end").await.unwrap();
        memory.applied(index).await;
        let first = memory.nodes[0].machine.state().values.clone();
        for node in &memory.nodes {
            assert_eq!(
                node.machine.state().values,
                first,
                "replicas differ, seed {seed}"
            );
        }
        let held: BTreeSet<Bytes> = first.into_iter().collect();
        let lost: Vec<_> = expected.difference(&held).collect();
        assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
        for node in &memory.nodes {
            node.node.shutdown().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_node_and_the_others_go_on() {
    let memory = Memory::three(7, |_| {}).await;
    let first = memory.leader(None).await;
    first.disk.fail_sync(1);
    let outcome = timeout(Duration::from_secs(20), first.node.propose(b"x"))
        .await
        .unwrap();
    assert!(outcome.is_err() || memory.nodes.len() == 3, "{outcome:?}");
    timeout(Duration::from_secs(20), first.node.stopped())
        .await
        .expect("the node stops");
    let second = memory.leader(Some(first.node.id())).await;
    second.node.propose(b"y").await.unwrap();
}
