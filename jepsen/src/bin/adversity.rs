//! How fast a cluster is while something is wrong.

use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steadfast_jepsen::processes::adversity::{Order, Row, STATES, State, measure};
use steadfast_jepsen::processes::sealed::{self, Entered};

/// A steady load on real nodes, one state of the cluster after the other.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// How long each state lasts, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(8..=3_600))]
    seconds: u64,
    /// Workflows of one activity started in a second
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Only these states; the first is the one to compare with
    #[arg(long, value_delimiter = ',', value_parser = state)]
    states: Vec<State>,
    /// Megabytes of state that are there before a disk is lost
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    fill: u64,
    /// Draws who is hit
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for logs; the table goes there, too, as `sheet.md`
    #[arg(long)]
    out: Option<PathBuf>,
    /// The program under test; by default the one beside this one
    #[arg(long)]
    binary: Option<PathBuf>,
}

fn state(name: &str) -> Result<State, String> {
    State::named(name).ok_or_else(|| {
        let names: Vec<&str> = STATES.iter().map(|state| state.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

fn say(line: &str) {
    // The reader of our output may be gone.
    writeln!(std::io::stdout(), "{line}").ok();
}

fn main() -> ExitCode {
    match perform(&Arguments::parse()) {
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
    let entered = sealed::enter("adversity", arguments.seed, arguments.out.as_deref());
    let (seed, out) = match entered.map_err(words)? {
        Entered::Inside { seed, out } => (seed, out),
        Entered::Outside(status) => return Ok(status.success()),
    };
    let own = std::env::current_exe().map_err(words)?;
    let beside = own.with_file_name("steadfast");
    let order = Order {
        states: match arguments.states.is_empty() {
            true => STATES.to_vec(),
            false => arguments.states.clone(),
        },
        lasts: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        fill_bytes: arguments.fill * 1_000_000,
        seed,
        out: out.clone(),
        binary: arguments.binary.clone().unwrap_or(beside),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(words)?;
    let rows = runtime.block_on(measure(&order, say));
    runtime.shutdown_timeout(Duration::from_millis(200));
    let rows = rows.map_err(|trouble| trouble.to_string())?;
    std::fs::write(out.join("sheet.md"), Row::table(&rows)).map_err(words)?;
    say(&format!("logs and the table are in {}", out.display()));
    Ok(rows.iter().all(Row::is_good))
}
