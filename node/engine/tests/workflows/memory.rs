//! The state as plain records in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use steadfast_engine::Fault;
use steadfast_engine::tables::{Changes, Key, Record, Tables};

/// The records.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<Key, Arc<Record>>);

impl Tables for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let range = self.0.range::<[u8], _>(bounds);
        let range = range.map(|(key, record)| (key.clone(), Arc::clone(record)));
        Ok(if reverse {
            range.rev().take(limit).collect()
        } else {
            range.take(limit).collect()
        })
    }
}

impl Memory {
    /// Takes what a mutation changed.
    pub(crate) fn merge(&mut self, changes: Changes) {
        for (key, change) in changes {
            match change {
                Some(record) => self.0.insert(key, record),
                None => self.0.remove(&key),
            };
        }
    }
}
