//! A model of the index for simulation: the same disposable contract, in memory.

use super::fault::IndexError;
use super::index::{Index, IndexChange, IndexFactory};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A sorted map in memory.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    records: RwLock<BTreeMap<Bytes, Bytes>>,
}

/// Makes [`MemoryIndex`]es. They last as long as the factory and are found again by directory, as
/// after a killed process; [`MemoryIndexFactory::lose_all`] is the loss of the machine.
#[derive(Debug, Default)]
pub struct MemoryIndexFactory {
    made: Mutex<BTreeMap<PathBuf, Arc<MemoryIndex>>>,
}

impl MemoryIndexFactory {
    /// A factory without indexes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every index, as after a power cut.
    pub fn lose_all(&self) {
        self.made().clear();
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<MemoryIndex>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexFactory for MemoryIndexFactory {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>, IndexError> {
        let index = self.made().entry(dir.to_path_buf()).or_default().clone();
        Ok(index)
    }

    fn discard(&self, dir: &Path) -> Result<(), IndexError> {
        self.made().remove(dir);
        Ok(())
    }
}

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        Ok(records.get(key).cloned())
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, IndexError> {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let range = records.range::<[u8], _>((from, to));
        let copy = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        Ok(if reverse {
            range.rev().take(limit).map(copy).collect()
        } else {
            range.take(limit).map(copy).collect()
        })
    }

    fn apply_batch(&self, changes: Vec<IndexChange>) -> Result<(), IndexError> {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => {
                    records.insert(Bytes::from(key), Bytes::from(value));
                }
                None => {
                    records.remove(key.as_slice());
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}
