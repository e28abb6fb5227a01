//! What a workflow costs in the log: with N activities one after the other, 2 + 2N mutations, with
//! one and with 64 in flight. Counted by kind in the decoded log of a stopped node, not by any
//! counter of the node.
//!
//! A mutation that makes a task ready also hands it out when a poller waits (a reservation), so
//! there are always more pollers of each kind than workflows in flight here: a task that nobody
//! waits for costs a `claim_task` of its own.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_proto::internal::admin::v1::StatusRequest;
use steadfast_tests::cluster::{Cluster, binary};
use steadfast_tests::{Error, io};

const ACTIVITIES: [u64; 3] = [0, 1, 3];
/// In flight, pollers of each kind, and workflows.
const LOADS: [(u64, u64, u64); 2] = [(1, 4, 40), (64, 256, 600)];
/// On a slow machine all pollers of a kind may be between two polls when a task becomes ready: so
/// many claims for a hundred tasks are allowed with 64 in flight. None are usual.
const CLAIMS_PERCENT: u64 = 1;

/// Workflows of one shape, and where they lie in the log.
struct Phase {
    activities: u64,
    in_flight: u64,
    workflows: u64,
    /// Log index after the phase's last mutation.
    end: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_with_n_activities_costs_two_and_two_n_mutations() -> Result<(), Error> {
    let mut cluster = Cluster::start(3).await?;
    let leader = cluster.leader().await?;
    let mut end = settled(&cluster, leader).await?;
    let first = end;
    let mut phases = Vec::new();
    for activities in ACTIVITIES {
        for (in_flight, pollers, workflows) in LOADS {
            bench(
                &cluster.addresses(leader).grpc,
                &[
                    ("--activities", activities),
                    ("--in-flight", in_flight),
                    ("--pollers", pollers),
                    ("--workflows", workflows),
                    ("--warmup", 0),
                ],
            )
            .await?;
            end = settled(&cluster, leader).await?;
            phases.push(Phase {
                activities,
                in_flight,
                workflows,
                end,
            });
        }
    }
    assert_eq!(
        cluster.leader().await?,
        leader,
        "the leader changed; calls were made twice"
    );
    for id in cluster.ids() {
        cluster.stop(id).await?;
    }
    // A follower's log says the same; this one was not asked anything.
    let read = cluster.ids().into_iter().find(|id| *id != leader);
    let log = mutations(&cluster, read.unwrap_or(leader))?;
    check(&phases, first, &log);
    Ok(())
}

/// Compares each phase's share of the log with what it should be, and prints the table.
fn check(phases: &[Phase], first: u64, log: &[(u64, String)]) {
    let mut table = vec!["N  in flight  workflows  mutations/workflow  by kind".to_owned()];
    let mut wrong = Vec::new();
    let mut begin = first;
    for phase in phases {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        let inside = |index: u64| index > begin && index <= phase.end;
        for (_, kind) in log.iter().filter(|(index, _)| inside(*index)) {
            *kinds.entry(kind).or_default() += 1;
        }
        begin = phase.end;
        let (n, count) = (phase.activities, phase.workflows);
        let all: u64 = kinds.values().sum();
        let hundredths = all * 100 / count;
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        table.push(format!(
            "{n}  {:>9}  {count:>9}  {whole:>15}.{rest:02}  {kinds:?}",
            phase.in_flight
        ));
        let claims = kinds.remove("claim_task").unwrap_or(0);
        // Each workflow has N + 1 workflow tasks and N activity tasks.
        let tasks = count * (2 * n + 1);
        let allowed = if phase.in_flight == 1 {
            0
        } else {
            tasks * CLAIMS_PERCENT / 100
        };
        let mut expected = BTreeMap::from([
            ("start_workflow_execution", count),
            ("respond_workflow_task_completed", count * (n + 1)),
        ]);
        if n > 0 {
            expected.insert("respond_activity_task_completed", count * n);
        }
        if kinds != expected || claims > allowed {
            wrong.push(format!(
                "N = {n}, {} in flight: {claims} claims of {allowed}, {kinds:?}, not {expected:?}",
                phase.in_flight
            ));
        }
        let costs = expected.values().sum::<u64>();
        assert_eq!(costs, count * (2 + 2 * n), "the table of kinds itself");
    }
    let table = table.join("\n");
    // Shown by `--nocapture`, and with a failure.
    std::io::Write::write_all(&mut std::io::stdout(), format!("{table}\n").as_bytes()).ok();
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
}

async fn bench(address: &str, options: &[(&str, u64)]) -> Result<(), Error> {
    let mut command = Command::new(binary()?);
    command.args(["bench", "--output", "json", "--address", address]);
    for (option, value) in options {
        command.args([*option, &value.to_string()]);
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|error| Error::Program(error.to_string()))?
        .map_err(io("steadfast bench"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(text.trim()).map_err(|error| {
        let errors = String::from_utf8_lossy(&output.stderr);
        Error::Program(format!("steadfast bench: {error}: {text}{errors}"))
    })?;
    if report["failed"] != 0 || report["errors"] != 0 {
        return Err(Error::Program(format!("calls were made twice: {report}")));
    }
    Ok(())
}

/// The last index that every node has applied, once nothing moves any more.
async fn settled(cluster: &Cluster, node: u64) -> Result<u64, Error> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut admin = cluster.admin(node).await?;
    let mut last = 0;
    loop {
        let status = admin.status(StatusRequest {}).await?.into_inner();
        let places = || status.nodes.iter().map(|node| node.applied);
        let (low, high) = (places().min().unwrap_or(0), places().max().unwrap_or(0));
        if low == high && low > 0 && low == last {
            return Ok(low);
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!("the nodes stay apart: {status:?}")));
        }
        last = high;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Index and kind of each mutation of a stopped node's log.
fn mutations(cluster: &Cluster, id: u64) -> Result<Vec<(u64, String)>, Error> {
    let output = Command::new(binary()?)
        .args(["inspect", "--entries", "--output", "json", "--data-dir"])
        .arg(cluster.data_dir(id))
        .output()
        .map_err(io("steadfast inspect"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = Vec::new();
    let mut purged = None;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line)
            .map_err(|error| Error::Program(format!("steadfast inspect: {error}: {line}")))?;
        match (line["index"].as_u64(), line["kind"].as_str()) {
            (Some(index), Some(kind)) => found.push((index, kind.to_owned())),
            _ => purged = line["log"]["purged"].as_u64(),
        }
    }
    // Otherwise what is counted would be a part.
    assert_eq!(purged, Some(0), "the whole log is there");
    Ok(found)
}
