//! What a user types: the commands of the one binary, their exit codes and their last words.

pub mod backup;
pub mod bench;
pub mod cluster;
pub mod dev;
pub mod http_get;
pub mod inspect;
pub mod logging;
pub mod proxy;
pub mod restore;
pub mod server;

use crate::config::{self, ConfigError};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// The command line of `steadfast`.
#[derive(Debug, Parser)]
#[command(
    name = "steadfast",
    version,
    about = "A self-contained durable execution cluster that speaks Temporal's API",
    after_help = "Each option may also be given as the environment variable STEADFAST_<NAME> or \
                  as a key of the TOML file named by --config; a flag wins over the environment, \
                  the environment over the file.",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// A TOML file whose keys are option names
    #[arg(long, global = true, env = "STEADFAST_CONFIG", value_name = "FILE")]
    pub config: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,steadfast=debug`
    #[arg(
        long,
        global = true,
        env = "STEADFAST_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
    /// How it is logged: text, json, or auto (text on a terminal, JSON otherwise)
    #[arg(
        long,
        global = true,
        env = "STEADFAST_LOG_FORMAT",
        default_value = "auto"
    )]
    pub log_format: logging::Format,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A cluster of three nodes on this machine, ready for any Temporal SDK
    Dev(Box<dev::DevArgs>),
    /// One node
    Server(Box<server::ServerArgs>),
    /// The front door alone: hands connections to the leader, else to a node that serves
    Proxy(proxy::ProxyArgs),
    /// Asks a running cluster, and changes its members
    Cluster(cluster::ClusterArgs),
    /// Load on a running cluster: rates, latencies, and the servers' CPU per workflow
    Bench(Box<bench::BenchArgs>),
    /// Reads log and state of a stopped node
    Inspect(inspect::InspectArgs),
    /// The state of a running cluster, into a folder
    Backup(backup::BackupArgs),
    /// The data directories of a new cluster, out of a backup
    Restore(restore::RestoreArgs),
}

/// How a command tells its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Why a command ends without success; shown as one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Exit code 2.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// A failure of the work itself.
    pub fn failed(why: impl std::fmt::Display) -> Failure {
        Failure::Failed(why.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

/// Runs a command line to its end: exit code 0 is done, 1 failed, 2 wrong usage.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(Parsed::Shown(text)) => {
            // The reader of `--help` may be gone (`| head`), which is no failure.
            std::io::stdout().write_all(text.as_bytes()).ok();
            return ExitCode::SUCCESS;
        }
        Err(Parsed::Wrong(failure)) => return end(Err(failure)),
    };
    let label = match &cli.command {
        Command::Server(server) if server.dev_parent.is_some() => server.node_id,
        Command::Server(_)
        | Command::Dev(_)
        | Command::Proxy(_)
        | Command::Cluster(_)
        | Command::Bench(_)
        | Command::Inspect(_)
        | Command::Backup(_)
        | Command::Restore(_) => None,
    };
    if let Err(error) = logging::start(&cli.global.log_level, cli.global.log_format, label) {
        return end(Err(Failure::Usage(error)));
    }
    tell_panics();
    end(match cli.command {
        Command::Dev(args) => dev::run(*args),
        Command::Server(args) => server::run(*args),
        Command::Proxy(args) => proxy::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Bench(args) => bench::run(*args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(&args),
    })
}

/// A panic is a bug of ours: one line that can be reported, not a page.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic
            .payload_as_str()
            .unwrap_or("no text")
            .replace('\n', " ");
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "a bug, please report it: {what}");
    }));
}

enum Parsed {
    /// Help or version, for standard output.
    Shown(String),
    Wrong(Failure),
}

fn parse(args: &[OsString]) -> Result<Cli, Parsed> {
    let file = std::env::var_os("STEADFAST_CONFIG");
    let command = config::with_file(Cli::command(), args, file)
        .map_err(|error| Parsed::Wrong(error.into()))?;
    let matches = command
        .try_get_matches_from(args)
        .map_err(|error| parsed(&error))?;
    Cli::from_arg_matches(&matches).map_err(|error| parsed(&error))
}

fn parsed(error: &clap::Error) -> Parsed {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Parsed::Shown(text);
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Parsed::Wrong(Failure::Usage("no command; see `steadfast --help`".into()));
    }
    Parsed::Wrong(Failure::Usage(one_line(&text)))
}

/// clap writes a paragraph; a log or a script wants a line.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Usage:"))
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .map(|line| match line {
            "For more information, try '--help'." => "see --help",
            other => other,
        })
        .collect();
    lines.join("; ").replace(":; ", ": ")
}

fn end(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    let line = failure.to_string().replace('\n', " ");
    // There is nobody left to tell when standard error is closed.
    writeln!(std::io::stderr(), "steadfast: {line}").ok();
    match failure {
        Failure::Failed(_) => ExitCode::from(1),
        Failure::Usage(_) => ExitCode::from(2),
    }
}

/// Writes one line for people (or scripts) to standard output.
pub(crate) fn say(line: &str) {
    // The reader of our output may be gone; the command itself goes on.
    writeln!(std::io::stdout(), "{line}").ok();
}

/// A runtime for a command that needs one thread.
pub(crate) fn one_thread_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the async runtime: {error}")))
}

/// Resolves when the process is asked to end: Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(args: &[&str]) -> String {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        match parse(&args) {
            Ok(_) => panic!("accepted"),
            Err(Parsed::Shown(text)) => panic!("shown: {text}"),
            Err(Parsed::Wrong(failure)) => failure.to_string(),
        }
    }

    #[test]
    fn a_wrong_option_is_one_line_that_says_what_to_do() {
        for args in [
            &["steadfast", "server", "--node-idd", "1"][..],
            &["steadfast", "dev", "--nodes", "2"],
            &["steadfast", "server", "--grpc-address", "here"],
            &["steadfast", "frob"],
            &["steadfast"],
        ] {
            let line = wrong(args);
            assert!(!line.contains('\n'), "{line}");
            assert!(line.contains("--help"), "{line}");
        }
    }
}
