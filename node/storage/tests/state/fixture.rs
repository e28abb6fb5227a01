//! A record type, a seeded source of changes, and a model of the state.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steadfast_storage::Position;
use steadfast_storage::disk::{Disk, SimulatedDisk};
use steadfast_storage::state::{
    DecodeError, IndexFactory, Keeper, Key, MemoryIndexFactory, Record, StateError, StateOptions,
    StateStore, View,
};

/// A record that is its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<u8>);

impl Record for Text {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&self.0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((1, text)) => Ok(Self(text.to_vec())),
            Some(_) | None => Err(DecodeError("unknown version".to_owned())),
        }
    }
}

/// Keys of space 1 rest by their first 5 bytes (a run), all others by the first 2 (a family).
pub(crate) fn grouping(key: &[u8]) -> usize {
    key.len().min(if key.first() == Some(&1) { 5 } else { 2 })
}

pub(crate) fn run_key(run: u32, record: u16) -> Key {
    let mut key = vec![1];
    key.extend_from_slice(&run.to_be_bytes());
    key.extend_from_slice(&record.to_be_bytes());
    Bytes::from(key)
}

pub(crate) fn family_key(family: u8, number: u64) -> Key {
    let mut key = vec![2, family];
    key.extend_from_slice(&number.to_be_bytes());
    Bytes::from(key)
}

/// Small blocks and batches, so that splits, moves and merges happen with little data.
pub(crate) fn small_options() -> StateOptions {
    StateOptions {
        block_bytes: 400,
        index_block_bytes: 800,
        batch_records: 8,
        merge_min_bytes: 3_000,
        merge_max_deltas: 7,
        ..StateOptions::new(grouping)
    }
}

/// xorshift: the same numbers for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub(crate) fn key(&mut self) -> Key {
        if self.below(3) > 0 {
            let run = u32::try_from(self.below(12)).unwrap();
            run_key(run, u16::try_from(self.below(40)).unwrap())
        } else {
            let family = u8::try_from(self.below(2)).unwrap();
            family_key(family, self.below(150))
        }
    }

    pub(crate) fn value(&mut self) -> Text {
        let length = match self.below(60) {
            0 => 100_000 + self.below(60_000),
            1..=3 => self.below(2_000),
            _ => self.below(60),
        };
        let byte = u8::try_from(self.below(256)).unwrap();
        Text(vec![byte; usize::try_from(length).unwrap()])
    }

    /// Changes of one entry: mostly puts.
    pub(crate) fn changes(&mut self) -> Vec<(Key, Option<Text>)> {
        let count = 1 + self.below(12);
        (0..count)
            .map(|_| (self.key(), (self.below(5) > 1).then(|| self.value())))
            .collect()
    }
}

pub(crate) type Model = BTreeMap<Key, Text>;

pub(crate) fn position(index: u64) -> Position {
    Position {
        term: 1,
        leader: 1,
        index,
    }
}

/// A store on a simulated disk with its keeper, driven by hand.
pub(crate) struct Rig {
    pub(crate) disk: SimulatedDisk,
    pub(crate) factory: Arc<dyn IndexFactory>,
    pub(crate) dir: PathBuf,
    pub(crate) options: StateOptions,
    pub(crate) store: StateStore<Text>,
    pub(crate) keeper: Keeper<Text>,
}

impl Rig {
    pub(crate) fn new(options: StateOptions) -> Self {
        Self::on(
            SimulatedDisk::new(),
            Arc::new(MemoryIndexFactory::new()),
            options,
        )
    }

    pub(crate) fn on(
        disk: SimulatedDisk,
        factory: Arc<dyn IndexFactory>,
        options: StateOptions,
    ) -> Self {
        let dir = PathBuf::from("/node/state");
        let (store, keeper) = open(&disk, &factory, &dir, options).unwrap();
        Self {
            disk,
            factory,
            dir,
            options,
            store,
            keeper,
        }
    }

    /// As after a restart of the process on this disk.
    pub(crate) fn reopen(self, disk: SimulatedDisk) -> Self {
        let Self {
            factory,
            options,
            store,
            keeper,
            ..
        } = self;
        // What is open is not opened again.
        drop((store, keeper));
        Self::on(disk, factory, options)
    }

    pub(crate) fn next_index(&self) -> u64 {
        self.store.applied().map_or(0, |applied| applied.index) + 1
    }

    pub(crate) fn apply(&self, changes: Vec<(Key, Option<Text>)>) {
        let changes = changes
            .into_iter()
            .map(|(key, value)| (key, value.map(Arc::new)))
            .collect();
        self.store.merge(changes, position(self.next_index()));
    }

    pub(crate) fn mark(&self) {
        self.store
            .mark(Bytes::from(format!("meta {}", self.next_index() - 1)));
    }
}

pub(crate) fn open(
    disk: &SimulatedDisk,
    factory: &Arc<dyn IndexFactory>,
    dir: &Path,
    options: StateOptions,
) -> Result<(StateStore<Text>, Keeper<Text>), StateError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    StateStore::open(disk, factory.clone(), dir, options)
}

pub(crate) fn change_model(model: &mut Model, changes: &[(Key, Option<Text>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

pub(crate) fn all(view: &View<Text>) -> Model {
    let found = view
        .scan(Bound::Unbounded, Bound::Unbounded, usize::MAX, false)
        .unwrap();
    found
        .into_iter()
        .map(|(key, value)| (key, (*value).clone()))
        .collect()
}

/// Compares a whole view with a model; differences are told by key only.
pub(crate) fn assert_same(view: &View<Text>, model: &Model, what: &str) {
    let found = all(view);
    let missing: Vec<_> = model
        .keys()
        .filter(|key| !found.contains_key(*key))
        .collect();
    let surplus: Vec<_> = found
        .keys()
        .filter(|key| !model.contains_key(*key))
        .collect();
    let wrong: Vec<_> = model
        .iter()
        .filter(|(key, value)| found.get(*key).is_some_and(|f| f != *value))
        .map(|(k, _)| k)
        .collect();
    assert!(
        missing.is_empty() && surplus.is_empty() && wrong.is_empty(),
        "{what}: missing {missing:?}, surplus {surplus:?}, wrong {wrong:?}"
    );
}

/// Random gets and scans of a view against a model.
pub(crate) fn assert_reads(view: &View<Text>, model: &Model, numbers: &mut Numbers, what: &str) {
    for _ in 0..4 {
        let key = numbers.key();
        let found = view.get(&key).unwrap().map(|value| (*value).clone());
        assert_eq!(found.as_ref(), model.get(&key), "{what}: get {key:?}");
        let bound = |numbers: &mut Numbers| match numbers.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Excluded(numbers.key()),
            _ => Bound::Included(numbers.key()),
        };
        let (from, to) = (bound(numbers), bound(numbers));
        let limit = usize::try_from(numbers.below(40)).unwrap();
        let reverse = numbers.below(2) == 0;
        let slice = |bound: &Bound<Key>| bound.clone().map(|key| key.to_vec());
        let (from, to) = (slice(&from), slice(&to));
        let (from, to) = (
            from.as_ref().map(Vec::as_slice),
            to.as_ref().map(Vec::as_slice),
        );
        let found = view.scan(from, to, limit, reverse).unwrap();
        let inside = |key: &Key| {
            let after = match from {
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
                Bound::Unbounded => true,
            };
            let before = match to {
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
                Bound::Unbounded => true,
            };
            after && before
        };
        let mut expected: Vec<_> = model.iter().filter(|(key, _)| inside(key)).collect();
        if reverse {
            expected.reverse();
        }
        expected.truncate(limit);
        let found: Vec<_> = found.iter().map(|(key, value)| (key, &**value)).collect();
        assert!(
            found == expected,
            "{what}: scan {from:?} {to:?} limit {limit} reverse {reverse}"
        );
    }
}
