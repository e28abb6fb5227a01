//! Backups: what is written is the state of a mark, and whatever is less is refused.

use super::fixture::{Numbers, Rig, all, small_options};
use std::path::Path;
use std::sync::Arc;
use steadfast_storage::disk::{CrashLoss, Disk, SimulatedDisk};
use steadfast_storage::state::{Backup, BackupWriter, StateError};

const DIR: &str = "backup";

fn grown() -> Rig {
    let (mut rig, mut numbers) = (Rig::new(small_options()), Numbers::new(7));
    for _ in 0..9 {
        rig.apply(numbers.changes());
        rig.mark();
        rig.keeper.settle().unwrap();
    }
    rig
}

/// Backs up all but the last `left_out` bytes.
fn back_up(rig: &Rig, disk: &SimulatedDisk, left_out: u64) -> Result<(), StateError> {
    let pinned = rig.store.manifest();
    let manifest = pinned.manifest().clone();
    let mut left: u64 = manifest.files().map(|file| file.len).sum::<u64>() - left_out;
    let mut writer = BackupWriter::begin(Arc::new(disk.clone()), Path::new(DIR), manifest.clone())?;
    for file in manifest.files() {
        let mut offset = 0;
        while offset < file.len && left > 0 {
            let most = usize::try_from(left.min(777)).unwrap();
            let bytes = pinned.read_file(&file.name, offset, most).unwrap();
            writer.write(&file.name, offset, &bytes)?;
            offset += bytes.len() as u64;
            left -= bytes.len() as u64;
        }
    }
    writer.finish()
}

fn restore(disk: &SimulatedDisk) -> Result<Rig, StateError> {
    let backup = Backup::open(Arc::new(disk.clone()), Path::new(DIR))?;
    let rig = Rig::new(small_options());
    let mut staging = rig.store.stage(backup.manifest().clone())?;
    backup.fill(&mut staging)?;
    rig.store.install(staging.finish()?)?;
    Ok(rig)
}

#[test]
fn a_backup_is_the_state_of_its_mark_and_outlives_a_power_cut() {
    let rig = grown();
    let disk = SimulatedDisk::new();
    back_up(&rig, &disk, 0).unwrap();
    let restored = restore(&disk.crash(CrashLoss::AllUnsynced)).unwrap();
    assert!(all(&restored.store.view()) == all(&rig.store.view()));
    assert_eq!(restored.store.digests().last(), rig.store.digests().last());
}

#[test]
fn an_unfinished_backup_is_refused() {
    let rig = grown();
    let disk = SimulatedDisk::new();
    let error = back_up(&rig, &disk, 1).unwrap_err();
    assert!(matches!(error, StateError::Staged(_)), "{error}");
    let error = restore(&disk).err().unwrap().to_string();
    assert!(error.contains("no backup was finished there"), "{error}");
    let error = Backup::open(Arc::new(disk), Path::new("elsewhere")).unwrap_err();
    assert!(matches!(error, StateError::Backup { .. }), "{error}");
}

#[test]
fn a_directory_that_holds_something_is_not_written_to() {
    let rig = grown();
    let disk = SimulatedDisk::new();
    back_up(&rig, &disk, 0).unwrap();
    let error = back_up(&rig, &disk, 0).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn a_damaged_backup_is_refused_whatever_is_damaged() {
    let rig = grown();
    let names = SimulatedDisk::new();
    back_up(&rig, &names, 0).unwrap();
    for name in names.list(Path::new(DIR)).unwrap() {
        let path = Path::new(DIR).join(&name);
        let damages: [fn(&dyn Disk, &Path); 3] = [
            |disk, path| disk.remove(path).unwrap(),
            |disk, path| {
                let file = disk.open(path).unwrap();
                file.set_len(file.len().unwrap() - 1).unwrap();
            },
            |disk, path| {
                let file = disk.open(path).unwrap();
                let (at, mut byte) = (file.len().unwrap() / 2, [0]);
                file.read_at(at, &mut byte).unwrap();
                file.write_at(at, &[byte[0] ^ 16]).unwrap();
            },
        ];
        for damage in damages {
            let disk = SimulatedDisk::new();
            back_up(&rig, &disk, 0).unwrap();
            damage(&disk, &path);
            assert!(restore(&disk).is_err(), "{name}");
        }
    }
}

#[test]
fn a_backup_of_another_format_is_refused() {
    let rig = grown();
    let disk = SimulatedDisk::new();
    back_up(&rig, &disk, 0).unwrap();
    let list = disk.open(&Path::new(DIR).join("MANIFEST")).unwrap();
    list.write_at(8, &2_u32.to_le_bytes()).unwrap();
    let error = restore(&disk).err().unwrap().to_string();
    assert!(error.contains("it has format 2"), "{error}");
}
