//! A place where a node runs: its addresses, its disk, its process.

use super::cluster::Plan;
use super::disk::Disk;
use super::group::{Controller, Group};
use super::{Trouble, io, tool};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use steadfast_engine::ENGINE_VERSION;

/// A node that was asked to end is gone after this, on a slow machine.
const STOPS: Duration = Duration::from_secs(20);

/// Where a node listens.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) grpc: String,
    pub(super) raft: String,
    pub(super) http: String,
}

/// One place.
#[derive(Debug)]
pub(super) struct Host {
    /// From 1.
    pub(super) number: u8,
    pub(super) addresses: Addresses,
    /// Its address in the switch, when there is one.
    pub(super) address: Ipv4Addr,
    namespace: Option<String>,
    pub(super) disk: Disk,
    /// The node whose data is on the disk.
    pub(super) node: Option<u64>,
    process: Option<Child>,
    /// It may end by itself: a fault made it.
    pub(super) may_end: bool,
    /// A file of its node was spoiled: the node may refuse to go on, now or later.
    pub(super) spoiled: bool,
    pub(super) paused: bool,
    /// The newest engine version that its program knows.
    pub(super) engine_version: u32,
    /// Its wall clock, as libfaketime reads it.
    clock: PathBuf,
    fake_time: Option<PathBuf>,
    block: Option<Group>,
    memory: Option<Group>,
    cpu: Option<Group>,
}

/// What a start needs to know besides the place.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) binary: &'a Path,
    pub(super) node: u64,
    /// `--initial-members …` or `--join …`.
    pub(super) members: [&'a str; 2],
    pub(super) log: &'a Path,
}

impl Host {
    /// A place with an empty disk.
    pub(super) fn new(number: u8, addresses: Addresses, plan: &Plan<'_>) -> Result<Host, Trouble> {
        let Plan {
            machine, scratch, ..
        } = *plan;
        let name = format!("host-{number}");
        let disk = match &machine.images {
            Ok(()) => Disk::image(scratch, &name, plan.disk_bytes)?,
            Err(_) => Disk::folder(scratch, &name)?,
        };
        let clock = scratch.join(format!("clock-{number}"));
        std::fs::write(&clock, "+0").map_err(io("a clock"))?;
        let group = |able: &Result<(), String>, controller| match able {
            Ok(()) => Group::new(controller, &name).map(Some),
            Err(_) => Ok(None),
        };
        // It limits a device, and a folder has none of its own.
        let limits_disks = match &machine.images {
            Ok(()) => &machine.block_group,
            Err(_) => &machine.images,
        };
        Ok(Host {
            number,
            addresses,
            address: address(number),
            namespace: machine.switch.as_ref().ok().map(|()| name.clone()),
            disk,
            node: None,
            process: None,
            may_end: false,
            spoiled: false,
            paused: false,
            engine_version: ENGINE_VERSION,
            clock,
            fake_time: machine.fake_time.as_ref().ok().cloned(),
            block: group(limits_disks, Controller::Block)?,
            memory: group(&machine.memory_group, Controller::Memory)?,
            cpu: group(&machine.cpu_group, Controller::Cpu)?,
        })
    }

    /// Moves a device of the switch into a namespace of this place.
    pub(super) fn plug(&self, device: &str) -> Result<(), Trouble> {
        let Some(name) = &self.namespace else {
            return Ok(());
        };
        tool(&["ip", "netns", "add", name])?;
        tool(&["ip", "link", "set", device, "netns", name])?;
        tool(&["ip", "-n", name, "link", "set", "lo", "up"])?;
        wire(&["ip", "-n", name], device, self.address)
    }

    /// Starts its node's process.
    pub(super) fn start(&mut self, start: &Start<'_>) -> Result<(), Trouble> {
        let log = File::options().create(true).append(true).open(start.log);
        let log = log.map_err(io(start.log.display().to_string()))?;
        let errors = log.try_clone().map_err(io("a log"))?;
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net=/run/netns/{name}"))
                    .arg(start.binary);
                command
            }
            None => Command::new(start.binary),
        };
        command.args(["server", "--cluster-name", "jepsen"]);
        if self.namespace.is_none() {
            // Perhaps no namespace ends it with us.
            command.args(["--dev-parent", &std::process::id().to_string()]);
        }
        command
            .args(["--node-id", &start.node.to_string()])
            .arg("--data-dir")
            .arg(self.disk.data_dir())
            .args(["--grpc-address", &self.addresses.grpc])
            .args(["--raft-address", &self.addresses.raft])
            .args(["--http-address", &self.addresses.http])
            .args(["--test-engine-version", &self.engine_version.to_string()])
            .args(start.members)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        if let Some(library) = &self.fake_time {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", &self.clock)
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_DISABLE_SHM", "1")
                .env("NO_FAKE_STAT", "1");
        }
        let child = command.spawn().map_err(io(format!("{command:?}")))?;
        for group in [&self.block, &self.memory, &self.cpu].into_iter().flatten() {
            group.take(child.id())?;
        }
        self.node = Some(start.node);
        self.process = Some(child);
        self.may_end = false;
        self.paused = false;
        Ok(())
    }

    /// Whether its process runs, also when it is paused.
    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Its process, by the number that signals and tools take.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// How its process ended, when it has since the last call.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok().flatten()?;
        self.process = None;
        Some(status)
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.process {
            // It may have ended just now.
            kill_process(Pid::from_child(child), signal).ok();
        }
    }

    /// SIGKILL, and waits for the end.
    pub(super) fn kill(&mut self) -> Result<(), Trouble> {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.process.take() {
            child.wait().map_err(io("wait for a killed node"))?;
        }
        self.paused = false;
        Ok(())
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    /// SIGCONT.
    pub(super) fn go_on(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.signal(Signal::CONT);
        }
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn stop(&mut self) -> Result<Option<ExitStatus>, Trouble> {
        self.signal(Signal::TERM);
        let until = Instant::now() + STOPS;
        while self.runs() && Instant::now() < until {
            if let Some(status) = self.ended() {
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill()?;
        Ok(None)
    }

    /// Sets its wall clock, in libfaketime's words.
    pub(super) fn set_clock(&self, words: &str) -> Result<(), Trouble> {
        std::fs::write(&self.clock, words).map_err(io("a clock"))
    }

    /// Writes a second that its disk takes; `None`: any number.
    pub(super) fn limit_disk(&self, writes: Option<u32>) -> Result<(), Trouble> {
        match &self.block {
            Some(group) => {
                let device = self.disk.device()?;
                group.limit(&format!("{device} {}", writes.unwrap_or(0)))
            }
            None => Ok(()),
        }
    }

    /// Bytes of memory that it gets beyond what it has; `None`: any number.
    pub(super) fn limit_memory(&self, more: Option<u64>) -> Result<(), Trouble> {
        match (&self.memory, more) {
            (Some(group), Some(more)) => {
                let most = group.memory_used()? + more;
                group.limit(&most.to_string())
            }
            (Some(group), None) => group.limit("-1"),
            (None, _) => Ok(()),
        }
    }

    /// Hundredths of a CPU that it gets; `None`: any number.
    pub(super) fn limit_cpu(&self, percent: Option<u32>) -> Result<(), Trouble> {
        // Of the period of 100 ms.
        let quota = percent.map_or(-1, |percent| i64::from(percent) * 1_000);
        self.cpu
            .as_ref()
            .map_or(Ok(()), |group| group.limit(&quota.to_string()))
    }

    /// File descriptors that it gets beyond those it has.
    pub(super) fn limit_files(&self, more: usize) -> Result<(), Trouble> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(io("open files"))?;
        let most = open.count() + more;
        let limit = format!("--nofile={most}:");
        tool(&["prlimit", "--pid", &pid.to_string(), &limit]).map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing of ours stays behind, whatever went wrong.
        self.kill().ok();
        self.disk.remove();
    }
}

/// The address of a place in the switch.
pub(super) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// Gives a device an address and makes it work.
pub(super) fn wire(ip: &[&str], device: &str, address: Ipv4Addr) -> Result<(), Trouble> {
    let network = format!("{address}/24");
    let mtu = super::switch::MTU.to_string();
    tool(&[ip, &["addr", "add", &network, "dev", device]].concat())?;
    tool(&[ip, &["link", "set", device, "mtu", &mtu, "up"]].concat()).map(drop)
}
