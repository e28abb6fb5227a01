//! `steadfast bench`: load on a running cluster, and what it costs the servers.
//!
//! Pollers and starters live in this process and do what an SDK does on the wire, without running
//! workflow code: history is decoded, so that the figures are those of a worker's.

mod driver;
mod kills;
mod usage;

pub use kills::KillReport;

use crate::cli::dev::file::DevFile;
use crate::cli::{Failure, say};
use driver::{Driver, Measured};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use steadfast_sdk::RawClient;
use usage::{Counters, Usage};

/// Options of `steadfast bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// gRPC addresses; connections are spread over them
    #[arg(
        long,
        env = "STEADFAST_ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:7233",
        value_name = "HOST:PORT"
    )]
    pub address: Vec<String>,
    /// The namespace
    #[arg(long, env = "STEADFAST_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Workflows that count
    #[arg(long, env = "STEADFAST_WORKFLOWS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub workflows: u64,
    /// Workflows before counting begins
    #[arg(long, env = "STEADFAST_WARMUP", default_value_t = 100)]
    pub warmup: u64,
    /// Workflows in flight
    #[arg(long, env = "STEADFAST_IN_FLIGHT", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub in_flight: u32,
    /// Activities of each workflow, one after the other
    #[arg(long, env = "STEADFAST_ACTIVITIES", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub activities: u32,
    /// Starts per second; 0 for as many as --in-flight allows
    #[arg(long, env = "STEADFAST_RATE", default_value_t = 0)]
    pub rate: u32,
    /// Sends this many signals to one workflow instead of running workflows
    #[arg(long, env = "STEADFAST_SIGNALS", default_value_t = 0)]
    pub signals: u64,
    /// Kills the leader this many times instead, and tells how long no write was acknowledged
    #[arg(long, env = "STEADFAST_LEADER_KILLS", default_value_t = 0, requires = "dev_json",
          value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub leader_kills: u32,
    /// Pollers of each kind: workflow tasks, sticky tasks, activity tasks
    #[arg(long, env = "STEADFAST_POLLERS", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pollers: u32,
    /// Connections to the addresses
    #[arg(long, env = "STEADFAST_CONNECTIONS", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Bytes of each input and result
    #[arg(long, env = "STEADFAST_PAYLOAD_BYTES", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub payload_bytes: u32,
    /// The cluster's dev.json; without it the servers' CPU, memory and counters are not shown
    #[arg(long, env = "STEADFAST_DEV_JSON", value_name = "FILE")]
    pub dev_json: Option<PathBuf>,
    /// text or json
    #[arg(long, env = "STEADFAST_OUTPUT", default_value = "text")]
    pub output: super::Output,
}

/// All figures of one run. Times in milliseconds; per workflow (or per signal) unless said.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// Activities of each workflow.
    pub activities: u32,
    /// Workflows in flight.
    pub in_flight: u32,
    /// Workflows (or signals) that completed.
    pub completed: u64,
    /// Workflows that ended in another way.
    pub failed: u64,
    /// Calls that failed; they were made again.
    pub errors: u64,
    /// The last of these errors.
    pub last_error: String,
    /// Completed per second.
    pub per_second: f64,
    /// Start (or signal) until the answer, median.
    pub start_p50: f64,
    /// The same, 99th percentile.
    pub start_p99: f64,
    /// Start until the close was seen, median.
    pub end_to_end_p50: f64,
    /// The same, 99th percentile.
    pub end_to_end_p99: f64,
    /// CPU of this process.
    pub driver_cpu: f64,
    /// What the servers used; nothing without dev.json.
    pub servers: Option<Servers>,
}

/// What the servers used.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Servers {
    /// CPU of all nodes.
    pub cpu: f64,
    /// CPU of the front door (which is only used when --address names it).
    pub front_door_cpu: f64,
    /// Cores busy, all nodes.
    pub cores: f64,
    /// Resident memory of each node, MiB.
    pub rss_mib: Vec<u64>,
    /// Mutations applied, on one replica.
    pub mutations: f64,
    /// Records written to sled, per replica.
    pub sled_writes: f64,
    /// Syncs to disk, all nodes.
    pub fsyncs: f64,
}

/// Drives the load and prints the figures.
pub fn run(args: BenchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the async runtime: {error}")))?;
    let result = runtime.block_on(bench(args));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn bench(args: BenchArgs) -> Result<(), Failure> {
    if let (1.., Some(dev_json)) = (args.leader_kills, &args.dev_json) {
        let report = kills::run(args.leader_kills, dev_json, &args.namespace).await?;
        return say_kills(&report, args.output);
    }
    let dev = match &args.dev_json {
        Some(path) => Some(DevFile::read(path)?),
        None => None,
    };
    RawClient::connect(&args.address, &args.namespace, Duration::from_secs(10))
        .await
        .map_err(Failure::failed)?;
    let connections = args.connections as usize;
    let client =
        RawClient::new(&args.address, &args.namespace, connections).map_err(Failure::failed)?;
    let driver = Arc::new(Driver::new(client, &args));
    driver.start_pollers().await;
    if args.signals == 0 {
        driver.run(args.warmup, 0).await;
    } else {
        driver.open_signalled().await.map_err(Failure::failed)?;
    }
    driver.forget();
    let before = Snapshot::take(dev.as_ref()).await;
    let measured = if args.signals == 0 {
        driver.run(args.workflows, args.warmup).await
    } else {
        driver.signal(args.signals).await
    };
    let after = Snapshot::take(dev.as_ref()).await;
    driver.stop();
    let report = report(&args, &measured, &before, &after);
    if report.completed == 0 {
        return Err(Failure::failed(format!(
            "nothing completed; {}",
            report.last_error
        )));
    }
    match args.output {
        super::Output::Text => say(&text(&args, &report)),
        super::Output::Json => {
            say(&serde_json::to_string(&report).map_err(Failure::failed)?);
        }
    }
    Ok(())
}

fn say_kills(report: &KillReport, output: super::Output) -> Result<(), Failure> {
    match output {
        super::Output::Text => say(&format!(
            "{} leader kills, to the first acknowledged write: p50 {} ms, p99 {} ms, longest {} ms",
            report.kills, report.p50_ms, report.p99_ms, report.max_ms
        )),
        super::Output::Json => {
            say(&serde_json::to_string(&report).map_err(Failure::failed)?);
        }
    }
    Ok(())
}

/// What all processes had used at one moment.
struct Snapshot {
    driver: Usage,
    front_door: Usage,
    nodes: Vec<Usage>,
    counters: Vec<Counters>,
}

impl Snapshot {
    async fn take(dev: Option<&DevFile>) -> Snapshot {
        let mut snapshot = Snapshot {
            driver: Usage::of(std::process::id()),
            front_door: Usage::default(),
            nodes: Vec::new(),
            counters: Vec::new(),
        };
        if let Some(dev) = dev {
            snapshot.front_door = Usage::of(dev.pid);
            for node in &dev.nodes {
                snapshot.nodes.push(Usage::of(node.pid));
                snapshot.counters.push(Counters::of(&node.http).await);
            }
        }
        snapshot
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(args: &BenchArgs, measured: &Measured, before: &Snapshot, after: &Snapshot) -> Report {
    let completed = measured.completed as f64;
    let seconds = measured.took.as_secs_f64();
    let node_cpu: f64 = after
        .nodes
        .iter()
        .zip(&before.nodes)
        .map(|(b, a)| b.cpu_ms - a.cpu_ms)
        .sum();
    let counted = |pick: fn(&Counters) -> f64| -> Vec<f64> {
        after
            .counters
            .iter()
            .zip(&before.counters)
            .map(|(b, a)| pick(b) - pick(a))
            .collect()
    };
    let nodes = after.nodes.len() as f64;
    let servers = (!after.nodes.is_empty()).then(|| Servers {
        cpu: node_cpu / completed,
        front_door_cpu: (after.front_door.cpu_ms - before.front_door.cpu_ms) / completed,
        cores: node_cpu / 1_000.0 / seconds,
        rss_mib: after
            .nodes
            .iter()
            .map(|usage| usage.rss_kib >> 10)
            .collect(),
        mutations: counted(|c| c.mutations).into_iter().fold(0.0, f64::max) / completed,
        sled_writes: counted(|c| c.sled_writes).iter().sum::<f64>() / nodes / completed,
        fsyncs: counted(|c| c.fsyncs).iter().sum::<f64>() / completed,
    });
    Report {
        activities: args.activities,
        in_flight: args.in_flight,
        completed: measured.completed,
        failed: measured.failed,
        errors: measured.errors,
        last_error: measured.last_error.clone(),
        per_second: completed / seconds,
        start_p50: measured.start[0],
        start_p99: measured.start[1],
        end_to_end_p50: measured.end_to_end[0],
        end_to_end_p99: measured.end_to_end[1],
        driver_cpu: (after.driver.cpu_ms - before.driver.cpu_ms) / completed,
        servers,
    }
}

fn text(args: &BenchArgs, report: &Report) -> String {
    let one = if args.signals > 0 {
        "signal"
    } else {
        "workflow"
    };
    let mut lines = vec![format!(
        "{} {one}s, {} activities, {} in flight: {:.1} {one}s/s, {} failed, {} errors",
        report.completed,
        report.activities,
        report.in_flight,
        report.per_second,
        report.failed,
        report.errors
    )];
    lines.push(format!(
        "  start ms       p50 {:8.2}  p99 {:8.2}",
        report.start_p50, report.start_p99
    ));
    if args.signals == 0 {
        lines.push(format!(
            "  end to end ms  p50 {:8.2}  p99 {:8.2}",
            report.end_to_end_p50, report.end_to_end_p99
        ));
    }
    if let Some(servers) = &report.servers {
        lines.push(format!(
            "  server CPU     {:.3} ms per {one}, {:.2} cores; front door {:.3} ms",
            servers.cpu, servers.cores, servers.front_door_cpu
        ));
        lines.push(format!(
            "  per {one}   {:.2} mutations, {:.2} sled writes per replica, {:.2} fsyncs",
            servers.mutations, servers.sled_writes, servers.fsyncs
        ));
        lines.push(format!("  memory MiB     {:?}", servers.rss_mib));
    }
    lines.push(format!(
        "  driver CPU     {:.3} ms per {one}",
        report.driver_cpu
    ));
    if report.errors > 0 {
        lines.push(format!("  last error     {}", report.last_error));
    }
    lines.join("\n")
}
