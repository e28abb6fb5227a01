//! A long profile: seeds that were not done in an earlier start.

use super::seeds::{End, Told};
use super::{Arguments, missing, say, seen};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use steadfast_jepsen::profile::{Done, Progress, SIMULATION_NIGHTLY, Verdict};
use steadfast_jepsen::stop;

/// Seeds of one process: what a seed leaves behind in memory, some 30 MB, goes with its process. Nodes
/// that are cut off in the middle know each other, so nothing ends them.
const OF_A_PROCESS: u64 = 100;

/// Goes on with the profile, and tells all that came of it so far; whether all of it held.
pub(crate) fn run(arguments: &Arguments, folder: &Path) -> Result<bool, String> {
    let mut progress = Progress::open(folder).map_err(|error| error.to_string())?;
    let mut seeds = arguments.these(SIMULATION_NIGHTLY.seeds);
    seeds.done = progress.known();
    seeds.most = seeds.most.min(OF_A_PROCESS);
    let stop = seeds.stop.clone();
    let stops = stop.clone();
    stop::when_told(move || stops.store(true, Ordering::Relaxed));
    let (mut ended, mut kept) = (0, Ok(()));
    let end = seeds.run(|told| {
        say(&told.text);
        ended += 1;
        if let Err(error) = progress.keep(done(told)) {
            kept = Err(error.to_string());
            stop.store(true, Ordering::Relaxed);
        }
    });
    kept?;
    let left = arguments.most.map(|most| most.saturating_sub(ended));
    let more = end == End::Loops || (end == End::Done && ended == OF_A_PROCESS);
    if more && left != Some(0) {
        drop(progress);
        return Err(goes_on(left));
    }
    Ok(told(&progress))
}

/// Another process in the place of this one, since a thread that loops cannot be ended, nor memory given
/// back; why not.
fn goes_on(left: Option<u64>) -> String {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error.to_string(),
    };
    let mut command = Command::new(own);
    command.args(std::env::args_os().skip(1));
    if let Some(left) = left {
        command.args(["--most", &left.to_string()]);
    }
    command.exec().to_string()
}

fn done(told: Told) -> Done {
    let violations = told.verdict.violations.iter();
    let violations: Vec<String> = violations.map(ToString::to_string).collect();
    Done {
        seed: told.seed,
        verdict: match violations.is_empty() {
            true => Verdict::Held,
            false => Verdict::Violated,
        },
        seconds: told.verdict.simulated.as_secs_f64(),
        operations: told.verdict.operations as u64,
        seen: seen(&told).collect(),
        violations,
        again: told.again,
    }
}

/// Says what came of all seeds so far; whether all held.
fn told(progress: &Progress) -> bool {
    let totals = progress.totals();
    for done in progress.bad() {
        let (seed, what) = (done.seed, done.violations.join("; "));
        say(&format!("seed {seed}: {what}\n  again: {}", done.again));
    }
    let seen = totals.seen.iter();
    let seen: Vec<String> = seen
        .map(|(name, times)| format!("{name} {times}"))
        .collect();
    say(&format!("in all: {}", seen.join(", ")));
    let missing = missing(totals.seeds as u64, &totals.seen);
    if !missing.is_empty() {
        say(&format!("never seen: {}", missing.join(", ")));
    }
    say(&format!(
        "{}: {} of {} seeds, {:.0} simulated s ({:.1} h), {} operations, {} seeds with violations",
        SIMULATION_NIGHTLY.name,
        totals.seeds,
        SIMULATION_NIGHTLY.seeds.count(),
        totals.seconds,
        totals.seconds / 3_600.0,
        totals.operations,
        totals.violated,
    ));
    totals.held() && missing.is_empty()
}
