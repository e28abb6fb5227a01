//! Disks that are slow, full, or wrong.

use super::{Ailment, Fault, Nemesis};
use crate::log_story::proven_synced;
use rand::Rng;
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};
use std::time::Duration;
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};

/// Where nodes keep their state.
const STATE: &str = "/data/state";
/// And their log.
pub(super) const LOG: &str = "/data/log";
/// How often a bit turns in the log's newest segment, if one turns.
const IN_NEWEST: f64 = 0.5;

/// The path of a segment.
pub(super) fn segment_path(number: u32) -> PathBuf {
    Path::new(LOG).join(format!("{number:010}.log"))
}

/// The number of a segment's path.
pub(super) fn segment_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".log")?.parse().ok()
}

impl Nemesis {
    pub(super) async fn break_disk(&mut self, fault: Fault) -> Option<()> {
        if fault == Fault::SlowSync {
            let id = self.one().filter(|id| !self.paused.contains_key(id))?;
            let takes = Duration::from_millis(self.chance.random_range(20..400));
            self.cluster.disk(id)?.set_sync_takes(takes);
            self.mend_later();
            return Some(());
        }
        if fault == Fault::FailedSync {
            let id = self.victim()?;
            let sync = self.chance.random_range(1..20);
            self.cluster.disk(id)?.fail_sync(sync);
            self.sick.insert(id, Ailment::Dies(CrashLoss::Nothing));
            return Some(());
        }
        if fault == Fault::DiskFull {
            let id = self.victim()?;
            // Nodes refuse new work below 4 MiB, and end below an eighth of that.
            let free = self.chance.random_range(0..6 << 20);
            self.cluster.fill_disk(id, free);
            self.sick.insert(id, Ailment::Full);
            self.mend_later();
            return Some(());
        }
        self.damage(fault).await
    }

    /// What a checksum must find. Not damaged is what the newest segment of the log does not prove to
    /// have been synced: that looks like a write that a crash cut off, which no node can tell apart.
    async fn damage(&mut self, fault: Fault) -> Option<()> {
        if !self.may_lose_a_disk() {
            return None;
        }
        let id = self.victim()?;
        let disk = self.cluster.disk(id)?.clone();
        let nth = self.chance.random_range(1..30);
        if fault == Fault::WrongRead {
            disk.flip_read(Path::new(STATE), nth);
        } else if fault == Fault::StrayWrite {
            disk.stray_write(Path::new(STATE), nth);
        } else {
            let (path, len) = self.flipped(&disk)?;
            let (at, bit) = (self.chance.random_range(0..len), self.chance.random());
            disk.flip_bit(&path, at, bit).ok()?;
            self.trace
                .line(|| format!("bit {at} of {} of {id}", path.display()));
        }
        self.damaged = Some(id);
        self.sick.insert(id, Ailment::Damaged);
        // At the latest a restart reads everything.
        if self.chance.random_bool(0.7) {
            self.take(id, CrashLoss::Nothing).await;
        }
        Some(())
    }

    /// A file of the state, a segment of the log that is no longer written, or the beginning of the
    /// one that is, as far as later batches in it prove that it had been synced.
    fn flipped(&mut self, disk: &SimulatedDisk) -> Option<(PathBuf, u64)> {
        let files = disk.files();
        let mut logs = files.iter().rev().map(|(path, _)| path);
        let newest = logs.find(|path| path.starts_with(LOG));
        if self.chance.random_bool(IN_NEWEST)
            && let Some(path) = newest
            && let Some(number) = segment_number(path)
        {
            let bytes = |segment, at, len| disk.peek(&segment_path(segment), at, len);
            let proven = proven_synced(&bytes, number);
            if proven > 0 {
                return Some((path.clone(), proven));
            }
        }
        let old: Vec<&(PathBuf, u64)> = files
            .iter()
            .filter(|(path, len)| *len > 0 && Some(path) != newest)
            .filter(|(path, _)| path.starts_with(LOG) || path.starts_with(STATE))
            .collect();
        old.choose(&mut self.chance).map(|file| (*file).clone())
    }
}
