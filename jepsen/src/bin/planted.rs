//! Plants a bug in all nodes and tells which seeds find it, and by what. Works in builds of tests
//! only (decision 0008); `cargo xtask plant` and `cargo xtask sim --plant` make one.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steadfast_jepsen::checkers;
use steadfast_jepsen::evidence::Violation;
use steadfast_jepsen::simulation::{NOTHING_PANICS, Order, Recording, Verdict, simulate};
use steadfast_planted::{Bug, plant};

/// Whole clusters with one bug on purpose, each from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// The bug; without one these are simulations like any
    #[arg(long, value_parser = bug)]
    plant: Option<Bug>,
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many: `A..B`, without B
    #[arg(long, value_parser = range, default_value = "1..41")]
    seeds: std::ops::Range<u64>,
    /// How long clients call and faults happen, in simulated seconds
    #[arg(long, default_value_t = 60)]
    ticks: u64,
    /// `off`: only what nodes say of themselves counts
    #[arg(long, default_value = "on")]
    checkers: Checkers,
    /// Ends with the first seed that has a violation
    #[arg(long)]
    until_violation: bool,
    /// Writes the trace there
    #[arg(long, requires = "seed")]
    trace: Option<std::path::PathBuf>,
    /// Names the bugs there are and ends
    #[arg(long)]
    list: bool,
}

/// Whether this crate's own checks count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Checkers {
    /// All do.
    On,
    /// Panics, and nodes that end or do not start, are all that counts.
    Off,
}

fn bug(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| "no such bug; --list names them".to_owned())
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(to)?)
}

fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

/// A seed that needs so long in real time does not end: virtual time stands still.
const ENDLESS: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for bug in steadfast_planted::ALL {
            say(&format!("{}|{}|{}", bug.name(), bug.room(), bug.what()));
        }
        return ExitCode::SUCCESS;
    }
    if plant(arguments.plant).is_err() {
        say("this build has no bugs to plant: `cargo xtask plant` makes one that has");
        return ExitCode::FAILURE;
    }
    let seeds = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => arguments.seeds.clone(),
    };
    let mut failed = false;
    for (done, seed) in (1..).zip(seeds) {
        let verdict = one(&arguments, seed);
        if verdict.violations.is_empty() {
            continue;
        }
        if fails_without(&arguments, seed) {
            say(&format!(
                "seed {seed} proves nothing: it fails without the bug, too"
            ));
            continue;
        }
        failed = true;
        say(&format!(
            "CAUGHT seed {seed}, {done} seeds: {}",
            by(&verdict)
        ));
        if arguments.until_violation {
            break;
        }
    }
    match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Whether a seed fails in sound nodes, too: then it has found something else.
fn fails_without(arguments: &Arguments, seed: u64) -> bool {
    let Some(bug) = arguments.plant else {
        return false;
    };
    // Choosing worked before.
    plant(None).ok();
    let verdict = one(arguments, seed);
    plant(Some(bug)).ok();
    !verdict.violations.is_empty()
}

fn one(arguments: &Arguments, seed: u64) -> Verdict {
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if end.recv_timeout(ENDLESS) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            say(&format!(
                "CAUGHT seed {seed}, {seed} seeds: simulator no_end"
            ));
            std::process::abort();
        }
    });
    let began = Instant::now();
    let mut verdict = simulate(Order {
        seed,
        lasts: Duration::from_secs(arguments.ticks),
        recording: match arguments.trace {
            Some(_) => Recording::Kept,
            None => Recording::Off,
        },
    });
    drop(ended);
    // It says nothing of interest.
    watchdog.join().ok();
    if arguments.checkers == Checkers::Off {
        let by_itself = |violation: &Violation| matches!(layer(violation), "assertion" | "node");
        verdict.violations.retain(by_itself);
    }
    if let Some(path) = &arguments.trace
        && let Err(error) = std::fs::write(path, &verdict.trace)
    {
        say(&format!("{}: {error}", path.display()));
    }
    let (real, simulated) = (
        began.elapsed().as_secs_f64(),
        verdict.simulated.as_secs_f64(),
    );
    let (calls, runs, faults) = (verdict.operations, verdict.runs, &verdict.faults);
    say(&format!(
        "seed {seed}: {simulated:.0} s simulated in {real:.1} s, {calls} operations, {runs} runs; {faults:?}"
    ));
    for violation in &verdict.violations {
        say(&format!("  VIOLATION {violation}"));
    }
    verdict
}

/// Which part of the whole speaks in a violation.
fn layer(violation: &Violation) -> &'static str {
    match violation.checker {
        NOTHING_PANICS => "assertion",
        "nodes_run" | "nodes_start" => "node",
        name if checkers::ALL.iter().any(|(checker, _)| *checker == name) => "checker",
        _ => "simulator",
    }
}

/// Who found the violations of a seed, each once.
fn by(verdict: &Verdict) -> String {
    let mut by: Vec<String> = Vec::new();
    for violation in &verdict.violations {
        let found = format!("{} {}", layer(violation), violation.checker);
        if !by.contains(&found) {
            by.push(found);
        }
    }
    by.join(", ")
}
