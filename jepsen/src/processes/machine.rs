//! What the machine can do, found out at the start.

use super::group::{self, Controller};
use super::{Trouble, sealed, tool};
use std::path::{Path, PathBuf};
use steadfast_engine::ENGINE_VERSION;
use tappers::{Interface, Tun};

/// The next engine version, which builds of tests know.
pub(super) const NEXT_VERSION: u32 = ENGINE_VERSION + 1;

/// For each thing that faults need: whether it is there, or why not.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Namespaces that end with us.
    pub sealed: Result<(), String>,
    /// Network namespaces joined by TUN devices.
    pub switch: Result<(), String>,
    /// ext4 images that can be mounted and shut down.
    pub images: Result<(), String>,
    /// The block controller of cgroups.
    pub block_group: Result<(), String>,
    /// The memory controller.
    pub memory_group: Result<(), String>,
    /// The CPU controller.
    pub cpu_group: Result<(), String>,
    /// Where libfaketime is.
    pub fake_time: Result<PathBuf, String>,
    /// The tool.
    pub prlimit: Result<(), String>,
    /// A program under test that knows the next engine version.
    pub next_version: Result<(), String>,
}

impl Machine {
    /// Tries everything, with the program under test. What it makes is gone when it returns.
    #[must_use]
    pub fn probe(scratch: &Path, binary: &Path) -> Machine {
        let sealed = sealed::inside();
        let within = |tried: Result<(), Trouble>| match &sealed {
            Ok(()) => tried.map_err(|trouble| trouble.to_string()),
            Err(why) => Err(why.clone()),
        };
        Machine {
            switch: within(switch()),
            images: within(images(scratch)),
            block_group: group::probe(Controller::Block),
            memory_group: group::probe(Controller::Memory),
            cpu_group: group::probe(Controller::Cpu),
            fake_time: fake_time(),
            prlimit: tool(&["prlimit", "--version"])
                .map(drop)
                .map_err(|trouble| trouble.to_string()),
            next_version: next_version(binary),
            sealed,
        }
    }

    /// Tries only whether there are disks whose power can be cut.
    ///
    /// # Errors
    /// Why there are none.
    pub fn disks(scratch: &Path) -> Result<(), String> {
        images(scratch).map_err(|trouble| trouble.to_string())
    }

    /// One that can do everything.
    #[must_use]
    pub fn able() -> Machine {
        Machine {
            sealed: Ok(()),
            switch: Ok(()),
            images: Ok(()),
            block_group: Ok(()),
            memory_group: Ok(()),
            cpu_group: Ok(()),
            fake_time: Ok(PathBuf::new()),
            prlimit: Ok(()),
            next_version: Ok(()),
        }
    }
}

/// Whether the program takes the option that tests of upgrades give it; it ends at once in any case,
/// for the rest of the line is wrong.
fn next_version(binary: &Path) -> Result<(), String> {
    let version = NEXT_VERSION.to_string();
    let output = std::process::Command::new(binary)
        .args(["server", "--node-id", "1", "--join", "nowhere:1"])
        .args(["--initial-members", "1=nowhere:1"])
        .args(["--test-engine-version", &version])
        .output()
        .map_err(|error| format!("{}: {error}", binary.display()))?;
    let words = String::from_utf8_lossy(&output.stderr);
    match words.contains("exclude each other") {
        true => Ok(()),
        false => Err(format!(
            "this program does not know engine version {version}"
        )),
    }
}

fn switch() -> Result<(), Trouble> {
    sealed::inside().map_err(Trouble::Tool)?;
    let device = Interface::new("probe0").and_then(Tun::new_named);
    device.map_err(super::io("a TUN device"))?;
    tool(&["ip", "netns", "add", "probe"])?;
    tool(&["nsenter", "--net=/run/netns/probe", "true"])?;
    tool(&["ip", "netns", "delete", "probe"]).map(drop)
}

fn images(scratch: &Path) -> Result<(), Trouble> {
    sealed::inside().map_err(Trouble::Tool)?;
    let mut disk = super::disk::Disk::image(scratch, "probe", 64 << 20)?;
    let tried = disk.cut_power().and_then(|()| disk.mount_again());
    disk.remove();
    tried
}

/// Where Debian and others put it.
fn fake_time() -> Result<PathBuf, String> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
        "/usr/lib64",
    ];
    let paths = folders.map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
    let found = paths.into_iter().find(|path| path.exists());
    found.ok_or_else(|| "libfaketime is not installed".to_owned())
}
