//! The engine: a pure, synchronous state machine for durable execution.
//!
//! One function decides everything: [`apply()`] takes a mutation out of the replicated log and
//! answers what it replies, which records it changes and which duties ([`Effect`]) the leader's
//! shell has. There is no clock, no randomness, no file, no network and no log line here: time and
//! random bits come in with the mutation. The same mutations give the same state on each replica.
//!
//! Reading order: [`mutation`], [`apply()`], [`tables`], [`execution`], `command`, [`event`].

pub mod apply;
pub mod check;
mod command;
pub mod cron;
pub mod effect;
pub mod event;
pub mod execution;
pub mod id;
pub mod limits;
pub mod mutation;
pub mod namespace;
mod priority;
pub mod proto;
pub mod read;
pub mod reply;
pub mod restore;
pub mod resume;
pub mod retry;
mod search_attribute;
pub mod tables;
pub mod task_queue;
pub mod time;
pub mod transition;

pub use apply::{Applied, apply};
pub use effect::Effect;
pub use mutation::Mutation;
pub use mutation::bootstrap::{ENGINE_VERSION, NEWEST_ENGINE_VERSION, OLDEST_ENGINE_VERSION};
pub use reply::{Fault, Refusal, Reply};
pub use tables::{Key, Record, Tables};
pub use time::Timestamp;
