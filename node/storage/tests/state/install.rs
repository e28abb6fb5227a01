//! Taking in another node's state.

use super::fixture::{Numbers, Rig, Text, all, run_key, small_options};
use steadfast_storage::disk::{CrashLoss, Disk};
use steadfast_storage::state::{Manifest, PinnedManifest, Staged, Staging, StateError};

fn grow(rigs: &mut [&mut Rig], numbers: &mut Numbers, marks: u32) {
    for _ in 0..marks {
        for _ in 0..3 {
            let changes = numbers.changes();
            for rig in rigs.iter_mut() {
                rig.apply(changes.clone());
            }
        }
        for rig in rigs.iter_mut() {
            rig.mark();
            rig.keeper.settle().unwrap();
        }
    }
}

/// Streams what is missing in small pieces.
fn receive(mut staging: Staging, from: &PinnedManifest) -> Result<Staged, StateError> {
    for file in staging.missing().to_vec() {
        let mut offset = 0;
        while offset < file.len {
            let bytes = from.read_file(&file.name, offset, 1000).unwrap();
            staging.write(&file.name, offset, &bytes).unwrap();
            offset += bytes.len() as u64;
        }
    }
    staging.finish()
}

fn transfer(source: &Rig, target: &Rig) -> Staged {
    let pinned = source.store.manifest();
    let manifest = Manifest::decode(&pinned.manifest().encode()).unwrap();
    receive(target.store.stage(manifest).unwrap(), &pinned).unwrap()
}

#[test]
fn an_installed_state_replaces_everything_and_goes_on() {
    let (mut source, mut target) = (Rig::new(small_options()), Rig::new(small_options()));
    let mut numbers = Numbers::new(41);
    grow(&mut [&mut source], &mut numbers, 9);
    grow(&mut [&mut target], &mut Numbers::new(42), 3);
    target.apply(vec![(run_key(9, 9), Some(Text(vec![9])))]);
    target.mark();
    target.apply(vec![(run_key(9, 10), Some(Text(vec![9])))]);
    target.keeper.step().unwrap();
    let old_view = target.store.view();
    let old_state = all(&old_view);
    let staged = transfer(&source, &target);
    target.store.install(staged).unwrap();
    assert!(all(&target.store.view()) == all(&source.store.view()));
    assert!(
        all(&old_view) == old_state,
        "a view from before stays as it was"
    );
    assert_eq!(target.store.applied(), source.store.applied());
    assert_eq!(target.store.meta(), source.store.meta());
    assert_eq!(target.store.digests().last(), source.store.digests().last());
    assert_eq!(
        target.store.durable().borrow().position,
        source.store.applied()
    );
    drop(old_view);
    grow(&mut [&mut source, &mut target], &mut numbers, 4);
    assert_eq!(target.store.digests().last(), source.store.digests().last());
    let disk = target.disk.crash(CrashLoss::AllUnsynced);
    let target = target.reopen(disk);
    assert!(all(&target.store.view()) == all(&source.store.view()));
}

#[test]
fn only_missing_files_are_asked_for() {
    let options = steadfast_storage::state::StateOptions {
        merge_max_deltas: 100,
        merge_min_bytes: 1 << 40,
        ..small_options()
    };
    let (mut source, mut target) = (Rig::new(options), Rig::new(options));
    let mut numbers = Numbers::new(43);
    grow(&mut [&mut source, &mut target], &mut numbers, 5);
    grow(&mut [&mut source], &mut numbers, 2);
    let staging = target
        .store
        .stage(source.store.manifest().manifest().clone())
        .unwrap();
    assert_eq!(
        staging.missing(),
        &source.store.manifest().manifest().deltas[5..]
    );
    let staged = receive(staging, &source.store.manifest()).unwrap();
    target.store.install(staged).unwrap();
    assert!(all(&target.store.view()) == all(&source.store.view()));
}

#[test]
fn a_wrong_or_incomplete_transfer_is_refused_and_changes_nothing() {
    let (mut source, mut target) = (Rig::new(small_options()), Rig::new(small_options()));
    grow(&mut [&mut source], &mut Numbers::new(44), 2);
    grow(&mut [&mut target], &mut Numbers::new(45), 2);
    let before = all(&target.store.view());
    let pinned = source.store.manifest();
    let manifest = pinned.manifest().clone();
    let first = manifest.files().next().unwrap().clone();

    let staging = target.store.stage(manifest.clone()).unwrap();
    assert!(
        matches!(staging.finish(), Err(StateError::Staged(_))),
        "nothing was sent"
    );
    let mut staging = target.store.stage(manifest.clone()).unwrap();
    assert!(staging.write("../MANIFEST", 0, b"x").is_err());
    assert!(staging.write(&first.name, first.len, b"x").is_err());
    staging.write(&first.name, 0, b"x").unwrap();
    assert!(
        matches!(
            receive_changed(staging, &pinned),
            Err(StateError::Staged(_))
        ),
        "a changed byte"
    );

    let mut evil = manifest.clone();
    evil.deltas[0].name = "delta-../../etc".to_owned();
    assert!(matches!(
        target.store.stage(evil),
        Err(StateError::Staged(_))
    ));
    let mut bytes = manifest.encode();
    bytes[20] ^= 1;
    assert!(Manifest::decode(&bytes).is_err());

    assert!(all(&target.store.view()) == before);
    grow(&mut [&mut target], &mut Numbers::new(46), 1);
    let disk = target.disk.crash(CrashLoss::Nothing);
    let target = target.reopen(disk);
    assert_eq!(
        target.store.digests().last().copied(),
        target.store.recompute_digest().unwrap()
    );
}

fn receive_changed(mut staging: Staging, from: &PinnedManifest) -> Result<Staged, StateError> {
    for file in staging.missing().to_vec() {
        let mut bytes = from.read_file(&file.name, 0, 1 << 20).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        staging.write(&file.name, 0, &bytes).unwrap();
    }
    staging.finish()
}

#[test]
fn a_power_cut_during_an_install_leaves_the_old_state_or_the_new() {
    let mut source = Rig::new(small_options());
    grow(&mut [&mut source], &mut Numbers::new(47), 3);
    let new = all(&source.store.view());
    let (mut olds, mut news) = (0, 0);
    for calls in 1..200 {
        let mut target = Rig::new(small_options());
        grow(&mut [&mut target], &mut Numbers::new(48), 2);
        let old = all(&target.store.view());
        let pinned = source.store.manifest();
        target.disk.cut_power_at(calls);
        let cut = (|| {
            let staging = target.store.stage(pinned.manifest().clone())?;
            let staged = receive_cut(staging, &pinned)?;
            target.store.install(staged)
        })()
        .is_err();
        let disk = target.disk.crash(CrashLoss::Seeded(calls));
        let target = target.reopen(disk);
        let found = all(&target.store.view());
        assert!(found == old || found == new, "cut at call {calls}");
        assert_eq!(
            target.store.digests().last().copied(),
            target.store.recompute_digest().unwrap()
        );
        if found == old {
            olds += 1
        } else {
            news += 1
        }
        if !cut {
            assert!(found == new, "an install that returned lasts");
            assert!(olds > 3 && news > 0, "{olds} {news}");
            return;
        }
    }
    panic!("the install never came through");
}

/// As [`receive`], with errors of the disk.
fn receive_cut(mut staging: Staging, from: &PinnedManifest) -> Result<Staged, StateError> {
    for file in staging.missing().to_vec() {
        let bytes = from.read_file(&file.name, 0, 1 << 22).unwrap();
        staging.write(&file.name, 0, &bytes)?;
    }
    staging.finish()
}

#[test]
fn pinned_files_outlive_merges_and_are_removed_after() {
    let mut rig = Rig::new(small_options());
    let mut numbers = Numbers::new(49);
    grow(&mut [&mut rig], &mut numbers, 2);
    let pinned = rig.store.manifest();
    let names: Vec<_> = pinned
        .manifest()
        .files()
        .map(|file| file.name.clone())
        .collect();
    while rig.store.counters().merges < 2 {
        grow(&mut [&mut rig], &mut numbers, 1);
    }
    for name in &names {
        let len = pinned
            .manifest()
            .files()
            .find(|file| file.name == *name)
            .unwrap()
            .len;
        let bytes = pinned.read_file(name, 0, usize::MAX).unwrap();
        assert_eq!(bytes.len() as u64, len);
    }
    drop(pinned);
    rig.keeper.settle().unwrap();
    let manifest = rig.store.manifest();
    for name in &names {
        let kept = manifest.manifest().files().any(|file| file.name == *name);
        assert_eq!(
            rig.disk.exists(&rig.dir.join(name)).unwrap(),
            kept,
            "{name}"
        );
        assert!(kept || manifest.read_file(name, 0, 1).is_err());
    }
}
