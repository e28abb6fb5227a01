//! The sheet "performance under adversity": builds, measures, and writes docs/adversity.md.

use crate::simulation::{hand_on, succeeds};
use crate::{document, root, say, target_dir};
use std::path::PathBuf;
use std::process::Command;

const DOCUMENT: &str = "docs/adversity.md";

/// How long, how much, and of which build.
#[derive(Debug, clap::Args)]
pub(crate) struct AdversityArgs {
    /// How long each of the twelve states lasts, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Workflows of one activity started in a second
    #[arg(long, default_value_t = 40)]
    rate: u32,
    /// Only these states, as `baseline,slow-leader`; nothing is written
    #[arg(long)]
    states: Option<String>,
    /// Megabytes of state that are there before a disk is lost
    #[arg(long, default_value_t = 1_000)]
    fill: u64,
    /// Draws who is hit
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for logs
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measures a release build: its build takes long
    #[arg(long)]
    release: bool,
    /// Takes the programs as they were built last
    #[arg(long)]
    no_build: bool,
}

/// Measures and writes.
pub(crate) fn run(args: &AdversityArgs) -> Result<(), String> {
    if !args.no_build {
        build(args.release)?;
    }
    let profile = if args.release { "release" } else { "debug" };
    let measured = target_dir().join(profile).join("steadfast");
    let out = match &args.out {
        Some(out) => out.clone(),
        None => target_dir().join("adversity"),
    };
    let load_before = document::load_average();
    let mut command = Command::new(target_dir().join("debug/adversity"));
    command
        .arg("--out")
        .arg(&out)
        .arg("--binary")
        .arg(&measured);
    hand_on(
        &mut command,
        [
            ("--seconds", Some(args.seconds.to_string())),
            ("--rate", Some(args.rate.to_string())),
            ("--fill", Some(args.fill.to_string())),
            ("--states", args.states.clone()),
            ("--seed", args.seed.map(|seed| seed.to_string())),
        ],
    );
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let sheet = out.join("sheet.md");
    let table = std::fs::read_to_string(&sheet);
    let table = table.map_err(|error| format!("{}: {error}", sheet.display()))?;
    // The next run must not take it for its own.
    std::fs::remove_file(&sheet).ok();
    let build = match args.release {
        true => "release build",
        false => "development build (optimised little, assertions on)",
    };
    let text = format!(
        "{}\nThree nodes, {build}, each on a disk and a network of its own; {} workflows of one \
         activity started a second through `steadfast proxy`, {} s in each state.\nLoad average \
         {load_before:.1} before and {:.1} after.\n\n{table}",
        document::machine(),
        args.rate,
        args.seconds,
        document::load_average(),
    );
    say(&text);
    if args.states.is_none() {
        document::replace(DOCUMENT, "adversity", &text)?;
    }
    match status.success() {
        true => Ok(()),
        false => {
            Err("a workflow was lost, a node did what it must not, or nothing is known".into())
        }
    }
}

fn build(release: bool) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--locked"])
        .args(["-p", "steadfast", "-p", "steadfast-jepsen"])
        .args(["--bin", "steadfast", "--bin", "adversity"])
        .current_dir(root());
    succeeds(command)?;
    if !release {
        return Ok(());
    }
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--locked", "-p", "steadfast"])
        .current_dir(root());
    succeeds(command)
}
