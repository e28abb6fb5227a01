//! Real node processes under real faults: each in a network namespace of its own, joined by a
//! switch in this process; each on a disk of its own that can fill up, break, and lose its power.
//!
//! [`sealed`] runs everything in namespaces that end with it, whatever happens. [`machine`] tells
//! what the machine can do; a fault that it cannot do is named in the verdict, never passed over.
//! Clients, workers, journal and checkers are those of the simulator.

pub mod adversity;
mod caller_faults;
mod cluster;
pub(crate) mod disk;
pub mod fault;
mod final_state;
mod front_door;
mod group;
mod host;
pub mod machine;
mod nemesis;
mod record;
mod run;
pub mod sealed;
pub mod soak;
mod switch;
mod timeline;
mod watch;

pub use run::{Order, run};

use std::io;
use std::process::Command;

/// Why a run cannot go on: the machine, not the nodes.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A call of the machine failed.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// A tool failed.
    #[error("{0}")]
    Tool(String),
}

fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Trouble {
    let what = what.into();
    move |error| Trouble::Io(what, error)
}

/// Runs a tool to its end and gives what it printed.
fn tool(words: &[&str]) -> Result<String, Trouble> {
    let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(io(words.join(" ")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::Tool(format!(
        "{}: {}",
        words.join(" "),
        why.trim()
    )))
}
