//! Simulates seeds and tells what came of each.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steadfast_jepsen::simulation::{Order, Recording, Verdict, simulate};

/// Whole clusters under faults on one thread, each from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many: `A..B`, without B
    #[arg(long, value_parser = range)]
    seeds: Option<std::ops::Range<u64>>,
    /// How long clients call and faults happen, in simulated seconds
    #[arg(long, default_value_t = 60)]
    ticks: u64,
    /// No seed begins after so many real seconds
    #[arg(long = "for", value_parser = seconds)]
    bound: Option<Duration>,
    /// Runs each seed twice and compares the traces, byte by byte
    #[arg(long)]
    check_determinism: bool,
    /// Writes the trace there
    #[arg(long)]
    trace: Option<std::path::PathBuf>,
}

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

/// A seed that needs so long in real time does not end: virtual time stands still.
const ENDLESS: Duration = Duration::from_secs(180);

/// Ends the process, loudly, when one seed takes too long; each seed tells it that it begins.
fn watchdog(ticks: u64) -> std::sync::mpsc::Sender<u64> {
    let (begins, begun) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut seed = None;
        loop {
            match begun.recv_timeout(ENDLESS) {
                Ok(next) => seed = Some(next),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    let seed = seed.unwrap_or_default();
                    say(&format!(
                        "seed {seed}: VIOLATION no end after {ENDLESS:?}: something loops"
                    ));
                    say(&format!(
                        "  again: cargo xtask sim --seed {seed} --ticks {ticks}"
                    ));
                    std::process::abort();
                }
            }
        }
    });
    begins
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begins = watchdog(arguments.ticks);
    let seeds = match (arguments.seed, arguments.seeds.clone()) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => seeds,
        (None, None) => 1..31,
    };
    let began = Instant::now();
    let (mut simulated, mut operations, mut done) = (Duration::ZERO, 0, 0_u64);
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        if arguments
            .bound
            .is_some_and(|bound| began.elapsed() >= bound)
        {
            break;
        }
        // It listens as long as we live.
        begins.send(seed).ok();
        let verdict = one(&arguments, seed);
        simulated += verdict.simulated;
        operations += verdict.operations;
        done += 1;
        if !verdict.violations.is_empty() {
            failed.push(seed);
        }
    }
    let real = began.elapsed().as_secs_f64();
    let speed = simulated.as_secs_f64() / real.max(0.001);
    say(&format!(
        "{done} of {} seeds, {:.0} simulated s in {real:.0} s ({speed:.0} to one), {operations} operations",
        seeds.end - seeds.start,
        simulated.as_secs_f64(),
    ));
    if failed.is_empty() && done > 0 {
        return ExitCode::SUCCESS;
    }
    say(&format!("failed seeds: {failed:?}"));
    ExitCode::FAILURE
}

fn one(arguments: &Arguments, seed: u64) -> Verdict {
    let keep = arguments.check_determinism || arguments.trace.is_some();
    let order = Order {
        seed,
        lasts: Duration::from_secs(arguments.ticks),
        recording: if keep {
            Recording::Kept
        } else {
            Recording::Off
        },
    };
    let began = Instant::now();
    let mut verdict = simulate(order);
    let real = began.elapsed().as_secs_f64();
    if let Some(path) = &arguments.trace
        && let Err(error) = std::fs::write(path, &verdict.trace)
    {
        say(&format!("{}: {error}", path.display()));
    }
    if arguments.check_determinism {
        let again = simulate(order);
        if let Some(line) = difference(&verdict.trace, &again.trace) {
            verdict
                .violations
                .push(steadfast_jepsen::evidence::Violation::new(
                    "the_same_seed_gives_the_same_trace",
                    line,
                ));
        }
    }
    let simulated = verdict.simulated.as_secs_f64();
    let faults: Vec<String> = verdict
        .faults
        .iter()
        .map(|(fault, times)| format!("{fault:?} {times}"))
        .collect();
    say(&format!(
        "seed {seed}: {} nodes, {simulated:.0} s simulated in {real:.1} s, {} operations, {} runs; {}",
        verdict.nodes,
        verdict.operations,
        verdict.runs,
        faults.join(", "),
    ));
    for violation in &verdict.violations {
        say(&format!("  VIOLATION {violation}"));
    }
    if !verdict.violations.is_empty() {
        let ticks = arguments.ticks;
        say(&format!(
            "  again: cargo xtask sim --seed {seed} --ticks {ticks}"
        ));
    }
    verdict
}

/// The first line in which two traces differ.
fn difference(first: &str, again: &str) -> Option<String> {
    if first == again {
        return None;
    }
    let same = first.lines().zip(again.lines()).take_while(|(a, b)| a == b);
    let at = same.count();
    let line = |text: &str| text.lines().nth(at).unwrap_or("the end").to_owned();
    Some(format!(
        "line {at}: {} -- and again: {}",
        line(first),
        line(again)
    ))
}
