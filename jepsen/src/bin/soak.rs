//! Whether a cluster stays as it is under a steady load.

use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steadfast_jepsen::processes::sealed::{self, Entered};
use steadfast_jepsen::processes::soak::{Order, soak};

/// A steady load on real nodes, and what they use all the time.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// How long there is load
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Workflows started in a second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Seconds after which a closed workflow is deleted; namespaces retain for an hour at least
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    keep: u64,
    /// Of the network
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for samples.jsonl, soak.html, soak.md and logs
    #[arg(long)]
    out: Option<PathBuf>,
    /// The program under test; by default the one beside this one
    #[arg(long)]
    binary: Option<PathBuf>,
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
    let entered = sealed::enter("soak", arguments.seed, arguments.out.as_deref());
    let (seed, out) = match entered.map_err(words)? {
        Entered::Inside { seed, out } => (seed, out),
        Entered::Outside(status) => return Ok(status.success()),
    };
    let own = std::env::current_exe().map_err(words)?;
    let beside = own.with_file_name("steadfast");
    let order = Order {
        lasts: Duration::from_secs(60 * arguments.minutes),
        rate: arguments.rate,
        keep: Duration::from_secs(arguments.keep),
        seed,
        out: out.clone(),
        binary: arguments.binary.clone().unwrap_or(beside),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(words)?;
    let report = runtime.block_on(soak(&order, say));
    runtime.shutdown_timeout(Duration::from_millis(200));
    let report = report.map_err(|trouble| trouble.to_string())?;
    let holds = match report.wrong.is_empty() {
        true => "All held.".to_owned(),
        false => format!("**Not held:** {}.", report.wrong.join("; ")),
    };
    let text = format!("{}\n{holds}\n", report.text);
    std::fs::write(out.join("soak.md"), &text).map_err(words)?;
    say(&text);
    say(&format!("samples and the page are in {}", out.display()));
    Ok(report.wrong.is_empty())
}
