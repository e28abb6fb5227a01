//! A run in namespaces of its own: process ids, mounts, network. Whatever ends it, the kernel ends
//! every process in it, lets go of its mounts, and takes its networks away.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::SystemTime;

/// Says to the process inside that it is there; its value says why not, when it is not.
const SEALED: &str = "STEADFAST_JEPSEN_SEALED";
/// Where cgroups of a run begin their names.
pub(super) const RUN_NUMBER: &str = "STEADFAST_JEPSEN_RUN";

const UNSHARE: [&str; 9] = [
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
    "--",
];

/// Whether this process is inside, or why it is not.
///
/// # Errors
/// Why there are no namespaces.
pub fn inside() -> Result<(), String> {
    match std::env::var(SEALED) {
        Ok(yes) if yes == "yes" => Ok(()),
        Ok(why) => Err(why),
        Err(_) => Err("not run in namespaces".to_owned()),
    }
}

/// Whether this process was started by [`run`].
#[must_use]
pub fn is_inner() -> bool {
    std::env::var(SEALED).is_ok()
}

/// Where a program that wants to be sealed is.
#[derive(Debug)]
pub enum Entered {
    /// Inside: it does its work.
    Inside {
        /// What was asked for, or drawn outside.
        seed: u64,
        /// The same of the folder.
        out: PathBuf,
    },
    /// Outside: it has run inside, and ended so.
    Outside(ExitStatus),
}

/// Outside, chooses what was not asked for and runs this program again inside, with a folder that is
/// there; inside, tells what was chosen. `name` begins the name of a folder that is chosen.
///
/// # Errors
/// When the folder cannot be made, or the program not be started.
pub fn enter(name: &str, seed: Option<u64>, out: Option<&Path>) -> io::Result<Entered> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let seed = seed.unwrap_or_else(|| u64::from(now.subsec_nanos()));
    if is_inner() {
        let out = out.map_or_else(std::env::temp_dir, Path::to_path_buf);
        return Ok(Entered::Inside { seed, out });
    }
    let chosen = || std::env::temp_dir().join(format!("{name}-{}-{seed}", now.as_secs()));
    let out = out.map_or_else(chosen, Path::to_path_buf);
    std::fs::create_dir_all(&out)?;
    run(seed, &out.canonicalize()?).map(Entered::Outside)
}

/// Runs this program again with the same arguments and the seed and folder that were chosen, sealed
/// where the machine allows it; waits for its end and takes its disks away.
///
/// # Errors
/// When it cannot be started.
pub fn run(seed: u64, out: &Path) -> io::Result<ExitStatus> {
    let own = std::env::current_exe()?;
    let tried = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(UNSHARE)
        .arg("true")
        .output();
    let lacks = match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("setpriv: {error}")),
    };
    let mut command = match lacks {
        None => {
            // It ends with us, however we end.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", "unshare"]);
            command.args(UNSHARE).arg(own).env(SEALED, "yes");
            command
        }
        Some(why) => {
            let mut command = Command::new(own);
            command.env(SEALED, format!("no namespaces: {why}"));
            command
        }
    };
    let number = std::process::id().to_string();
    let mut child = command
        .args(std::env::args_os().skip(1))
        .args(["--seed", &seed.to_string(), "--out"])
        .arg(out)
        .env(RUN_NUMBER, &number)
        // Ctrl-C comes to us; we end it in order.
        .process_group(0)
        .spawn()?;
    let pid = rustix::process::Pid::from_child(&child);
    crate::stop::when_told(move || {
        // `--kill-child` ends all that is inside; without namespaces the group is all.
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
    });
    let status = child.wait();
    super::group::remove_all(&number);
    // Images, and mount points of mounts that are gone with the namespace.
    std::fs::remove_dir_all(out.join("disks")).ok();
    status
}

/// Prepares the inside: names of network namespaces that nobody else sees, and loopback.
///
/// # Errors
/// When the machine refuses.
pub(super) fn prepare() -> Result<(), super::Trouble> {
    let names = Path::new("/run/netns");
    std::fs::create_dir_all(names).map_err(super::io("/run/netns"))?;
    super::tool(&["mount", "-t", "tmpfs", "tmpfs", "/run/netns"])?;
    super::tool(&["ip", "link", "set", "lo", "up"]).map(drop)
}
