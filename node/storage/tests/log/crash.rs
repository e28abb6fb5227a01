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
    /// Term and length of each; the content follows from the index.
    entries: BTreeMap<u64, (u64, usize)>,
    vote: Option<Bytes>,
    purged: Option<Position>,
}

impl Model {
    fn of(log: &Log) -> Model {
        let first = log.purged().map_or(1, |purged| purged.index + 1);
        let entries = log.read(first, u64::MAX, usize::MAX).unwrap();
        let last = entries.last().map(|entry| entry.position).or(log.purged());
        assert_eq!(log.last(), last);
        let mut model = Model {
            vote: log.vote(),
            purged: log.purged(),
            ..Model::default()
        };
        for found in entries {
            let (Position { term, index, .. }, len) = (found.position, found.payload.len());
            assert_eq!(found, entry(term, index, len));
            model.entries.insert(index, (term, len));
        }
        model
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

/// Asks for something, and adds what the log may hold from then on to the models: the parts of an
/// append too, of which a crash may leave the first entries.
fn act(
    log: &Log,
    models: &mut Vec<Model>,
    random: &mut Random,
    term: u64,
    answered: &Arc<AtomicUsize>,
) {
    let mut model = models.last().unwrap().clone();
    let (purged, last) = (model.purged_index(), model.last_index());
    let choice = random.below(20);
    let count = if choice < 14 { random.below(4) } else { 0 };
    let (at, answered) = (models.len() + count.max(1) as usize - 1, answered.clone());
    let done = Box::new(move |result: Result<(), _>| {
        if result.is_ok() {
            let before = answered.swap(at, Ordering::SeqCst);
            assert!(before < at, "answered {at} after {before}");
        }
    });
    match choice {
        0..=13 => {
            let entries: Vec<LogEntry> = (last + 1..=last + count)
                .map(|index| entry(term, index, random.below(900) as usize))
                .collect();
            for new in &entries {
                let kept = (new.position.term, new.payload.len());
                model.entries.insert(new.position.index, kept);
                models.push(model.clone());
            }
            log.append(entries, done);
            if count > 0 {
                return;
            }
        }
        14..=15 => {
            let vote = Bytes::from(random.below(1 << 40).to_string());
            model.vote = Some(vote.clone());
            log.save_vote(vote, done);
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
            let term = model.entries.get(&index).map_or(term, |(term, _)| *term);
            model.purged = Some(position(term, index));
            model.entries.retain(|held, _| *held > index);
            log.purge(position(term, index));
        }
        _ => log.save_committed(log.last()),
    }
    models.push(model);
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
    for _ in 0..30 + random.below(30) {
        act(&log, &mut models, random, term, &answered);
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
