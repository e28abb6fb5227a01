//! The golden suites: what a real Temporal server recorded, played against three nodes.
//!
//! The recordings lie outside of this repository, each suite with a runner of its own that prints
//! `ok NAME` or `FAIL NAME` with what differs. Here the cluster is started, the runners are run,
//! and what failed is held against the committed lists of exceptions.

pub mod leader_kills;
pub mod lists;
pub mod outcome;
pub mod sequence;
pub mod suite;
