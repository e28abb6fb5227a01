//! What a mutation or a read costs, in records and bytes: counted, since time would be flaky.

use crate::memory::Memory;
use std::cell::Cell;
use std::sync::Arc;
use steadfast_engine::Fault;
use steadfast_engine::tables::{Changes, Key, Record, Tables};

/// Records and bytes. A key that is looked for and not there counts as a record.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) read: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written: u64,
    pub(crate) written_bytes: u64,
}

impl Cost {
    /// The larger of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            read: self.read.max(other.read),
            read_bytes: self.read_bytes.max(other.read_bytes),
            written: self.written.max(other.written),
            written_bytes: self.written_bytes.max(other.written_bytes),
        }
    }
}

/// Records that count what is read of them.
#[derive(Debug)]
pub(crate) struct Counted<'a> {
    memory: &'a Memory,
    read: Cell<u64>,
    read_bytes: Cell<u64>,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(memory: &'a Memory) -> Self {
        let (read, read_bytes) = (Cell::new(0), Cell::new(0));
        Self {
            memory,
            read,
            read_bytes,
        }
    }

    /// What was read, and what these changes write.
    pub(crate) fn cost(&self, changes: &Changes) -> Cost {
        let written = changes.values().flatten();
        Cost {
            read: self.read.get(),
            read_bytes: self.read_bytes.get(),
            written: u64::try_from(changes.len()).unwrap(),
            written_bytes: written.map(|record| size(record)).sum(),
        }
    }

    fn count(&self, record: Option<&Record>) {
        self.read.set(self.read.get() + 1);
        let bytes = record.map_or(0, size);
        self.read_bytes.set(self.read_bytes.get() + bytes);
    }
}

impl Tables for Counted<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault> {
        let found = self.memory.get(key)?;
        self.count(found.as_deref());
        Ok(found)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        let found = self.memory.scan(from, to, limit, reverse)?;
        self.count(None);
        for (_, record) in &found {
            self.count(Some(record));
        }
        Ok(found)
    }
}

fn size(record: &Record) -> u64 {
    bincode::serialized_size(record).unwrap()
}
