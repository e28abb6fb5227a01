//! Key encoding: big-endian numbers, length-prefixed strings, one byte per family.

use crate::id::{NamespaceNumber, RunRef, slot};
use bytes::Bytes;

/// An encoded key; sorts as its bytes.
pub type Key = Bytes;

pub(crate) const SYSTEM: u8 = 0;
pub(crate) const EXECUTIONS: u8 = 1;
pub(crate) const INDEXES: u8 = 2;

/// Families inside one run's keys, in the order in which they lie.
pub(crate) mod run_family {
    pub(crate) const RUN: u8 = 0;
    pub(crate) const ACTIVITY: u8 = 1;
    pub(crate) const ACTIVITY_BY_ID: u8 = 2;
    pub(crate) const TIMER: u8 = 3;
    pub(crate) const BUFFERED: u8 = 4;
    pub(crate) const REQUEST: u8 = 5;
    pub(crate) const UPDATE: u8 = 6;
    pub(crate) const OPEN_UPDATE: u8 = 7;
    pub(crate) const CHILD: u8 = 8;
    pub(crate) const EXTERNAL: u8 = 9;
    pub(crate) const BRANCH_USE: u8 = 10;
    pub(crate) const HISTORY: u8 = 11;
}

/// Families of the local indexes.
pub(crate) mod index_family {
    pub(crate) const DUE: u8 = 0;
    pub(crate) const QUEUE: u8 = 1;
    pub(crate) const VISIBILITY: u8 = 2;
    pub(crate) const OUTBOX: u8 = 3;
}

/// Builds a key.
#[derive(Debug)]
pub(crate) struct KeyWriter(Vec<u8>);

impl KeyWriter {
    pub(crate) fn new(space: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(space);
        Self(bytes)
    }

    pub(crate) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Signed numbers sort by value: the sign bit is flipped.
    pub(crate) fn i64(self, value: i64) -> Self {
        self.u64(value.cast_unsigned() ^ (1 << 63))
    }

    /// A string of at most 65,535 bytes, with its length before it.
    pub(crate) fn text(self, value: &str) -> Self {
        assert!(
            value.len() <= usize::from(u16::MAX),
            "ids are checked at the border"
        );
        let mut writer = self.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        writer.0.extend_from_slice(value.as_bytes());
        writer
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Key {
        Bytes::from(self.0)
    }
}

/// All keys of all runs of one workflow id begin with this; runs sort by number.
#[must_use]
pub fn execution_prefix(namespace: NamespaceNumber, workflow_id: &str) -> Key {
    execution(namespace, workflow_id, 0).done()
}

fn execution(namespace: NamespaceNumber, workflow_id: &str, more: usize) -> KeyWriter {
    KeyWriter::new(EXECUTIONS, 9 + workflow_id.len() + more)
        .u16(slot(namespace, workflow_id))
        .u32(namespace.0)
        .text(workflow_id)
}

/// All keys of one run begin with this.
#[must_use]
pub fn run_prefix(run: &RunRef) -> Key {
    run_writer(run, 0).done()
}

pub(crate) fn run_writer(run: &RunRef, more: usize) -> KeyWriter {
    execution(run.namespace, &run.workflow_id, 8 + more).u64(run.number)
}

/// The run number inside a key of an execution, given its workflow id's length.
#[must_use]
pub fn run_number_of_key(key: &[u8], workflow_id: &str) -> Option<u64> {
    let start = 9 + workflow_id.len();
    let bytes: [u8; 8] = key.get(start..start + 8)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

/// The first key after all keys with this prefix.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Key {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Bytes::from(end);
        }
        end.pop();
    }
    Bytes::from_static(&[u8::MAX; 16])
}

/// Length of the prefix whose keys rest together: one run's keys, or an index family, or a
/// system family. Storage packs blocks by it.
#[must_use]
pub fn grouping(key: &[u8]) -> usize {
    if key.first() != Some(&EXECUTIONS) {
        return key.len().min(2);
    }
    let length = match key.get(7..9) {
        Some(bytes) => usize::from(u16::from_be_bytes([bytes[0], bytes[1]])),
        None => return key.len(),
    };
    key.len().min(9 + length + 8)
}
