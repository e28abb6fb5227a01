//! Pure reads over a consistent view of the state: what describe, history and list answer from.
//!
//! Nothing here changes anything. A read that may touch many records works in slices, so that its
//! caller can give way in between.

pub mod describe;
pub mod history;
#[cfg(test)]
mod memory;
pub mod namespace;
pub mod queue;
pub mod target;
pub mod update;
pub mod visibility;

pub use target::{StoredActivity, StoredRun, resolve, run};
