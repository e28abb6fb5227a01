//! The state that is in memory: the active overlay, and frozen ones on their way to rest.

use super::gaps::{Gaps, Learned};
use super::packed::Packed;
use super::record::{Key, MAX_KEY_BYTES, Record};
use super::undo::UndoNode;
use crate::Position;
use bytes::Bytes;
use imbl::OrdMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Records by key; `None` is a deleted one.
pub(crate) type Overlay<R> = OrdMap<Key, Option<Arc<R>>>;

/// What an entry of an overlay costs beside key and record: its place in the map.
const ENTRY_BYTES: usize = 96;

/// The changes between two marks, on their way to a delta file and to the index.
#[derive(Debug)]
pub(crate) struct Frozen<R> {
    pub(crate) mark: u64,
    pub(crate) position: Position,
    pub(crate) meta: Bytes,
    pub(crate) records: Overlay<R>,
    pub(crate) bytes: usize,
}

/// Everything that a view is made of. Behind one short lock.
#[derive(Debug)]
pub(crate) struct Layers<R> {
    pub(crate) active: Overlay<R>,
    pub(crate) active_bytes: usize,
    /// Where nothing lives, as far as scans found out.
    pub(crate) gaps: Gaps,
    /// What views' scans find out.
    pub(crate) learned: Arc<Learned>,
    /// Merges so far: tells whether what a scan found out still holds.
    pub(crate) merges: u64,
    /// Newest first.
    pub(crate) frozen: Arc<[Arc<Frozen<R>>]>,
    /// Undo nodes of the frozen overlays that are not being fed yet, oldest first.
    pub(crate) frozen_undo: VecDeque<Arc<UndoNode>>,
    /// Undo node of the active overlay.
    pub(crate) undo: Arc<UndoNode>,
    pub(crate) packed: Arc<Packed>,
    pub(crate) applied: Option<Position>,
    pub(crate) meta: Bytes,
    /// Number of the newest mark.
    pub(crate) mark: u64,
    /// Goes up with each install: work for the state before is void.
    pub(crate) generation: u64,
}

impl<R: Record> Layers<R> {
    /// A state that is wholly at rest.
    pub(crate) fn at_rest(
        packed: Arc<Packed>,
        manifest: &super::manifest::Manifest,
        generation: u64,
    ) -> Self {
        Self {
            active: OrdMap::new(),
            active_bytes: 0,
            gaps: Gaps::default(),
            learned: Arc::default(),
            merges: 0,
            frozen: Arc::new([]),
            frozen_undo: VecDeque::new(),
            undo: Arc::default(),
            packed,
            applied: manifest.position,
            meta: manifest.meta.clone(),
            mark: manifest.mark,
            generation,
        }
    }

    pub(crate) fn merge(&mut self, changes: Vec<(Key, Option<Arc<R>>)>, applied: Position) {
        assert!(
            self.applied
                .is_none_or(|before| before.index <= applied.index),
            "entries are applied in order"
        );
        self.gaps.learn(&self.learned, self.merges);
        self.merges += 1;
        for (key, value) in changes {
            match &value {
                Some(_) => self.gaps.put(&key),
                None => self.gaps.delete(&key),
            }
            assert!(key.len() <= MAX_KEY_BYTES, "a key fits in an index record");
            self.active_bytes += entry_bytes(&key, value.as_deref());
            let key_copy = key.clone();
            if let Some(old) = self.active.insert(key, value) {
                self.active_bytes -= entry_bytes(&key_copy, old.as_deref());
            }
        }
        self.applied = Some(applied);
    }

    /// Freezes the active overlay; false before anything was applied.
    pub(crate) fn freeze(&mut self, meta: Bytes) -> bool {
        let Some(position) = self.applied else {
            return false;
        };
        self.mark += 1;
        self.meta = meta;
        let frozen = Frozen {
            mark: self.mark,
            position,
            meta: self.meta.clone(),
            records: std::mem::take(&mut self.active),
            bytes: std::mem::take(&mut self.active_bytes),
        };
        self.frozen = std::iter::once(Arc::new(frozen))
            .chain(self.frozen.iter().cloned())
            .collect();
        let next = self.undo.follow();
        self.frozen_undo
            .push_back(std::mem::replace(&mut self.undo, next));
        true
    }

    /// Drops the oldest frozen overlay: it is in the index.
    pub(crate) fn thaw(&mut self, mark: u64) {
        let oldest = self
            .frozen
            .last()
            .expect("an overlay that was fed is frozen");
        assert_eq!(oldest.mark, mark, "overlays are fed in order");
        self.frozen = self.frozen[..self.frozen.len() - 1]
            .iter()
            .cloned()
            .collect();
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.active_bytes + self.frozen.iter().map(|frozen| frozen.bytes).sum::<usize>()
    }
}

fn entry_bytes<R: Record>(key: &Key, value: Option<&R>) -> usize {
    ENTRY_BYTES + key.len() + value.map_or(0, Record::weight)
}
