//! What is known at one moment of a soak: a line of `samples.jsonl`.

use serde::{Deserialize, Serialize};

/// One node at one moment. What ends in `_total` counts from the start of its process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its number.
    pub node: u64,
    /// Whether it leads.
    pub leads: bool,
    /// Resident memory.
    pub rss_bytes: u64,
    /// User and system time.
    pub cpu_ms_total: u64,
    /// File descriptors.
    pub open_files: u64,
    /// What its disk was given; without a disk of its own, what the kernel holds against the process,
    /// which is far more: large pages of which a few bytes changed.
    pub disk_written_bytes_total: u64,
    /// Written by threads of sled.
    pub sled_written_bytes_total: u64,
    /// Written by the thread of the log.
    pub log_written_bytes_total: u64,
    /// Written by the keeper: deltas, merged files, manifests.
    pub keeper_written_bytes_total: u64,
    /// On disk: the log.
    pub log_files_bytes: u64,
    /// On disk: deltas, base, manifest.
    pub state_files_bytes: u64,
    /// On disk: sled.
    pub sled_files_bytes: u64,
    /// Records put into sled and deleted from it.
    pub sled_records_total: u64,
    /// Bytes put into sled.
    pub sled_put_bytes_total: u64,
    /// Entries that the Raft log holds.
    pub log_entries: u64,
    /// Records in memory that no file holds yet.
    pub overlay_bytes: u64,
    /// Workflows started, as this replica applied it.
    pub started_total: u64,
}

/// The cluster and its clients at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Since the load began.
    pub seconds: f64,
    /// Starts that were acknowledged.
    pub started: u64,
    /// Workflows that completed.
    pub completed: u64,
    /// Closed workflows that clients deleted.
    pub deleted: u64,
    /// Workflows that did not complete in time.
    pub lost: u64,
    /// StartWorkflowExecution until it is acknowledged, since the last moment: median.
    pub start_p50_ms: f64,
    /// The same, 99th percentile.
    pub start_p99_ms: f64,
    /// The nodes that answered.
    pub nodes: Vec<Sample>,
}

impl Moment {
    /// A node, when it answered.
    pub(super) fn node(&self, node: u64) -> Option<&Sample> {
        self.nodes.iter().find(|sample| sample.node == node)
    }
}

impl Sample {
    /// All files of the data directory.
    pub(super) fn files_bytes(&self) -> u64 {
        self.log_files_bytes + self.state_files_bytes + self.sled_files_bytes
    }
}
