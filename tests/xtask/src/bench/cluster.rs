//! A cluster of the release build on this machine.

use super::To;
use crate::{root, say, target_dir};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(90);

/// The program that is measured: `STEADFAST_BIN`, or the release build.
fn program() -> PathBuf {
    let given = std::env::var_os("STEADFAST_BIN").map(PathBuf::from);
    given.unwrap_or_else(|| target_dir().join("release/steadfast"))
}

/// Which build is measured, as its place tells.
pub(super) fn profile() -> &'static str {
    let program = program();
    let release = program
        .components()
        .any(|part| part.as_os_str() == "release");
    if release { "release" } else { "development" }
}

/// Builds the program that is measured, unless one is given.
pub(super) fn build() -> Result<(), String> {
    if std::env::var_os("STEADFAST_BIN").is_some() {
        return Ok(());
    }
    say("building release ...");
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "-p", "steadfast"])
        .current_dir(root())
        .status();
    if built.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("the release build failed".into())
}

/// One node, as it runs.
pub(super) struct Node {
    pub(super) pid: u32,
    /// `HOST:PORT` of health and metrics.
    pub(super) http: String,
    pub(super) data_dir: PathBuf,
}

/// `steadfast dev` of the release build, on a data directory of its own.
pub(super) struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    dev: Child,
    file: Value,
}

impl Cluster {
    /// Starts it and waits until it serves.
    pub(super) fn start() -> Result<Cluster, String> {
        let program = program();
        let dir = target_dir().join("bench-data");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        let dev = Command::new(&program)
            .args(["dev", "--port", "0", "--http-port", "0", "--data-dir"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut cluster = Cluster {
            program,
            dir,
            dev,
            file: Value::Null,
        };
        let deadline = Instant::now() + START_LIMIT;
        while cluster.file.is_null() {
            if Instant::now() > deadline {
                return Err("the cluster does not serve; see above".into());
            }
            std::thread::sleep(Duration::from_millis(100));
            cluster.read_file();
        }
        Ok(cluster)
    }

    fn read_file(&mut self) {
        let text = std::fs::read_to_string(self.dev_json()).unwrap_or_default();
        self.file = serde_json::from_str(&text).unwrap_or(Value::Null);
    }

    pub(super) fn dev_json(&self) -> PathBuf {
        self.dir.join("dev.json")
    }

    /// What a command of the program prints, which is JSON.
    pub(super) fn output(&self, args: &[&str]) -> Result<Value, String> {
        let output = Command::new(&self.program)
            .args(args)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim())
            .map_err(|error| format!("steadfast {}: {error}: {text}", args.join(" ")))
    }

    fn address(&self, to: To) -> Result<String, String> {
        let front = self.file["grpc"].as_str().unwrap_or_default();
        let status = self.output(&["cluster", "status", "--output", "json", "--address", front])?;
        let leads = |node: &&Value| node["id"] == status["leader"];
        let nodes = self.file["nodes"]
            .as_array()
            .ok_or("dev.json has no nodes")?;
        let node = match to {
            To::Proxy => return Ok(front.to_string()),
            To::Leader => nodes.iter().find(leads),
            To::Follower => nodes.iter().find(|node| !leads(node)),
        };
        let address = node.and_then(|node| node["grpc"].as_str());
        address
            .map(String::from)
            .ok_or_else(|| "the cluster has no leader".to_string())
    }

    /// One run of `steadfast bench`.
    pub(super) fn measure(&self, to: To, options: &[&str]) -> Result<Value, String> {
        let address = self.address(to)?;
        let path = self.dev_json();
        let path = path.to_string_lossy();
        let fixed = ["bench", "--output", "json", "--address", &address];
        let args = [&fixed, options, &["--dev-json", &path]].concat();
        self.output(&args)
    }

    /// The nodes' processes, HTTP addresses and data directories.
    pub(super) fn nodes(&self) -> Result<Vec<Node>, String> {
        let nodes = self.file["nodes"].as_array();
        let node = |node: &Value| {
            Some(Node {
                pid: u32::try_from(node["pid"].as_u64()?).ok()?,
                http: node["http"].as_str()?.to_string(),
                data_dir: node["data_dir"].as_str()?.into(),
            })
        };
        let nodes: Option<Vec<Node>> = nodes.into_iter().flatten().map(node).collect();
        nodes
            .filter(|nodes| !nodes.is_empty())
            .ok_or_else(|| "dev.json has no nodes".to_string())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = i32::try_from(self.dev.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        self.dev.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}
