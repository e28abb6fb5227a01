//! `steadfast bench --leader-kills`: how long the loss of a leader is felt.

use crate::cli::dev::file::{DevFile, DevNode};
use crate::cli::{Failure, http_get};
use crate::http::LeaderAnswer;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::Duration;
use steadfast_proto::temporal::common::v1::WorkflowType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::RawClient;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// The cluster is whole again within this, or something is wrong.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);
/// A writer that had no answer within this tries another node.
const WRITE_LIMIT: Duration = Duration::from_millis(400);
/// The longest outage that is waited for.
const OUTAGE_LIMIT: Duration = Duration::from_secs(30);
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// From the kill to the first acknowledged write, in milliseconds.
#[derive(Debug, Clone, serde::Serialize)]
pub struct KillReport {
    /// How often the leader was killed.
    pub kills: usize,
    /// Median.
    pub p50_ms: u128,
    /// 99th percentile (of few: close to the longest).
    pub p99_ms: u128,
    /// Longest.
    pub max_ms: u128,
    /// All of them, in order.
    pub all_ms: Vec<u128>,
}

/// Kills the leader so many times with `kill -9`, each time when the cluster is whole.
pub(super) async fn run(
    kills: u32,
    dev_json: &Path,
    namespace: &str,
) -> Result<KillReport, Failure> {
    let mut all_ms = Vec::new();
    for _ in 0..kills {
        let leader = whole(dev_json).await?;
        let others: Vec<String> = DevFile::read(dev_json)?
            .nodes
            .into_iter()
            .filter(|node| node.id != leader.id)
            .map(|node| node.grpc)
            .collect();
        let client = RawClient::connect(&others, namespace, ASK_LIMIT * 5)
            .await
            .map_err(Failure::failed)?;
        write(&client).await.map_err(Failure::failed)?;
        let pid = i32::try_from(leader.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::failed("dev.json holds no process id"))?;
        kill_process(pid, Signal::KILL).map_err(Failure::failed)?;
        let killed = Instant::now();
        loop {
            if timeout(WRITE_LIMIT, write(&client))
                .await
                .is_ok_and(|written| written.is_ok())
            {
                break;
            }
            if killed.elapsed() > OUTAGE_LIMIT {
                return Err(Failure::failed(
                    "no write was acknowledged for 30 s after a kill",
                ));
            }
        }
        all_ms.push(killed.elapsed().as_millis());
    }
    let mut sorted = all_ms.clone();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or(0)
    };
    Ok(KillReport {
        kills: sorted.len(),
        p50_ms: at(50),
        p99_ms: at(99),
        max_ms: at(100),
        all_ms,
    })
}

/// Waits until all nodes serve; gives the leader.
async fn whole(dev_json: &Path) -> Result<DevNode, Failure> {
    let deadline = Instant::now() + WHOLE_LIMIT;
    while Instant::now() < deadline {
        let file = DevFile::read(dev_json)?;
        let mut ready = 0;
        let mut leader = None;
        for node in &file.nodes {
            if let Some(answer) = ask(node).await {
                ready += usize::from(answer.ready);
                if answer.leads {
                    leader = Some(node.clone());
                }
            }
        }
        if let Some(leader) = leader
            && ready == file.nodes.len()
        {
            return Ok(leader);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(Failure::failed(
        "the cluster does not get whole again after a kill",
    ))
}

async fn ask(node: &DevNode) -> Option<LeaderAnswer> {
    let (_, body) = http_get::get(&node.http, "/leader", ASK_LIMIT).await.ok()?;
    serde_json::from_slice(&body).ok()
}

async fn write(client: &RawClient) -> Result<(), tonic::Status> {
    let request = wire::StartWorkflowExecutionRequest {
        workflow_id: format!("bench-kill-{}", Uuid::new_v4().simple()),
        workflow_type: Some(WorkflowType {
            name: "bench".into(),
        }),
        task_queue: Some(TaskQueue {
            name: "bench-kill".into(),
            ..Default::default()
        }),
        workflow_run_timeout: Some(steadfast_sdk::client::command::seconds(5)),
        ..Default::default()
    };
    client.start(request, WRITE_LIMIT).await.map(drop)
}
