//! Bugs on purpose are found: the simulator's checks are not blind. `cargo xtask plant` looks for all
//! of them; here are some with a seed that finds each soon.

use std::time::Duration;
use steadfast_jepsen::simulation::{Order, Recording, Verdict, simulate};
use steadfast_planted::{Bug, plant};

/// A bug, a seed, and how long that is simulated.
const FOUND: &[(Bug, u64, u64)] = &[(Bug::SignalRequestIdIgnored, 1, 8)];

fn told(seed: u64, seconds: u64) -> Verdict {
    simulate(Order {
        seed,
        lasts: Duration::from_secs(seconds),
        recording: Recording::Off,
    })
}

/// The choice is the whole process's: one test.
#[test]
fn planted_bugs_are_found_and_without_them_their_seeds_pass() {
    for (bug, seed, seconds) in FOUND {
        assert_eq!(plant(Some(*bug)), Ok(()));
        let violations = told(*seed, *seconds).violations;
        assert_eq!(plant(None), Ok(()));
        assert!(
            !violations.is_empty(),
            "{} is not found by seed {seed}",
            bug.name()
        );
        let violations = told(*seed, *seconds).violations;
        assert_eq!(violations, [], "seed {seed}");
    }
}
