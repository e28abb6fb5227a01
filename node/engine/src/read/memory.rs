//! Tables in memory, for tests of reads.

use crate::mutation::{Mutation, ProposalId, Proposed};
use crate::reply::{Fault, Refusal, Reply};
use crate::tables::{Key, Record, Tables};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records in memory.
#[derive(Default)]
pub(super) struct Memory(pub(super) BTreeMap<Key, Arc<Record>>);

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
        let range = self
            .0
            .range(Key::copy_from_slice(from)..Key::copy_from_slice(to));
        let own = |(key, record): (&Key, &Arc<Record>)| (key.clone(), record.clone());
        Ok(if reverse {
            range.rev().take(limit).map(own).collect()
        } else {
            range.take(limit).map(own).collect()
        })
    }
}

impl Memory {
    /// Applies a mutation at a second.
    pub(super) fn apply(&mut self, second: u8, mutation: Mutation) -> Result<Reply, Refusal> {
        let proposed = Proposed {
            proposal: ProposalId {
                boot: 1,
                sequence: u64::from(second),
            },
            now: Timestamp(i64::from(second) * 1_000_000_000),
            entropy: [second; 16],
            reservations: Vec::new(),
            mutation: Box::new(mutation),
        };
        let applied = crate::apply(self, &proposed).unwrap();
        for (key, change) in applied.changes {
            match change {
                Some(record) => drop(self.0.insert(key, record)),
                None => drop(self.0.remove(&key)),
            }
        }
        applied.reply
    }
}
