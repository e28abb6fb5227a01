//! cgroups (version 1) of nodes: limits that can be set while they run.

use super::sealed::RUN_NUMBER;
use super::{Trouble, io};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Block,
    Memory,
    Cpu,
}

const ALL: [Controller; 3] = [Controller::Block, Controller::Memory, Controller::Cpu];

impl Controller {
    fn folder(self) -> &'static Path {
        Path::new(match self {
            Controller::Block => "/sys/fs/cgroup/blkio",
            Controller::Memory => "/sys/fs/cgroup/memory",
            Controller::Cpu => "/sys/fs/cgroup/cpu",
        })
    }

    /// The file that sets what we set.
    fn limit(self) -> &'static str {
        match self {
            Controller::Block => "blkio.throttle.write_iops_device",
            Controller::Memory => "memory.limit_in_bytes",
            Controller::Cpu => "cpu.cfs_quota_us",
        }
    }
}

/// The number of this run, unique on the machine.
fn run_number() -> String {
    std::env::var(RUN_NUMBER).unwrap_or_else(|_| std::process::id().to_string())
}

/// Whether a group can be made, or why not.
pub(super) fn probe(controller: Controller) -> Result<(), String> {
    let group = Group::new(controller, "probe").map_err(|trouble| trouble.to_string())?;
    let limit = group.folder.join(controller.limit());
    let there = limit.exists();
    std::fs::remove_dir(&group.folder).ok();
    match there {
        true => Ok(()),
        false => Err(format!("{} is not there", limit.display())),
    }
}

/// A killed process is out of its group after this.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Removes all groups of a run; they are empty when its processes have ended.
pub(super) fn remove_all(number: &str) {
    let until = Instant::now() + EMPTY_WITHIN;
    while !remove_empty(number) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether none is left.
fn remove_empty(number: &str) -> bool {
    let mut none = true;
    for controller in ALL {
        let entries = std::fs::read_dir(controller.folder());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("steadfast-{number}-")) {
                none &= std::fs::remove_dir(entry.path()).is_ok();
            }
        }
    }
    none
}

/// One node's group of one controller.
#[derive(Debug)]
pub(super) struct Group {
    controller: Controller,
    folder: PathBuf,
}

impl Group {
    pub(super) fn new(controller: Controller, name: &str) -> Result<Group, Trouble> {
        let folder = controller
            .folder()
            .join(format!("steadfast-{}-{name}", run_number()));
        std::fs::create_dir_all(&folder).map_err(io(folder.display().to_string()))?;
        Ok(Group { controller, folder })
    }

    /// Takes a process in.
    pub(super) fn take(&self, pid: u32) -> Result<(), Trouble> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Sets the controller's limit, in its own words.
    pub(super) fn limit(&self, value: &str) -> Result<(), Trouble> {
        self.write(self.controller.limit(), value)
    }

    /// Bytes of memory in use.
    pub(super) fn memory_used(&self) -> Result<u64, Trouble> {
        let path = self.folder.join("memory.usage_in_bytes");
        let text = std::fs::read_to_string(&path).map_err(io(path.display().to_string()))?;
        Ok(text.trim().parse().unwrap_or_default())
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Trouble> {
        let path = self.folder.join(file);
        std::fs::write(&path, value).map_err(io(format!("{value} to {}", path.display())))
    }
}
