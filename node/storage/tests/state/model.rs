//! Random entries, marks, keeper steps and restarts against a sorted map.

use super::fixture::{
    Model, Numbers, Rig, Text, all, assert_reads, assert_same, change_model, small_options,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use steadfast_storage::disk::CrashLoss;
use steadfast_storage::state::{
    IndexFactory, KeeperStep, MemoryIndexFactory, SledIndexFactory, StateOptions, StateStore,
};

/// What a log would keep: the model at each position that can still be asked for.
type Past = BTreeMap<u64, Model>;

#[expect(clippy::too_many_lines, reason = "one match over random steps")]
fn run(seed: u64, steps: u32, options: StateOptions) {
    let memory = Arc::new(MemoryIndexFactory::new());
    let factory: Arc<dyn IndexFactory> = memory.clone();
    let mut rig = Rig::on(
        steadfast_storage::disk::SimulatedDisk::new(),
        factory,
        options,
    );
    let mut numbers = Numbers::new(seed);
    let mut model = Model::new();
    let mut past = Past::from([(0, Model::new())]);
    let mut views = Vec::new();
    for step in 0..steps {
        let what = format!("seed {seed} step {step}");
        match numbers.below(20) {
            0..=9 => {
                let changes = numbers.changes();
                change_model(&mut model, &changes);
                rig.apply(changes);
                past.insert(rig.store.applied().unwrap().index, model.clone());
            }
            10 | 11 => {
                if !rig.store.frozen_full() {
                    rig.mark();
                }
            }
            12..=15 => {
                for _ in 0..numbers.below(12) {
                    rig.keeper.step().unwrap();
                }
            }
            16 | 17 => views.push((rig.store.view(), model.clone())),
            18 => {
                if numbers.below(8) == 0 {
                    views.clear();
                    if numbers.below(3) == 0 {
                        memory.lose_all();
                    }
                    let disk = rig.disk.crash(CrashLoss::Nothing);
                    rig = rig.reopen(disk);
                    let applied = rig.store.applied().map_or(0, |applied| applied.index);
                    model = past[&applied].clone();
                    if applied > 0 {
                        assert_eq!(
                            rig.store.meta(),
                            Bytes::from(format!("meta {applied}")),
                            "{what}"
                        );
                    }
                    assert_same(&rig.store.view(), &model, &what);
                }
            }
            _ => {
                if views.len() > 3 {
                    views.remove(usize::try_from(numbers.below(3)).unwrap());
                }
            }
        }
        assert_reads(&rig.store.view(), &model, &mut numbers, &what);
        if let Some((view, model)) = views.get(usize::try_from(numbers.below(5)).unwrap()) {
            assert_reads(view, model, &mut numbers, &format!("{what}, an old view"));
        }
        if numbers.below(30) == 0 {
            for (view, model) in &views {
                assert_same(view, model, &format!("{what}, an old view"));
            }
        }
    }
    rig.mark();
    rig.keeper.settle().unwrap();
    assert_same(&rig.store.view(), &model, &format!("seed {seed}, at rest"));
    for (view, model) in &views {
        assert_same(view, model, &format!("seed {seed}, an old view at rest"));
    }
    let digest = rig.store.digests().last().copied();
    assert_eq!(digest, rig.store.recompute_digest().unwrap(), "seed {seed}");
    assert_eq!(rig.keeper.step().unwrap(), KeeperStep::Idle);
    assert!(
        rig.store.counters().deltas < options.merge_max_deltas as u64,
        "seed {seed}"
    );
}

#[test]
fn the_state_is_what_was_applied_through_marks_views_and_restarts() {
    for seed in 1..=40 {
        run(seed, 150, small_options());
    }
}

#[test]
fn deltas_are_merged_into_one_while_the_base_is_big() {
    for seed in 101..=115 {
        run(
            seed,
            200,
            StateOptions {
                merge_min_bytes: 1 << 40,
                merge_max_deltas: 4,
                ..small_options()
            },
        );
    }
}

#[test]
fn sled_and_the_model_of_it_show_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("sled-index");
    let factory: Arc<dyn IndexFactory> =
        Arc::new(InDirectory(SledIndexFactory::new(8 << 20), index));
    let mut sled = Rig::on(
        steadfast_storage::disk::SimulatedDisk::new(),
        factory,
        small_options(),
    );
    let mut memory = Rig::new(small_options());
    let mut numbers = Numbers::new(7);
    for round in 0..30 {
        for _ in 0..10 {
            let changes = numbers.changes();
            sled.apply(changes.clone());
            memory.apply(changes);
        }
        sled.mark();
        memory.mark();
        sled.keeper.settle().unwrap();
        memory.keeper.settle().unwrap();
        assert_eq!(
            sled.store.digests().last(),
            memory.store.digests().last(),
            "round {round}"
        );
        if round == 20 {
            let disk = sled.disk.crash(CrashLoss::Nothing);
            sled = sled.reopen(disk);
        }
    }
    assert!(all(&sled.store.view()) == all(&memory.store.view()));
}

/// Puts the indexes of a simulated disk's directories into a real one.
#[derive(Debug)]
struct InDirectory(SledIndexFactory, std::path::PathBuf);

impl InDirectory {
    fn real(&self, dir: &Path) -> std::path::PathBuf {
        self.1.join(dir.file_name().unwrap())
    }
}

impl IndexFactory for InDirectory {
    fn open(
        &self,
        dir: &Path,
    ) -> Result<Arc<dyn steadfast_storage::state::Index>, steadfast_storage::state::IndexError>
    {
        self.0.open(&self.real(dir))
    }

    fn discard(&self, dir: &Path) -> Result<(), steadfast_storage::state::IndexError> {
        self.0.discard(&self.real(dir))
    }
}

#[test]
fn replicas_at_their_own_pace_have_the_same_digest_at_each_mark() {
    let mut replicas = [Rig::new(small_options()), Rig::new(small_options())];
    let mut numbers = Numbers::new(99);
    let mut pace = Numbers::new(5);
    for _ in 0..60 {
        let changes = numbers.changes();
        let mark = numbers.below(6) == 0;
        for (number, rig) in (1..).zip(&mut replicas) {
            rig.apply(changes.clone());
            if mark {
                while rig.store.frozen_full() {
                    rig.keeper.step().unwrap();
                }
                rig.mark();
            }
            for _ in 0..pace.below(3 * number) {
                rig.keeper.step().unwrap();
            }
        }
    }
    for rig in &mut replicas {
        rig.keeper.settle().unwrap();
    }
    let [first, second] = &replicas;
    assert!(first.store.digests().len() > 5);
    assert_eq!(first.store.digests(), second.store.digests());
    // A single changed byte is seen.
    first.apply(vec![(super::fixture::run_key(1, 1), Some(Text(vec![1])))]);
    second.apply(vec![(super::fixture::run_key(1, 1), Some(Text(vec![2])))]);
    for rig in &mut replicas {
        rig.mark();
        rig.keeper.settle().unwrap();
    }
    let [first, second] = &replicas;
    assert_ne!(first.store.digests().last(), second.store.digests().last());
}

#[test]
fn a_thread_keeps_the_state_and_a_stop_ends_it() {
    let rig = Rig::new(small_options());
    let Rig { store, keeper, .. } = rig;
    let thread = std::thread::spawn(move || keeper.run());
    let mut durable = store.durable();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for index in 1..=40 {
        assert!(store.wait_for_room());
        let mut numbers = Numbers::new(index);
        let changes = numbers
            .changes()
            .into_iter()
            .map(|(key, value)| (key, value.map(Arc::new)))
            .collect();
        store.merge(changes, super::fixture::position(index));
        store.mark(Bytes::new());
    }
    let waited = runtime.block_on(durable.wait_for(|durable| durable.mark == 40));
    assert_eq!(waited.unwrap().position, Some(super::fixture::position(40)));
    let last: StateStore<Text> = store.clone();
    drop(store);
    drop(last);
    thread.join().unwrap().unwrap();
}
