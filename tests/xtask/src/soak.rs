//! The soak: builds, keeps a cluster under load for long, and writes docs/soak.md.

use crate::simulation::{hand_on, succeeds};
use crate::{document, root, say, target_dir};
use std::path::PathBuf;
use std::process::Command;

const DOCUMENT: &str = "docs/soak.md";
/// A shorter soak tells too little to be written down.
const WRITTEN_FROM_MINUTES: u64 = 30;

/// How long, how much, and of which build.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// How long there is load
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Workflows started in a second
    #[arg(long, default_value_t = 30)]
    rate: u32,
    /// Seconds after which a closed workflow is deleted
    #[arg(long, default_value_t = 300)]
    keep: u64,
    /// The folder for samples, the page with the plots, and logs; target/soak when not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measures a release build: its build takes long
    #[arg(long)]
    release: bool,
    /// Takes the programs as they were built last
    #[arg(long)]
    no_build: bool,
    /// The program under test, instead of the one that was built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Soaks and writes.
pub(crate) fn run(args: &SoakArgs) -> Result<(), String> {
    if !args.no_build {
        build(args.release)?;
    }
    let profile = if args.release { "release" } else { "debug" };
    let built = || target_dir().join(profile).join("steadfast");
    let binary = args.binary.clone().unwrap_or_else(built);
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| target_dir().join("soak"));
    let load_before = document::load_average();
    let about = document::machine();
    let mut command = Command::new(target_dir().join("debug/soak"));
    hand_on(
        &mut command,
        [
            ("--minutes", Some(args.minutes.to_string())),
            ("--rate", Some(args.rate.to_string())),
            ("--keep", Some(args.keep.to_string())),
            ("--binary", Some(binary.display().to_string())),
            ("--out", Some(out.display().to_string())),
        ],
    );
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let sheet = out.join("soak.md");
    let figures = std::fs::read_to_string(&sheet);
    let figures = figures.map_err(|error| format!("{}: {error}", sheet.display()))?;
    // The next run must not take it for its own.
    std::fs::remove_file(&sheet).ok();
    let build = match args.release {
        true => "release build",
        false => "development build (optimised little, assertions on)",
    };
    let text = format!(
        "{about}\nThree nodes, {build}; {} workflows started a second for {} minutes.\nLoad \
         average {load_before:.1} before and {:.1} after.\n\n{figures}",
        args.rate,
        args.minutes,
        document::load_average(),
    );
    if args.minutes >= WRITTEN_FROM_MINUTES {
        document::replace(DOCUMENT, "soak", &text)?;
    }
    say(&text);
    match status.success() {
        true => Ok(()),
        false => Err("something grows, was lost, or nothing is known".into()),
    }
}

fn build(release: bool) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--locked"])
        .args(["-p", "steadfast", "-p", "steadfast-jepsen"])
        .args(["--bin", "steadfast", "--bin", "soak"])
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
