//! Faults of disks: power, errors, space, slowness, and files that are not what they were.

use super::{Brought, Failure, Nemesis};
use crate::processes::disk;
use crate::processes::io;
use rand::Rng;
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};

/// So little is free on a low disk; the node's limit is 512 MiB.
const LOW_BYTES: u64 = 300 << 20;
/// Writes a second of a slow disk.
const SLOW_WRITES: u32 = 10;

/// A kind of file of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// A segment: entries and votes.
    Log,
    Base,
    Delta,
    Manifest,
    /// Those of sled.
    Index,
    Identity,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// A bit is turned.
    Flip,
    /// The end is lost.
    Truncate,
}

impl File {
    fn is(self, dir: &Path, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let below = path.strip_prefix(dir).unwrap_or(path).to_string_lossy();
        match self {
            File::Log => name.ends_with(".log"),
            File::Base => name.starts_with("base-"),
            File::Delta => name.starts_with("delta-"),
            File::Manifest => name == "MANIFEST",
            File::Index => below.contains("index-"),
            File::Identity => name == "IDENTITY",
        }
    }
}

impl Nemesis {
    /// A follower misses what the leader commits before the power of the leader fails.
    pub(super) async fn pause_power_cut(&mut self) -> Brought {
        let (Some(follower), Some(leader)) = (self.follower(), self.leader()) else {
            return Ok(None);
        };
        self.cluster.hosts[follower].pause();
        let missed = self.millis(500, 3_000);
        self.hold(missed).await?;
        self.cut_power(vec![leader])?;
        self.cluster.hosts[follower].go_on();
        Ok(self.told("paused, then without power:", &[follower, leader]))
    }

    pub(super) fn disk_errors(&mut self) -> Brought {
        self.on_one("errors on the disk of", |host| {
            host.may_end = true;
            host.disk.fail()
        })
    }

    pub(super) fn full_disk(&mut self) -> Brought {
        self.on_one("full is the disk of", |host| {
            host.may_end = true;
            host.disk.fill(0)
        })
    }

    pub(super) fn low_disk(&mut self) -> Brought {
        self.on_one("300 MiB are free on", |host| host.disk.fill(LOW_BYTES))
    }

    pub(super) fn slow_disk(&mut self) -> Brought {
        self.on_one("ten writes a second on", |host| {
            host.limit_disk(Some(SLOW_WRITES))
        })
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
    pub(super) fn cut_power(&mut self, places: Vec<usize>) -> Brought {
        let hosts = self.cluster.hosts.iter_mut().enumerate();
        let mut disks = Vec::new();
        for (at, host) in hosts {
            if places.contains(&at) {
                host.may_end = true;
                disks.push(&mut host.disk);
            }
        }
        disk::cut_power(&mut disks)?;
        self.kill_these(places.clone())?;
        Ok(self.told("without power:", &places))
    }

    /// Harms a file, or several of sled's, while their node is down.
    pub(super) fn spoil(&mut self, kind: File, harm: Harm) -> Brought {
        let Some(at) = self.anyone() else {
            return Ok(None);
        };
        let dir = self.cluster.hosts[at].disk.data_dir();
        let mut files = Vec::new();
        collect(&dir, &mut files).map_err(io("files of a node"))?;
        files.retain(|file| kind.is(&dir, file));
        if files.is_empty() {
            return Ok(None);
        }
        self.kill_these([at])?;
        let count = if kind == File::Index { files.len() } else { 1 };
        let mut told = Vec::new();
        for _ in 0..count {
            let file = files.choose(&mut self.chance).cloned().unwrap_or_default();
            let how = match harm {
                Harm::Truncate => self.truncate(&file)?,
                Harm::Flip => self.flip(&file)?,
            };
            told.push(format!(
                "{} {how}",
                file.strip_prefix(&dir).unwrap_or(&file).display()
            ));
        }
        told.truncate(3);
        self.cluster.hosts[at].spoiled = true;
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        self.cluster.watch.may_forget(node);
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
