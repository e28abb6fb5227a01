//! One seed, one story: the seam that the simulator stands on.

use crate::memory::Memory;
use std::time::Duration;
use steadfast_raft::Leadership;
use tokio::runtime::{Builder, RngSeed};
use tokio::time::{Instant, sleep};

type Story = (Vec<(Duration, Leadership)>, Vec<bytes::Bytes>);

/// A leader is cut off under load; who leads when, and what is applied in the end.
fn story(seed: u64) -> Story {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .unwrap();
    runtime.block_on(async {
        let started = Instant::now();
        let memory = Memory::three(seed, |_| {}).await;
        let mut seen = Vec::new();
        let mut former = None;
        for round in 0..3 {
            let leader = memory.leader(former).await;
            former = Some(leader.node.id());
            seen.push((started.elapsed(), leader.node.leadership().borrow().clone()));
            for number in 0..20 {
                leader
                    .node
                    .propose(format!("{round} {number}").as_bytes())
                    .await
                    .unwrap();
            }
            memory.isolate(leader.node.id());
            sleep(Duration::from_secs(3)).await;
            memory.network.heal();
        }
        let leader = memory.leader(former).await;
        seen.push((started.elapsed(), leader.node.leadership().borrow().clone()));
        let values = leader.machine.state().values.clone();
        for node in &memory.nodes {
            node.node.shutdown().await;
        }
        (seen, values)
    })
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let stories: Vec<Story> = (0..5).map(story).collect();
    for (seed, first) in (0..).zip(&stories) {
        assert_eq!(first.1.len(), 60);
        assert_eq!(*first, story(seed), "seed {seed}");
    }
    assert!(
        stories.windows(2).any(|two| two[0].0 != two[1].0),
        "the seed changes nothing"
    );
}
