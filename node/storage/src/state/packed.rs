//! Reading logical records out of the packed blocks of the index.

use super::block::{
    BLOCKS_END, Block, Entry, Large, META_KEY, PART_BYTES, Stored, after_start, before_end,
    block_key, part_key,
};
use super::fault::IndexError;
use super::index::{Index, IndexChange};
use super::record::Key;
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

/// Tries to read a large value whose parts are replaced meanwhile; each retry needs another mark
/// to be fed in between.
const READ_TRIES: usize = 16;

/// The index, seen as logical records.
#[derive(Debug)]
pub(crate) struct Packed {
    index: Arc<dyn Index>,
    /// Held for writing only around a batch that moves untouched records into an earlier block: a
    /// scan that has passed the earlier block would miss them.
    moving: RwLock<()>,
}

/// How far an index is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Complete {
    /// Every file up to this mark is in.
    pub(crate) mark: u64,
    /// Digest of the state at the mark.
    pub(crate) digest: u128,
}

/// Records of one pass over the index.
#[derive(Debug)]
pub(crate) struct Pass {
    /// In the order of the pass.
    pub(crate) records: Vec<(Key, Bytes)>,
    /// Nothing is left in the range; else the pass covers the range up to its last record.
    pub(crate) finished: bool,
}

impl Packed {
    pub(crate) fn new(index: Arc<dyn Index>) -> Self {
        Self {
            index,
            moving: RwLock::new(()),
        }
    }

    pub(crate) fn index(&self) -> &Arc<dyn Index> {
        &self.index
    }

    /// How far the index is complete; `None` for an empty or unfinished one.
    pub(crate) fn complete(&self) -> Result<Option<Complete>, IndexError> {
        let Some(mut value) = self.index.get(META_KEY)? else {
            return Ok(None);
        };
        if value.len() != 28 {
            return Err(IndexError::Damaged("the completeness record".to_owned()));
        }
        let crc = value.get_u32_le();
        if crc32fast::hash(&value) != crc {
            return Err(IndexError::Damaged("the completeness record".to_owned()));
        }
        Ok(Some(Complete {
            mark: value.get_u64_le(),
            digest: value.get_u128_le(),
        }))
    }

    /// The block that would hold a key: the last one that is bound at or before it.
    pub(crate) fn block_at(&self, key: &[u8]) -> Result<Option<Block>, IndexError> {
        let first = block_key(&[]);
        let last = block_key(key);
        let found = self
            .index
            .range(Bound::Included(&first), Bound::Included(&last), 1, true)?;
        found
            .first()
            .map(|(key, value)| Block::decode(key, value))
            .transpose()
    }

    /// The first block that is bound after this bound.
    pub(crate) fn block_after(&self, bound: &[u8]) -> Result<Option<Block>, IndexError> {
        let first = block_key(bound);
        let found = self.index.range(
            Bound::Excluded(&first),
            Bound::Excluded(BLOCKS_END),
            1,
            false,
        )?;
        found
            .first()
            .map(|(key, value)| Block::decode(key, value))
            .transpose()
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        for _ in 0..READ_TRIES {
            let Some(block) = self.block_at(key)? else {
                return Ok(None);
            };
            match block.find(key)? {
                None => return Ok(None),
                Some(Stored::Inline(value)) => return Ok(Some(value)),
                Some(Stored::Large(large)) => {
                    if let Some(value) = self.read_large(key, &large)? {
                        return Ok(Some(value));
                    }
                }
            }
        }
        Err(IndexError::Damaged(format!(
            "parts of the value under {key:02x?} are missing"
        )))
    }

    /// A value in parts; `None` when it is being replaced (or is damaged).
    pub(crate) fn read_large(
        &self,
        key: &[u8],
        large: &Large,
    ) -> Result<Option<Bytes>, IndexError> {
        let mut value = BytesMut::new();
        for part in 0..large.parts() {
            match self.index.get(&part_key(key, large, part))? {
                Some(bytes) if bytes.len() <= PART_BYTES => value.extend_from_slice(&bytes),
                Some(_) | None => return Ok(None),
            }
        }
        Ok((value.len() as u64 == large.len).then(|| value.freeze()))
    }

    /// About `want` records of a range, at least one unless the range has none.
    pub(crate) fn pass(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        want: usize,
        reverse: bool,
    ) -> Result<Pass, IndexError> {
        let _moving = self.moving.read().unwrap_or_else(PoisonError::into_inner);
        if reverse {
            self.backward(from, to, want)
        } else {
            self.forward(from, to, want)
        }
    }

    fn forward(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        want: usize,
    ) -> Result<Pass, IndexError> {
        let mut records: Vec<(Key, Bytes)> = Vec::new();
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let mut block = match self.block_at(start)? {
            None => self.block_after(start)?,
            found => found,
        };
        while let Some(current) = block {
            if !before_end(current.bound(), to) {
                break;
            }
            for entry in current.entries_within(from, to)? {
                // While a split is under way, the end of the first half is in the second too.
                let repeated = records.last().is_some_and(|(last, _)| *last >= entry.key);
                if !repeated {
                    self.take(entry, &mut records)?;
                }
            }
            if records.len() >= want {
                return Ok(Pass {
                    records,
                    finished: false,
                });
            }
            block = self.block_after(current.bound())?;
        }
        Ok(Pass {
            records,
            finished: true,
        })
    }

    fn backward(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        want: usize,
    ) -> Result<Pass, IndexError> {
        let mut records: Vec<(Key, Bytes)> = Vec::new();
        let mut block = self.last_block(to)?;
        while let Some(current) = block {
            for entry in current.entries_within(from, to)?.into_iter().rev() {
                let repeated = records.last().is_some_and(|(last, _)| *last <= entry.key);
                if !repeated {
                    self.take(entry, &mut records)?;
                }
            }
            if !after_start(current.bound(), from) {
                break;
            }
            if records.len() >= want {
                return Ok(Pass {
                    records,
                    finished: false,
                });
            }
            block = self.last_block(Bound::Excluded(current.bound()))?;
        }
        Ok(Pass {
            records,
            finished: true,
        })
    }

    fn last_block(&self, to: Bound<&[u8]>) -> Result<Option<Block>, IndexError> {
        let first = block_key(&[]);
        let last = match to {
            Bound::Included(key) | Bound::Excluded(key) => block_key(key),
            Bound::Unbounded => BLOCKS_END.to_vec(),
        };
        let end = match to {
            Bound::Included(_) => Bound::Included(last.as_slice()),
            Bound::Excluded(_) | Bound::Unbounded => Bound::Excluded(last.as_slice()),
        };
        if last == first && end == Bound::Excluded(first.as_slice()) {
            return Ok(None);
        }
        let found = self.index.range(Bound::Included(&first), end, 1, true)?;
        found
            .first()
            .map(|(key, value)| Block::decode(key, value))
            .transpose()
    }

    fn take(&self, entry: Entry, records: &mut Vec<(Key, Bytes)>) -> Result<(), IndexError> {
        let value = match entry.stored {
            Stored::Inline(value) => Some(value),
            Stored::Large(large) => match self.read_large(&entry.key, &large)? {
                Some(value) => Some(value),
                // It was replaced since its block was read: whichever value is found now, the
                // reader has a newer or an older one of its own.
                None => self.get(&entry.key)?,
            },
        };
        if let Some(value) = value {
            records.push((entry.key, value));
        }
        Ok(())
    }

    /// Applies a batch; `moves` when it moves untouched records into an earlier block.
    pub(crate) fn apply(&self, batch: Vec<IndexChange>, moves: bool) -> Result<(), IndexError> {
        let _moving = moves.then(|| self.moving.write().unwrap_or_else(PoisonError::into_inner));
        self.index.apply_batch(batch)
    }
}

/// The record that says how far the index is complete.
pub(crate) fn complete_change(complete: Complete) -> IndexChange {
    let mut value = vec![0; 4];
    value.extend_from_slice(&complete.mark.to_le_bytes());
    value.extend_from_slice(&complete.digest.to_le_bytes());
    let crc = crc32fast::hash(&value[4..]);
    value[..4].copy_from_slice(&crc.to_le_bytes());
    (META_KEY.to_vec(), Some(value))
}
