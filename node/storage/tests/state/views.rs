//! Views that are held, and the bounds of what waits.

use super::fixture::{Model, Numbers, Rig, assert_same, change_model, position, small_options};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use steadfast_storage::state::{StateFault, StateOptions};

#[test]
fn views_on_other_threads_stay_consistent_while_the_keeper_feeds() {
    let mut rig = Rig::new(small_options());
    let mut numbers = Numbers::new(3);
    let done = AtomicBool::new(false);
    let store = rig.store.clone();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    // A whole scan, twice: the view must not move.
                    let view = store.view();
                    let first = super::fixture::all(&view);
                    assert!(super::fixture::all(&view) == first);
                }
            });
        }
        for _ in 0..120 {
            rig.apply(numbers.changes());
            rig.mark();
            rig.keeper.settle().unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_view_held_too_long_expires_instead_of_lying() {
    let mut rig = Rig::new(StateOptions {
        undo_bytes: 10_000,
        ..small_options()
    });
    let mut numbers = Numbers::new(11);
    let mut model = Model::new();
    for _ in 0..20 {
        let changes = numbers.changes();
        change_model(&mut model, &changes);
        rig.apply(changes);
    }
    rig.mark();
    rig.keeper.settle().unwrap();
    let view = rig.store.view();
    assert_same(&view, &model, "at first");
    for _ in 0..60 {
        rig.apply(numbers.changes());
    }
    rig.mark();
    rig.keeper.settle().unwrap();
    let scan = view.scan(
        std::ops::Bound::Unbounded,
        std::ops::Bound::Unbounded,
        10_000,
        false,
    );
    assert_eq!(scan.unwrap_err(), StateFault::ViewExpired);
    assert!(rig.store.view().get(b"absent").unwrap().is_none());
}

#[test]
fn the_writer_waits_when_too_many_overlays_are_frozen() {
    let mut rig = Rig::new(StateOptions {
        max_frozen: 2,
        ..small_options()
    });
    for index in 1..=2 {
        assert!(!rig.store.frozen_full());
        rig.store.merge(Vec::new(), position(index));
        rig.store.mark(Bytes::new());
    }
    assert!(rig.store.frozen_full());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = rig.store.clone();
        let room = tokio::spawn(async move { store.room().await });
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        rig.keeper.settle().unwrap();
        assert!(room.await.unwrap());
    });
    assert!(!rig.store.frozen_full());
    assert_eq!(rig.store.applied(), Some(position(2)));
    // A stopped store lets the writer go.
    for index in 3..=4 {
        rig.store.merge(Vec::new(), position(index));
        rig.store.mark(Bytes::new());
    }
    rig.store.stop();
    assert!(!rig.store.wait_for_room());
}

#[test]
fn the_keeper_runs_on_a_task_with_paused_time() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let Rig { store, keeper, .. } = Rig::new(small_options());
        let keeper = tokio::spawn(keeper.run_on_task());
        let mut durable = store.durable();
        let mut numbers = Numbers::new(21);
        for index in 1..=30 {
            assert!(store.room().await);
            let changes = numbers
                .changes()
                .into_iter()
                .map(|(key, value)| (key, value.map(Arc::new)))
                .collect();
            store.merge(changes, position(index));
            store.mark(Bytes::new());
        }
        durable
            .wait_for(|durable| durable.mark == 30)
            .await
            .unwrap();
        while store.counters().merges == 0 || store.counters().frozen > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(
            store.recompute_digest().unwrap(),
            store.digests().last().copied()
        );
        store.stop();
        keeper.await.unwrap().unwrap();
    });
}

#[test]
fn little_room_is_told_before_there_is_none() {
    let rig = Rig::new(StateOptions {
        min_free_bytes: 1 << 20,
        ..small_options()
    });
    rig.disk.set_capacity(100 << 20);
    assert!(!rig.store.space().unwrap().low);
    // Less than the bytes asked for, but more than 5 % of a small device.
    rig.disk.set_capacity(1 << 19);
    assert!(!rig.store.space().unwrap().low);
    rig.disk.set_capacity(10);
    assert!(rig.store.space().unwrap().low);
}
