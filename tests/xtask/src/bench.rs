//! Measures a release build: three nodes on this machine, synced to its disk.

mod cluster;
mod endurance;
mod failover;
mod sampled;
mod strace;

pub(crate) use endurance::run as run_endurance;
pub(crate) use failover::run as run_failover;
pub(crate) use strace::run as run_strace;

use crate::{document, say};
use cluster::Cluster;
use serde_json::Value;

const DOCUMENT: &str = "docs/performance.md";
const KILLS: u32 = 30;
const CIRCUMSTANCES: &str = "\
Three nodes of `steadfast dev`, release build, default configuration, every write synced to disk, \
assertions and digest on.
Figures in ms, mutations, writes and syncs are per workflow (or per signal).";

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
    cluster::build()?;
    let cluster = Cluster::start()?;
    let mut table = String::from(
        "| load | per second | start p50 / p99 ms | end to end p50 / p99 ms | server CPU ms | \
         front door CPU ms | mutations | sled writes per replica | fsyncs | memory MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let count = (row.count / divisor).max(20).to_string();
        let report = cluster.measure(row.to, &[row.args, &["--workflows", &count]].concat())?;
        add_row(&mut table, row.name, &report);
    }
    let count = (SIGNALS.count / divisor).max(20).to_string();
    let report = cluster.measure(SIGNALS.to, &["--signals", &count])?;
    add_row(&mut table, SIGNALS.name, &report);
    let kills = if quick {
        String::new()
    } else {
        leader_kills(&cluster)?
    };
    let text = format!(
        "{}\n{CIRCUMSTANCES}\n\n{table}\n{kills}",
        document::machine()
    );
    say(&text);
    if quick {
        return Ok(());
    }
    document::replace(DOCUMENT, "bench", &text)
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

fn leader_kills(cluster: &Cluster) -> Result<String, String> {
    let path = cluster.dev_json();
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
    let report = cluster.output(&args)?;
    Ok(format!(
        "{} kills of the leader (`kill -9`), to the first acknowledged write: median {} ms, \
         longest {} ms.\n",
        report["kills"], report["p50_ms"], report["max_ms"]
    ))
}
