//! sled, which tells whether it was taken as it was, and of the first call that fails.

use super::life::Voice;
use super::report::Report;
use bytes::Bytes;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use steadfast_storage::state::{Index, IndexChange, IndexError, IndexFactory, SledIndexFactory};

/// Opens sled databases.
#[derive(Debug)]
pub(super) struct ToldIndexFactory {
    sled: SledIndexFactory,
    voice: Voice,
    believed: AtomicBool,
}

#[derive(Debug)]
struct ToldIndex {
    sled: Arc<dyn Index>,
    voice: Voice,
}

impl ToldIndexFactory {
    pub(super) fn new(sled: SledIndexFactory, voice: Voice) -> ToldIndexFactory {
        ToldIndexFactory {
            sled,
            voice,
            believed: AtomicBool::new(false),
        }
    }

    /// Whether the index in use held something when it was opened.
    pub(super) fn believed(&self) -> bool {
        self.believed.load(Ordering::Relaxed)
    }
}

impl IndexFactory for ToldIndexFactory {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>, IndexError> {
        let sled = self.sled.open(dir)?;
        let first = sled.range(Bound::Unbounded, Bound::Unbounded, 1, false)?;
        self.believed.store(!first.is_empty(), Ordering::Relaxed);
        Ok(Arc::new(ToldIndex {
            sled,
            voice: self.voice.clone(),
        }))
    }

    fn discard(&self, dir: &Path) -> Result<(), IndexError> {
        self.sled.discard(dir)
    }
}

impl ToldIndex {
    fn told<T>(&self, call: &str, result: Result<T, IndexError>) -> Result<T, IndexError> {
        if result.is_err() {
            self.voice.say_once(&Report::Failed {
                kind: "sled".to_owned(),
                call: call.to_owned(),
            });
        }
        result
    }
}

impl Index for ToldIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        self.told("get", self.sled.get(key))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, IndexError> {
        self.told("range", self.sled.range(from, to, limit, reverse))
    }

    fn apply_batch(&self, changes: Vec<IndexChange>) -> Result<(), IndexError> {
        self.told("batch", self.sled.apply_batch(changes))
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.told("flush", self.sled.flush())
    }
}
