//! The harness of the black-box tests: real node processes on loopback, official SDKs as clients,
//! a payments server, and a plain client of the wire.
//!
//! Everything is bounded in time, ends the processes it started by their pids, and keeps its files
//! in a temporary folder that is shown when a test fails.

pub mod client;
pub mod cluster;
pub mod command;
pub mod everything;
pub mod front_door;
pub mod golden;
pub mod payments;
pub mod program;
pub mod sdk;
pub mod shop;

/// What a test can trip over outside its own assertions.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a process or a socket.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// A call was answered with an error.
    #[error("{0}")]
    Call(Box<tonic::Status>),
    /// Something did not happen in time; what, and what was seen instead.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// A program ended, or said something else than it should.
    #[error("{0}")]
    Program(String),
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Wraps an I/O error with what was tried.
pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |error| Error::Io(what, error)
}
