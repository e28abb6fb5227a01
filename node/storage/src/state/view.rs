//! A consistent view of the state at one position.

use super::fault::StateFault;
use super::gaps::{Gaps, Learned};
use super::overlay::{Frozen, Layers, Overlay};
use super::packed::Packed;
use super::record::{Key, Record};
use super::undo::{Expired, UndoNode};
use crate::Position;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

/// A scan that passed so many dead records before its first live one tells of them.
const DEAD_TOLD: usize = 8;
/// Fewest and most records that one pass over the index reads.
const PASS_RECORDS: std::ops::RangeInclusive<usize> = 16..=512;

/// The state at the position at which it was taken, whatever is applied or put to rest meanwhile.
/// Cheap to take and to clone. Hold it shortly: it keeps overlays and old values in memory, and
/// reads fail with [`StateFault::ViewExpired`] when these became too many.
pub struct View<R> {
    active: Overlay<R>,
    frozen: Arc<[Arc<Frozen<R>>]>,
    undo: Arc<UndoNode>,
    packed: Arc<Packed>,
    gaps: Gaps,
    learned: Arc<Learned>,
    merges: u64,
    applied: Option<Position>,
}

impl<R> Clone for View<R> {
    fn clone(&self) -> Self {
        Self {
            active: self.active.clone(),
            frozen: self.frozen.clone(),
            undo: self.undo.clone(),
            packed: self.packed.clone(),
            gaps: self.gaps.clone(),
            learned: self.learned.clone(),
            merges: self.merges,
            applied: self.applied,
        }
    }
}

impl<R> std::fmt::Debug for View<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl From<Expired> for StateFault {
    fn from(_: Expired) -> Self {
        Self::ViewExpired
    }
}

impl<R: Record> View<R> {
    pub(crate) fn of(layers: &Layers<R>) -> Self {
        Self {
            active: layers.active.clone(),
            frozen: layers.frozen.clone(),
            undo: layers.undo.clone(),
            packed: layers.packed.clone(),
            gaps: layers.gaps.clone(),
            learned: layers.learned.clone(),
            merges: layers.merges,
            applied: layers.applied,
        }
    }

    /// The last applied entry that the view contains; `None` when nothing was applied yet.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.applied
    }

    /// The record under a key. May read the disk.
    ///
    /// # Errors
    /// [`StateFault`] when storage is broken or the view is too old.
    pub fn get(&self, key: &[u8]) -> Result<Option<Arc<R>>, StateFault> {
        for layer in self.layers() {
            if let Some(value) = layer.get(key) {
                return Ok(value.clone());
            }
        }
        // The index first, the old values after it: these are noted before the index changes.
        let at_rest = self.packed.get(key)?;
        let value = self.undo.get(key)?.unwrap_or(at_rest);
        value.map(|value| decode(key, &value)).transpose()
    }

    /// Up to `limit` records of a range, ascending, or descending when `reverse`. May read the
    /// disk.
    ///
    /// # Errors
    /// [`StateFault`] when storage is broken or the view is too old.
    pub fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<R>)>, StateFault> {
        let mut found = Vec::new();
        if reverse {
            let stopped = self.walk(from, to, limit, true, &mut found)?;
            self.learned.passed(stopped.dead);
            return Ok(found);
        }
        // Leaps over what is known to be dead; each leap ends further on.
        let mut dead = 0;
        let mut next = own(from);
        loop {
            if let Bound::Included(start) = &next
                && let Some(end) = self.gaps.end_of(start)
            {
                next = Bound::Included(end.to_vec());
            }
            let stopped = self.walk(borrow(&next), to, limit, false, &mut found)?;
            self.learned.passed(stopped.dead);
            dead += stopped.dead_before_first;
            match stopped.at_gap {
                Some(end) => next = Bound::Included(end.to_vec()),
                None => break,
            }
        }
        // Whether anything is there is asked again and again, of queues for the most part.
        let nothing = limit == 1 && found.is_empty();
        if let Bound::Included(from) = from
            && (dead >= DEAD_TOLD || nothing && self.gaps.end_of(from).is_none())
        {
            let alive = match (found.first(), to) {
                (Some((key, _)), _) => Some(key.clone()),
                (None, Bound::Excluded(to)) if limit > 0 => Some(Key::copy_from_slice(to)),
                (None, _) => None,
            };
            if let Some(alive) = alive {
                let from = Key::copy_from_slice(from);
                self.learned.tell(self.merges, from, alive);
            }
        }
        Ok(found)
    }

    /// Adds the records of a range until there are `limit`. An ascending walk also stops where it
    /// meets a dead record in a known gap.
    fn walk(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
        found: &mut Vec<(Key, Arc<R>)>,
    ) -> Result<Stopped, StateFault> {
        let mut stopped = Stopped::default();
        if is_empty_range(from, to) {
            return Ok(stopped);
        }
        let mut layers: Vec<Peekable<LayerIter<'_, R>>> = self
            .layers()
            .map(|layer| layer_iter(layer, from, to, reverse).peekable())
            .collect();
        let mut at_rest = AtRest::new(self, from, to, limit, reverse);
        let mut dead_run = 0;
        while found.len() < limit {
            let mut next = at_rest.peek()?.cloned();
            for layer in &mut layers {
                if let Some((key, _)) = layer.peek()
                    && next
                        .as_ref()
                        .is_none_or(|next| if reverse { *key > next } else { *key < next })
                {
                    next = Some((*key).clone());
                }
            }
            let Some(key) = next else {
                break;
            };
            // The newest layer that has the key decides; all of them move on.
            let mut decided: Option<Option<Arc<R>>> = None;
            for layer in &mut layers {
                if let Some((_, value)) = layer.next_if(|(found, _)| **found == key)
                    && decided.is_none()
                {
                    decided = Some(value.clone());
                }
            }
            let resting = at_rest.take_if(&key);
            let value = match decided {
                Some(value) => value,
                None => resting.map(|value| decode(&key, &value)).transpose()?,
            };
            if let Some(value) = value {
                found.push((key, value));
                dead_run = 0;
                continue;
            }
            dead_run += 1;
            stopped.dead += 1;
            if found.is_empty() {
                stopped.dead_before_first += 1;
            }
            // A leap begins a new pass over the index: not for a few records.
            if !reverse
                && dead_run >= DEAD_TOLD
                && let Some(end) = self.gaps.end_of(&key)
            {
                stopped.at_gap = Some(end.clone());
                break;
            }
        }
        Ok(stopped)
    }

    /// Newest first.
    fn layers(&self) -> impl Iterator<Item = &Overlay<R>> {
        std::iter::once(&self.active).chain(self.frozen.iter().map(|frozen| &frozen.records))
    }
}

/// How a walk ended.
#[derive(Debug, Default)]
struct Stopped {
    /// Dead records that were passed.
    dead: u64,
    /// Those of them that came before the first live one.
    dead_before_first: usize,
    /// The end of the gap in which it stopped.
    at_gap: Option<Key>,
}

type LayerIter<'a, R> = Box<dyn Iterator<Item = (&'a Key, &'a Option<Arc<R>>)> + 'a>;

fn layer_iter<'a, R>(
    layer: &'a Overlay<R>,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    reverse: bool,
) -> LayerIter<'a, R> {
    let range = layer.range::<_, [u8]>((from, to));
    if reverse {
        Box::new(range.rev())
    } else {
        Box::new(range)
    }
}

fn decode<R: Record>(key: &[u8], value: &Bytes) -> Result<Arc<R>, StateFault> {
    R::decode(value)
        .map(Arc::new)
        .map_err(|source| StateFault::Undecodable {
            key: key.to_vec(),
            source,
        })
}

/// The records of the index in a range, with old values put back, in passes.
struct AtRest<'a> {
    packed: &'a Packed,
    undo: &'a Arc<UndoNode>,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    reverse: bool,
    want: usize,
    queue: VecDeque<(Key, Bytes)>,
    finished: bool,
}

impl<'a> AtRest<'a> {
    fn new<R>(
        view: &'a View<R>,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Self {
        Self {
            packed: &view.packed,
            undo: &view.undo,
            from: own(from),
            to: own(to),
            reverse,
            want: limit.clamp(*PASS_RECORDS.start(), *PASS_RECORDS.end()),
            queue: VecDeque::new(),
            finished: false,
        }
    }

    fn peek(&mut self) -> Result<Option<&Key>, StateFault> {
        while self.queue.is_empty() && !self.finished {
            self.fill()?;
        }
        Ok(self.queue.front().map(|(key, _)| key))
    }

    fn take_if(&mut self, key: &Key) -> Option<Bytes> {
        if self.queue.front().is_some_and(|(found, _)| found == key) {
            return self.queue.pop_front().map(|(_, value)| value);
        }
        None
    }

    fn fill(&mut self) -> Result<(), StateFault> {
        let (from, to) = (borrow(&self.from), borrow(&self.to));
        let pass = self.packed.pass(from, to, self.want, self.reverse)?;
        let last = if pass.finished {
            None
        } else {
            pass.records.last().map(|(key, _)| key.clone())
        };
        let undone = match (&last, self.reverse) {
            (None, _) => self.undo.range(from, to)?,
            (Some(last), false) => self.undo.range(from, Bound::Included(last))?,
            (Some(last), true) => self.undo.range(Bound::Included(last), to)?,
        };
        self.queue = put_back(pass.records, undone, self.reverse);
        match last {
            None => self.finished = true,
            Some(last) if self.reverse => self.to = Bound::Excluded(last.to_vec()),
            Some(last) => self.from = Bound::Excluded(last.to_vec()),
        }
        if is_empty_range(borrow(&self.from), borrow(&self.to)) {
            self.finished = true;
        }
        Ok(())
    }
}

fn put_back(
    records: Vec<(Key, Bytes)>,
    undone: BTreeMap<Key, Option<Bytes>>,
    reverse: bool,
) -> VecDeque<(Key, Bytes)> {
    if undone.is_empty() {
        return records.into();
    }
    let mut sorted: BTreeMap<Key, Bytes> = records.into_iter().collect();
    for (key, value) in undone {
        match value {
            Some(value) => sorted.insert(key, value),
            None => sorted.remove(&key),
        };
    }
    if reverse {
        sorted.into_iter().rev().collect()
    } else {
        sorted.into_iter().collect()
    }
}

fn own(bound: Bound<&[u8]>) -> Bound<Vec<u8>> {
    bound.map(<[u8]>::to_vec)
}

fn borrow(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Ordered maps panic on inverted ranges, so they are caught before.
fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, Bound::Excluded(to)) => to.is_empty(),
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
