//! Official SDKs, installed by `cargo xtask sdks` into the build directory.

use crate::program::Program;
use crate::{Error, io};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The folder with the installed SDKs: `python` (a virtual environment), `typescript`, and `go`
/// (built programs).
///
/// # Errors
/// [`Error::Program`] when they were not installed.
pub fn folder() -> Result<PathBuf, Error> {
    let test = std::env::current_exe().map_err(io("own path"))?;
    let target = test.ancestors().nth(3).unwrap_or(Path::new("."));
    let folder = target.join("sdk");
    if folder.join("installed").exists() {
        return Ok(folder);
    }
    Err(Error::Program(format!(
        "install them first: cargo xtask sdks ({})",
        folder.display()
    )))
}

/// A Python program of `tests/sdk/python`, ready to get arguments.
///
/// # Errors
/// [`Error::Program`] when the SDK was not installed.
pub fn python(script: &str) -> Result<Command, Error> {
    let mut command = Command::new(folder()?.join("python/bin/python"));
    command.arg(sources().join("python").join(script));
    Ok(command)
}

/// A Node.js program of `tests/sdk/typescript`.
///
/// # Errors
/// [`Error::Program`] when the SDK was not installed.
pub fn typescript(script: &str) -> Result<Command, Error> {
    let mut command = Command::new("node");
    command.arg(folder()?.join("typescript").join(script));
    Ok(command)
}

/// A program built of `tests/sdk/go`.
///
/// # Errors
/// [`Error::Program`] when the SDK was not installed.
pub fn go(program: &str) -> Result<Command, Error> {
    Ok(Command::new(folder()?.join("go").join(program)))
}

/// The seed's workflow and activities, cut out of the seed document: `verbatim`, or with the
/// option spelled as the SDK does, `retry`.
///
/// # Errors
/// [`Error::Program`] when the SDK was not installed or the document lacks the code.
pub async fn seed(variant: &str) -> Result<PathBuf, Error> {
    let out = folder()?.join("typescript/seed");
    let document = sources().join("../seed/temporal-architecture.txt");
    let mut program = Program::start(
        "prepare_seed",
        typescript("prepare_seed.js")?.arg(document).arg(&out),
    )?;
    program
        .wait_for_line("PREPARED", Duration::from_secs(30))
        .await?;
    Ok(out.join(variant))
}

/// A worker of the seed's order workflow.
///
/// # Errors
/// [`Error`] when it does not get ready within a minute.
pub async fn order_worker(worker: &OrderWorker<'_>) -> Result<Program, Error> {
    let seed = seed(worker.variant).await?;
    let mut program = Program::start(
        worker.identity,
        typescript("order_worker.js")?
            .env("ADDRESS", worker.address)
            .env("TASK_QUEUE", worker.task_queue)
            .env("IDENTITY", worker.identity)
            .env("PAYMENTS_URL", worker.payments_url)
            .env("SEED", seed),
    )?;
    program
        .wait_for_line("READY", Duration::from_secs(60))
        .await?;
    Ok(program)
}

/// What an order worker needs to know.
#[derive(Debug, Clone, Copy)]
pub struct OrderWorker<'a> {
    /// gRPC address of a node or a front door.
    pub address: &'a str,
    /// The queue it polls.
    pub task_queue: &'a str,
    /// Its identity in events.
    pub identity: &'a str,
    /// The payments server.
    pub payments_url: &'a str,
    /// `verbatim` or `retry`.
    pub variant: &'a str,
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk")
}
