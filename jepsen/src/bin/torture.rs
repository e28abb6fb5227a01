//! The storage room alone, under power cuts that are real.

use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use steadfast_jepsen::processes::machine::Machine;
use steadfast_jepsen::processes::sealed::{self, Entered};
use steadfast_jepsen::torture::life::{Life, keep};
use steadfast_jepsen::torture::{Order, run};
use steadfast_planted::{Bug, plant};

/// Log, state files and sled under power cuts, and what must be there then.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// How often the power fails
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    cuts: u64,
    /// Draws lives, ends and their moments
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for the disk and the words of the lives
    #[arg(long)]
    out: Option<PathBuf>,
    /// Plants this bug: then it is a success when something is found
    #[arg(long, value_parser = bug)]
    plant: Option<Bug>,
    /// Takes sled as it is after a power cut, which no node does
    #[arg(long)]
    believe_sled: bool,
    /// Tells whether this machine can do it, or why not
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    life: LifeArguments,
}

/// Of the process that keeps; this program starts it.
#[derive(Debug, clap::Args)]
struct LifeArguments {
    #[arg(long, hide = true)]
    life_in: Option<PathBuf>,
    #[arg(long, hide = true, default_value_t = 0)]
    story: u64,
    #[arg(long, hide = true, default_value_t = 0)]
    life: u64,
    #[arg(long, hide = true, default_value_t = 0)]
    committed: u64,
    #[arg(long, hide = true, default_value = "")]
    boot: String,
}

fn bug(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| "no such bug".to_owned())
}

fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if plant(arguments.plant).is_err() {
        say("this build has no bugs to plant: `cargo xtask torture --plant` makes one that has");
        return ExitCode::FAILURE;
    }
    let held = match &arguments.life.life_in {
        Some(dir) => live(&arguments, dir.clone()),
        None => perform(&arguments),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            say(&format!("UNKNOWN {why}"));
            ExitCode::FAILURE
        }
    }
}

/// One life.
fn live(arguments: &Arguments, dir: PathBuf) -> Result<bool, String> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let told = keep(&Life {
        dir,
        story: arguments.life.story,
        number: arguments.life.life,
        committed: arguments.life.committed,
        boot: arguments.life.boot.clone(),
        seed: arguments.seed.unwrap_or_default(),
    });
    Ok(told.is_ok())
}

fn perform(arguments: &Arguments) -> Result<bool, String> {
    let words = |error: std::io::Error| error.to_string();
    let entered = sealed::enter("torture", arguments.seed, arguments.out.as_deref());
    let (seed, out) = match entered.map_err(words)? {
        Entered::Inside { seed, out } => (seed, out),
        Entered::Outside(status) => return Ok(status.success()),
    };
    let can = Machine::disks(&out);
    if arguments.list {
        say(&can.map_or_else(
            |why| format!("(not here: {why})"),
            |()| "possible".to_owned(),
        ));
        return Ok(true);
    }
    can.map_err(|why| format!("not here: {why}"))?;
    say(&format!("seed {seed}"));
    let planted = arguments
        .plant
        .map(|bug| vec!["--plant".to_owned(), bug.name().to_owned()]);
    let order = Order {
        cuts: arguments.cuts,
        seed,
        out: out.clone(),
        arguments: planted.unwrap_or_default(),
        believe_sled: arguments.believe_sled,
    };
    let outcome = run(&order, say).map_err(|trouble| trouble.to_string())?;
    say(&outcome.tally.to_string());
    match (&outcome.violation, arguments.plant) {
        (None, None) => say("all held"),
        (None, Some(bug)) => say(&format!("NOT FOUND: {}", bug.name())),
        (Some(what), None) => say(&format!("VIOLATION {what}")),
        (Some(what), Some(bug)) => say(&format!("CAUGHT {}: {what}", bug.name())),
    }
    say(&format!(
        "what the lives said is in {}",
        out.join("lives.log").display()
    ));
    Ok(outcome.violation.is_some() == arguments.plant.is_some())
}
