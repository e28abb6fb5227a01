//! What is written: everything follows from a number, a term and an index, so that the one who
//! writes and the one who compares need not tell each other.

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hash::{DefaultHasher, Hasher};
use steadfast_storage::Position;
use steadfast_storage::log::LogEntry;
use steadfast_storage::state::{DecodeError, Key, Record};

/// Every so manyeth entry is a mark.
pub(super) const ENTRIES_PER_MARK: u64 = 8;
/// The only leader there is.
const LEADER: u64 = 1;

/// A record that is its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) Vec<u8>);

impl Record for Text {
    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(bytes.to_vec()))
    }
}

/// Keys of space 1 rest by their run, all others by their family.
pub(super) fn grouping(key: &[u8]) -> usize {
    key.len().min(2)
}

/// A place of the log.
pub(super) fn position(term: u64, index: u64) -> Position {
    Position {
        term,
        leader: LEADER,
        index,
    }
}

/// What is drawn for one entry of one story.
fn chance(story: u64, term: u64, index: u64, what: u64) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (place, number) in seed.chunks_mut(8).zip([story, term, index, what]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}

/// An entry: bytes that no other entry has.
pub(super) fn entry(story: u64, term: u64, index: u64) -> LogEntry {
    let mut chance = chance(story, term, index, 0);
    let length = match chance.random_range(0..40) {
        0 => chance.random_range(4_000..9_000),
        1..=5 => 0,
        _ => chance.random_range(20..600),
    };
    let mut payload = vec![0; length];
    chance.fill(&mut payload[..]);
    LogEntry {
        position: position(term, index),
        payload: Bytes::from(payload),
    }
}

/// Whether an entry is a mark.
pub(super) fn is_mark(index: u64) -> bool {
    index.is_multiple_of(ENTRIES_PER_MARK)
}

/// What is given with a mark.
pub(super) fn meta(term: u64, index: u64) -> Bytes {
    Bytes::from(format!("{term}/{index}"))
}

/// What an entry changes in the state.
pub(super) fn changes(story: u64, term: u64, index: u64) -> Vec<(Key, Option<Vec<u8>>)> {
    let mut chance = chance(story, term, index, 1);
    let count = chance.random_range(1..8);
    (0..count)
        .map(|_| {
            let key = key(&mut chance);
            let value = chance.random_bool(0.7).then(|| value(&mut chance));
            (key, value)
        })
        .collect()
}

fn key(chance: &mut ChaCha8Rng) -> Key {
    let bytes = match chance.random_bool(0.6) {
        true => vec![1, chance.random_range(0..30), chance.random_range(0..20)],
        false => vec![
            2 + chance.random_range(0..2),
            0,
            chance.random_range(0..2),
            chance.random_range(0..200),
        ],
    };
    Bytes::from(bytes)
}

fn value(chance: &mut ChaCha8Rng) -> Vec<u8> {
    let length = match chance.random_range(0..200) {
        // Longer than one record of the index can be.
        0 => chance.random_range(66_000..90_000),
        1..=6 => chance.random_range(1_000..4_000),
        _ => chance.random_range(0..120),
    };
    let mut value = vec![0; length];
    chance.fill(&mut value[..]);
    value
}

/// Stands for bytes in what is told; the same in every process of this program.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_term_or_story_writes_other_entries() {
        let same = (0..50).map(|index| entry(1, 2, index));
        assert!(same.eq((0..50).map(|index| entry(1, 2, index))));
        for other in [(1, 3), (2, 2)] {
            let differ = (0..50).filter(|index| {
                entry(1, 2, *index).payload != entry(other.0, other.1, *index).payload
            });
            assert!(differ.count() > 30, "{other:?}");
        }
    }
}
