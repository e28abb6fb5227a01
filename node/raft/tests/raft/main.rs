//! Raft on the real log, over real sockets and in memory.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::large_futures,
    reason = "tests"
)]

mod cluster;
mod log;
mod machine;

mod bootstrap;
mod determinism;
mod faults;
mod handshake;
mod log_store;
mod members;
mod memory;
mod replicate;
mod slow;
mod snapshot;
mod suite;
