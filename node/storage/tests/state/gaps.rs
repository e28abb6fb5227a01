//! Queues: records put at the end and taken from the front, so that dead ones pile up there.

use super::fixture::{
    Model, Numbers, Rig, Text, assert_same, change_model, family_key, small_options,
};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::state::{Key, MemoryIndexFactory, StateStore, View};

/// Queue `family`, oldest first.
fn front(view: &View<Text>, family: u8, limit: usize) -> Vec<(Key, Arc<Text>)> {
    let (from, to) = (family_key(family, 0), family_key(family + 1, 0));
    view.scan(Bound::Included(&from), Bound::Excluded(&to), limit, false)
        .unwrap()
}

fn front_of(model: &Model, family: u8, limit: usize) -> Vec<(Key, Arc<Text>)> {
    model
        .range(family_key(family, 0)..family_key(family + 1, 0))
        .take(limit)
        .map(|(key, text)| (key.clone(), Arc::new(text.clone())))
        .collect()
}

fn text() -> Text {
    Text(b"task".to_vec())
}

#[test]
fn taking_from_the_front_passes_each_dead_record_a_few_times_at_most() {
    let rig = Rig::new(small_options());
    let (backlog, taken) = (40_u64, 3_000_u64);
    for number in 0..backlog {
        rig.apply(vec![(family_key(0, number), Some(text()))]);
    }
    for number in 0..taken {
        let head = front(&rig.store.view(), 0, 1);
        assert_eq!(head[0].0, family_key(0, number));
        rig.apply(vec![
            (family_key(0, number), None),
            (family_key(0, number + backlog), Some(text())),
        ]);
    }
    // Without what is known of gaps: taken * taken / 2.
    assert!(rig.store.counters().dead_passed < taken * 8);
}

#[test]
fn an_emptied_queue_is_seen_empty_and_a_new_record_in_it_is_found() {
    let rig = Rig::new(small_options());
    for number in 100..200 {
        rig.apply(vec![(family_key(0, number), Some(text()))]);
    }
    for number in 100..200 {
        rig.apply(vec![(family_key(0, number), None)]);
    }
    let old = rig.store.view();
    for _ in 0..3 {
        assert_eq!(front(&rig.store.view(), 0, 1), []);
        rig.apply(vec![(family_key(9, 1), None)]);
    }
    // In the middle of what is known to be dead, before it, and behind it.
    for number in [150, 99, 500] {
        rig.apply(vec![(family_key(0, number), Some(text()))]);
        let keys = front(&rig.store.view(), 0, 9);
        assert!(keys.iter().any(|(key, _)| *key == family_key(0, number)));
    }
    let expected: Vec<Key> = [99, 150, 500].map(|number| family_key(0, number)).into();
    let keys = front(&rig.store.view(), 0, 9)
        .into_iter()
        .map(|(key, _)| key);
    assert_eq!(keys.collect::<Vec<_>>(), expected);
    // What an old view finds out is not believed of the new state.
    assert_eq!(front(&old, 0, 9), []);
    rig.apply(vec![(family_key(9, 1), None)]);
    assert_eq!(front(&rig.store.view(), 0, 9).len(), 3);
    assert_eq!(front(&old, 0, 9), []);
}

/// Pushes, takes, records put anywhere, marks, keeper steps, crashes, installs and held views
/// against the model.
fn run(seed: u64) {
    let mut rig = Rig::on(
        SimulatedDisk::new(),
        Arc::new(MemoryIndexFactory::new()),
        small_options(),
    );
    let mut numbers = Numbers::new(seed);
    let mut model = Model::new();
    let mut views: Vec<(View<Text>, Model)> = Vec::new();
    let mut next = 1_000;
    for step in 0..1_200 {
        let what = format!("seed {seed} step {step}");
        let family = u8::try_from(numbers.below(2)).unwrap();
        let mut changes = Vec::new();
        match numbers.below(40) {
            0..=15 => {
                next += 1;
                changes.push((family_key(family, next), Some(text())));
            }
            16..=32 => {
                let limit = usize::try_from(1 + numbers.below(3)).unwrap();
                let head = front(&rig.store.view(), family, limit);
                changes.extend(head.into_iter().map(|(key, _)| (key, None)));
            }
            33 => changes.push((family_key(family, numbers.below(next + 5)), Some(text()))),
            34 if !rig.store.frozen_full() => {
                rig.mark();
                if numbers.below(2) == 0 {
                    rig.keeper.settle().unwrap();
                }
            }
            35 | 36 => drop(rig.keeper.step().unwrap()),
            37 => views.push((rig.store.view(), model.clone())),
            38 if views.len() > 4 => drop(views.remove(0)),
            39 if numbers.below(20) == 0 && !rig.store.frozen_full() => {
                views.clear();
                rig.mark();
                rig.keeper.settle().unwrap();
                let disk = rig.disk.crash(CrashLoss::Nothing);
                rig = rig.reopen(disk);
                assert_same(&rig.store.view(), &model, &what);
            }
            _ => {}
        }
        if !changes.is_empty() {
            change_model(&mut model, &changes);
            rig.apply(changes);
        }
        let limit = usize::try_from(numbers.below(30)).unwrap();
        let now = rig.store.view();
        assert_eq!(
            front(&now, family, limit),
            front_of(&model, family, limit),
            "{what}"
        );
        for (view, model) in &views {
            assert_eq!(
                front(view, family, limit),
                front_of(model, family, limit),
                "{what}, old"
            );
        }
        if numbers.below(50) == 0 {
            assert_same(&now, &model, &what);
        }
    }
}

#[test]
fn queues_show_what_the_model_shows() {
    for seed in 1..=20 {
        run(seed);
    }
}

#[test]
fn an_installed_state_knows_nothing_of_the_gaps_before() {
    let mut source = Rig::new(small_options());
    source.apply(vec![(family_key(0, 5), Some(text()))]);
    source.mark();
    source.keeper.settle().unwrap();
    let rig = Rig::new(small_options());
    for number in 0..50 {
        rig.apply(vec![(family_key(0, number), None)]);
    }
    assert_eq!(front(&rig.store.view(), 0, 1), []);
    rig.apply(vec![(family_key(9, 1), None)]);
    install(&source.store, &rig.store);
    assert_eq!(front(&rig.store.view(), 0, 9).len(), 1);
}

fn install(from: &StateStore<Text>, to: &StateStore<Text>) {
    let pinned = from.manifest();
    let mut staging = to.stage(pinned.manifest().clone()).unwrap();
    for missing in staging.missing().to_vec() {
        let bytes: Bytes = pinned.read_file(&missing.name, 0, 1 << 20).unwrap();
        staging.write(&missing.name, 0, &bytes).unwrap();
    }
    to.install(staging.finish().unwrap()).unwrap();
}
