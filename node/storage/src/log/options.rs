//! Sizes of the log.

/// Sizes of the log. Values out of bounds are brought within them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A new segment file is begun when a batch would make the current one larger than this;
    /// 4 KiB to 1 GiB. Purged entries free the disk by whole segments.
    pub segment_bytes: u64,
    /// The current segment is filled with zeros this far ahead, so that a sync need not also write
    /// the file's new size; 4 KiB to 64 MiB. A part of the format: a file of another length that
    /// holds synced records was cut short.
    pub extend_bytes: u64,
    /// Payload bytes of the newest entries that are kept in memory.
    pub cache_bytes: u64,
    /// Records in one write and sync; at least 1.
    pub batch_records: usize,
    /// Bytes after which a write and sync takes no further append; at most 64 MiB.
    pub batch_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            extend_bytes: 1 << 20,
            cache_bytes: 64 << 20,
            batch_records: 4096,
            batch_bytes: 4 << 20,
        }
    }
}

impl LogOptions {
    pub(super) fn within_bounds(self) -> LogOptions {
        LogOptions {
            segment_bytes: self.segment_bytes.clamp(4 << 10, 1 << 30),
            extend_bytes: self.extend_bytes.clamp(4 << 10, 64 << 20),
            cache_bytes: self.cache_bytes,
            batch_records: self.batch_records.max(1),
            batch_bytes: self.batch_bytes.clamp(1, 64 << 20),
        }
    }
}
