//! Disks that are slow, full, or wrong.

use super::{Ailment, Fault, Nemesis};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};
use std::time::Duration;
use steadfast_storage::disk::CrashLoss;

/// Where nodes keep their state.
const STATE: &str = "/data/state";
/// And their log.
const LOG: &str = "/data/log";

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

    /// What a checksum must find. Not damaged is the newest segment of the log: what is wrong in its
    /// last batch looks like a write that a crash cut off, which no node can tell apart.
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
            let (path, len) = self.old_file(&disk.files())?;
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

    /// A file of the state, or a segment of the log that is no longer written.
    fn old_file(&mut self, files: &[(PathBuf, u64)]) -> Option<(PathBuf, u64)> {
        let newest = files
            .iter()
            .rev()
            .find(|(path, _)| path.starts_with(LOG))
            .map(|(path, _)| path);
        let old: Vec<&(PathBuf, u64)> = files
            .iter()
            .filter(|(path, len)| *len > 0 && Some(path) != newest)
            .filter(|(path, _)| path.starts_with(LOG) || path.starts_with(STATE))
            .collect();
        old.choose(&mut self.chance).map(|file| (*file).clone())
    }
}
