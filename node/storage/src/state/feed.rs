//! Feeding the changes of a file to the index: reads, changes and writes the touched blocks only.

use super::block::{Block, Entry, Large, PART_BYTES, Stored, block_key, encode_block, part_key};
use super::digest::record_hash;
use super::fault::{IndexError, StateError};
use super::index::IndexChange;
use super::options::StateOptions;
use super::packed::{Complete, Packed, complete_change};
use super::record::{Key, RawChange};
use super::record_file::RecordReader;
use super::undo::{OldValue, UndoNode};
use bytes::Bytes;
use std::sync::Arc;

/// Changes of one block are gathered up to this many at once, so that its write stays small.
const GATHER_RECORDS: usize = 1024;

/// What a feeder wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FeedCounters {
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
}

/// Feeds one file.
#[derive(Debug)]
pub(crate) struct Feeder {
    packed: Arc<Packed>,
    source: RecordReader,
    options: StateOptions,
    /// Written with each batch, so that a feed that was cut off can be repeated.
    complete: Complete,
    undo: Option<Arc<UndoNode>>,
    pending: Pending,
    counters: FeedCounters,
}

/// A batch in the making.
#[derive(Debug, Default)]
struct Pending {
    changes: Vec<IndexChange>,
    bytes: usize,
    old_values: Vec<OldValue>,
    moves: bool,
    digest: u128,
    /// The group whose next change may touch a block of this batch.
    unseen: Option<Bytes>,
}

/// All changes of the index that must become visible together.
#[derive(Debug, Default)]
struct Unit {
    parts: Vec<IndexChange>,
    changes: Vec<IndexChange>,
    old_values: Vec<OldValue>,
    moves: bool,
    /// Net change, wrapping.
    digest: u128,
    /// Set when the next change of this group may touch a block of this unit.
    unseen: Option<Bytes>,
}

impl Feeder {
    /// Feeds `source` to an index that is `complete` up to the file before it. Old values go to
    /// `undo` while a view holds it.
    pub(crate) fn new(
        packed: Arc<Packed>,
        source: RecordReader,
        options: StateOptions,
        complete: Complete,
        undo: Option<Arc<UndoNode>>,
    ) -> Self {
        Self {
            packed,
            source,
            options,
            complete,
            undo,
            pending: Pending::default(),
            counters: FeedCounters::default(),
        }
    }

    /// Feeds all of it.
    pub(crate) fn run(mut self) -> Result<(Complete, FeedCounters), StateError> {
        loop {
            if let Some(done) = self.step()? {
                return Ok(done);
            }
        }
    }

    /// Writes about one batch. When all is in, the index's completeness.
    pub(crate) fn step(&mut self) -> Result<Option<(Complete, FeedCounters)>, StateError> {
        let batches = self.counters.batches;
        while self.counters.batches == batches {
            let Some((key, _)) = self.source.peek()? else {
                self.complete.mark = self.source.header().mark;
                self.flush()?;
                return Ok(Some((self.complete, self.counters)));
            };
            let key = key.clone();
            let group_len = (self.options.grouping)(&key).min(key.len());
            if self
                .pending
                .unseen
                .as_ref()
                .is_some_and(|group| group == &key[..group_len])
            {
                // The key's block is in the batch and not yet in the index.
                self.flush()?;
            }
            let unit = self.next_unit(&key, group_len)?;
            self.add(unit)?;
        }
        Ok(None)
    }

    fn limit(&self, group_len: usize) -> usize {
        if group_len <= self.options.family_prefix_bytes {
            self.options.index_block_bytes
        } else {
            self.options.block_bytes
        }
    }

    /// All changes of the block that `key`, the next in the file, belongs to.
    fn next_unit(&mut self, key: &Key, group_len: usize) -> Result<Unit, StateError> {
        let group = key.slice(..group_len);
        let found = self
            .packed
            .block_at(key)?
            .filter(|block| self.is_in_group(block, &group));
        let bound = found
            .as_ref()
            .map_or_else(|| group.clone(), |block| block.bound().clone());
        let next = self
            .packed
            .block_after(&bound)?
            .filter(|block| self.is_in_group(block, &group));
        let old = match &found {
            Some(block) => block.entries()?,
            None => Vec::new(),
        };
        let (changes, all) = self.gather(&group, next.as_ref().map(|block| block.bound()))?;
        let mut unit = Unit {
            unseen: (!all).then(|| group.clone()),
            ..Unit::default()
        };
        let limit = self.limit(group_len);
        let old_range = old
            .first()
            .zip(old.last())
            .map(|(first, last)| (first.key.clone(), last.key.clone()));
        let changed_range = changes
            .first()
            .zip(changes.last())
            .map(|(first, last)| (first.0.clone(), last.0.clone()));
        let (mut entries, changed) = self.absorb(old, changes, &mut unit)?;
        if !changed {
            return Ok(unit);
        }
        let size: usize = entries.iter().map(|entry| entry.size(group_len)).sum();
        if entries.is_empty() {
            unit.changes.push((block_key(&bound), None));
            return Ok(unit);
        }
        if let Some(next) = next.filter(|_| all && size < limit / 8) {
            let more = next.entries()?;
            let more_size: usize = more.iter().map(|entry| entry.size(group_len)).sum();
            if size + more_size <= limit / 4 * 3 {
                entries.extend(more);
                unit.moves = true;
                unit.unseen = Some(group);
                unit.changes.push((block_key(next.bound()), None));
            }
        }
        let fill = Fill::of(old_range, changed_range);
        for (number, chunk) in split(&entries, group_len, limit, fill)
            .into_iter()
            .enumerate()
        {
            let bound = if number == 0 {
                bound.clone()
            } else {
                chunk[0].key.clone()
            };
            unit.changes
                .push((block_key(&bound), Some(encode_block(group_len, chunk))));
        }
        Ok(unit)
    }

    fn is_in_group(&self, block: &Block, group: &[u8]) -> bool {
        block.group_len() == group.len() && block.bound().starts_with(group)
    }

    /// Takes changes of one group from the file, below `end`. Whether they are all.
    fn gather(
        &mut self,
        group: &[u8],
        end: Option<&Bytes>,
    ) -> Result<(Vec<RawChange>, bool), StateError> {
        let mut changes = Vec::new();
        let mut bytes = 0;
        loop {
            let Some((key, value)) = self.source.peek()? else {
                return Ok((changes, true));
            };
            let group_len = (self.options.grouping)(key).min(key.len());
            if &key[..group_len] != group || end.is_some_and(|end| key >= end) {
                return Ok((changes, true));
            }
            bytes += key.len() - group_len + value.as_ref().map_or(0, Bytes::len).min(PART_BYTES);
            let full = bytes > self.options.batch_bytes / 2 || changes.len() == GATHER_RECORDS;
            if full && !changes.is_empty() {
                return Ok((changes, false));
            }
            if let Some(change) = self.source.next()? {
                changes.push(change);
            }
        }
    }

    /// The block's entries after the changes, and whether any differs.
    fn absorb(
        &self,
        old: Vec<Entry>,
        changes: Vec<RawChange>,
        unit: &mut Unit,
    ) -> Result<(Vec<Entry>, bool), StateError> {
        let mut entries = Vec::with_capacity(old.len() + changes.len());
        let mut old = old.into_iter().peekable();
        let mut changed = false;
        for (key, value) in changes {
            while let Some(entry) = old.next_if(|entry| entry.key < key) {
                entries.push(entry);
            }
            let before = old.next_if(|entry| entry.key == key);
            let hash = value.as_ref().map(|value| record_hash(&key, value));
            let hash_before = before.as_ref().map(Entry::hash);
            if hash == hash_before {
                entries.extend(before);
                continue;
            }
            changed = true;
            unit.digest = unit
                .digest
                .wrapping_add(hash.unwrap_or(0))
                .wrapping_sub(hash_before.unwrap_or(0));
            if self.undo_wanted() {
                unit.old_values
                    .push((key.clone(), self.old_value(before.as_ref())?));
            }
            if let Some(Entry {
                stored: Stored::Large(large),
                ..
            }) = &before
            {
                for part in 0..large.parts() {
                    unit.changes.push((part_key(&key, large, part), None));
                }
            }
            if let Some((value, hash)) = value.zip(hash) {
                let stored = self.store(&key, value, hash, unit);
                entries.push(Entry { key, stored });
            }
        }
        entries.extend(old);
        Ok((entries, changed))
    }

    fn store(&self, key: &Key, value: Bytes, hash: u128, unit: &mut Unit) -> Stored {
        if value.len() <= PART_BYTES {
            return Stored::Inline(value);
        }
        let large = Large {
            mark: self.source.header().mark,
            len: value.len() as u64,
            hash,
        };
        for (part, bytes) in (0..large.parts()).zip(value.chunks(PART_BYTES)) {
            unit.parts
                .push((part_key(key, &large, part), Some(bytes.to_vec())));
        }
        Stored::Large(large)
    }

    /// Only views older than the overlay hold its undo node beside us, and no new ones can come.
    fn undo_wanted(&self) -> bool {
        self.undo
            .as_ref()
            .is_some_and(|undo| Arc::strong_count(undo) > 1)
    }

    fn old_value(&self, before: Option<&Entry>) -> Result<Option<Bytes>, StateError> {
        match before {
            None => Ok(None),
            Some(Entry {
                stored: Stored::Inline(value),
                ..
            }) => Ok(Some(value.clone())),
            Some(Entry {
                key,
                stored: Stored::Large(large),
            }) => match self.packed.read_large(key, large)? {
                Some(value) => Ok(Some(value)),
                None => Err(IndexError::Damaged(format!(
                    "parts of the value under {key:02x?} are missing"
                ))
                .into()),
            },
        }
    }

    fn add(&mut self, unit: Unit) -> Result<(), StateError> {
        for part in unit.parts {
            self.make_room(1, change_bytes(&part))?;
            self.pending.push(part);
        }
        let bytes = unit.changes.iter().map(change_bytes).sum();
        self.make_room(unit.changes.len(), bytes)?;
        for change in unit.changes {
            self.pending.push(change);
        }
        if unit.unseen.is_some() {
            self.pending.unseen = unit.unseen;
        }
        self.pending.old_values.extend(unit.old_values);
        self.pending.moves |= unit.moves;
        self.pending.digest = self.pending.digest.wrapping_add(unit.digest);
        Ok(())
    }

    /// One record of the batch is the completeness.
    fn make_room(&mut self, records: usize, bytes: usize) -> Result<(), StateError> {
        let full = self.pending.changes.len() + records >= self.options.batch_records
            || self.pending.bytes + bytes > self.options.batch_bytes;
        if full && !self.pending.changes.is_empty() {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), StateError> {
        let pending = std::mem::take(&mut self.pending);
        self.complete.digest = self.complete.digest.wrapping_add(pending.digest);
        let mut changes = pending.changes;
        changes.push(complete_change(self.complete));
        for (_, value) in &changes {
            match value {
                Some(_) => self.counters.puts += 1,
                None => self.counters.deletes += 1,
            }
        }
        self.counters.batches += 1;
        self.counters.bytes += pending.bytes as u64;
        if let Some(undo) = &self.undo
            && !pending.old_values.is_empty()
        {
            undo.note(pending.old_values, self.options.undo_bytes);
        }
        self.packed.apply(changes, pending.moves)?;
        Ok(())
    }
}

impl Pending {
    fn push(&mut self, change: IndexChange) {
        self.bytes += change_bytes(&change);
        self.changes.push(change);
    }
}

fn change_bytes((key, value): &IndexChange) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}

/// How a block that is too long is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Keys come in ascending order: all but the last block are filled.
    Front,
    /// Keys come in descending order: all but the first block are filled.
    Back,
    /// Keys come anywhere: equal blocks.
    Even,
}

impl Fill {
    fn of(old: Option<(Key, Key)>, changed: Option<(Key, Key)>) -> Self {
        match (old, changed) {
            (Some((_, last_old)), Some((first, _))) if first > last_old => Self::Front,
            (Some((first_old, _)), Some((_, last))) if last < first_old => Self::Back,
            (Some(_), Some(_)) => Self::Even,
            (None, _) | (_, None) => Self::Front,
        }
    }
}

/// Cuts sorted entries into blocks of at most `limit` bytes, unless one entry alone is longer.
fn split(entries: &[Entry], group_len: usize, limit: usize, fill: Fill) -> Vec<&[Entry]> {
    let size = |entries: &[Entry]| {
        entries
            .iter()
            .map(|entry| entry.size(group_len))
            .sum::<usize>()
    };
    let total = size(entries);
    if total <= limit {
        return vec![entries];
    }
    let target = match fill {
        Fill::Front | Fill::Back => limit,
        Fill::Even => total.div_ceil(total.div_ceil(limit)).min(limit),
    };
    let mut chunks = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut fits = |entry: &&Entry| {
            bytes += entry.size(group_len);
            bytes <= target
        };
        if fill == Fill::Back {
            let count = rest.iter().rev().take_while(&mut fits).count();
            let (before, chunk) = rest.split_at(rest.len() - count.max(1));
            chunks.push(chunk);
            rest = before;
        } else {
            let count = rest.iter().take_while(&mut fits).count();
            let (chunk, after) = rest.split_at(count.max(1));
            chunks.push(chunk);
            rest = after;
        }
    }
    if fill == Fill::Back {
        chunks.reverse();
    }
    chunks
}
