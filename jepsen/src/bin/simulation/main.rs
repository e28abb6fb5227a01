//! Simulates seeds, one on each core at a time, and tells what came of each.

mod long;
mod seeds;

use clap::Parser;
use seeds::{End, Seeds, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use steadfast_jepsen::profile::SIMULATION_NIGHTLY;
use steadfast_jepsen::simulation::SITUATIONS;

/// Whole clusters under faults on one thread, each from a seed.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many: `A..B`, without B
    #[arg(long, value_parser = range)]
    seeds: Option<std::ops::Range<u64>>,
    /// A long profile, over as many starts as it takes
    #[arg(long, value_parser = [SIMULATION_NIGHTLY.name], conflicts_with_all = ["seed", "seeds"])]
    #[arg(requires = "folder")]
    profile: Option<String>,
    /// Where a profile's progress is kept
    #[arg(long, requires = "profile")]
    folder: Option<std::path::PathBuf>,
    /// So many seeds of a profile, and no more in this start
    #[arg(long, requires = "profile")]
    most: Option<u64>,
    /// How long clients call and faults happen, in simulated seconds
    #[arg(long, default_value_t = 60)]
    ticks: u64,
    /// No seed begins after so many real seconds
    #[arg(long = "for", value_parser = seconds)]
    bound: Option<Duration>,
    /// Seeds at a time, each on one thread; as many as there are cores when not given
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs each seed twice and compares the traces, byte by byte; one in fifty is in any case
    #[arg(long)]
    check_determinism: bool,
    /// Writes the trace there
    #[arg(long, requires = "seed")]
    trace: Option<std::path::PathBuf>,
}

/// So many seeds must have met every rare situation.
const ALL_SITUATIONS_FROM: u64 = 1_000;

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(to)?)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches('s').parse();
    number
        .map(Duration::from_secs)
        .map_err(|_| "seconds, as 60s".to_owned())
}

fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.folder {
        return match long::run(&arguments, folder) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                say(&why);
                ExitCode::FAILURE
            }
        };
    }
    let seeds = match (arguments.seed, arguments.seeds.clone()) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => seeds,
        (None, None) => 1..31,
    };
    let asked = seeds.end.saturating_sub(seeds.start);
    let began = Instant::now();
    let mut all = Sum::default();
    let seeds = arguments.these(seeds);
    let end = seeds.run(|told| all.add(&told));
    all.tell(asked, began.elapsed());
    let found = !all.missing().is_empty() || !all.failed.is_empty();
    if end == End::Done && !found && all.done > 0 {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

impl Arguments {
    /// These seeds, as the arguments want them.
    fn these(&self, seeds: std::ops::Range<u64>) -> Seeds {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Seeds {
            seeds,
            done: BTreeSet::new(),
            most: self.most.unwrap_or(u64::MAX),
            lasts: Duration::from_secs(self.ticks),
            jobs: self.jobs.unwrap_or(cores),
            bound: self.bound,
            all_twice: self.check_determinism,
            trace: self.trace.clone(),
            stop: Arc::default(),
        }
    }
}

/// The rare situations that are not among what was seen in so many seeds; none while they are few.
fn missing(seeds: u64, seen: &BTreeMap<String, u64>) -> Vec<String> {
    if seeds < ALL_SITUATIONS_FROM {
        return Vec::new();
    }
    let all = SITUATIONS.iter().map(|situation| format!("{situation:?}"));
    all.filter(|name| !seen.contains_key(name)).collect()
}

/// How often faults and situations were seen, by name.
fn seen(told: &Told) -> impl Iterator<Item = (String, u64)> {
    let faults = told.verdict.faults.iter();
    let faults = faults.map(|(fault, times)| (fault.clone(), u64::from(*times)));
    let situations = told.verdict.situations.iter();
    faults.chain(situations.map(|(met, times)| (format!("{met:?}"), u64::from(*times))))
}

/// What came of all seeds together.
#[derive(Debug, Default)]
struct Sum {
    done: u64,
    simulated: Duration,
    operations: usize,
    failed: Vec<u64>,
    /// Faults and situations, by name.
    seen: BTreeMap<String, u64>,
}

impl Sum {
    fn add(&mut self, told: &Told) {
        say(&told.text);
        self.done += 1;
        self.simulated += told.verdict.simulated;
        self.operations += told.verdict.operations;
        if !told.verdict.violations.is_empty() {
            self.failed.push(told.seed);
        }
        for (name, times) in seen(told) {
            *self.seen.entry(name).or_default() += times;
        }
    }

    fn missing(&self) -> Vec<String> {
        missing(self.done, &self.seen)
    }

    fn tell(&self, asked: u64, real: Duration) {
        let real = real.as_secs_f64();
        let simulated = self.simulated.as_secs_f64();
        let speed = simulated / real.max(0.001);
        let seen = self.seen.iter();
        let seen: Vec<String> = seen
            .map(|(name, times)| format!("{name} {times}"))
            .collect();
        say(&format!("in all: {}", seen.join(", ")));
        say(&format!(
            "{} of {asked} seeds, {simulated:.0} simulated s in {real:.0} s ({speed:.0} to one), {} operations",
            self.done, self.operations,
        ));
        if !self.failed.is_empty() {
            say(&format!("failed seeds: {:?}", self.failed));
        }
        if !self.missing().is_empty() {
            say(&format!("never seen: {}", self.missing().join(", ")));
        }
    }
}
