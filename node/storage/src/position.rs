//! A place in the replicated log.

use serde::{Deserialize, Serialize};

/// A place in the replicated log: the entry's index and the leadership that wrote it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Term of the leadership.
    pub term: u64,
    /// Node that led it.
    pub leader: u64,
    /// Index of the entry; the first is 0 or 1, as the consensus library numbers them.
    pub index: u64,
}
