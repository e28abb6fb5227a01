//! Short simulations: each promise holds, and a seed tells the same story twice.

use std::time::Duration;
use steadfast_jepsen::simulation::{Order, Recording, Verdict, simulate};

fn told(seed: u64, recording: Recording) -> Verdict {
    simulate(Order {
        seed,
        lasts: Duration::from_secs(8),
        recording,
    })
}

/// A leader that no majority heard let its polls claim the same tasks again and again, without
/// end: virtual time stood still.
#[test]
fn polls_of_a_leader_without_a_majority_do_not_claim_in_a_loop() {
    let verdict = told(7, Recording::Off);
    assert_eq!(verdict.violations, []);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_nothing_is_violated() {
    for seed in 1..3 {
        let first = told(seed, Recording::Kept);
        assert_eq!(first.violations, [], "seed {seed}");
        assert!(first.operations > 50, "seed {seed} did little");
        let again = told(seed, Recording::Kept);
        assert!(first.trace == again.trace, "seed {seed} told another story");
        let quiet = told(seed, Recording::Off);
        assert_eq!(
            (quiet.operations, quiet.simulated),
            (first.operations, first.simulated),
            "who writes the trace changes seed {seed}"
        );
    }
}

#[test]
fn a_seed_tells_the_same_beside_other_seeds() {
    let alone = told(3, Recording::Kept).trace;
    let beside = std::thread::scope(|scope| {
        let others = [4, 3].map(|seed| scope.spawn(move || told(seed, Recording::Kept).trace));
        others.map(|other| other.join().unwrap())
    });
    assert!(alone == beside[1], "seed 3 told another story");
    assert!(alone != beside[0]);
}
