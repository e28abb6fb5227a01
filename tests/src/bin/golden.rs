//! `cargo xtask golden`: the golden suites on three real nodes.

use clap::Parser;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::golden::lists::Exceptions;
use steadfast_tests::golden::outcome::{self, Outcome, Outcomes};
use steadfast_tests::golden::suite::suites;
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
    let cluster = Cluster::start(3).await?;
    let address = cluster.addresses(1).grpc.clone();
    let (mut outcomes, mut second_try) = (Outcomes::new(), Vec::new());
    for suite in suites {
        let began = Instant::now();
        say(&format!("{} ...", suite.name));
        let mut found = suite.play(&address, &args.filter).await?;
        let failed = outcome::judge(&found, &later, &gaps).unexpected;
        second_try.extend(suite.play_again(&address, &failed, &mut found).await?);
        let seconds = began.elapsed().as_secs();
        say(&format!("{}: {} in {seconds} s", suite.name, found.len()));
        outcomes.extend(found);
    }
    write_log(&args.log, &outcomes)?;
    let mut verdict = outcome::judge(&outcomes, &later, &gaps);
    verdict.second_try = second_try;
    say(&verdict.text(&outcomes));
    let whole = args.filter.is_empty() && args.suite.is_none();
    let names: Vec<&str> = outcomes.keys().map(String::as_str).collect();
    for entry in later
        .unused(&names)
        .into_iter()
        .chain(gaps.unused(&names))
        .filter(|_| whole)
    {
        say(&format!("an exception that stands for nothing: {entry}"));
    }
    Ok(verdict.unexpected.is_empty())
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
