//! Syncs counted from outside by `strace`, beside what the nodes count themselves.

use super::To;
use super::cluster::{self, Cluster, Node};
use super::sampled::Sample;
use crate::{say, target_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In flight, pollers of each kind.
const LOADS: [(u64, u64); 3] = [(1, 4), (16, 64), (64, 192)];
/// `strace` has attached to all threads after it said so; this bounds the wait for it.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);

/// Runs workflows of one activity, `workflows` with 64 in flight and fewer with less.
pub(crate) fn run(workflows: u64) -> Result<(), String> {
    cluster::build()?;
    let cluster = Cluster::start()?;
    let nodes = cluster.nodes()?;
    let mut table = String::from(
        "| in flight | workflows | counter, log | strace, log | strace, state | strace, all \
         | per workflow, all replicas |\n|---|---|---|---|---|---|---|\n",
    );
    let mut wrong = Vec::new();
    for (in_flight, pollers) in LOADS {
        let count = if in_flight == 1 {
            workflows.div_ceil(10)
        } else {
            workflows
        };
        let trace = Trace::start(&nodes)?;
        let before = Sample::of_all(&nodes)?;
        let [in_flight, pollers, number] = [in_flight, pollers, count].map(|n| n.to_string());
        let report = cluster.measure(
            To::Leader,
            &[
                "--in-flight",
                &in_flight,
                "--pollers",
                &pollers,
                "--workflows",
                &number,
                "--warmup",
                "0",
            ],
        )?;
        let after = Sample::of_all(&nodes)?;
        let seen = trace.stop()?;
        if report["completed"] != count {
            return Err(format!("not all workflows completed: {report}"));
        }
        let sum = |samples: &[Sample]| samples.iter().map(|sample| sample.fsyncs).sum::<u64>();
        let counted = sum(&after) - sum(&before);
        let log = seen.get("log").copied().unwrap_or(0);
        let all: u64 = seen.values().sum();
        let hundredths = all * 100 / count;
        table.push_str(&format!(
            "| {in_flight} | {count} | {counted} | {log} | {} | {all} | {}.{:02} |\n",
            all - log,
            hundredths / 100,
            hundredths % 100
        ));
        // Both look at a cluster that never stands still: elections, marks and heartbeats of the
        // log go on between the two looks.
        if counted.abs_diff(log) > log / 50 + 10 {
            wrong.push(format!(
                "{in_flight} in flight: {counted} counted, {log} seen"
            ));
        }
    }
    say(&table);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the counter and strace differ: {}",
        wrong.join("; ")
    ))
}

/// A running `strace` on all threads of some processes.
struct Trace {
    child: Child,
    file: PathBuf,
}

impl Trace {
    fn start(nodes: &[Node]) -> Result<Trace, String> {
        let file = target_dir().join("bench-strace.txt");
        let failed = |error: std::io::Error| format!("strace: {error}; is it installed?");
        // Only the calls and their files; `-c` alone would not tell log from state.
        let mut command = Command::new("strace");
        command
            .args(["-f", "-y", "-C", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(&file);
        for node in nodes {
            command.args(["-p", &node.pid.to_string()]);
        }
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let trace = Trace { child, file };
        let deadline = Instant::now() + ATTACH_LIMIT;
        while !nodes.iter().all(|node| is_traced(node.pid)) {
            if Instant::now() > deadline {
                return Err("strace does not attach; may this user trace its processes?".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(trace)
    }

    /// Ends it; calls by the part of the data directory that they synced.
    fn stop(mut self) -> Result<BTreeMap<&'static str, u64>, String> {
        self.end();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| format!("{}: {error}", self.file.display()))?;
        Ok(counted(&text))
    }

    /// By SIGINT, so that it detaches and writes all that it saw.
    fn end(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
        self.child.wait().ok();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// Whether each thread of a process has a tracer.
fn is_traced(pid: u32) -> bool {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let Ok(threads) = std::fs::read_dir(tasks) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// Calls in the output of `strace -f -y`, by what was synced: a call that another thread
/// interrupted is two lines there, of which the first counts.
fn counted(text: &str) -> BTreeMap<&'static str, u64> {
    let mut seen = BTreeMap::new();
    for line in text.lines() {
        let Some((_, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if !call.starts_with("fsync(") && !call.starts_with("fdatasync(") {
            continue;
        }
        let path = call
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(path, _)| path);
        let is_log = Path::new(path)
            .components()
            .any(|part| part.as_os_str() == "log");
        *seen
            .entry(if is_log { "log" } else { "state" })
            .or_default() += 1;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn calls_are_told_apart_by_their_files() {
        let text = "7 fdatasync(9</d/node-1/log/1.log>) = 0\n\
                    8 fdatasync(9</d/node-1/log/1.log> <unfinished ...>\n\
                    7 fsync(4</d/node-1/state>) = 0\n\
                    8 <... fdatasync resumed>) = 0\n\
                    % time     seconds  usecs/call     calls    errors syscall\n\
                    100.00    0.1    12        3           fdatasync\n";
        assert_eq!(counted(text), [("log", 2), ("state", 1)].into());
    }
}
