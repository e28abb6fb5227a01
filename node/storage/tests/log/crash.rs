//! Thousands of seeded lives of a log, each ended by a power cut at some call of the disk: what was
//! answered is there afterwards, and the rest is a prefix of what was asked.

use crate::support::{DIR, entry, position};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::log::{Log, LogEntry, LogOptions, Position};

const LIVES: u64 = 3000;
const CRASHES_IN_A_LIFE: usize = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// What a log should hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, LogEntry>,
    vote: Option<Bytes>,
    purged: Option<Position>,
}

impl Model {
    fn of(log: &Log) -> Model {
        let first = log.purged().map_or(1, |purged| purged.index + 1);
        let entries = log.read(first, u64::MAX, usize::MAX).unwrap();
        let last = entries.last().map(|entry| entry.position).or(log.purged());
        assert_eq!(log.last(), last);
        let entries = entries
            .into_iter()
            .map(|entry| (entry.position.index, entry))
            .collect();
        Model {
            entries,
            vote: log.vote(),
            purged: log.purged(),
        }
    }

    fn purged_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index)
    }

    fn last_index(&self) -> u64 {
        self.entries
            .keys()
            .next_back()
            .copied()
            .unwrap_or_else(|| self.purged_index())
    }
}

fn options(random: &mut Random) -> LogOptions {
    LogOptions {
        segment_bytes: 4096 << random.below(3),
        extend_bytes: 4096,
        cache_bytes: random.below(4000),
        batch_records: 1 + random.below(6) as usize,
        batch_bytes: 1 << 20,
    }
}

/// Asks for something; the model becomes what it should be afterwards. True when it is answered.
fn act(
    log: &Log,
    model: &mut Model,
    random: &mut Random,
    term: u64,
    done: impl FnOnce() + Send + 'static,
) -> bool {
    let done = Box::new(move |result: Result<(), _>| {
        if result.is_ok() {
            done()
        }
    });
    let (purged, last) = (model.purged_index(), model.last_index());
    match random.below(20) {
        0..=13 => {
            let count = random.below(4);
            let entries: Vec<LogEntry> = (last + 1..=last + count)
                .map(|index| entry(term, index, random.below(900) as usize))
                .collect();
            model
                .entries
                .extend(entries.iter().map(|e| (e.position.index, e.clone())));
            log.append(entries, done);
            return true;
        }
        14..=15 => {
            let vote = Bytes::from(random.below(1 << 40).to_string());
            model.vote = Some(vote.clone());
            log.save_vote(vote, done);
            return true;
        }
        16 => {
            let index = purged + random.below(last - purged + 1);
            model.entries.retain(|held, _| *held <= index);
            log.truncate_after(model.purged.map(|purged| purged.index).max(Some(index)));
        }
        17..=18 => {
            // Sometimes beyond the end, as after an installed snapshot.
            let beyond = random.below(2);
            let index = purged + 1 + random.below(last - purged + 1 + beyond);
            let upto = model
                .entries
                .get(&index)
                .map_or(position(term, index), |e| e.position);
            model.purged = Some(upto);
            model.entries.retain(|held, _| *held > index);
            log.purge(upto);
        }
        _ => log.save_committed(log.last()),
    }
    false
}

/// One life up to a power cut; returns the disk after it and what may be on it.
async fn live(
    disk: SimulatedDisk,
    random: &mut Random,
    term: u64,
    expected: &[Model],
) -> (SimulatedDisk, Vec<Model>) {
    let opened = Log::open(Arc::new(disk.clone()), Path::new(DIR), options(random));
    let (log, writer, recovered) = opened.unwrap_or_else(|error| panic!("refused: {error}"));
    let found = Model::of(&log);
    assert!(
        expected.contains(&found),
        "found {found:?}\nof {expected:?}"
    );
    assert!(
        recovered
            .committed
            .is_none_or(|committed| committed.index <= found.last_index())
    );
    let mut models = vec![found];
    match random.below(8) {
        0 => disk.fail_sync(1 + random.below(20)),
        1 => {}
        _ => disk.cut_power_at(1 + random.below(60)),
    }
    let slow = random.below(3);
    let task = tokio::spawn(writer.run_on_task(move || Duration::from_micros(slow * 100)));
    let answered = Arc::new(AtomicUsize::new(0));
    for at in 1..=30 + random.below(30) as usize {
        let mut model = models[at - 1].clone();
        let seen = answered.clone();
        act(&log, &mut model, random, term, move || {
            let before = seen.swap(at, Ordering::SeqCst);
            assert!(before < at, "answered {at} after {before}");
        });
        if log.poisoned().borrow().is_some() {
            break;
        }
        models.push(model);
        match random.below(3) {
            0 => tokio::task::yield_now().await,
            1 => tokio::time::sleep(Duration::from_micros(50)).await,
            _ => {}
        }
    }
    if random.below(4) == 0 {
        // An orderly end.
        drop(log);
        task.await.unwrap();
    } else {
        task.abort();
        drop(task.await);
    }
    let loss = match random.below(4) {
        0 => CrashLoss::Nothing,
        1 => CrashLoss::AllUnsynced,
        _ => CrashLoss::Seeded(random.below(1 << 40)),
    };
    let answered = answered.load(Ordering::SeqCst).min(models.len() - 1);
    (disk.crash(loss), models.split_off(answered))
}

#[test]
fn what_was_answered_survives_every_crash() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.unwrap();
    for seed in 1..=LIVES {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut disk = SimulatedDisk::new();
        let mut expected = vec![Model::default()];
        let life = std::panic::AssertUnwindSafe(|| {
            for term in 1..=CRASHES_IN_A_LIFE as u64 {
                // The power may also fail while the log is being opened.
                if random.below(4) == 0 {
                    disk.cut_power_at(1 + random.below(8));
                    drop(Log::open(
                        Arc::new(disk.clone()),
                        Path::new(DIR),
                        options(&mut random),
                    ));
                    disk = disk.crash(CrashLoss::Seeded(random.below(1 << 40)));
                }
                let lived = live(disk.clone(), &mut random, term, &expected);
                (disk, expected) = runtime.block_on(lived);
            }
        });
        if let Err(panic) = std::panic::catch_unwind(life) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
