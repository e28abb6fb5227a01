//! Real nodes under real faults.

mod long;

use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steadfast_jepsen::processes::fault::{FAULTS, Fault};
use steadfast_jepsen::processes::machine::Machine;
use steadfast_jepsen::processes::sealed::{self, Entered};
use steadfast_jepsen::processes::{Order, run};
use steadfast_jepsen::profile::PROCESSES_NIGHTLY;

/// Without `--time-limit`.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Real nodes under real faults, and what must hold then.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// Three or five
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=5))]
    nodes: u8,
    /// Kinds of faults, `all`, or `drawn`: a mix from the seed
    #[arg(long, value_delimiter = ',', default_value = "drawn")]
    nemesis: Vec<String>,
    /// How long clients call and faults happen, in seconds; 60, in a long profile 120
    #[arg(long)]
    time_limit: Option<u64>,
    /// Draws faults, places and moments
    #[arg(long)]
    seed: Option<u64>,
    /// Kinds of faults without which the run fails
    #[arg(long, value_delimiter = ',')]
    require: Vec<String>,
    /// A long profile, over as many starts as it takes
    #[arg(long, value_parser = [PROCESSES_NIGHTLY.name], conflicts_with_all = ["seed", "out"])]
    #[arg(requires = "folder")]
    profile: Option<String>,
    /// Where a profile's progress is kept, and what runs left in which something did not hold
    #[arg(long, requires = "profile")]
    folder: Option<PathBuf>,
    /// So many runs of a profile, and no more in this start
    #[arg(long, requires = "profile")]
    most: Option<usize>,
    /// The folder for operations, logs, verdict and timeline
    #[arg(long)]
    out: Option<PathBuf>,
    /// The program under test; by default the one beside this one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Tells which faults there are, and which of them this machine can do
    #[arg(long)]
    list: bool,
}

fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            say(&format!("UNKNOWN {why}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &Arguments) -> Result<bool, String> {
    let words = |error: std::io::Error| error.to_string();
    if let Some(folder) = &arguments.folder {
        return long::run(arguments, folder);
    }
    let entered = sealed::enter("jepsen", arguments.seed, arguments.out.as_deref());
    let (seed, out) = match entered.map_err(words)? {
        Entered::Inside { seed, out } => (seed, out),
        Entered::Outside(status) => return Ok(status.success()),
    };
    if arguments.list {
        list(&Machine::probe(&out, &binary(arguments)?));
        return Ok(true);
    }
    let order = Order {
        nodes: arguments.nodes,
        nemesis: kinds(&arguments.nemesis)?,
        require: kinds(&arguments.require)?,
        lasts: lasts(arguments, TIME_LIMIT),
        seed,
        binary: binary(arguments)?,
        command: command(arguments, seed),
        out,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(words)?;
    let held = runtime.block_on(run(&order));
    runtime.shutdown_timeout(Duration::from_millis(200));
    held.map_err(|trouble| trouble.to_string())
}

fn kinds(names: &[String]) -> Result<Vec<Fault>, String> {
    match names {
        [name] if name == "all" => Ok(FAULTS.to_vec()),
        [name] if name == "drawn" => Ok(Vec::new()),
        names => names
            .iter()
            .map(|name| Fault::named(name).ok_or_else(|| format!("no fault is called {name}")))
            .collect(),
    }
}

fn lasts(arguments: &Arguments, otherwise: Duration) -> Duration {
    arguments.time_limit.map_or(otherwise, Duration::from_secs)
}

fn binary(arguments: &Arguments) -> Result<PathBuf, String> {
    if let Some(binary) = &arguments.binary {
        return Ok(binary.clone());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = own.with_file_name("steadfast");
    match binary.exists() {
        true => Ok(binary),
        false => Err("build it first: cargo build -p steadfast".to_owned()),
    }
}

fn command(arguments: &Arguments, seed: u64) -> String {
    let mut command = format!(
        "cargo xtask jepsen --nodes {} --nemesis {} --time-limit {} --seed {seed}",
        arguments.nodes,
        arguments.nemesis.join(","),
        lasts(arguments, TIME_LIMIT).as_secs()
    );
    if !arguments.require.is_empty() {
        command += &format!(" --require {}", arguments.require.join(","));
    }
    command
}

fn list(machine: &Machine) {
    for fault in FAULTS {
        let can = match fault.missing(machine) {
            None => String::new(),
            Some(why) => format!(" (not here: {why})"),
        };
        say(&format!("{:22} {}{can}", fault.name(), fault.what()));
    }
}
