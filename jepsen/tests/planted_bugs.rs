//! Bugs on purpose are found: the simulator's checks are not blind. `cargo xtask plant` looks for all
//! of them; here are some that short seeds find soon.

use std::time::Duration;
use steadfast_jepsen::simulation::{Order, Recording, Verdict, simulate};
use steadfast_planted::{Bug, plant};

/// Each is found by something else.
const SOON: &[Bug] = &[
    Bug::SignalRequestIdIgnored,
    Bug::StartRequestIdIgnored,
    Bug::ClaimByReadThenWrite,
    Bug::ApplyDrawsOwnChance,
    Bug::ClosedRunStaysListed,
    Bug::EventIdSkippedAfterBuffer,
];
/// So many seeds are tried for each.
const SEEDS: u64 = 8;

fn told(seed: u64) -> Verdict {
    simulate(Order {
        seed,
        lasts: Duration::from_secs(8),
        recording: Recording::Off,
    })
}

/// The choice is the whole process's: one test.
#[test]
fn planted_bugs_are_found_and_without_them_their_seeds_pass() {
    for bug in SOON {
        assert_eq!(plant(Some(*bug)), Ok(()), "the bugs are in builds of tests");
        let found = (1..=SEEDS).find(|seed| !told(*seed).violations.is_empty());
        assert_eq!(plant(None), Ok(()));
        let Some(seed) = found else {
            panic!("{} is not found by {SEEDS} seeds", bug.name());
        };
        assert_eq!(told(seed).violations, [], "seed {seed} without a bug");
    }
}
