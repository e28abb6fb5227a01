//! Real nodes under real faults: builds the program and hands the arguments on.

use crate::simulation::{folder, hand_on, holds, succeeds};
use crate::{root, say, target_dir};
use std::process::Command;

/// What to break; a mix drawn from a drawn seed when nothing is given.
#[derive(Debug, clap::Args)]
pub(crate) struct JepsenArgs {
    /// Three or five
    #[arg(long)]
    nodes: Option<u8>,
    /// Kinds of faults, as `kill-leader,power-cut-all`; `all`; or `drawn`
    #[arg(long)]
    nemesis: Option<String>,
    /// How long clients call and faults happen, in seconds
    #[arg(long)]
    time_limit: Option<u64>,
    /// Draws faults, places and moments
    #[arg(long)]
    seed: Option<u64>,
    /// Kinds of faults without which the run fails
    #[arg(long)]
    require: Option<String>,
    /// The folder for operations, logs, verdict and timeline
    #[arg(long)]
    out: Option<String>,
    /// Instead of one run the long profile, `nightly`, over as many starts as it takes
    #[arg(long, conflicts_with_all = ["seed", "out", "list", "where_possible"])]
    profile: Option<String>,
    /// Where the profile's progress is kept; `target/nightly/jepsen` when not given
    #[arg(long, requires = "profile")]
    folder: Option<String>,
    /// So many runs of the profile, and no more in this start
    #[arg(long, requires = "profile")]
    most: Option<u64>,
    /// Tells which faults there are, and which of them this machine can do
    #[arg(long)]
    list: bool,
    /// Takes the programs as they were built last
    #[arg(long)]
    no_build: bool,
    /// Where this machine cannot do one of the faults, says so and runs nothing
    #[arg(long)]
    where_possible: bool,
}

/// Builds and runs.
pub(crate) fn run(args: &JepsenArgs) -> Result<(), String> {
    if !args.no_build {
        build()?;
    }
    if args.where_possible
        && let Some(line) = impossible(args.nemesis.as_deref().unwrap_or_default())?
    {
        say(&format!("{SKIPPED} {line}"));
        return Ok(());
    }
    let mut command = Command::new(target_dir().join("debug/jepsen"));
    let number = |given: Option<u64>| given.map(|given| given.to_string());
    let folder = folder(args.profile.as_deref(), args.folder.as_deref(), "jepsen");
    hand_on(
        &mut command,
        [
            ("--nodes", number(args.nodes.map(u64::from))),
            ("--nemesis", args.nemesis.clone()),
            ("--time-limit", number(args.time_limit)),
            ("--seed", number(args.seed)),
            ("--require", args.require.clone()),
            ("--out", args.out.clone()),
            ("--profile", args.profile.clone()),
            ("--folder", folder),
            ("--most", number(args.most)),
        ],
    );
    if args.list {
        command.arg("--list");
    }
    holds(
        command,
        "something that must not be was found, or nothing is known",
    )
}

/// Begins a line that tells what was not run; [`crate::steps`] shows such lines.
pub(crate) const SKIPPED: &str = "SKIPPED";

/// The first of these faults that this machine cannot do, with the reason.
fn impossible(nemesis: &str) -> Result<Option<String>, String> {
    let mut command = Command::new(target_dir().join("debug/jepsen"));
    let output = command
        .arg("--list")
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err("the faults cannot be listed".into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let asked = |line: &&str| {
        let name = line.split_whitespace().next().unwrap_or_default();
        nemesis.split(',').any(|fault| fault == name)
    };
    let mut lines = text.lines().filter(asked);
    Ok(lines
        .find(|line| line.contains("(not here: "))
        .map(str::to_owned))
}

fn build() -> Result<(), String> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--locked"])
        .args(["-p", "steadfast", "-p", "steadfast-jepsen"])
        .args(["--bin", "steadfast", "--bin", "jepsen"])
        .current_dir(root());
    succeeds(command)
}
