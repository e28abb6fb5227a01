//! The state on the real file system and sled, kept by a process that is killed again and again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that fails may say so by a panic"
)]

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::Bound;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use steadfast_storage::Position;
use steadfast_storage::disk::RealDisk;
use steadfast_storage::state::{
    DecodeError, Keeper, Key, Record, SledIndexFactory, StateOptions, StateStore,
};

/// Set for the process that writes and is killed.
const CHILD: &str = "STEADFAST_STATE_KILL_DIR";
/// All lives together.
const LIVES_LAST: Duration = Duration::from_secs(5);
const ENTRIES_PER_MARK: u64 = 20;

#[derive(Debug, PartialEq)]
struct Text(Vec<u8>);

impl Record for Text {
    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(bytes.to_vec()))
    }
}

fn open(dir: &Path) -> (StateStore<Text>, Keeper<Text>) {
    let options = StateOptions {
        merge_min_bytes: 200_000,
        ..StateOptions::new(|key| key.len().min(3))
    };
    StateStore::open(
        Arc::new(RealDisk),
        Arc::new(SledIndexFactory::new(8 << 20)),
        dir,
        options,
    )
    .unwrap()
}

/// What entry `index` changes.
fn changes(index: u64) -> Vec<(Key, Option<Vec<u8>>)> {
    let key = |number: u64| Bytes::from(format!("{:05}", number * 7919 % 20_000));
    let value = |number: u64| vec![(number % 251) as u8; 20 + (number * 37 % 300) as usize];
    let mut changes: Vec<_> = (0..8)
        .map(|n| (key(index * 8 + n), Some(value(index * 8 + n))))
        .collect();
    changes.extend((0..6).map(|n| (key((index * 31 + n) % (index * 8)), None)));
    if index.is_multiple_of(50) {
        changes.push((
            Bytes::from_static(b"large"),
            Some(vec![(index % 251) as u8; 120_000]),
        ));
    }
    changes
}

/// Not a test of its own: what the killed process does.
#[test]
fn child_keeps_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let (store, keeper) = open(Path::new(&dir));
    std::thread::spawn(move || keeper.run());
    let durable = store.durable();
    let mut told = 0;
    for index in store.applied().map_or(1, |applied| applied.index + 1).. {
        let changes = changes(index).into_iter();
        let changes = changes
            .map(|(key, value)| (key, value.map(|value| Arc::new(Text(value)))))
            .collect();
        store.merge(
            changes,
            Position {
                term: 1,
                leader: 1,
                index,
            },
        );
        if index % ENTRIES_PER_MARK == 0 {
            assert!(store.wait_for_room());
            store.mark(Bytes::new());
        }
        let mark = durable
            .borrow()
            .position
            .map_or(0, |position| position.index);
        if mark > told {
            told = mark;
            writeln!(std::io::stdout(), "durable {mark}").unwrap();
        }
    }
}

/// Runs a process for a while and kills it; returns the last entry it called durable.
fn live(dir: &Path, lifetime: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_keeps_until_it_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let numbers = lines.filter_map(|line| line.rsplit_once("durable ")?.1.trim().parse().ok());
        numbers.last().unwrap_or(0)
    });
    std::thread::sleep(lifetime);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn what_was_called_durable_survives_kill_9() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    let (start, mut lives, mut durable) = (Instant::now(), 0_u64, 0);
    let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
    let mut modelled = 0;
    while start.elapsed() < LIVES_LAST {
        durable = durable.max(live(&dir, Duration::from_millis(20 + lives * 61 % 250)));
        lives += 1;
        let (store, _keeper) = open(&dir);
        let applied = store.applied().map_or(0, |applied| applied.index);
        assert!(
            applied >= durable,
            "entry {durable} was durable, {applied} is the last in life {lives}"
        );
        for index in modelled + 1..=applied {
            for (key, value) in changes(index) {
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
        }
        modelled = applied;
        let found = store
            .view()
            .scan(Bound::Unbounded, Bound::Unbounded, usize::MAX, false)
            .unwrap();
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|(key, value)| (key, value.0.clone()))
            .collect();
        assert!(
            found == model,
            "the state in life {lives} is not what entries up to {applied} made"
        );
        assert_eq!(
            store.digests().last().copied(),
            store.recompute_digest().unwrap(),
            "in life {lives}"
        );
    }
    assert!(
        durable >= 10 * ENTRIES_PER_MARK && lives > 5,
        "{durable} entries in {lives} lives"
    );
}
