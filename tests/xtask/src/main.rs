//! `cargo xtask`: the only door for developers. Nothing has to be installed first.

mod adversity;
mod bench;
mod document;
mod golden;
mod jepsen;
mod licences;
mod pitfalls;
mod plant;
mod sdks;
mod simulation;
mod soak;
mod steps;
mod torture;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Test, lint, fix and measure Steadfast")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that must be green before work lands: format, lints, licences, all tests
    Test {
        /// Leave out what needs the official SDKs
        #[arg(long)]
        quick: bool,
    },
    /// Format, clippy, licences and pins
    Lint,
    /// Formats, and applies clippy's suggestions
    Fix,
    /// Builds release, starts three nodes, measures, and writes docs/performance.md
    Bench {
        /// Fewer workflows and no leader kills; nothing is written
        #[arg(long)]
        quick: bool,
        /// Instead: counts syncs from outside, with strace, and compares them with the counter
        #[arg(long, conflicts_with = "quick")]
        strace: bool,
        /// Instead: many workflows; fails unless memory stays flat and sled is written to at most
        /// three times per workflow and replica
        #[arg(long, conflicts_with_all = ["quick", "strace"])]
        endurance: bool,
        /// Instead: kills the leader under load, and writes how long each kill was felt
        #[arg(long, conflicts_with_all = ["quick", "strace", "endurance"])]
        failover: bool,
        /// Kills of --failover
        #[arg(long, default_value_t = 100, requires = "failover")]
        kills: u32,
        /// Workflows of --strace (2,000) or --endurance (500,000)
        #[arg(long)]
        workflows: Option<u64>,
    },
    /// Disables the line that avoids each of Raft's fifteen pitfalls, in a copy, and requires that
    /// its test fails
    Pitfalls {
        /// Only these numbers
        numbers: Vec<u8>,
    },
    /// Plants one bug after the other in the nodes, and requires that the simulator finds each
    Plant(plant::PlantArgs),
    /// Plays the recordings of a real Temporal server against three nodes
    Golden(golden::GoldenArgs),
    /// Random mutations of the engine, its invariants checked
    ModelCheck(steps::ModelCheckArgs),
    /// Whole clusters under faults on one thread, each from a seed, and what must hold then
    Sim(simulation::SimArgs),
    /// Real processes under real faults, and what must hold then
    Jepsen(jepsen::JepsenArgs),
    /// A steady load while one thing after the other is wrong; writes docs/adversity.md
    Adversity(adversity::AdversityArgs),
    /// A steady load for an hour: nothing may grow without bound; writes docs/soak.md
    Soak(soak::SoakArgs),
    /// Log, state files and sled alone, under power cuts of the disk they are on
    Torture(torture::TortureArgs),
    /// Installs the official SDKs for the tests into the build directory
    Sdks,
    /// Each dependency's licence against the allowed list, and the exact pins
    CheckLicences,
}

fn main() -> ExitCode {
    let result = match Xtask::parse().command {
        Command::Test { quick } => steps::test(quick),
        Command::Lint => steps::lint(),
        Command::Fix => steps::fix(),
        Command::Golden(args) => golden::run(&args),
        Command::ModelCheck(args) => steps::model_check(args),
        Command::Bench {
            strace: true,
            workflows,
            ..
        } => bench::run_strace(workflows.unwrap_or(2_000)),
        Command::Bench {
            endurance: true,
            workflows,
            ..
        } => bench::run_endurance(workflows.unwrap_or(500_000)),
        Command::Bench {
            failover: true,
            kills,
            ..
        } => bench::run_failover(kills),
        Command::Bench { quick, .. } => bench::run(quick),
        Command::Pitfalls { numbers } => pitfalls::run(&numbers),
        Command::Plant(args) => plant::run(&args),
        Command::Sim(args) => simulation::run(&args),
        Command::Jepsen(args) => jepsen::run(&args),
        Command::Adversity(args) => adversity::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Torture(args) => torture::run(&args),
        Command::Sdks => sdks::install(),
        Command::CheckLicences => licences::check(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("xtask: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line for people.
fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

/// The root of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .components()
        .collect()
}

/// Where build results go, as cargo would put them.
fn target_dir() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| root().join("target"))
}
