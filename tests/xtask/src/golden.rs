//! The golden suites on three real nodes, where the recordings are at hand.

use crate::{root, say, sdks, target_dir};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to play.
#[derive(Debug, clap::Args)]
pub(crate) struct GoldenArgs {
    /// `histories` or `probes`; both when left out
    suite: Option<String>,
    /// Only names that hold this text or match this glob
    #[arg(long)]
    filter: Vec<String>,
    /// Where the suites lie; `../shared/golden` beside the repository when left out
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Plays the excepted ones too
    #[arg(long)]
    all: bool,
    /// Plays all, and takes those that pass out of the lists of exceptions
    #[arg(long)]
    shrink: bool,
    /// Plays scenarios while leaders are killed
    #[arg(long)]
    leader_kills: bool,
    /// With leader kills: so many, drawn from the seed; all when left out
    #[arg(long)]
    draw: Option<usize>,
    /// With leader kills: for the draw and for the moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Takes the programs as they were built last
    #[arg(long)]
    no_build: bool,
}

/// Installs, builds, and plays.
pub(crate) fn run(args: &GoldenArgs) -> Result<(), String> {
    let beside = root().join("../shared/golden");
    let golden = args.golden.clone().unwrap_or(beside);
    if !golden.join("histories/run.py").is_file() {
        say(&format!(
            "NOT RUN: the golden suites are not at {}",
            golden.display()
        ));
        return match args.golden {
            Some(_) => Err("no golden suites there".into()),
            None => Ok(()),
        };
    }
    sdks::install()?;
    if !args.no_build {
        build()?;
    }
    let target = target_dir();
    let logs = target.join("xtask");
    std::fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    let log = logs.join(match args.leader_kills {
        true => "golden_leader_kills.txt",
        false => "golden.txt",
    });
    let mut command = Command::new(target.join("debug/golden"));
    command
        .env("STEADFAST_BIN", target.join("debug/steadfast"))
        .args([Path::new("--golden"), &golden])
        .args([Path::new("--python"), &target.join("sdk/python/bin/python")])
        .args([Path::new("--lists"), &root().join("tests/golden")])
        .args([Path::new("--log"), &log]);
    if let Some(suite) = &args.suite {
        command.args(["--suite", suite]);
    }
    for (flag, given) in [("--all", args.all), ("--shrink", args.shrink)] {
        if given {
            command.arg(flag);
        }
    }
    if args.leader_kills {
        let driver = root().join("tests/golden/play.py");
        command.args([Path::new("--leader-kills"), &driver]);
        command.args(["--seed", &args.seed.to_string()]);
    }
    if let Some(count) = args.draw {
        command.args(["--draw", &count.to_string()]);
    }
    for filter in &args.filter {
        command.args(["--filter", filter]);
    }
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    say(&format!("all outcomes: {}", log.display()));
    if status.success() {
        return Ok(());
    }
    Err("the server differs from the recordings".into())
}

fn build() -> Result<(), String> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--locked"])
        .args(["-p", "steadfast", "-p", "steadfast-tests", "--bins"])
        .current_dir(root())
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("the build failed".into())
}
