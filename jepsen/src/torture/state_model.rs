//! What the state must be: what the committed entries made, up to a mark or to the last of them.

use super::report::FoundState;
use super::story;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// The state after one entry.
#[derive(Debug, Clone, Default)]
struct Made {
    index: u64,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    digest: u128,
}

/// The model of one directory's state.
#[derive(Debug, Default)]
pub(super) struct StateModel {
    story: u64,
    /// The term of each committed entry, from index 1.
    terms: Vec<u64>,
    /// As it was found last.
    found: Made,
    /// Follows the digests that are told.
    rolling: Made,
    /// The newest mark that was called durable.
    durable: u64,
    told: Option<FoundState>,
    records: Vec<(Vec<u8>, u64)>,
}

/// As the storage room defines it, computed on its own.
fn record_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

impl Made {
    /// Goes on to an entry.
    fn go_on(&mut self, story: u64, terms: &[u64], index: u64) {
        let from = usize::try_from(self.index).unwrap_or(usize::MAX);
        let to = usize::try_from(index).unwrap_or(usize::MAX);
        for term in terms.get(from..to).unwrap_or_default() {
            self.index += 1;
            for (key, value) in story::changes(story, *term, self.index) {
                let added = value.as_ref().map_or(0, |value| record_hash(&key, value));
                let key = key.to_vec();
                let old = match value {
                    Some(value) => self.records.insert(key.clone(), value),
                    None => self.records.remove(&key),
                };
                let removed = old.map_or(0, |old| record_hash(&key, &old));
                self.digest = self.digest.wrapping_add(added).wrapping_sub(removed);
            }
        }
    }

    fn compare(&self, told: &[(Vec<u8>, u64)]) -> Result<(), String> {
        let made = self.records.iter();
        let made: Vec<(Vec<u8>, u64)> = made
            .map(|(key, value)| (key.clone(), story::hash(value)))
            .collect();
        if made == told {
            return Ok(());
        }
        let differ = made.iter().zip(told).find(|(made, told)| made != told);
        Err(format!(
            "the state at entry {} has {} records and not the {} it should; first {differ:?}",
            self.index,
            told.len(),
            made.len()
        ))
    }
}

impl StateModel {
    pub(super) fn new(story: u64) -> StateModel {
        StateModel {
            story,
            ..StateModel::default()
        }
    }

    /// Index of the last committed entry.
    pub(super) fn committed(&self) -> u64 {
        self.terms.len() as u64
    }

    pub(super) fn commit(&mut self, term: u64, index: u64) -> Result<(), String> {
        if index != self.committed() + 1 {
            return Err(format!("{index} was committed after {}", self.committed()));
        }
        self.terms.push(term);
        Ok(())
    }

    /// The mark of a number is at this entry.
    fn check_mark(&self, mark: u64, index: u64) -> Result<(), String> {
        if mark * story::ENTRIES_PER_MARK != index || index > self.committed() {
            return Err(format!(
                "mark {mark} is at entry {index}, {} are committed",
                self.committed()
            ));
        }
        Ok(())
    }

    pub(super) fn durable(&mut self, mark: u64, index: u64) -> Result<(), String> {
        self.check_mark(mark, index)?;
        if mark <= self.durable {
            return Err(format!("mark {mark} became durable after {}", self.durable));
        }
        self.durable = mark;
        Ok(())
    }

    pub(super) fn digest(&mut self, mark: u64, index: u64, digest: u128) -> Result<(), String> {
        self.check_mark(mark, index)?;
        self.rolling.go_on(self.story, &self.terms, index);
        if self.rolling.index == index && self.rolling.digest == digest {
            return Ok(());
        }
        Err(format!(
            "the digest at mark {mark} is not that of the entries"
        ))
    }

    pub(super) fn found(&mut self, told: FoundState) {
        self.told = Some(told);
        self.records.clear();
    }

    pub(super) fn found_record(&mut self, key: Vec<u8>, hash: u64) {
        self.records.push((key, hash));
    }

    /// A life ended before it had told all that it found.
    pub(super) fn forget_half_told(&mut self) {
        self.told = None;
        self.records.clear();
    }

    /// Compares the state of the files and the index after a start.
    pub(super) fn compare_found(&mut self) -> Result<(), String> {
        let Some(told) = self.told.take() else {
            return Err("the state's end was told without its beginning".into());
        };
        self.check_mark(told.mark, told.index)?;
        if told.mark < self.durable {
            return Err(format!(
                "mark {} is the newest, but {} was durable",
                told.mark, self.durable
            ));
        }
        self.found.go_on(self.story, &self.terms, told.index);
        self.found.compare(&std::mem::take(&mut self.records))?;
        for (digest, whose) in [(told.digest, "the index"), (told.recomputed, "the files")] {
            if digest != self.found.digest {
                return Err(format!(
                    "the digest of {whose} at mark {} is wrong",
                    told.mark
                ));
            }
        }
        if let Some(term) = self.terms.get((told.index as usize).wrapping_sub(1))
            && story::hash(&story::meta(*term, told.index)) != told.meta
        {
            return Err(format!("mark {} brings back something else", told.mark));
        }
        self.durable = told.mark;
        self.rolling = self.found.clone();
        Ok(())
    }

    /// Compares the whole state, with all that is committed.
    pub(super) fn compare_whole(&mut self, index: u64) -> Result<(), String> {
        if index != self.committed() {
            return Err(format!(
                "the state is at entry {index}, {} are committed",
                self.committed()
            ));
        }
        let mut whole = self.found.clone();
        whole.go_on(self.story, &self.terms, index);
        whole.compare(&std::mem::take(&mut self.records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty committed entries, mark 1 durable; the state found at a mark.
    fn found(mark: u64, spoil: impl FnOnce(&mut Vec<(Vec<u8>, u64)>)) -> Result<(), String> {
        let mut model = StateModel::new(3);
        for index in 1..=20 {
            model.commit(1, index)?;
        }
        model.durable(1, 8)?;
        let mut made = Made::default();
        made.go_on(3, &model.terms, mark * 8);
        model.found(FoundState {
            mark,
            index: mark * 8,
            digest: made.digest,
            recomputed: made.digest,
            meta: story::hash(&story::meta(1, mark * 8)),
            ..FoundState::default()
        });
        let records = made.records.into_iter();
        let mut records = records
            .map(|(key, value)| (key, story::hash(&value)))
            .collect();
        spoil(&mut records);
        for (key, hash) in records {
            model.found_record(key, hash);
        }
        model.compare_found()
    }

    #[test]
    fn the_durable_mark_or_a_later_one_must_be_whole() {
        assert_eq!(found(1, |_| {}), Ok(()));
        assert_eq!(found(2, |_| {}), Ok(()));
        assert!(found(0, |_| {}).is_err(), "the durable mark is lost");
        assert!(found(1, |records| drop(records.pop())).is_err());
        assert!(found(1, |records| records[0].1 += 1).is_err(), "stale");
    }
}
