//! One seed from its beginning to its verdict.

use super::nemesis::Nemesis;
use super::swarm::Swarm;
use super::{Cluster, Met, Recording, Trace, final_state, panics, told};
use crate::checkers;
use crate::evidence::{Evidence, Violation};
use crate::workload::{self, Caller, Client, Transport};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// After the faults, all work ends within this.
const DRAIN: Duration = Duration::from_secs(180);
/// The violation of a seed in which it does not.
const WORK_ENDS: &str = "work_ends";

/// One seed in so many has a rolling upgrade.
const UPGRADES_EVERY: u64 = 3;

/// One seed in so many has nothing wrong but the leader's clock, beginning with this one.
const CLOCKS_EVERY: u64 = 10;
const CLOCKS_FROM: u64 = 5;

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Everything follows from it.
    pub seed: u64,
    /// How long clients call and faults happen.
    pub lasts: Duration,
    /// Whether a trace is kept.
    pub recording: Recording,
}

/// What came of a seed.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What must not be, first of all.
    pub violations: Vec<Violation>,
    /// Calls of clients and workers.
    pub operations: usize,
    /// Runs at the end.
    pub runs: usize,
    /// How often each fault happened.
    pub faults: BTreeMap<String, u32>,
    /// Rare situations.
    pub situations: Met,
    /// How many nodes there were.
    pub nodes: u64,
    /// Virtual time from begin to end.
    pub simulated: Duration,
    /// Empty unless kept.
    pub trace: String,
}

/// The violation of a seed in which something panicked.
pub const NOTHING_PANICS: &str = "nothing_panics";

/// Simulates one seed and checks what it left.
#[must_use]
pub fn simulate(order: Order) -> Verdict {
    simulate_watched(order, &Arc::default())
}

/// As [`simulate`]; `looks` grows as virtual time goes on.
#[must_use]
pub fn simulate_watched(order: Order, looks: &Arc<AtomicU64>) -> Verdict {
    let (told, panics) = panics::watched(|| {
        let looks = looks.clone();
        let story = |trace| whole(order, trace, looks);
        let (mut verdict, trace) = told(order.seed, order.recording, story);
        verdict.trace = trace;
        verdict
    });
    let mut verdict = told.unwrap_or_default();
    let panics = panics.into_iter();
    let panics = panics.map(|panic| Violation::new(NOTHING_PANICS, panic));
    verdict.violations.splice(..0, panics);
    verdict
}

async fn whole(order: Order, trace: Trace, looks: Arc<AtomicU64>) -> Verdict {
    let mut chance = ChaCha8Rng::seed_from_u64(order.seed);
    let mut swarm = Swarm::draw(&mut chance);
    // By the seed itself, so that what is drawn stays as it was.
    if order.seed % CLOCKS_EVERY == CLOCKS_FROM {
        swarm = swarm.with_only_the_leaders_clock_wrong();
    }
    trace.line(|| format!("{swarm:?}"));
    let mut evidence = Evidence {
        lasted: order.lasts,
        ..Evidence::default()
    };
    let told = story(order, &swarm, &mut chance, &trace, looks, &mut evidence).await;
    let violations = match told {
        Ok(()) => checkers::check(&evidence),
        Err(violation) if evidence.unended => {
            let mut violations = vec![violation];
            violations.extend(checkers::check(&evidence));
            violations
        }
        Err(violation) => vec![violation],
    };
    Verdict {
        violations,
        operations: evidence.journal.operations.len(),
        runs: evidence.runs.len(),
        faults: evidence.faults,
        situations: evidence.situations,
        nodes: swarm.nodes,
        simulated: trace.elapsed(),
        trace: String::new(),
    }
}

async fn story(
    order: Order,
    swarm: &Swarm,
    chance: &mut ChaCha8Rng,
    trace: &Trace,
    looks: Arc<AtomicU64>,
    evidence: &mut Evidence,
) -> Result<(), Violation> {
    let cluster = Cluster::start_sized(order.seed, swarm.nodes, swarm.sizes, trace)
        .await
        .map_err(|error| Violation::new("nodes_start", error.to_string()))?;
    let doors = cluster.doors().clone();
    let caller = Caller::new(
        chance.random(),
        Transport::Decoded(doors),
        swarm.habits,
        trace,
    );
    workload::work(&caller, swarm.workers);
    cluster.network().set_conditions(swarm.conditions);
    let nemesis_chance = ChaCha8Rng::seed_from_u64(chance.random());
    let mut nemesis = Nemesis::new(cluster, swarm.clone(), nemesis_chance, trace);
    nemesis.looks = looks;
    // By the seed itself, so that what is drawn stays as it was.
    if order.seed.is_multiple_of(UPGRADES_EVERY) && !swarm.only_leaders_clock {
        nemesis.begin_upgrade();
    }
    let until = Instant::now() + order.lasts;
    let clients: Vec<_> = (0..swarm.clients)
        .map(|number| tokio::spawn(Client::new(&caller, number).run(until)))
        .collect();
    let told = nemesis.run(until).await;
    let told = match told {
        Ok(()) => liveness(&mut nemesis, &caller, clients).await,
        Err(violation) => Err(violation),
    };
    let happened = nemesis.happened.iter();
    evidence.faults = happened
        .map(|(fault, times)| (format!("{fault:?}"), *times))
        .collect();
    evidence.led_since = nemesis.led_since.clone();
    evidence.fastest_clock = nemesis.fastest_clock;
    evidence.a_clock_ran_slow = nemesis.a_clock_ran_slow;
    evidence.journal = caller.journal().clone();
    evidence.situations = nemesis.met.clone();
    evidence.observations = std::mem::take(&mut nemesis.observations);
    evidence.logs = nemesis.logs.clone();
    evidence.shortened.clone_from(&nemesis.shortened);
    let told = match told {
        Ok(()) => final_state::read(&mut nemesis, &caller, evidence).await,
        Err(violation) if violation.checker == WORK_ENDS => {
            evidence.unended = final_state::read_unended(&nemesis, &caller, evidence).await?;
            Err(violation)
        }
        Err(violation) => Err(violation),
    };
    told?;
    nemesis.end().await;
    Ok(())
}

/// All is healed: every client gets its answers, and every workflow ends.
async fn liveness(
    nemesis: &mut Nemesis,
    caller: &Caller,
    clients: Vec<tokio::task::JoinHandle<()>>,
) -> Result<(), Violation> {
    nemesis.heal().await?;
    caller.set_habits(caller.habits().calm());
    let until = Instant::now() + DRAIN;
    let drained = async {
        for client in clients {
            if client.await.is_err() {
                return Err(Violation::new("clients_end", "a client panicked"));
            }
        }
        Ok(workload::drain(caller, until).await)
    };
    let watched = async {
        nemesis.watch(until).await?;
        Ok(None)
    };
    let open = tokio::select! {
        biased;
        drained = timeout(DRAIN, drained) => drained.unwrap_or(Ok(None)),
        watched = watched => watched,
    };
    match open? {
        Some(0) => Ok(()),
        Some(open) => Err(Violation::new(WORK_ENDS, format!("{open} runs are open"))),
        None => Err(Violation::new(WORK_ENDS, "nobody answers")),
    }
}
