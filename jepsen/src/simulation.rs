//! Whole nodes on one thread: clocks, randomness, disks and network follow from a seed.
//!
//! What is not simulated: the gRPC connections of clients (requests enter decoded), sled (a model
//! with the same contract takes its seat), threads.

mod clock;
mod cluster;
mod final_state;
mod nemesis;
mod network;
mod operator;
mod panics;
mod situation;
mod swarm;
mod trace;
mod whole;

pub use clock::WrongClock;
pub use cluster::{Cluster, Crashed, Door, Doors, eventually};
pub use nemesis::Nemesis;
pub use network::{Conditions, SimulatedNetwork};
pub use situation::{Met, SITUATIONS, Situation};
pub use swarm::{FAULTS, Fault, Swarm};
pub use trace::Trace;
pub use whole::{NOTHING_PANICS, Order, Verdict, simulate, simulate_watched};

use std::future::Future;
use tokio::runtime::{Builder, RngSeed};

/// Runs a story on one thread in virtual time.
///
/// # Panics
/// When there is no runtime to be had.
pub fn told<F: Future>(
    seed: u64,
    trace: Recording,
    story: impl FnOnce(Trace) -> F,
) -> (F::Output, String) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .expect("a runtime needs only memory");
    runtime.block_on(async {
        let trace = Trace::begin(trace);
        let _traced = tracing::dispatcher::set_default(&trace.subscriber());
        let told = story(trace.clone()).await;
        (told, trace.text())
    })
}

/// Whether a trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// All of it: hundreds of bytes for each message.
    Kept,
    /// Nothing of it.
    Off,
}
