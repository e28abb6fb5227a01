//! A damaged file is refused, by its name; a damaged index is not, for it is rebuilt.

use super::fixture::{Numbers, Rig, all, open, small_options};
use bytes::Bytes;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use steadfast_storage::disk::{CrashLoss, Disk};
use steadfast_storage::state::{
    Index, IndexChange, IndexError, IndexFactory, MemoryIndexFactory, SledIndexFactory, StateError,
};

/// A state with a base and a few deltas.
fn rested() -> Rig {
    let mut rig = Rig::new(small_options());
    let mut numbers = Numbers::new(17);
    while rig.store.counters().merges == 0 || rig.store.counters().deltas < 2 {
        for _ in 0..4 {
            rig.apply(numbers.changes());
        }
        rig.mark();
        rig.keeper.settle().unwrap();
    }
    rig
}

fn refused(rig: &Rig, name: &str) -> bool {
    let memory: Arc<dyn IndexFactory> = Arc::new(MemoryIndexFactory::new());
    match open(&rig.disk, &memory, &rig.dir, small_options()) {
        Err(StateError::Damaged { file, .. }) => {
            assert_eq!(file, rig.dir.join(name));
            true
        }
        Err(other) => panic!("{name}: {other}"),
        Ok(_) => false,
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_refused() {
    let rig = rested();
    let mut numbers = Numbers::new(2);
    let files: Vec<_> = rig
        .disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.starts_with(&rig.dir))
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for (path, len) in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let ends = [0, len - 1];
        let offsets = ends
            .into_iter()
            .chain((0..6).map(|_| numbers.below(len)))
            .collect::<Vec<_>>();
        for offset in offsets {
            let bit = u8::try_from(numbers.below(8)).unwrap();
            rig.disk.flip_bit(&path, offset, bit).unwrap();
            assert!(refused(&rig, &name), "{name} at {offset}");
            rig.disk.flip_bit(&path, offset, bit).unwrap();
        }
        assert!(!refused(&rig, &name), "{name} is whole again");
    }
}

#[test]
fn a_cut_or_missing_file_is_refused() {
    let rig = rested();
    let names: Vec<String> = rig
        .store
        .manifest()
        .manifest()
        .files()
        .map(|file| file.name.clone())
        .collect();
    for name in names.iter().map(String::as_str).chain(["MANIFEST"]) {
        let path = rig.dir.join(name);
        let file = rig.disk.open(&path).unwrap();
        let len = file.len().unwrap();
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        for cut in [0, 5, len - 1] {
            file.set_len(cut).unwrap();
            assert!(refused(&rig, name), "{name} cut to {cut}");
            file.write_at(0, &bytes).unwrap();
        }
        rig.disk.remove(&path).unwrap();
        assert!(refused(&rig, name), "{name} missing");
        rig.disk.create(&path).unwrap().write_at(0, &bytes).unwrap();
        assert!(!refused(&rig, name), "{name} is whole again");
    }
}

/// Opens an index in which every block was changed.
#[derive(Debug)]
struct Spoiled(MemoryIndexFactory);

impl IndexFactory for Spoiled {
    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>, IndexError> {
        let index = self.0.open(dir)?;
        let found = index.range(Bound::Unbounded, Bound::Unbounded, usize::MAX, false)?;
        let spoil = |(key, value): (Bytes, Bytes)| -> IndexChange {
            let mut value = value.to_vec();
            value[0] ^= 1;
            (key.to_vec(), Some(value))
        };
        index.apply_batch(found.into_iter().map(spoil).collect())?;
        Ok(index)
    }

    fn discard(&self, dir: &Path) -> Result<(), IndexError> {
        self.0.discard(dir)
    }
}

#[test]
fn a_damaged_index_is_rebuilt_from_the_files() {
    let rested = rested();
    let factory: Arc<dyn IndexFactory> = Arc::new(Spoiled(MemoryIndexFactory::new()));
    let expected = all(&rested.store.view());
    let digest = rested.store.digests().last().copied();
    let first = Rig::on(
        rested.disk.crash(CrashLoss::Nothing),
        factory,
        small_options(),
    );
    let disk = first.disk.crash(CrashLoss::Nothing);
    let again = first.reopen(disk);
    assert!(all(&again.store.view()) == expected);
    assert_eq!(again.store.digests().last().copied(), digest);
}

#[test]
fn sled_is_believed_within_one_boot_only_and_its_damage_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("index-1");
    let fill = |factory: &SledIndexFactory| {
        let index = factory.open(&dir).unwrap();
        index
            .apply_batch(vec![(b"key".to_vec(), Some(b"value".to_vec()))])
            .unwrap();
        index.flush().unwrap();
    };
    let value = |factory: &SledIndexFactory| factory.open(&dir).unwrap().get(b"key").unwrap();
    let first_boot = SledIndexFactory::with_boot_id(1 << 20, "first");
    let second_boot = SledIndexFactory::with_boot_id(1 << 20, "second");
    fill(&first_boot);
    assert_eq!(value(&first_boot).as_deref(), Some(&b"value"[..]));
    // A kill while sled writes its snapshot would make it unusable.
    fs::write(
        dir.join("sled").join("snap.0000000000000001.generating"),
        b"half",
    )
    .unwrap();
    assert_eq!(value(&first_boot).as_deref(), Some(&b"value"[..]));
    assert_eq!(
        value(&second_boot).as_deref(),
        Some(&b"value"[..]),
        "closed in order before another boot"
    );
    // The machine stops while the index is open.
    let open = second_boot.open(&dir).unwrap();
    let third_boot = SledIndexFactory::with_boot_id(1 << 20, "third");
    let copy = directory.path().join("copy");
    copy_all(&dir, &copy);
    let found = third_boot.open(&copy).unwrap().get(b"key").unwrap();
    assert_eq!(found, None, "left open before another boot");
    drop(open);
    // A database that does not open is thrown away.
    fs::remove_file(dir.join("sled").join("db")).unwrap();
    fs::create_dir(dir.join("sled").join("db")).unwrap();
    assert_eq!(value(&second_boot), None, "after damage");
    fill(&second_boot);
    assert_eq!(value(&second_boot).as_deref(), Some(&b"value"[..]));
}

#[test]
fn an_index_that_somebody_has_open_is_waited_for_and_never_thrown_away() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("index-1");
    let factory = SledIndexFactory::with_boot_id(1 << 20, "boot");
    let index = factory.open(&dir).unwrap();
    index
        .apply_batch(vec![(b"key".to_vec(), Some(b"value".to_vec()))])
        .unwrap();
    let impatient = factory.clone().with_lock_wait(Duration::from_millis(50));
    let refused = impatient.open(&dir).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("lock"), "{refused}");
    let waiting = {
        let (factory, dir) = (factory.clone(), dir.clone());
        std::thread::spawn(move || factory.open(&dir).unwrap().get(b"key").unwrap())
    };
    std::thread::sleep(Duration::from_millis(100));
    drop(index);
    let found = waiting.join().unwrap();
    assert_eq!(found.as_deref(), Some(&b"value"[..]));
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
