//! How big things get before the next is begun: the log's segments, marks, merged files.
//!
//! Production has the default. A simulation draws small ones, so that a minute meets what
//! production meets in a day: marks, merges, purges, snapshots.

use std::time::Duration;
use steadfast_storage::log::LogOptions;
use steadfast_storage::state::StateOptions;

/// Sizes of one node; they may differ between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// Bytes of the newest log entries that are kept in memory.
    pub log_cache_bytes: u64,
    /// Entries kept in the log behind the newest durable mark; a peer that lacks more gets files.
    pub keep_entries: u64,
    /// An overlay of so many bytes is frozen.
    pub mark_bytes: usize,
    /// And any overlay with changes after so long: a restart replays the log since the last mark.
    pub mark_every: Duration,
    /// Deltas below so many bytes in all are not worth a new base.
    pub merge_min_bytes: u64,
    /// Deltas at which small ones are merged into one.
    pub merge_max_deltas: usize,
    /// Free bytes of the disk below which work that fills it is refused.
    pub min_free_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        let (log, state) = (LogOptions::default(), StateOptions::new(<[u8]>::len));
        Self {
            segment_bytes: log.segment_bytes,
            log_cache_bytes: log.cache_bytes,
            keep_entries: 20_000,
            mark_bytes: 64 << 20,
            mark_every: Duration::from_secs(30),
            merge_min_bytes: state.merge_min_bytes,
            merge_max_deltas: state.merge_max_deltas,
            min_free_bytes: state.min_free_bytes,
        }
    }
}

impl Sizes {
    pub(crate) fn log(&self) -> LogOptions {
        let log = LogOptions::default();
        LogOptions {
            segment_bytes: self.segment_bytes,
            // Not more zeros ahead than a segment has room for.
            extend_bytes: log.extend_bytes.min(self.segment_bytes),
            cache_bytes: self.log_cache_bytes,
            ..log
        }
    }

    pub(crate) fn state(&self, grouping: fn(&[u8]) -> usize) -> StateOptions {
        StateOptions {
            merge_min_bytes: self.merge_min_bytes,
            merge_max_deltas: self.merge_max_deltas,
            min_free_bytes: self.min_free_bytes,
            ..StateOptions::new(grouping)
        }
    }
}
