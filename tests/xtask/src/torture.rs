//! The storage room under power cuts: builds the program and hands the arguments on.

use crate::jepsen::SKIPPED;
use crate::simulation::{build_with_bugs, hand_on, holds};
use crate::{say, target_dir};
use std::process::Command;

/// How many cuts, and what is planted.
#[derive(Debug, clap::Args)]
pub(crate) struct TortureArgs {
    /// How often the power fails (200)
    #[arg(long)]
    cuts: Option<u64>,
    /// Draws lives, ends and their moments
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for what the lives say
    #[arg(long)]
    out: Option<String>,
    /// Plants this bug in the storage room, and requires that it is found
    #[arg(long)]
    plant: Option<String>,
    /// Takes sled as it is after a power cut, which no node does: shows what that would mean
    #[arg(long)]
    believe_sled: bool,
    /// Takes the program as it was built last
    #[arg(long)]
    no_build: bool,
    /// Where this machine cannot cut the power of a disk, says so and runs nothing
    #[arg(long)]
    where_possible: bool,
}

/// Builds and runs.
pub(crate) fn run(args: &TortureArgs) -> Result<(), String> {
    if !args.no_build {
        build_with_bugs()?;
    }
    if args.where_possible
        && let Some(why) = impossible()?
    {
        say(&format!("{SKIPPED} power cuts: {why}"));
        return Ok(());
    }
    let mut command = program();
    let number = |given: Option<u64>| given.map(|given| given.to_string());
    hand_on(
        &mut command,
        [
            ("--cuts", number(args.cuts)),
            ("--seed", number(args.seed)),
            ("--out", args.out.clone()),
            ("--plant", args.plant.clone()),
        ],
    );
    if args.believe_sled {
        command.arg("--believe-sled");
    }
    let otherwise = match args.plant {
        None => "a promise of the storage room is broken, or nothing is known",
        Some(_) => "the planted bug was not found",
    };
    holds(command, otherwise)
}

fn program() -> Command {
    Command::new(target_dir().join("debug/torture"))
}

/// Why this machine cannot do it, if it cannot.
fn impossible() -> Result<Option<String>, String> {
    let mut command = program();
    let output = command
        .arg("--list")
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() {
        true => Ok((text != "possible").then_some(text)),
        false => Err(format!("nobody knows whether the power can be cut: {text}")),
    }
}
