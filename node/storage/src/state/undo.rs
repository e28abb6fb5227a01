//! Old values for views that are older than what the index is being fed.
//!
//! Each overlay has an undo node. A view holds the node of the overlay that was active when it was
//! taken, and through it all later ones. Before a batch of an overlay goes to the index, the old
//! values of its keys are noted in the overlay's node if any such view is alive. A view that reads
//! the index first and the nodes after it, oldest node first, therefore sees its own time. Nodes
//! that no view holds are dropped.

use super::record::Key;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Old values of one overlay's keys.
#[derive(Debug, Default)]
pub(crate) struct UndoNode {
    undone: RwLock<Undone>,
    next: OnceLock<Arc<UndoNode>>,
}

#[derive(Debug, Default)]
struct Undone {
    values: BTreeMap<Key, Option<Bytes>>,
    bytes: usize,
    expired: bool,
}

/// The view's old values are not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired;

/// What a feeder notes before a batch.
pub(crate) type OldValue = (Key, Option<Bytes>);

impl UndoNode {
    /// The node of the next overlay, linked behind this one.
    pub(crate) fn follow(&self) -> Arc<Self> {
        let next = self.next.get_or_init(Arc::default);
        next.clone()
    }

    /// Notes old values; beyond `limit` bytes the views that need them expire instead.
    pub(crate) fn note(&self, values: Vec<OldValue>, limit: usize) {
        let mut undone = self.undone.write().unwrap_or_else(PoisonError::into_inner);
        if undone.expired {
            return;
        }
        for (key, value) in values {
            undone.bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + 64;
            undone.values.entry(key).or_insert(value);
        }
        if undone.bytes > limit {
            *undone = Undone {
                expired: true,
                ..Undone::default()
            };
        }
    }

    /// The old value of a key, if it was changed since: `Some(None)` when it was not there.
    pub(crate) fn get(self: &Arc<Self>, key: &[u8]) -> Result<Option<Option<Bytes>>, Expired> {
        let mut node = Some(self);
        while let Some(current) = node {
            let undone = current
                .undone
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if undone.expired {
                return Err(Expired);
            }
            if let Some(value) = undone.values.get(key) {
                return Ok(Some(value.clone()));
            }
            node = current.next.get();
        }
        Ok(None)
    }

    /// The old values of all keys of a range that were changed since.
    pub(crate) fn range(
        self: &Arc<Self>,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<BTreeMap<Key, Option<Bytes>>, Expired> {
        let mut found = BTreeMap::new();
        let mut node = Some(self);
        while let Some(current) = node {
            let undone = current
                .undone
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if undone.expired {
                return Err(Expired);
            }
            for (key, value) in undone.values.range::<[u8], _>((from, to)) {
                found.entry(key.clone()).or_insert_with(|| value.clone());
            }
            node = current.next.get();
        }
        Ok(found)
    }
}

impl Drop for UndoNode {
    /// A long chain is taken apart in a loop: dropping it by recursion could overflow the stack.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(node) = next {
            next = match Arc::try_unwrap(node) {
                Ok(mut node) => node.next.take(),
                Err(_) => None,
            };
        }
    }
}
