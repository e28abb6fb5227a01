//! The node: a thin shell of clocks, connections and threads around the pure engine, and the
//! commands of the one binary.
//!
//! Reading order: [`cli`] (what a user types), [`config`] (what may be set), [`http`] (health and
//! metrics).

pub mod cli;
pub mod config;
pub mod http;
