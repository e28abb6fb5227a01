//! One seed from its beginning to its verdict.

use super::nemesis::Nemesis;
use super::swarm::Swarm;
use super::{Cluster, Met, Recording, Trace, panics, situation, told};
use crate::checkers;
use crate::evidence::{Evidence, FinalRun, Replica, Violation};
use crate::workload::{self, Caller, Client, Transport};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use steadfast_engine::check::check_state;
use tokio::time::{Instant, timeout};

/// After the faults, all work ends within this.
const DRAIN: Duration = Duration::from_secs(180);
/// And then all replicas are the same within this.
const CONVERGE: Duration = Duration::from_secs(60);

/// One seed in so many has a rolling upgrade.
const UPGRADES_EVERY: u64 = 3;

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
    let swarm = Swarm::draw(&mut chance);
    trace.line(|| format!("{swarm:?}"));
    let mut evidence = Evidence {
        lasted: order.lasts,
        ..Evidence::default()
    };
    let told = story(order, &swarm, &mut chance, &trace, looks, &mut evidence).await;
    let violations = match told {
        Ok(()) => checkers::check(&evidence),
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
    if order.seed.is_multiple_of(UPGRADES_EVERY) {
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
    told?;
    evidence.replicas = converged(&mut nemesis).await?;
    evidence.situations = nemesis.met.clone();
    situation::noted(&evidence.journal, &mut evidence.situations);
    for (id, shard) in nemesis.cluster().doors().by_id() {
        let found = check_state(&shard.view());
        let found = found.map_err(|fault| Violation::new("state_is_sound", fault.to_string()))?;
        evidence
            .unsound
            .extend(found.into_iter().map(|what| (id, what)));
    }
    let Some(shard) = nemesis.cluster().doors().shards().into_iter().next() else {
        return Err(Violation::new("nodes_run", "no node runs"));
    };
    let view = shard.view();
    for (run, status) in workload::all_rows(&caller).await? {
        evidence
            .runs
            .push(FinalRun::read(&view, &run.0, &run.1, status)?);
    }
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
        Some(open) => Err(Violation::new("work_ends", format!("{open} runs are open"))),
        None => Err(Violation::new("work_ends", "nobody answers")),
    }
}

/// The replicas, once all have applied the same.
async fn converged(nemesis: &mut Nemesis) -> Result<Vec<Replica>, Violation> {
    let until = Instant::now() + CONVERGE;
    loop {
        nemesis
            .watch(Instant::now() + Duration::from_secs(1))
            .await?;
        let doors = nemesis.cluster().doors();
        let members = nemesis.cluster().members();
        let views = members
            .iter()
            .filter_map(|id| Some((*id, doors.get(*id)?.shard.view())));
        let views: Vec<_> = views.collect();
        let all = views.len() == members.len();
        if all
            && !nemesis.is_changing()
            && views
                .windows(2)
                .all(|two| two[0].1.applied() == two[1].1.applied())
        {
            return views
                .iter()
                .map(|(id, view)| Replica::read(*id, view))
                .collect();
        }
        if Instant::now() >= until {
            let applied: Vec<_> = views
                .iter()
                .map(|(id, view)| (id, view.applied()))
                .collect();
            return Err(Violation::new("replicas_converge", format!("{applied:?}")));
        }
    }
}
