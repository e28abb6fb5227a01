//! `cargo xtask golden`: the golden suites on three real nodes.

use clap::Parser;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::golden::leader_kills::{self, draw};
use steadfast_tests::golden::lists::Exceptions;
use steadfast_tests::golden::outcome::{self, Outcome, Outcomes};
use steadfast_tests::golden::suite::{Suite, Tries, suites};
use steadfast_tests::{Error, io};

#[derive(Debug, Parser)]
struct Golden {
    /// The folder that holds `histories` and `probes`
    #[arg(long)]
    golden: PathBuf,
    /// An interpreter with the official SDK and grpcio
    #[arg(long)]
    python: PathBuf,
    /// The folder of later.txt and known_gaps.txt
    #[arg(long)]
    lists: PathBuf,
    /// Where all outcomes are written to
    #[arg(long)]
    log: PathBuf,
    /// Only this suite
    #[arg(long)]
    suite: Option<String>,
    /// Only names that hold this text or match this glob
    #[arg(long)]
    filter: Vec<String>,
    /// Plays the excepted ones too
    #[arg(long)]
    all: bool,
    /// Takes those that pass out of the lists
    #[arg(long)]
    shrink: bool,
    /// Kills the leader again and again meanwhile; this driver plays the scenarios
    #[arg(long)]
    leader_kills: Option<PathBuf>,
    /// With leader kills: plays so many, drawn from the seed
    #[arg(long, default_value_t = usize::MAX)]
    draw: usize,
    /// With leader kills: for the draw and for the moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Golden::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            say(&format!("golden: {why}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Golden) -> Result<bool, Error> {
    let later = Exceptions::read(&args.lists.join("later.txt"))?;
    let gaps = Exceptions::read(&args.lists.join("known_gaps.txt"))?;
    let mut suites = suites(&args.golden, &args.python);
    if let Some(name) = &args.suite {
        suites.retain(|suite| suite.name == *name);
    }
    if suites.is_empty() {
        return Err(Error::Program(format!(
            "no such suite in {}",
            args.golden.display()
        )));
    }
    match &args.leader_kills {
        None => plain(args, &suites, &later, &gaps).await,
        Some(driver) => leader_kills(args, driver, &suites, &later, &gaps).await,
    }
}

/// The scenarios that pass without kills, while leaders are killed.
async fn leader_kills(
    args: &Golden,
    driver: &Path,
    suites: &[Suite],
    later: &Exceptions,
    gaps: &Exceptions,
) -> Result<bool, Error> {
    let lost = Exceptions::read(&args.lists.join("leader_kills.txt"))?;
    let Some(suite) = suites.iter().find(|suite| suite.name == "histories") else {
        return Err(Error::Program("no histories".into()));
    };
    let mut names = suite.names(&args.filter).await?;
    names.retain(|name| !later.hold(name) && !gaps.hold(name) && !lost.hold(name));
    let names = draw(names, args.draw, args.seed);
    let mut cluster = Cluster::start(3).await?;
    let began = Instant::now();
    let killed = leader_kills::play(&mut cluster, suite, driver, &names, args.seed).await?;
    write_log(&args.log, &killed.outcomes)?;
    say(&format!(
        "{} scenarios in {} s, {} leaders killed, seed {}",
        killed.outcomes.len(),
        began.elapsed().as_secs(),
        killed.kills,
        args.seed
    ));
    let none = Exceptions::default();
    let verdict = outcome::judge(&killed.outcomes, &none, &none);
    say(&verdict.text(&killed.outcomes));
    let played = killed.outcomes.len() == names.len();
    if !played {
        say(&format!("{} were drawn", names.len()));
    }
    Ok(verdict.unexpected.is_empty() && played && killed.kills > 0)
}

async fn plain(
    args: &Golden,
    suites: &[Suite],
    later: &Exceptions,
    gaps: &Exceptions,
) -> Result<bool, Error> {
    let cluster = Cluster::start(3).await?;
    let address = cluster.addresses(1).grpc.clone();
    let (mut outcomes, mut second_try, mut skipped) = (Outcomes::new(), Vec::new(), 0);
    let all = args.all || args.shrink || !args.filter.is_empty();
    for suite in suites {
        let began = Instant::now();
        say(&format!("{} ...", suite.name));
        let names = suite.names(&args.filter).await?;
        let (excepted, expected): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| later.hold(name) || gaps.hold(name));
        let mut found = match expected.is_empty() {
            true => Outcomes::new(),
            false => suite.play(&address, &expected, Tries::One).await?,
        };
        let failed = outcome::judge(&found, later, gaps).unexpected;
        second_try.extend(suite.play_again(&address, &failed, &mut found).await?);
        if all && !excepted.is_empty() {
            found.extend(suite.play(&address, &excepted, Tries::Two).await?);
        }
        skipped += excepted
            .iter()
            .filter(|name| !found.contains_key(*name))
            .count();
        let seconds = began.elapsed().as_secs();
        say(&format!("{}: {} in {seconds} s", suite.name, found.len()));
        outcomes.extend(found);
    }
    write_log(&args.log, &outcomes)?;
    let mut verdict = outcome::judge(&outcomes, later, gaps);
    verdict.second_try = second_try;
    verdict.skipped = skipped;
    say(&verdict.text(&outcomes));
    if args.shrink {
        let passed = |name: &&String| outcomes[*name] == Outcome::Passed;
        let passed: Vec<&str> = outcomes.keys().filter(passed).map(String::as_str).collect();
        for list in ["later.txt", "known_gaps.txt"] {
            shrink(&args.lists.join(list), &passed)?;
        }
    }
    Ok(verdict.unexpected.is_empty())
}

/// Takes out the exact names that passed; a glob is narrowed by hand.
fn shrink(path: &Path, passed: &[&str]) -> Result<(), Error> {
    let text = std::fs::read_to_string(path).map_err(io(path.display().to_string()))?;
    let kept: Vec<&str> = text.lines().filter(|line| !passed.contains(line)).collect();
    std::fs::write(path, kept.join("\n") + "\n").map_err(io(path.display().to_string()))
}

/// All outcomes with their details, for whoever looks after one.
fn write_log(path: &Path, outcomes: &Outcomes) -> Result<(), Error> {
    let mut text = String::new();
    for (name, outcome) in outcomes {
        let result = match outcome {
            Outcome::Passed => writeln!(text, "ok {name}"),
            Outcome::Failed(details) => writeln!(text, "FAIL {name}\n{details}"),
        };
        // Writing to a string cannot fail.
        result.ok();
    }
    std::fs::write(path, text).map_err(io(path.display().to_string()))
}

/// Writes a line for people.
fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}
