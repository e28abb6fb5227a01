//! The seam to threads: the log's writer and the keeper run on their own, or as tasks of the one
//! thread of a simulation.

use crate::shard::StateRecord;
use std::time::Duration;
use steadfast_storage::log::LogWriter;
use steadfast_storage::state::Keeper;

/// What a simulated sync takes.
const SIMULATED_SYNC: Duration = Duration::from_millis(1);

/// Where the loops that may block run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Threads of their own.
    Real,
    /// Tasks of the current runtime: everything on one thread.
    Inline,
}

impl Threads {
    /// Runs the log's writer until the last handle of the log goes.
    pub(super) fn run_log(self, writer: LogWriter) -> std::io::Result<()> {
        match self {
            Self::Real => {
                std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
            }
            Self::Inline => {
                tokio::spawn(writer.run_on_task(|| SIMULATED_SYNC));
            }
        }
        Ok(())
    }

    /// Runs the keeper of the state until the store is stopped.
    pub(super) fn run_keeper(self, keeper: Keeper<StateRecord>) -> std::io::Result<()> {
        match self {
            Self::Real => {
                let run = move || told(keeper.run());
                std::thread::Builder::new().name("keeper".to_owned()).spawn(run)?;
            }
            Self::Inline => {
                tokio::spawn(async move { told(keeper.run_on_task().await) });
            }
        }
        Ok(())
    }
}

/// A keeper that fails stops the store, which stops the node; here is why.
fn told(result: Result<(), steadfast_storage::state::StateError>) {
    if let Err(error) = result {
        tracing::error!(%error, "the state cannot be put to rest");
    }
}
