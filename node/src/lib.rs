//! The node: a thin shell of clocks, connections and threads around the pure engine, and the
//! commands of the one binary.
//!
//! Reading order: [`node`] (the order of start and stop), [`shard`] (proposals, apply, reads),
//! [`matching`], [`timers`], `outbox`, [`queries`] (the leader's duties), [`api`] (the wire),
//! [`cli`] (what a user types), [`config`] (what may be set), [`http`] (health and metrics),
//! [`restore`] (a new cluster out of a backup).

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod http;
pub mod matching;
pub mod node;
mod outbox;
pub mod queries;
pub mod restore;
pub mod shard;
pub mod sizes;
pub mod telemetry;
pub mod timers;
pub mod updates;
