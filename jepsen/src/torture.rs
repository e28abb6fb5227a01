//! The storage room alone, under power cuts that are real.
//!
//! A process keeps the log, the state files and sled on an ext4 file system of its own
//! ([`life`]), with sizes so small that segments roll, marks become deltas, deltas become bases and
//! the log is purged many times a second. It tells over a pipe what it is about to do and what the
//! storage room called durable ([`report`]). Another process cuts the power under it, starts it
//! again on what is left, and compares what it finds with a model ([`model`], [`run`]).
//!
//! What a cut takes is what the kernel had not written: the journal that was not committed, pages
//! that were not written back. A device that loses or reorders writes which it took is not played.

pub mod life;
mod log_model;
mod model;
pub mod report;
mod run;
mod state_model;
mod story;
mod told_disk;
mod told_index;
mod verdict;

pub use run::{Order, Outcome, run};
