//! Sizes and bounds of the state at rest.

/// How the state rests. [`StateOptions::new`] has the values for production.
#[derive(Debug, Clone, Copy)]
pub struct StateOptions {
    /// Length of the key's prefix whose keys rest together in packed blocks. Keys of one group must
    /// lie together in key order, and the function must map the prefix itself to its own length.
    pub grouping: fn(&[u8]) -> usize,
    /// A grouping prefix of at most this many bytes is an index family: many short keys of many
    /// runs, which share big blocks.
    pub family_prefix_bytes: usize,
    /// Size in bytes at which a group's block is split.
    pub block_bytes: usize,
    /// Size in bytes at which an index family's block is split.
    pub index_block_bytes: usize,
    /// Most records in one batch to the index: sled makes every reader wait for a batch.
    pub batch_records: usize,
    /// Most bytes in one batch to the index.
    pub batch_bytes: usize,
    /// Frozen overlays at which the writer has to wait: each holds memory.
    pub max_frozen: usize,
    /// Bytes of old values kept for one mark for views older than it; beyond, those views expire.
    pub undo_bytes: usize,
    /// Deltas below this many bytes in all are not worth a new base.
    pub merge_min_bytes: u64,
    /// Deltas at which small ones are merged into one: each is an open file in a merge.
    pub merge_max_deltas: usize,
    /// Pace of the merge, bytes read per second: it must not starve the log's disk.
    pub merge_bytes_per_second: u64,
    /// Free bytes below which [`Room::low`](super::Room) is set, unless 5 % of the device is less.
    pub min_free_bytes: u64,
    /// Completed marks whose digests are remembered.
    pub kept_digests: usize,
}

impl StateOptions {
    /// The values for production.
    #[must_use]
    pub fn new(grouping: fn(&[u8]) -> usize) -> Self {
        Self {
            grouping,
            family_prefix_bytes: 2,
            block_bytes: 8 * 1024,
            index_block_bytes: 16 * 1024,
            batch_records: 64,
            batch_bytes: 64 * 1024,
            max_frozen: 8,
            undo_bytes: 64 * 1024 * 1024,
            merge_min_bytes: 4 * 1024 * 1024,
            merge_max_deltas: 48,
            merge_bytes_per_second: 32 * 1024 * 1024,
            min_free_bytes: 512 * 1024 * 1024,
            kept_digests: 64,
        }
    }
}
