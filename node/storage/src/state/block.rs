//! A packed block: sorted entries of one group in one record of the index.
//!
//! Bytes: crc32 of the rest, length of the group's prefix (u16), number of entries (u32), then per
//! entry the key without the prefix (u16 length), a tag, and the value (u32 length) or where its
//! parts are. All little-endian. A block's own key is the lower bound of the keys in it: the
//! group's prefix for the first block of a group, else the first key at the time of the split.

use super::digest::record_hash;
use super::fault::IndexError;
use super::record::Key;
use bytes::{Buf, Bytes};
use std::ops::Bound;

/// Longest value inside a block; longer ones are cut in parts, each a record of its own. With the
/// longest key a record stays below 60 KiB.
pub(crate) const PART_BYTES: usize = 48 * 1024;

const META_SPACE: u8 = 0;
const BLOCK_SPACE: u8 = 1;
const PART_SPACE: u8 = 2;
const HEADER_BYTES: usize = 10;
const INLINE: u8 = 0;
const LARGE: u8 = 1;

/// Where the index says how far it is complete.
pub(crate) const META_KEY: &[u8] = &[META_SPACE];

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// In the block.
    Inline(Bytes),
    /// In parts of [`PART_BYTES`].
    Large(Large),
}

/// A value in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Large {
    /// Mark that wrote it: parts are never overwritten, so a reader finds whole values only.
    pub(crate) mark: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// [`record_hash`] of key and value.
    pub(crate) hash: u128,
}

impl Large {
    pub(crate) fn parts(&self) -> u32 {
        u32::try_from(self.len.div_ceil(PART_BYTES as u64)).unwrap_or(u32::MAX)
    }
}

/// One logical record in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The whole key.
    pub(crate) key: Key,
    /// Its value.
    pub(crate) stored: Stored,
}

impl Entry {
    /// Bytes it takes in a block of a group with this prefix length.
    pub(crate) fn size(&self, group_len: usize) -> usize {
        let value = match &self.stored {
            Stored::Inline(value) => 4 + value.len(),
            Stored::Large(_) => 32,
        };
        2 + self.key.len() - group_len + 1 + value
    }

    pub(crate) fn hash(&self) -> u128 {
        match &self.stored {
            Stored::Inline(value) => record_hash(&self.key, value),
            Stored::Large(large) => large.hash,
        }
    }
}

/// The index key of the block with this lower bound.
pub(crate) fn block_key(bound: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + bound.len());
    key.push(BLOCK_SPACE);
    key.extend_from_slice(bound);
    key
}

/// The first index key after all blocks.
pub(crate) const BLOCKS_END: &[u8] = &[PART_SPACE];

/// The index key of a part of a large value.
pub(crate) fn part_key(key: &[u8], large: &Large, part: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(13 + key.len());
    bytes.push(PART_SPACE);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&large.mark.to_be_bytes());
    bytes.extend_from_slice(&part.to_be_bytes());
    bytes
}

/// Encodes entries of one group; they are sorted and share a prefix of `group_len` bytes.
pub(crate) fn encode_block(group_len: usize, entries: &[Entry]) -> Vec<u8> {
    let size: usize = entries.iter().map(|entry| entry.size(group_len)).sum();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + size);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&short(group_len).to_le_bytes());
    bytes.extend_from_slice(&word(entries.len()).to_le_bytes());
    for entry in entries {
        bytes.extend_from_slice(&short(entry.key.len() - group_len).to_le_bytes());
        bytes.extend_from_slice(&entry.key[group_len..]);
        match &entry.stored {
            Stored::Inline(value) => {
                bytes.push(INLINE);
                bytes.extend_from_slice(&word(value.len()).to_le_bytes());
                bytes.extend_from_slice(value);
            }
            Stored::Large(large) => {
                bytes.push(LARGE);
                bytes.extend_from_slice(&large.mark.to_le_bytes());
                bytes.extend_from_slice(&large.len.to_le_bytes());
                bytes.extend_from_slice(&large.hash.to_le_bytes());
            }
        }
    }
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn short(length: usize) -> u16 {
    u16::try_from(length).expect("keys are at most MAX_KEY_BYTES long")
}

fn word(length: usize) -> u32 {
    u32::try_from(length).expect("blocks are below 4 GiB")
}

/// A block's bytes, checked, with the prefix that all its keys share.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    bound: Bytes,
    group_len: usize,
    count: u32,
    entries: Bytes,
}

/// Where an entry's value is, as it is met in a block's bytes.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Inline(&'a [u8]),
    Large(Large),
}

impl Block {
    /// Reads an index record. `index_key` is the record's key.
    pub(crate) fn decode(index_key: &Bytes, value: &Bytes) -> Result<Self, IndexError> {
        let damaged = || IndexError::Damaged(format!("block {index_key:02x?}"));
        if value.len() < HEADER_BYTES || index_key.first() != Some(&BLOCK_SPACE) {
            return Err(damaged());
        }
        let mut header = value.clone();
        let crc = header.get_u32_le();
        if crc32fast::hash(&header) != crc {
            return Err(damaged());
        }
        let group_len = usize::from(header.get_u16_le());
        let count = header.get_u32_le();
        let bound = index_key.slice(1..);
        if group_len > bound.len() {
            return Err(damaged());
        }
        Ok(Self {
            bound,
            group_len,
            count,
            entries: header,
        })
    }

    /// Lower bound of the keys in the block.
    pub(crate) fn bound(&self) -> &Bytes {
        &self.bound
    }

    /// Length of the prefix that all its keys share.
    pub(crate) fn group_len(&self) -> usize {
        self.group_len
    }

    /// The value under a key.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<Stored>, IndexError> {
        let Some(suffix) = key.strip_prefix(&self.bound[..self.group_len]) else {
            return Ok(None);
        };
        let mut rest = &self.entries[..];
        for _ in 0..self.count {
            let (found, place) = self.next(&mut rest)?;
            match found.cmp(suffix) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(self.stored(place))),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// All entries, in key order.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, IndexError> {
        self.entries_within(Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries of a range, in key order. The others are passed without a copy.
    pub(crate) fn entries_within(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Vec<Entry>, IndexError> {
        let prefix = &self.bound[..self.group_len];
        let mut entries = Vec::new();
        let (Some(from), Some(to)) = (start_within(prefix, from), end_within(prefix, to)) else {
            return Ok(entries);
        };
        let mut rest = &self.entries[..];
        for _ in 0..self.count {
            let (suffix, place) = self.next(&mut rest)?;
            if !before_end(suffix, to) {
                break;
            }
            if !after_start(suffix, from) {
                continue;
            }
            let mut key = Vec::with_capacity(prefix.len() + suffix.len());
            key.extend_from_slice(prefix);
            key.extend_from_slice(suffix);
            entries.push(Entry {
                key: Bytes::from(key),
                stored: self.stored(place),
            });
        }
        Ok(entries)
    }

    fn stored(&self, place: Place<'_>) -> Stored {
        match place {
            Place::Inline(value) => Stored::Inline(self.entries.slice_ref(value)),
            Place::Large(large) => Stored::Large(large),
        }
    }

    /// One entry: its key without the group's prefix, and where its value is.
    fn next<'a>(&self, rest: &mut &'a [u8]) -> Result<(&'a [u8], Place<'a>), IndexError> {
        let suffix_len = usize::from(self.need(rest, 2)?.get_u16_le());
        let suffix = self.need(rest, suffix_len)?;
        let tag = self.need(rest, 1)?.get_u8();
        let place = match tag {
            INLINE => {
                let length = self.need(rest, 4)?.get_u32_le() as usize;
                Place::Inline(self.need(rest, length)?)
            }
            LARGE => {
                let mut large = self.need(rest, 32)?;
                Place::Large(Large {
                    mark: large.get_u64_le(),
                    len: large.get_u64_le(),
                    hash: large.get_u128_le(),
                })
            }
            _ => return Err(self.cut()),
        };
        Ok((suffix, place))
    }

    fn need<'a>(&self, rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], IndexError> {
        let (taken, left) = rest.split_at_checked(count).ok_or_else(|| self.cut())?;
        *rest = left;
        Ok(taken)
    }

    fn cut(&self) -> IndexError {
        IndexError::Damaged(format!("entries of block {:02x?}", self.bound))
    }
}

/// A range's start among the keys with a prefix, without it; `None` when it is after all of them.
fn start_within<'a>(prefix: &[u8], from: Bound<&'a [u8]>) -> Option<Bound<&'a [u8]>> {
    let (Bound::Included(key) | Bound::Excluded(key)) = from else {
        return Some(Bound::Unbounded);
    };
    match key.strip_prefix(prefix) {
        Some(suffix) => Some(from.map(|_| suffix)),
        None => (key < prefix).then_some(Bound::Unbounded),
    }
}

/// A range's end among the keys with a prefix, without it; `None` when it is before all of them.
fn end_within<'a>(prefix: &[u8], to: Bound<&'a [u8]>) -> Option<Bound<&'a [u8]>> {
    let (Bound::Included(key) | Bound::Excluded(key)) = to else {
        return Some(Bound::Unbounded);
    };
    match key.strip_prefix(prefix) {
        Some(suffix) => Some(to.map(|_| suffix)),
        None => (key > prefix).then_some(Bound::Unbounded),
    }
}

/// Whether a key is not before the start of a range.
pub(crate) fn after_start(key: &[u8], from: Bound<&[u8]>) -> bool {
    match from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    }
}

/// Whether a key is not after the end of a range.
pub(crate) fn before_end(key: &[u8], to: Bound<&[u8]>) -> bool {
    match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_what_was_packed_and_notices_a_flipped_bit() {
        let large = Large {
            mark: 7,
            len: 100_000,
            hash: 9,
        };
        let entries = vec![
            Entry {
                key: Bytes::from_static(b"run"),
                stored: Stored::Inline(Bytes::from_static(b"")),
            },
            Entry {
                key: Bytes::from_static(b"run1"),
                stored: Stored::Large(large),
            },
            Entry {
                key: Bytes::from_static(b"run2"),
                stored: Stored::Inline(Bytes::from_static(b"two")),
            },
        ];
        let key = Bytes::from(block_key(b"run"));
        let bytes = encode_block(3, &entries);
        let block = Block::decode(&key, &Bytes::from(bytes.clone())).unwrap();
        assert_eq!(block.entries().unwrap(), entries);
        assert_eq!(block.find(b"run1").unwrap(), Some(Stored::Large(large)));
        assert_eq!(block.find(b"run3").unwrap(), None);
        assert_eq!(block.find(b"other").unwrap(), None);
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 4;
            assert!(
                Block::decode(&key, &Bytes::from(flipped)).is_err(),
                "byte {position}"
            );
        }
    }

    #[test]
    fn the_entries_of_a_range_are_those_of_the_whole_block_that_lie_in_it() {
        let entry = |key: &'static str| Entry {
            key: Bytes::from_static(key.as_bytes()),
            stored: Stored::Inline(Bytes::from_static(b"value")),
        };
        let entries: Vec<Entry> = ["run", "runa", "runb", "runba", "runc"].map(entry).to_vec();
        let bytes = Bytes::from(encode_block(3, &entries));
        let block = Block::decode(&Bytes::from(block_key(b"run")), &bytes).unwrap();
        let keys = [
            "", "ru", "run", "runa", "runaz", "runba", "runc", "rund", "ruo", "z",
        ];
        let bounds = || {
            let each = keys.iter().map(|key| key.as_bytes());
            each.flat_map(|key| [Bound::Included(key), Bound::Excluded(key)])
                .chain([Bound::Unbounded])
        };
        for from in bounds() {
            for to in bounds() {
                let mut expected = entries.clone();
                expected
                    .retain(|entry| after_start(&entry.key, from) && before_end(&entry.key, to));
                let found = block.entries_within(from, to).unwrap();
                assert_eq!(found, expected, "{from:?} {to:?}");
            }
        }
    }
}
