//! The simulator: builds it and hands the arguments on.

use crate::{root, target_dir};
use std::process::Command;

/// What to simulate; `1..31` when no seed is given.
#[derive(Debug, clap::Args)]
pub(crate) struct SimArgs {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many: `A..B`, without B
    #[arg(long)]
    seeds: Option<String>,
    /// How long clients call and faults happen, in simulated seconds
    #[arg(long)]
    ticks: Option<u64>,
    /// No seed begins after so long, as `60s`
    #[arg(long = "for")]
    bound: Option<String>,
    /// Seeds at a time; as many as there are cores when not given
    #[arg(long)]
    jobs: Option<u64>,
    /// Runs each seed twice and compares the traces, byte by byte
    #[arg(long)]
    check_determinism: bool,
    /// Instead of these seeds the long profile, `nightly`, over as many starts as it takes
    #[arg(long, conflicts_with_all = ["seed", "seeds", "trace", "plant"])]
    profile: Option<String>,
    /// Where the profile's progress is kept; `target/nightly/simulation` when not given
    #[arg(long, requires = "profile")]
    folder: Option<String>,
    /// So many seeds of the profile, and no more in this start
    #[arg(long, requires = "profile")]
    most: Option<u64>,
    /// Writes the trace to this file
    #[arg(long)]
    trace: Option<String>,
    /// Plants this bug in all nodes (`cargo xtask plant` knows them)
    #[arg(long, conflicts_with_all = ["release", "bound", "check_determinism"])]
    plant: Option<String>,
    /// `off`: only what nodes say of themselves counts
    #[arg(long, requires = "plant")]
    checkers: Option<String>,
    /// With the release profile: twice the build, several times the speed
    #[arg(long)]
    release: bool,
    /// Takes the program as it was built last
    #[arg(long)]
    no_build: bool,
}

/// Builds and simulates.
pub(crate) fn run(args: &SimArgs) -> Result<(), String> {
    match (args.no_build, &args.plant) {
        (true, _) => {}
        (false, None) => build(args.release)?,
        (false, Some(_)) => build_with_bugs()?,
    }
    let program = args.plant.as_ref().map_or("simulation", |_| "planted");
    let profile = if args.release { "release" } else { "debug" };
    let mut command = Command::new(target_dir().join(profile).join(program));
    let number = |given: Option<u64>| given.map(|given| given.to_string());
    let folder = folder(
        args.profile.as_deref(),
        args.folder.as_deref(),
        "simulation",
    );
    hand_on(
        &mut command,
        [
            ("--seed", number(args.seed)),
            ("--seeds", args.seeds.clone()),
            ("--ticks", number(args.ticks)),
            ("--for", args.bound.clone()),
            ("--jobs", number(args.jobs)),
            ("--trace", args.trace.clone()),
            ("--profile", args.profile.clone()),
            ("--folder", folder),
            ("--most", number(args.most)),
            ("--plant", args.plant.clone()),
            ("--checkers", args.checkers.clone()),
        ],
    );
    if args.check_determinism {
        command.arg("--check-determinism");
    }
    holds(command, "something that must not be was found")
}

/// Where a profile keeps its progress.
pub(crate) fn folder(profile: Option<&str>, given: Option<&str>, what: &str) -> Option<String> {
    let profile = profile?;
    let usual = || target_dir().join(profile).join(what).display().to_string();
    Some(given.map_or_else(usual, str::to_owned))
}

/// Adds the options that were given.
pub(crate) fn hand_on<const N: usize>(command: &mut Command, options: [(&str, Option<String>); N]) {
    for (flag, given) in options {
        if let Some(given) = given {
            command.args([flag, &given]);
        }
    }
}

/// Runs a program that says itself what it finds.
pub(crate) fn holds(mut command: Command, otherwise: &str) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(otherwise.to_owned())
}

fn build(release: bool) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--locked"])
        .args(["-p", "steadfast-jepsen", "--bin", "simulation"])
        .current_dir(root());
    if release {
        command.arg("--release");
    }
    succeeds(command)
}

/// Builds the simulator as the tests of the workspace have it: with bugs to choose from.
pub(crate) fn build_with_bugs() -> Result<(), String> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--quiet", "--locked", "--no-run"])
        // Of the whole workspace, so that nothing is built twice.
        .args(["--workspace", "--test", "planted_bugs"])
        .current_dir(root());
    succeeds(command)
}

/// Runs a build.
pub(crate) fn succeeds(mut command: Command) -> Result<(), String> {
    if command.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("the build failed".into())
}
