//! Faults of disks: power, errors, space, slowness, and files that are not what they were.

use super::{Brought, Failure, Fault, Nemesis};
use crate::processes::disk;
use crate::processes::io;
use rand::Rng;
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};

/// So little is free on a low disk; the node's limit is 512 MiB.
const LOW_BYTES: u64 = 300 << 20;
/// Writes a second of a slow disk.
const SLOW_WRITES: u32 = 10;

impl Nemesis {
    pub(super) fn bring_to_disks(&mut self, fault: Fault) -> Brought {
        match fault {
            Fault::PowerCut => {
                let places = self.anyone().into_iter().collect();
                self.cut_power(places)
            }
            Fault::PowerCutMinority => {
                let places = self.several(self.minority());
                self.cut_power(places)
            }
            Fault::PowerCutAll => {
                let places = self.several(self.cluster.size);
                self.cut_power(places)
            }
            Fault::PausePowerCut => {
                let (Some(follower), Some(leader)) = (self.follower(), self.leader()) else {
                    return Ok(None);
                };
                self.cluster.hosts[follower].pause();
                self.cut_power(vec![leader])?;
                self.cluster.hosts[follower].go_on();
                Ok(self.told("paused, then without power:", &[follower, leader]))
            }
            Fault::DiskErrors => self.on_one("errors on the disk of", |host| {
                host.may_end = true;
                host.disk.fail()
            }),
            Fault::FullDisk => self.on_one("full is the disk of", |host| {
                host.may_end = true;
                host.disk.fill(0)
            }),
            Fault::LowDisk => self.on_one("300 MiB are free on", |host| host.disk.fill(LOW_BYTES)),
            Fault::SlowDisk => self.on_one("ten writes a second on", |host| {
                host.limit_disk(Some(SLOW_WRITES))
            }),
            _ => self.spoil(fault),
        }
    }

    pub(super) fn on_one(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut crate::processes::host::Host) -> Result<(), crate::processes::Trouble>,
    ) -> Brought {
        let Some(at) = self.anyone() else {
            return Ok(None);
        };
        act(&mut self.cluster.hosts[at])?;
        Ok(self.told(what, &[at]))
    }

    /// First the power of all, then the processes: what was written last is in no cache.
    fn cut_power(&mut self, places: Vec<usize>) -> Brought {
        let hosts = self.cluster.hosts.iter_mut().enumerate();
        let mut disks = Vec::new();
        for (at, host) in hosts {
            if places.contains(&at) {
                host.may_end = true;
                disks.push(&mut host.disk);
            }
        }
        disk::cut_power(&mut disks)?;
        self.kill(places.clone())?;
        Ok(self.told("without power:", &places))
    }

    fn spoil(&mut self, fault: Fault) -> Brought {
        let Some(at) = self.anyone() else {
            return Ok(None);
        };
        let dir = self.cluster.hosts[at].disk.data_dir();
        let mut files = Vec::new();
        collect(&dir, &mut files).map_err(io("files of a node"))?;
        files.retain(|file| is_meant(fault, &dir, file));
        if files.is_empty() {
            return Ok(None);
        }
        self.kill(vec![at])?;
        let count = match fault {
            Fault::FlipIndex | Fault::TruncateIndex => files.len(),
            _ => 1,
        };
        let mut told = Vec::new();
        for _ in 0..count {
            let file = files.choose(&mut self.chance).cloned().unwrap_or_default();
            let how = match fault {
                Fault::TruncateLog
                | Fault::TruncateDelta
                | Fault::TruncateManifest
                | Fault::TruncateIndex => self.truncate(&file)?,
                _ => self.flip(&file)?,
            };
            told.push(format!(
                "{} {how}",
                file.strip_prefix(&dir).unwrap_or(&file).display()
            ));
        }
        told.truncate(3);
        self.spoiled.push(at);
        let what = format!("spoiled {} of", told.join(", "));
        Ok(self.told(&what, &[at]))
    }

    /// Turns a bit of a byte that is not zero: segments end in zeros that nobody has written.
    fn flip(&mut self, path: &Path) -> Result<String, Failure> {
        let mut bytes = std::fs::read(path).map_err(io(path.display().to_string()))?;
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let Some(at) = used.choose(&mut self.chance).copied() else {
            return Ok("empty".into());
        };
        bytes[at] ^= 1 << self.chance.random_range(0..8);
        std::fs::write(path, &bytes).map_err(io(path.display().to_string()))?;
        Ok(format!("at {at} of {}", bytes.len()))
    }

    fn truncate(&mut self, path: &Path) -> Result<String, Failure> {
        let bytes = std::fs::read(path).map_err(io(path.display().to_string()))?;
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let length = self.chance.random_range(0..=used);
        std::fs::write(path, &bytes[..length]).map_err(io(path.display().to_string()))?;
        Ok(format!("to {length} of {}", bytes.len()))
    }
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => collect(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

fn is_meant(fault: Fault, dir: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let below = path.strip_prefix(dir).unwrap_or(path).to_string_lossy();
    match fault {
        Fault::FlipLog | Fault::TruncateLog => name.ends_with(".log"),
        Fault::FlipBase => name.starts_with("base-"),
        Fault::FlipDelta | Fault::TruncateDelta => name.starts_with("delta-"),
        Fault::FlipManifest | Fault::TruncateManifest => name == "MANIFEST",
        Fault::FlipIdentity => name == "IDENTITY",
        Fault::FlipIndex | Fault::TruncateIndex => below.contains("index-"),
        _ => false,
    }
}
