//! What can be wrong when a node is started: each ends with an exit code and one line that says
//! what to do.

#![expect(clippy::unwrap_used, reason = "a failing step of a test ends it")]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Marks come every 30 s; a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
const MEMBERS: &str = "1=127.0.0.1:1";

/// A process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Running {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Its exit code and the lines that it left on standard error.
    fn ended(mut self) -> (i32, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(LOOK);
        };
        let mut text = String::new();
        let mut errors = self.0.stderr.take().unwrap();
        errors.read_to_string(&mut text).unwrap();
        let code = status.code().unwrap_or(-1);
        (code, text.lines().map(str::to_owned).collect())
    }
}

fn steadfast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEADFAST_")) {
        command.env_remove(name);
    }
    command.args(args).env("RUST_BACKTRACE", "1");
    command
}

/// A node of one member on ports that the system chooses; later arguments win.
fn server(data_dir: &Path, more: &[&str]) -> Command {
    let mut args = vec!["server", "--log-level", "error"];
    args.extend(["--data-dir", data_dir.to_str().unwrap()]);
    for (name, value) in [
        ("--node-id", "1"),
        ("--initial-members", MEMBERS),
        ("--grpc-address", "127.0.0.1:0"),
        ("--raft-address", "127.0.0.1:0"),
        ("--http-address", "127.0.0.1:0"),
    ] {
        if !more.contains(&name) {
            args.extend([name, value]);
        }
    }
    args.extend(more);
    steadfast(&args)
}

/// It ends with this code and one line, the last, which has all these words.
fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let (found, lines) = Running::start(command).ended();
    let all = lines.join("\n");
    assert_eq!(found, code, "{command:?}: {all}");
    let last = lines
        .last()
        .unwrap_or_else(|| panic!("{command:?}: no word"));
    assert!(last.starts_with("steadfast: "), "{command:?}: {all}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in: {last}");
    }
    for noise in ["panicked", "backtrace", "a bug, please report"] {
        assert!(!all.contains(noise), "{command:?}: {all}");
    }
    let own = lines.iter().filter(|line| line.starts_with("steadfast: "));
    assert_eq!(own.count(), 1, "{all}");
}

fn file_with(dir: &Path, part: &str) -> Option<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .to_lowercase()
                .contains(part)
        })
        .collect();
    paths.sort();
    paths.into_iter().next()
}

fn wait_for(dir: &Path, part: &str) -> PathBuf {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(path) = file_with(dir, part) {
            return path;
        }
        assert!(
            Instant::now() < deadline,
            "no file {part} in {}",
            dir.display()
        );
        std::thread::sleep(LOOK);
    }
}

/// A delta counts once a manifest that is written after it names it.
fn wait_for_manifest_of(delta: &Path) {
    let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let manifest = file_with(delta.parent().unwrap(), "manifest");
        if manifest.is_some_and(|manifest| changed(&manifest) >= changed(delta)) {
            return;
        }
        assert!(Instant::now() < deadline, "no manifest names the delta");
        std::thread::sleep(LOOK);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for port in ["--grpc-address", "--raft-address", "--http-address"] {
        let dir = folder.path().join(port);
        refused(
            &mut server(&dir, &[port, &taken]),
            1,
            &["cannot listen on", &taken, "port"],
        );
        assert!(!dir.exists(), "nothing was made");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Permissions mean nothing to root; a file in the way stops everybody.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let dir = file.join("data");
    refused(
        &mut server(&dir, &[]),
        1,
        &["cannot create", dir.to_str().unwrap()],
    );
}

#[test]
fn a_disk_that_takes_no_more_ends_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    // A limit of 32 KiB per file stands for a full disk; the signal that comes with it is ignored.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let node = server(&dir, &[]);
    let mut command = Command::new("sh");
    command
        .args(["-c", limited])
        .arg(node.get_program())
        .args(node.get_args());
    command.env("RUST_BACKTRACE", "1");
    refused(&mut command, 1, &[dir.to_str().unwrap(), "File too large"]);
}

#[test]
fn a_data_directory_is_one_nodes_and_whole_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let node = Running::start(&mut server(&dir, &[]));
    wait_for(&dir, "log-begun");
    refused(&mut server(&dir, &[]), 1, &["is in use by another process"]);
    let delta = wait_for(&dir.join("state"), "delta-");
    wait_for_manifest_of(&delta);
    drop(node);

    let two = ["--node-id", "2", "--initial-members", "2=127.0.0.1:1"];
    refused(
        &mut server(&dir, &two),
        1,
        &["belongs to node 1, not 2", "--data-dir"],
    );
    let other = ["--cluster-name", "other"];
    refused(
        &mut server(&dir, &other),
        1,
        &["cluster name steadfast, not other"],
    );
    let members = [
        "--initial-members",
        "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3",
    ];
    refused(
        &mut server(&dir, &members),
        1,
        &["initial members 1=127.0.0.1:1, not"],
    );

    let damaged = |name: &str, part: &str, offset: usize, words: &[&str]| {
        let broken = folder.path().join(format!("broken-{part}"));
        copy(&dir, &broken);
        let file = wait_for(&broken.join(name), part);
        flip(&file, offset);
        let words = [&[file.to_str().unwrap(), "damaged", "--join"], words].concat();
        refused(&mut server(&broken, &[]), 1, &words);
    };
    damaged("", "identity", 60, &[]);
    damaged("state", "manifest", 20, &[]);
    damaged("state", "delta-", 40, &[]);
    damaged("log", "", 100, &["do not repair it"]);

    for (what, lost) in [("emptied", false), ("gone", true)] {
        let broken = folder.path().join(what);
        copy(&dir, &broken);
        fs::remove_dir_all(broken.join("log")).unwrap();
        if !lost {
            fs::create_dir(broken.join("log")).unwrap();
        }
        let words = ["missing, empty", "cluster remove --member 1", "--join"];
        refused(&mut server(&broken, &[]), 1, &words);
        // Nor is the advice to begin a cluster there.
        let dir = broken.to_str().unwrap();
        let args = ["server", "--data-dir", dir, "--node-id", "1"];
        let addresses = [
            "--grpc-address",
            "127.0.0.1:0",
            "--raft-address",
            "127.0.0.1:7701",
        ];
        let more = ["--http-address", "127.0.0.1:0"];
        let again = [&args[..], &addresses, &more].concat();
        refused(&mut steadfast(&again), 1, &words);
    }
}

#[test]
fn wrong_options_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let file = folder.path().join("steadfast.toml");
    let config = file.to_str().unwrap();
    for (text, words) in [
        ("nod-id = 1\n", &["no option is named `nod-id`"][..]),
        ("node-id = \n", &["is not valid TOML"]),
        ("[server]\nnode-id = 1\n", &["server"]),
        ("node-id = 1979-05-27\n", &["node-id"]),
    ] {
        fs::write(&file, text).unwrap();
        refused(&mut server(&dir, &["--config", config]), 2, words);
    }
    for (args, words) in [
        (&["--node-id", "0"][..], &["--node-id"][..]),
        (&["--node-id", "one"], &["--node-id"]),
        (&["--grpc-address", "7233"], &["--grpc-address"]),
        (&["--raft-address", "host:port"], &["--raft-address"]),
        (&["--initial-members", "1"], &["1=HOST:PORT"]),
        (&["--initial-members", "1=a:1,1=b:1"], &["1"]),
        (&["--search-attribute", "x"], &["--search-attribute"]),
        (
            &["--dynamic-config-value", "a={"],
            &["--dynamic-config-value"],
        ),
        (&["--log-format", "xml"], &["--log-format"]),
        (&["--no-such-option"], &["--no-such-option", "--help"]),
    ] {
        refused(&mut server(&dir, args), 2, words);
    }
    for (name, value, words) in [
        ("STEADFAST_NODE_ID", "x", &["x"][..]),
        ("STEADFAST_GRPC_ADDRESS", "nowhere", &["nowhere"]),
        ("STEADFAST_JOIN", "nowhere", &["nowhere"]),
        ("STEADFAST_LOG_FORMAT", "xml", &["xml"]),
        ("STEADFAST_LOG_LEVEL", "steadfast=loud", &["loud"]),
    ] {
        let mut command = steadfast(&["server"]);
        command.env("STEADFAST_NODE_ID", "1").env(name, value);
        refused(&mut command, 2, words);
    }
    assert!(!dir.exists(), "nothing was made");
}
