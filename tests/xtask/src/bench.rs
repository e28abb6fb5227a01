//! Measures a release build: three nodes on this machine, synced to its disk.

use crate::{root, say, target_dir};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The table stands between these lines of docs/performance.md; the text around it stays.
const BEGIN: &str = "<!-- begin: cargo xtask bench -->";
const END: &str = "<!-- end: cargo xtask bench -->";
const START_LIMIT: Duration = Duration::from_secs(90);
const KILLS: u32 = 30;

/// One row of the table.
struct Row {
    name: &'static str,
    /// Where the load goes.
    to: To,
    args: &'static [&'static str],
    /// Workflows (or signals) of a whole run.
    count: u32,
}

#[derive(Clone, Copy)]
enum To {
    Leader,
    Follower,
    Proxy,
}

const ROWS: &[Row] = &[
    Row {
        name: "1 activity, 1 in flight",
        to: To::Leader,
        args: &["--in-flight", "1"],
        count: 500,
    },
    Row {
        name: "1 activity, 16 in flight",
        to: To::Leader,
        args: &["--in-flight", "16"],
        count: 4_000,
    },
    Row {
        name: "1 activity, 64 in flight",
        to: To::Leader,
        args: &["--in-flight", "64"],
        count: 10_000,
    },
    Row {
        name: "1 activity, 256 in flight",
        to: To::Leader,
        args: &["--in-flight", "256"],
        count: 10_000,
    },
    Row {
        name: "3 activities, 16 in flight",
        to: To::Leader,
        args: &["--in-flight", "16", "--activities", "3"],
        count: 2_000,
    },
    Row {
        name: "20 activities, 16 in flight",
        to: To::Leader,
        args: &["--in-flight", "16", "--activities", "20"],
        count: 500,
    },
    Row {
        name: "no activity, 64 in flight",
        to: To::Leader,
        args: &["--activities", "0"],
        count: 10_000,
    },
    Row {
        name: "1 activity, 64 in flight, through a follower",
        to: To::Follower,
        args: &["--in-flight", "64"],
        count: 5_000,
    },
    Row {
        name: "1 activity, 64 in flight, through the front door",
        to: To::Proxy,
        args: &["--in-flight", "64"],
        count: 5_000,
    },
];
const SIGNALS: Row = Row {
    name: "signals to one workflow, 64 in flight",
    to: To::Leader,
    args: &[],
    count: 5_000,
};

/// Builds, measures, and writes the table.
pub(crate) fn run(quick: bool) -> Result<(), String> {
    let divisor = if quick { 10 } else { 1 };
    say("building release ...");
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "-p", "steadfast"])
        .current_dir(root())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the release build failed".into());
    }
    let cluster = Cluster::start()?;
    let mut table = String::from(
        "| load | per second | start p50 / p99 ms | end to end p50 / p99 ms | server CPU ms | \
         front door CPU ms | mutations | sled writes per replica | fsyncs | memory MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let count = (row.count / divisor).max(20).to_string();
        let report = cluster.measure(row, &["--workflows", &count])?;
        add_row(&mut table, row.name, &report);
    }
    let count = (SIGNALS.count / divisor).max(20).to_string();
    let report = cluster.measure(&SIGNALS, &["--signals", &count])?;
    add_row(&mut table, SIGNALS.name, &report);
    let kills = if quick {
        String::new()
    } else {
        cluster.leader_kills()?
    };
    let text = format!("{}\n\n{table}\n{kills}", circumstances());
    say(&text);
    if quick {
        return Ok(());
    }
    write_document(&text)
}

fn add_row(table: &mut String, name: &str, report: &Value) {
    let number = |value: &Value, digits: usize| match value.as_f64() {
        Some(value) => format!("{value:.digits$}"),
        None => "–".to_string(),
    };
    let servers = &report["servers"];
    let memory: Vec<String> = servers["rss_mib"]
        .as_array()
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    let mut name = name.to_string();
    let bad = report["failed"].as_u64().unwrap_or(0) + report["errors"].as_u64().unwrap_or(0);
    if bad > 0 {
        name = format!("{name} ({bad} failed calls: {})", report["last_error"]);
    }
    let row = format!(
        "| {name} | {} | {} / {} | {} / {} | {} | {} | {} | {} | {} | {} |",
        number(&report["per_second"], 0),
        number(&report["start_p50"], 2),
        number(&report["start_p99"], 2),
        number(&report["end_to_end_p50"], 2),
        number(&report["end_to_end_p99"], 2),
        number(&servers["cpu"], 3),
        number(&servers["front_door_cpu"], 3),
        number(&servers["mutations"], 2),
        number(&servers["sled_writes"], 2),
        number(&servers["fsyncs"], 2),
        memory.join(" + "),
    );
    say(&row);
    table.push_str(&row);
    table.push('\n');
}

/// `steadfast dev` of the release build, on a data directory of its own.
struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    dev: Child,
    file: Value,
}

impl Cluster {
    fn start() -> Result<Cluster, String> {
        let program = target_dir().join("release/steadfast");
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

    fn dev_json(&self) -> PathBuf {
        self.dir.join("dev.json")
    }

    fn output(&self, args: &[&str]) -> Result<Value, String> {
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

    fn measure(&self, row: &Row, count: &[&str]) -> Result<Value, String> {
        let address = self.address(row.to)?;
        let dev_json = self.dev_json();
        let mut args = vec![
            "bench",
            "--output",
            "json",
            "--address",
            &address,
            "--dev-json",
        ];
        let path = dev_json.to_string_lossy();
        args.push(&path);
        args.extend(row.args);
        args.extend(count);
        self.output(&args)
    }

    fn leader_kills(&self) -> Result<String, String> {
        let path = self.dev_json();
        let path = path.to_string_lossy();
        let kills = KILLS.to_string();
        let args = [
            "bench",
            "--output",
            "json",
            "--leader-kills",
            &kills,
            "--dev-json",
            &path,
        ];
        let report = self.output(&args)?;
        Ok(format!(
            "{} kills of the leader (`kill -9`), to the first acknowledged write: median {} ms, \
             longest {} ms.\n",
            report["kills"], report["p50_ms"], report["max_ms"]
        ))
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

/// Machine, file system, build and commit.
fn circumstances() -> String {
    let first = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(root())
            .output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .next()
            .unwrap_or("unknown")
            .trim()
            .to_string()
    };
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let target = target_dir();
    let target = target.to_string_lossy();
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(
        text,
        "Commit {}.",
        first("git", &["rev-parse", "--short=12", "HEAD"])
    )
    .ok();
    writeln!(
        text,
        "Machine: {model}, {cores} cores, Linux {}; the driver runs on it too.",
        first("uname", &["-r"])
    )
    .ok();
    writeln!(
        text,
        "File system: {}.",
        first("findmnt", &["-n", "-o", "FSTYPE", "-T", &target])
    )
    .ok();
    text.push_str(
        "Three nodes of `steadfast dev`, release build, default configuration, every write synced \
         to disk, assertions and digest on.\n\
         Figures in ms, mutations, writes and syncs are per workflow (or per signal).",
    );
    text
}

fn write_document(text: &str) -> Result<(), String> {
    let path = root().join("docs/performance.md");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let old = std::fs::read_to_string(&path)
        .unwrap_or_else(|_| format!("# Performance\n\n{BEGIN}\n{END}\n"));
    let new = replaced(&old, text).ok_or_else(|| {
        format!(
            "{}: the lines `{BEGIN}` and `{END}` are missing",
            path.display()
        )
    })?;
    std::fs::write(Path::new(&path), new).map_err(failed)
}

fn replaced(old: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n{}\n{END}{after}",
        text.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_around_the_table_stays() {
        let old = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(
            replaced(&old, "new\n").unwrap(),
            format!("a\n{BEGIN}\nnew\n{END}\nb\n")
        );
        assert!(replaced("nothing", "new").is_none());
    }
}
