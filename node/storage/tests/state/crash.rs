//! Power cuts at any point: the durable mark stays, whole.

use super::fixture::{
    Model, Numbers, Rig, assert_same, change_model, open, position, small_options,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::state::{
    Index, IndexChange, IndexError, IndexFactory, MemoryIndex, MemoryIndexFactory, StateOptions,
};

/// Applies, marks and keeps until the power is cut after `calls` calls of the disk. Whether it was.
fn run(seed: u64, calls: u64, loss: CrashLoss) -> bool {
    let what = format!("seed {seed} calls {calls} {loss:?}");
    let disk = SimulatedDisk::new();
    disk.cut_power_at(calls);
    let factory: Arc<dyn IndexFactory> = Arc::new(MemoryIndexFactory::new());
    let dir = std::path::PathBuf::from("/node/state");
    let mut numbers = Numbers::new(seed);
    let mut past = BTreeMap::from([(0, Model::new())]);
    let mut durable = 0;
    let mut cut = true;
    if let Ok((store, mut keeper)) = open(&disk, &factory, &dir, small_options()) {
        let mut model = Model::new();
        cut = false;
        for index in 1..=40 {
            let changes = numbers.changes();
            change_model(&mut model, &changes);
            let changes = changes
                .into_iter()
                .map(|(key, value)| (key, value.map(Arc::new)))
                .collect();
            store.merge(changes, position(index));
            past.insert(index, model.clone());
            if index % 4 == 0 {
                store.mark(Bytes::new());
                cut = keeper.settle().is_err();
                durable = store
                    .durable()
                    .borrow()
                    .position
                    .map_or(0, |position| position.index);
                if cut {
                    break;
                }
            }
        }
    }
    let disk = disk.crash(loss);
    // In every third case the machine's loss takes the index too.
    let factory: Arc<dyn IndexFactory> = if calls.is_multiple_of(3) {
        Arc::new(MemoryIndexFactory::new())
    } else {
        factory
    };
    let mut rig = Rig::on(disk, factory, small_options());
    let applied = rig.store.applied().map_or(0, |position| position.index);
    assert!(
        applied >= durable,
        "{what}: {applied} after {durable} was durable"
    );
    assert!(applied.is_multiple_of(4), "{what}: a mark");
    let mut model = past[&applied].clone();
    assert_same(&rig.store.view(), &model, &what);
    assert_eq!(
        rig.store.digests().last().copied(),
        rig.store.recompute_digest().unwrap(),
        "{what}"
    );
    // And it goes on.
    for _ in 0..3 {
        let changes = numbers.changes();
        change_model(&mut model, &changes);
        rig.apply(changes);
        rig.mark();
        rig.keeper.settle().unwrap();
    }
    assert_same(&rig.store.view(), &model, &what);
    assert_eq!(
        rig.store.digests().last().copied(),
        rig.store.recompute_digest().unwrap(),
        "{what}"
    );
    cut
}

#[test]
fn a_power_cut_at_any_call_of_the_disk_leaves_the_durable_mark_whole() {
    let mut calls = 1;
    while run(4, calls, CrashLoss::Seeded(calls)) {
        run(4, calls, CrashLoss::AllUnsynced);
        calls += 1;
    }
    assert!(calls > 60, "the run has many calls of the disk: {calls}");
}

#[test]
fn a_kill_at_any_call_of_the_disk_leaves_the_durable_mark_whole() {
    let mut calls = 1;
    while run(5, calls, CrashLoss::Nothing) {
        calls += 2;
    }
}

/// A killed process may leave names that only the system's memory has. The next one calls what it
/// found durable, and the log is purged up to it.
#[test]
fn what_a_start_found_survives_a_power_cut_right_after_it() {
    let mut calls = 1;
    loop {
        let rig = Rig::new(small_options());
        let (disk, factory) = (rig.disk.clone(), rig.factory.clone());
        disk.cut_power_at(calls);
        let mut rig = rig;
        let mut numbers = Numbers::new(6);
        let mut cut = false;
        for _ in 0..6 {
            rig.apply(numbers.changes());
            rig.mark();
            cut = rig.keeper.settle().is_err();
            if cut {
                break;
            }
        }
        if !cut {
            break;
        }
        drop(rig);
        let rig = Rig::on(
            disk.crash(CrashLoss::Nothing),
            factory.clone(),
            small_options(),
        );
        let found = *rig.store.durable().borrow();
        let disk = rig.disk.crash(CrashLoss::AllUnsynced);
        drop(rig);
        let rig = Rig::on(disk, factory, small_options());
        assert_eq!(*rig.store.durable().borrow(), found, "{calls} calls");
        calls += 1;
    }
    assert!(calls > 30, "the run has many calls of the disk: {calls}");
}

/// The index of a killed process is a prefix of what it was given: with a cut in the middle of a
/// feed, feeding again gives the same state and the same digest.
#[test]
fn a_feed_that_was_cut_off_is_repeated() {
    for steps in 1..60 {
        let mut rig = Rig::new(small_options());
        let mut numbers = Numbers::new(31);
        let mut model = Model::new();
        for round in 0..2 {
            for _ in 0..25 {
                let changes = numbers.changes();
                change_model(&mut model, &changes);
                rig.apply(changes);
            }
            rig.mark();
            if round == 0 {
                rig.keeper.settle().unwrap();
            }
        }
        let mut done = 0;
        while rig.store.durable().borrow().mark < 2 || done < steps {
            rig.keeper.step().unwrap();
            done += 1;
        }
        let disk = rig.disk.crash(CrashLoss::Nothing);
        let rig = rig.reopen(disk);
        assert_same(&rig.store.view(), &model, &format!("{steps} steps"));
        assert_eq!(
            rig.store.digests().last().copied(),
            rig.store.recompute_digest().unwrap(),
            "{steps} steps"
        );
    }
}

/// Keeps every batch, and after a reopen shows only the first so many.
#[derive(Debug, Default)]
struct Lagging {
    batches: Arc<Mutex<Vec<Vec<IndexChange>>>>,
    lost: AtomicUsize,
}

#[derive(Debug)]
struct LaggingIndex {
    shown: MemoryIndex,
    batches: Arc<Mutex<Vec<Vec<IndexChange>>>>,
}

impl IndexFactory for Lagging {
    fn open(&self, _dir: &Path) -> Result<Arc<dyn Index>, IndexError> {
        let mut batches = self.batches.lock().unwrap();
        let kept = batches
            .len()
            .saturating_sub(self.lost.load(Ordering::Relaxed));
        batches.truncate(kept);
        let shown = MemoryIndex::default();
        for batch in batches.iter() {
            shown.apply_batch(batch.clone())?;
        }
        Ok(Arc::new(LaggingIndex {
            shown,
            batches: self.batches.clone(),
        }))
    }

    fn discard(&self, _dir: &Path) -> Result<(), IndexError> {
        self.batches.lock().unwrap().clear();
        Ok(())
    }
}

impl Index for LaggingIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        self.shown.get(key)
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, IndexError> {
        self.shown.range(from, to, limit, reverse)
    }

    fn apply_batch(&self, changes: Vec<IndexChange>) -> Result<(), IndexError> {
        self.batches.lock().unwrap().push(changes.clone());
        self.shown.apply_batch(changes)
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

#[test]
fn an_index_that_lost_its_newest_batches_is_fed_again() {
    // Once with new bases, once with deltas that are merged into one.
    for merge_min_bytes in [3_000, 1 << 40] {
        let options = StateOptions {
            merge_min_bytes,
            ..small_options()
        };
        for lost in 0..60 {
            let factory = Arc::new(Lagging::default());
            let mut rig = Rig::on(SimulatedDisk::new(), factory.clone(), options);
            let mut numbers = Numbers::new(61);
            let mut model = Model::new();
            for _ in 0..10 {
                for _ in 0..3 {
                    let changes = numbers.changes();
                    change_model(&mut model, &changes);
                    rig.apply(changes);
                }
                rig.mark();
                rig.keeper.settle().unwrap();
            }
            let before = rig.store.digests().last().copied();
            factory.lost.store(lost, Ordering::Relaxed);
            let disk = rig.disk.crash(CrashLoss::Nothing);
            let rig = rig.reopen(disk);
            assert_same(&rig.store.view(), &model, &format!("{lost} lost"));
            assert_eq!(rig.store.digests().last().copied(), before, "{lost} lost");
        }
    }
}

#[test]
fn a_failed_fsync_stops_the_keeper_for_good() {
    let mut rig = Rig::new(small_options());
    rig.apply(Numbers::new(1).changes());
    rig.disk.fail_sync(1);
    rig.mark();
    rig.keeper.settle().unwrap_err();
    assert_eq!(rig.store.durable().borrow().mark, 0);
    assert!(
        !rig.store.wait_for_room(),
        "nobody waits for a keeper that is gone"
    );
}
