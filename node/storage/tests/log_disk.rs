//! The simulated disk loses exactly what may be lost, and agrees with the real one.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use steadfast_storage::disk::{CrashLoss, Disk, RealDisk, SimulatedDisk};

fn contents(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// Both disks do the same as long as nothing breaks.
fn behaves(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    disk.create_dir_all(&dir).unwrap();
    disk.create_dir_all(&dir).unwrap();
    let (one, two) = (dir.join("one"), dir.join("two"));
    let file = disk.create(&one).unwrap();
    assert!(disk.create(&one).is_err());
    assert!(file.is_empty().unwrap());
    file.write_at(3, b"abc").unwrap();
    file.sync_data().unwrap();
    assert_eq!(contents(disk, &one), b"\0\0\0abc");
    let mut buffer = [9; 4];
    assert_eq!(file.read_at(4, &mut buffer).unwrap(), 2);
    assert_eq!(&buffer, b"bc\x09\x09");
    assert_eq!(file.read_at(40, &mut buffer).unwrap(), 0);
    file.set_len(5).unwrap();
    disk.create(&two).unwrap().write_at(0, b"two").unwrap();
    disk.rename(&one, &two).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["two"]);
    assert_eq!(contents(disk, &two), b"\0\0\0ab");
    assert!(!disk.exists(&one).unwrap() && disk.exists(&dir).unwrap());
    assert!(disk.open(&one).is_err() && disk.remove(&one).is_err());
    assert!(disk.list(&root.join("none")).is_err());
    disk.sync_dir(&dir).unwrap();
    disk.rename(&root.join("a"), &root.join("c")).unwrap();
    assert_eq!(disk.list(&root.join("c/b")).unwrap(), ["two"]);
    let space = disk.space(root).unwrap();
    assert!(space.free > 0 && space.free <= space.total);
    let lock = disk.lock(&root.join("LOCK")).unwrap();
    let second = disk.lock(&root.join("LOCK")).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    drop(lock);
    drop(disk.lock(&root.join("LOCK")).unwrap());
    disk.remove_dir_all(&root.join("c")).unwrap();
    disk.remove_dir_all(&root.join("c")).unwrap();
    assert_eq!(disk.list(root).unwrap(), ["LOCK"]);
}

#[test]
fn both_disks_behave_alike() {
    let dir = tempfile::tempdir().unwrap();
    behaves(&RealDisk, dir.path());
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("root")).unwrap();
    behaves(&disk, Path::new("root"));
}

#[test]
fn unsynced_bytes_and_names_are_lost() {
    let disk = SimulatedDisk::new();
    let dir = Path::new("d");
    disk.create_dir_all(dir).unwrap();
    let (kept, lost) = (dir.join("kept"), dir.join("lost"));
    let file = disk.create(&kept).unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(dir).unwrap();
    file.write_at(6, b" not").unwrap();
    let other = disk.create(&lost).unwrap();
    other.write_at(0, b"synced without its name").unwrap();
    other.sync_data().unwrap();
    disk.remove(&kept).unwrap();

    let disk = disk.crash(CrashLoss::AllUnsynced);
    assert_eq!(disk.list(dir).unwrap(), ["kept"]);
    assert_eq!(contents(&disk, &kept), b"synced");
    assert!(file.write_at(0, b"from before the crash").is_err());
}

#[test]
fn a_killed_process_loses_nothing_but_its_machine_still_may() {
    let disk = SimulatedDisk::new();
    let path = Path::new("d").join("file");
    disk.create_dir_all(Path::new("d")).unwrap();
    disk.create(&path).unwrap().write_at(0, b"bytes").unwrap();
    let disk = disk.crash(CrashLoss::Nothing);
    assert_eq!(contents(&disk, &path), b"bytes");
    let disk = disk.crash(CrashLoss::AllUnsynced);
    assert!(!disk.exists(&path).unwrap());
}

#[test]
fn a_seeded_crash_repeats_and_seeds_differ() {
    let outcome = |seed| {
        let disk = SimulatedDisk::new();
        let path = Path::new("d").join("file");
        disk.create_dir_all(Path::new("d")).unwrap();
        let file = disk.create(&path).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        for part in 0..4u8 {
            file.write_at(u64::from(part) * 1500, &[part + 1; 1500])
                .unwrap();
        }
        contents(&disk.crash(CrashLoss::Seeded(seed)), &path)
    };
    let outcomes: std::collections::BTreeSet<Vec<u8>> = (0..50).map(outcome).collect();
    assert!(outcomes.len() > 10, "{} outcomes", outcomes.len());
    assert!((0..50).all(|seed| outcome(seed) == outcome(seed)));
}

#[test]
fn a_trace_tells_each_call() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    let disk = SimulatedDisk::new().with_trace(Arc::new(move |line| {
        seen.lock().unwrap().push(line.to_owned())
    }));
    disk.create_dir_all(Path::new("d")).unwrap();
    let file = disk.create(&Path::new("d").join("f")).unwrap();
    file.write_at(7, b"abc").unwrap();
    file.sync_data().unwrap();
    let expected = [
        "create_dir_all d",
        "create d/f",
        "write d/f 7+3",
        "sync_data d/f",
    ];
    assert_eq!(*lines.lock().unwrap(), expected);
}

#[test]
fn a_wrong_read_shows_one_wrong_bit_once() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("state")).unwrap();
    let (path, other) = (Path::new("state/one"), Path::new("other"));
    disk.create(path).unwrap().write_at(0, b"abcdef").unwrap();
    disk.create(other).unwrap().write_at(0, b"abcdef").unwrap();
    disk.flip_read(Path::new("state"), 2);
    assert_eq!(contents(&disk, path), b"abcdef");
    assert_eq!(
        contents(&disk, other),
        b"abcdef",
        "it is not below the directory"
    );
    // A crash does not take the fault away.
    let disk = disk.crash(CrashLoss::Nothing);
    let wrong: u32 = contents(&disk, path)
        .iter()
        .zip(b"abcdef")
        .map(|(read, right)| (read ^ right).count_ones())
        .sum();
    assert_eq!(wrong, 1);
    assert_eq!(contents(&disk, path), b"abcdef");
}

#[test]
fn a_stray_write_leaves_its_place_as_it_was_and_damages_another() {
    let disk = SimulatedDisk::new();
    let path = Path::new("one");
    let file = disk.create(path).unwrap();
    file.write_at(0, &[1; 8192]).unwrap();
    disk.stray_write(Path::new(""), 1);
    file.write_at(4096, &[2; 100]).unwrap();
    let bytes = contents(&disk, path);
    assert_eq!(bytes[..100], [2; 100]);
    assert_eq!(bytes[100..], [1; 8092]);
    file.write_at(4096, &[2; 100]).unwrap();
    assert_eq!(contents(&disk, path)[4096..4196], [2; 100]);
}

#[test]
fn what_others_take_is_not_free() {
    let disk = SimulatedDisk::new();
    let file = disk.create(Path::new("one")).unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    disk.leave_free(50);
    assert_eq!(disk.space(Path::new("")).unwrap().free, 50);
    assert!(file.write_at(100, &[1; 51]).is_err());
    disk.leave_free(u64::MAX);
    file.write_at(100, &[1; 51]).unwrap();
}
