//! One run from its beginning to its verdict.

use super::caller_faults::Callers;
use super::cluster::{Cluster, Plan};
use super::disk::IMAGE_BYTES;
use super::fault::{FAULTS, Fault, Need};
use super::final_state::{self, Final};
use super::machine::Machine;
use super::nemesis::{Event, Failure, Nemesis, STEADY_RATE};
use super::record::{self, Record, Valid};
use super::{Trouble, io, sealed};
use crate::evidence::{Evidence, Violation};
use crate::simulation::{Recording, Trace};
use crate::workload::{self, Caller, Habits, Transport};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How clients and workers are, outside of faults.
const HABITS: Habits = Habits {
    delay: Duration::ZERO,
    answer_lost: 0.01,
    astray: 0.4,
    dies: 0.01,
    slow: 0.02,
    fails: 0.05,
    pause: Duration::from_millis(200),
};
const CLIENTS: u64 = 8;
const WORKERS: u64 = 4;
/// Nothing happens before this: callers get going.
const WARM_UP: Duration = Duration::from_secs(3);
/// After the faults, clients end within the first and all work within the second.
const CLIENTS_END: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(120);
/// Of all faults that can be, a drawn mix has so many.
const DRAWN: usize = 8;

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Three or five.
    pub nodes: u8,
    /// The kinds of faults; empty: a mix drawn from the seed.
    pub nemesis: Vec<Fault>,
    /// Kinds that must happen.
    pub require: Vec<Fault>,
    /// How long clients call and faults happen.
    pub lasts: Duration,
    /// Draws faults, their places and moments. (Processes and kernel do not follow it.)
    pub seed: u64,
    /// The folder for everything that is left.
    pub out: PathBuf,
    /// `steadfast`.
    pub binary: PathBuf,
    /// Repeats this run.
    pub command: String,
}

/// Runs it, writes its folder, and tells whether all held.
///
/// # Errors
/// When the machine does not do what it should; nothing is known then.
pub async fn run(order: &Order) -> Result<bool, Trouble> {
    let scratch = order.out.join("disks");
    std::fs::create_dir_all(&scratch).map_err(io(scratch.display().to_string()))?;
    if sealed::inside().is_ok() {
        sealed::prepare()?;
    }
    let mut machine = Machine::probe(&scratch, &order.binary);
    let mut chance = ChaCha8Rng::seed_from_u64(order.seed);
    let (mut faults, skipped) = choose(order, &machine, &mut chance);
    if !faults.iter().any(|fault| fault.need() == Need::FakeTime) {
        machine.fake_time = Err("no fault needs it".into());
    }
    say(&format!("seed {}: {}", order.seed, names(&faults)));
    for (fault, why) in &skipped {
        say(&format!("  not possible: {fault}: {why}"));
    }
    let trace = Trace::begin(Recording::Off);
    let began = Instant::now();
    let mut record = Record::new(order, &faults, skipped);
    let plan = Plan {
        nodes: order.nodes,
        seed: chance.random(),
        binary: &order.binary,
        machine: &machine,
        scratch: &scratch,
        logs: &order.out,
        began,
        disk_bytes: IMAGE_BYTES,
    };
    let mut cluster = Cluster::start(&plan).await?;
    let mut told = serve(&mut cluster).await;
    let until = Instant::now() + WARM_UP + order.lasts;
    let transport = Transport::Channels(cluster.channels.clone());
    let caller = Caller::new(chance.random(), transport, HABITS, &trace);
    let callers = Callers::start(caller, CLIENTS, WORKERS, until.into());
    // It is the last, whatever else happens.
    let before = faults.len();
    faults.retain(|fault| *fault != Fault::RestoredBackup);
    let restores = faults.len() < before;
    let mut nemesis = Nemesis::new(cluster, callers, faults, chance, began);
    let mut evidence = Evidence {
        lasted: order.lasts,
        ..Evidence::default()
    };
    if told.is_ok() {
        told = story(&mut nemesis, until, order, restores, &mut evidence).await;
    }
    gather(&nemesis, &mut evidence, &mut record, &order.out);
    record.judge(told, &evidence, &order.require);
    record.write(&order.out, &evidence, &nemesis.events)?;
    for line in record.lines() {
        say(&line);
    }
    say(&format!("everything is in {}", order.out.display()));
    Ok(record.valid == Valid::True)
}

/// Writes a line for people.
fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

fn names(faults: &[Fault]) -> String {
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    names.join(",")
}

/// What can happen, and what cannot with the reason.
fn choose(
    order: &Order,
    machine: &Machine,
    chance: &mut ChaCha8Rng,
) -> (Vec<Fault>, BTreeMap<String, String>) {
    let wanted = match order.nemesis.is_empty() {
        true => FAULTS.to_vec(),
        false => order.nemesis.clone(),
    };
    let mut skipped = BTreeMap::new();
    let mut faults = Vec::new();
    for fault in wanted {
        match fault.missing(machine) {
            Some(why) => drop(skipped.insert(fault.name().to_owned(), why)),
            None => faults.push(fault),
        }
    }
    if order.nemesis.is_empty() {
        faults.shuffle(chance);
        faults.truncate(DRAWN);
    }
    (faults, skipped)
}

async fn serve(cluster: &mut Cluster) -> Result<(), Failure> {
    for at in cluster.settled() {
        let node = cluster.hosts[at].node.unwrap_or_default();
        if !cluster.ready(at, super::cluster::READY).await? {
            let words = cluster.last_words(node);
            return Err(Violation::new("nodes_start", format!("node {node}: {words}")).into());
        }
    }
    Ok(())
}

async fn story(
    nemesis: &mut Nemesis,
    until: Instant,
    order: &Order,
    restores: bool,
    evidence: &mut Evidence,
) -> Result<(), Failure> {
    nemesis.hold(WARM_UP).await?;
    nemesis.run(until).await?;
    nemesis.mend().await?;
    liveness(nemesis).await?;
    nemesis.callers.end();
    if restores {
        nemesis.restore(&order.binary, &order.out).await?;
    }
    let caller = nemesis.callers.caller.fork(0);
    let Final {
        runs,
        marks_compared,
    } = final_state::read(&nemesis.cluster, &caller).await?;
    say(&format!(
        "{} runs, {marks_compared} marks compared",
        runs.len()
    ));
    evidence.runs = runs;
    final_state::stop(&mut nemesis.cluster, &order.binary).await?;
    evidence.logs = final_state::logs(&nemesis.cluster)?;
    say(&format!(
        "{} committed entries in logs",
        evidence.logs.len()
    ));
    Ok(())
}

/// Nothing is broken any more: every client gets its answers, every workflow ends.
async fn liveness(nemesis: &mut Nemesis) -> Result<(), Failure> {
    let caller = nemesis.callers.caller.fork(1);
    caller.set_habits(caller.habits().calm());
    let clients = nemesis.callers.take_clients();
    let drained = async {
        for client in clients {
            match timeout(CLIENTS_END, client).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Violation::new("clients_end", error.to_string())),
                Err(_) => return Err(Violation::new("clients_end", "a client hangs")),
            }
        }
        Ok(workload::drain(&caller, (Instant::now() + DRAIN).into()).await)
    };
    let open = tokio::select! {
        drained = drained => drained?,
        held = nemesis.hold(CLIENTS_END + DRAIN + WARM_UP) => {
            held?;
            None
        }
    };
    match open {
        Some(0) => Ok(()),
        Some(open) => Err(Violation::new("work_ends", format!("{open} runs are open")).into()),
        None => Err(Violation::new("work_ends", "nobody answers").into()),
    }
}

fn gather(nemesis: &Nemesis, evidence: &mut Evidence, record: &mut Record, logs: &std::path::Path) {
    let seen = nemesis.cluster.watch.seen();
    evidence.led_since = seen.led_since.values().copied().collect();
    evidence.observations.clone_from(&seen.observations);
    record.leaderships.clone_from(&seen.led_since);
    drop(seen);
    evidence.fastest_clock = STEADY_RATE;
    evidence.a_clock_ran_slow = STEADY_RATE < 1.0;
    evidence.faults.clone_from(&nemesis.happened);
    evidence.journal = nemesis.callers.caller.journal().clone();
    record.packets = nemesis
        .cluster
        .switch
        .as_ref()
        .map(super::switch::Switch::counts);
    record.violations.extend(record::panics(logs));
}

/// Prints an event as it begins.
pub(super) fn told(event: &Event) {
    let from = event.from.as_secs_f64();
    say(&format!("  {from:6.1} s {}: {}", event.fault, event.what));
}
