//! What is left after a crash.

use super::CrashLoss;
use super::contents::{Contents, FileChange, FileContents, Node, SYNC_TAKES, apply, write_into};
use std::collections::{BTreeMap, BTreeSet};

/// The unit in which a device writes: a torn write ends between two of them.
const SECTOR_BYTES: usize = 512;

/// xorshift64*: small, and the same everywhere.
struct Choices(u64);

impl Choices {
    fn new(seed: u64) -> Choices {
        // Zero is the one state that xorshift never leaves; mixing keeps near seeds apart.
        Choices((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    /// Evenly one of `0..bound`, which must not be zero.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % bound
    }
}

/// Which of a directory's changes reached the device.
enum Survivors {
    /// The first ones: a journal.
    First(usize),
    /// Each by itself: no order is promised without a sync.
    Any(Vec<bool>),
}

impl Contents {
    pub(super) fn crash(&mut self, loss: CrashLoss) {
        match loss {
            CrashLoss::Nothing => {}
            CrashLoss::AllUnsynced => {
                self.names_survive(|_| Survivors::First(0));
                self.bytes_survive(|file| file.synced.clone());
            }
            CrashLoss::Seeded(seed) => {
                let mut choices = Choices::new(seed);
                self.names_survive(|changes| match choices.below(2) {
                    0 => Survivors::First(choices.below(changes + 1)),
                    _ => Survivors::Any((0..changes).map(|_| choices.below(2) == 0).collect()),
                });
                self.bytes_survive(|file| survivor(file, &mut choices));
            }
        }
        if self.unsynced_names.is_empty() {
            self.drop_nameless();
        }
        self.locks.clear();
        self.power_cut = None;
        self.failing_sync = None;
        self.sync_takes = SYNC_TAKES;
        self.life += 1;
    }

    /// Forgets the bytes of files that have no name any more, not even one a crash could bring back.
    fn drop_nameless(&mut self) {
        let named: BTreeSet<u64> = self
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Dir => None,
            })
            .collect();
        self.files.retain(|file, _| named.contains(file));
    }

    /// Of each directory's unsynced changes, those that `choose(count)` says survive.
    fn names_survive(&mut self, mut choose: impl FnMut(usize) -> Survivors) {
        let mut by_directory: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let unsynced = std::mem::take(&mut self.unsynced_names);
        for (at, (dir, _)) in unsynced.iter().enumerate() {
            by_directory.entry(dir).or_default().push(at);
        }
        let mut surviving = BTreeSet::new();
        for changes in by_directory.values() {
            let survivors = choose(changes.len());
            surviving.extend(changes.iter().enumerate().filter_map(|(nth, at)| {
                let survives = match &survivors {
                    Survivors::First(count) => nth < *count,
                    Survivors::Any(chosen) => chosen[nth],
                };
                survives.then_some(*at)
            }));
        }
        for (at, (_, change)) in unsynced.iter().enumerate() {
            if surviving.contains(&at) {
                apply(&mut self.synced_names, change);
            }
        }
        self.names = self.synced_names.clone();
    }

    fn bytes_survive(&mut self, mut survivor: impl FnMut(&FileContents) -> Vec<u8>) {
        for file in self.files.values_mut() {
            file.synced = survivor(file);
            file.current = file.synced.clone();
            file.unsynced.clear();
        }
    }
}

/// A file's bytes after a power failure, as the seed chooses.
fn survivor(file: &FileContents, choices: &mut Choices) -> Vec<u8> {
    if file.unsynced.is_empty() {
        return file.synced.clone();
    }
    match choices.below(4) {
        0 => file.synced.clone(),
        1 => file.current.clone(),
        2 => prefix(file, choices),
        _ => sectors(file, choices),
    }
}

/// The first writes, and a part of the next one.
fn prefix(file: &FileContents, choices: &mut Choices) -> Vec<u8> {
    let mut bytes = file.synced.clone();
    let whole = choices.below(file.unsynced.len());
    for change in &file.unsynced[..whole] {
        change.apply(&mut bytes);
    }
    if let FileChange::Write {
        offset,
        bytes: written,
    } = &file.unsynced[whole]
    {
        let mut part = choices.below(written.len() + 1);
        if choices.below(2) == 0 {
            part -= part % SECTOR_BYTES;
        }
        write_into(&mut bytes, *offset, &written[..part]);
    }
    bytes
}

/// Any set of sectors: a device that writes in its own order.
fn sectors(file: &FileContents, choices: &mut Choices) -> Vec<u8> {
    let mut bytes = file.synced.clone();
    bytes.resize(file.current.len(), 0);
    for (sector, current) in bytes
        .chunks_mut(SECTOR_BYTES)
        .zip(file.current.chunks(SECTOR_BYTES))
    {
        if choices.below(2) == 0 {
            sector.copy_from_slice(current);
        }
    }
    bytes
}
